"""Customizer: LoRA jobs, their progress and their losses."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from nemostack.clients.error_mapping import calling
from nemostack.clients.jobs import Job, find_marked, ids_marked, marks
from nemostack.models import Hyperparameters, Model

if TYPE_CHECKING:
    from nemo_microservices import NeMoMicroservices

_SERVICE = "Customizer"
_OF_LORA = {"adapter_dim", "alpha", "adapter_dropout"}


class LossPoint(Model):
    """Loss at an optimizer step (0-based, as the Customizer counts)."""

    step: int
    value: float


class CustomizationJob(Job):
    """A training job as last seen. `hyperparameters`: those of `settings.Hyperparameters` that the service names."""

    output_model: str | None = None
    hyperparameters: dict[str, int | float] = Field(default_factory=dict)
    epochs_completed: int | None = None
    steps_completed: int | None = None
    steps_per_epoch: int | None = None
    train_loss: list[LossPoint] = Field(default_factory=list)
    val_loss: list[LossPoint] = Field(default_factory=list)


class Customizer:
    """Over the SDK."""

    def __init__(self, sdk: "NeMoMicroservices", url: str) -> None:
        self._sdk = sdk
        self._url = url

    def configs(self) -> list[str]:
        """`namespace/name` of the customization configs on offer."""
        with calling(_SERVICE, self._url, "listing customization configs"):
            rows = self._sdk.customization.configs.list(page_size=100).data
        return [f"{row.namespace}/{row.name}" for row in rows]

    def start(
        self,
        *,
        config: str,
        dataset: str,
        output_model: str,
        asked: Hyperparameters,
        seed: int,
        run_id: str,
        stage: str,
    ) -> CustomizationJob:
        """Start a LoRA job on dataset `namespace/name`. What `asked` leaves open is not sent."""
        hyperparameters: Any = hyperparameters_of(asked, seed)  # the SDK's type is a TypedDict of the same shape
        with calling(_SERVICE, self._url, f"starting a LoRA job on {dataset} with config {config}"):
            job = self._sdk.customization.jobs.create(
                config=config,
                dataset=dataset,
                output_model=output_model,
                hyperparameters=hyperparameters,
                custom_fields=marks(run_id, stage),
            )
            return _job(job)

    def find(self, run_id: str, stage: str) -> CustomizationJob | None:
        """Find the job that this stage of this run started, should its id never have been written down."""
        with calling(_SERVICE, self._url, "listing customization jobs"):
            rows = self._listed().data
        job = find_marked(rows, run_id, stage, _job)
        return job if isinstance(job, CustomizationJob) else None

    def ids_of_run(self, run_id: str) -> list[str]:
        """Ids of all jobs that a run has started."""
        with calling(_SERVICE, self._url, "listing customization jobs"):
            return ids_marked(self._listed(), run_id)

    def newest(self) -> list[CustomizationJob]:
        """Return at most a hundred jobs, the newest first, whoever started them."""
        with calling(_SERVICE, self._url, "listing customization jobs"):
            rows = self._listed().data
            return [_job(row) for row in rows]

    def _listed(self) -> Any:
        """Ask for the first page of all jobs, the newest first; iterating over it asks for the others."""
        return self._sdk.customization.jobs.list(sort="-created_at", page_size=100)

    def get(self, job_id: str) -> CustomizationJob:
        """NotFound when the Customizer does not know it."""
        with calling(_SERVICE, self._url, f"looking at customization job {job_id}"):
            return _job(self._sdk.customization.jobs.retrieve(job_id))

    def cancel(self, job_id: str) -> None:
        """Ask it to stop. Conflict when it has ended."""
        with calling(_SERVICE, self._url, f"cancelling customization job {job_id}"):
            self._sdk.customization.jobs.cancel(job_id)

    def delete(self, job_id: str) -> list[str]:
        """Nothing: the Customizer keeps its jobs for good."""
        del job_id
        return []

    def model_of(self, output_model: str, job_id: str) -> str:
        """Id of the model that a job of this `output_model` leaves."""
        return f"{output_model}@{job_id}"


def hyperparameters_of(asked: Hyperparameters, seed: int) -> dict[str, Any]:
    """Make the hyperparameters of a job. What `asked` leaves open is not sent."""
    return {
        "training_type": "sft",
        "finetuning_type": "lora",
        "seed": seed,
        "log_every_n_steps": 1,
        **asked.model_dump(exclude=_OF_LORA, exclude_none=True),
        "lora": asked.model_dump(include=_OF_LORA, exclude_none=True),
    }


def _job(raw: Any) -> CustomizationJob:
    data = raw.to_dict(mode="json", exclude_unset=True, warnings=False)
    details = data.get("status_details") or {}
    metrics = (details.get("metrics") or {}).get("metrics") or {}
    return CustomizationJob(
        id=data["id"],
        status=data.get("status") or details.get("status") or "unknown",
        message=details.get("error_message") or _last_message(details.get("status_logs") or []),
        created_at=data.get("created_at"),
        output_model=data.get("output_model"),
        hyperparameters=_numbers(data.get("hyperparameters") or {}),
        epochs_completed=details.get("epochs_completed"),
        steps_completed=details.get("steps_completed"),
        steps_per_epoch=details.get("steps_per_epoch"),
        train_loss=_points(metrics.get("train_loss")),
        val_loss=_points(metrics.get("val_loss")),
    )


def _numbers(raw: dict[str, Any]) -> dict[str, int | float]:
    values = {**raw, **(raw.get("lora") or {})}
    return {
        name: value
        for name in Hyperparameters.model_fields
        if isinstance(value := values.get(name), int | float) and not isinstance(value, bool)
    }


def _last_message(logs: list[dict[str, Any]]) -> str:
    if not logs:
        return ""
    last = logs[-1]
    return ": ".join(str(last[key]) for key in ("message", "detail") if last.get(key))


def _points(rows: list[dict[str, Any]] | None) -> list[LossPoint]:
    return [
        LossPoint(step=row["step"], value=row["value"])
        for row in rows or []
        if row.get("step") is not None and row.get("value") is not None
    ]
