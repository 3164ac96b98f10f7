"""LoRA jobs on the NeMo Platform: jobs of the backend `automodel`, whose adapter belongs to the base model's entity.

A job asks for AdamW, the only algorithm that the microservices have; the platform's own choice is Adam.
"""

import uuid
from typing import TYPE_CHECKING, Any

from nemostack.clients.customizer import CustomizationJob, LossPoint
from nemostack.clients.platform.jobs import Jobs, id_of, reason_of, status_of, tasks_of
from nemostack.entity_names import WORKSPACE
from nemostack.errors import NotFound
from nemostack.models import Hyperparameters

if TYPE_CHECKING:
    from nemostack.clients.platform import Platform

_NAME_CHARS = 50  # of 63, with a suffix that tells jobs apart


class PlatformTraining:
    """Jobs of the customization hub."""

    def __init__(self, platform: "Platform") -> None:
        self._platform = platform
        self._jobs = Jobs(platform, "customization", "automodel/jobs")

    def configs(self) -> list[str]:
        """`workspace/name` of the models whose files the platform has."""
        return [f"{model['workspace']}/{model['name']}" for model in self._platform.models() if model.get("fileset")]

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
        """Start a LoRA job of the model entity `config` on the fileset `dataset`."""
        namespace = dataset.partition("/")[0]
        spec = spec_of(config, dataset, _new_name(output_model), asked, seed)
        job = self._jobs.start(spec, workspace=namespace, run_id=run_id, stage=stage)
        return CustomizationJob(id=id_of(job), status=status_of(job))

    def find(self, run_id: str, stage: str) -> CustomizationJob | None:
        """Find the job that this stage of this run started, should its id never have been written down."""
        found = self._jobs.find(run_id, stage)
        return None if found is None else self.get(found)

    def ids_of_run(self, run_id: str) -> list[str]:
        """Ids of the jobs that a run has started, of the newest hundred."""
        return self._jobs.ids_of_run(run_id)

    def newest(self) -> list[CustomizationJob]:
        """Return at most a hundred jobs, the newest first, without the reasons of failures."""
        return self._jobs.newest_as(CustomizationJob)

    def get(self, job_id: str) -> CustomizationJob:
        """NotFound when the platform does not know it."""
        spec, progress = self._jobs.read(job_id)["spec"], self._jobs.progress(job_id)
        trained = next((task.get("status_details") or {} for task in tasks_of(progress, "training")), {})
        metrics = trained.get("metrics") or {}
        epochs, steps = trained.get("num_epochs"), trained.get("max_steps")
        return CustomizationJob(
            id=job_id,
            status=status_of(progress),
            message=reason_of(progress),
            output_model=f"{WORKSPACE}/{spec['output']['name']}",
            hyperparameters=_hyperparameters(spec),
            steps_completed=trained.get("step"),
            steps_per_epoch=round(steps / epochs) if steps and epochs else None,
            train_loss=_points(metrics.get("train_loss")),
            val_loss=_points(metrics.get("val_loss")),
        )

    def cancel(self, job_id: str) -> None:
        """Ask it to stop. Conflict when it has ended."""
        self._jobs.cancel(job_id)

    def delete(self, job_id: str) -> list[str]:
        """Delete the job, not its adapter."""
        return [f"training job {job_id}"] if self._jobs.delete(job_id) else []

    def model_of(self, output_model: str, job_id: str) -> str:
        """Id of the job's adapter; of a job that is gone, an id that nothing has."""
        try:
            return f"{WORKSPACE}/{self._jobs.read(job_id)['spec']['output']['name']}"
        except NotFound:
            return f"{WORKSPACE}/{output_model.rpartition('/')[2]}-of-{job_id.rpartition('/')[2]}"


def spec_of(model: str, dataset: str, name: str, asked: Hyperparameters, seed: int) -> dict[str, Any]:
    """Make the spec of a job. What `asked` leaves open is not sent."""
    lora = {"rank": asked.adapter_dim, "alpha": asked.alpha, "dropout": asked.adapter_dropout}
    schedule = {"epochs": asked.epochs, "val_check_interval": asked.val_check_interval, "seed": seed}
    optimizer = {
        "optimizer": "AdamW",
        "learning_rate": asked.learning_rate,
        "min_learning_rate": asked.min_learning_rate,
        "warmup_steps": asked.warmup_steps,
    }
    return {
        "model": model,
        "dataset": {"training": dataset},
        "training": {"finetuning_type": "lora", "lora": _given(lora)},
        "schedule": schedule,
        "batch": _given({"global_batch_size": asked.batch_size}),
        "optimizer": _given(optimizer),
        "output": {"name": name},
    }


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _new_name(output_model: str) -> str:
    """Name an adapter after its dataset and run; no two jobs have the same, so that none takes another's away."""
    name = output_model.rpartition("/")[2].lower()[:_NAME_CHARS].rstrip("-.")
    return f"{name if name[:1].isalpha() else f'm-{name}'}-{uuid.uuid4().hex[:6]}"


def _hyperparameters(spec: dict[str, Any]) -> dict[str, int | float]:
    lora, schedule, optimizer = spec["training"].get("lora") or {}, spec["schedule"], spec["optimizer"]
    values = {
        "adapter_dim": lora.get("rank"),
        "alpha": lora.get("alpha"),
        "adapter_dropout": lora.get("dropout"),
        "epochs": schedule.get("epochs"),
        "batch_size": spec["batch"].get("global_batch_size"),
        "learning_rate": optimizer.get("learning_rate"),
        "val_check_interval": schedule.get("val_check_interval"),
        "warmup_steps": optimizer.get("warmup_steps"),
        "min_learning_rate": optimizer.get("min_learning_rate"),
    }
    return _given(values)


def _points(rows: list[dict[str, Any]] | None) -> list[LossPoint]:
    """Losses by optimizer step, counted from 0 as on the other line."""
    return [LossPoint(step=int(row["step"]) - 1, value=row["value"]) for row in rows or []]
