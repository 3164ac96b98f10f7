"""One LoRA job at the Customizer, and the hyperparameters that applied: ours where given, else the Customizer's own."""

from pydantic import Field

from nemostack.clients.customizer import CustomizationJob, LossPoint
from nemostack.errors import JobFailed
from nemostack.models import Hyperparameters, Model
from workflows.engine.resumable_job import JobRun
from workflows.engine.stage import Context, Stage
from workflows.stages.cleanup import adapter_name
from workflows.stages.training_advice import advise
from workflows.stages.upload import Uploaded

_NAMES = {
    "adapter_dim": "rank",
    "alpha": "alpha",
    "learning_rate": "learning rate",
    "batch_size": "batch size",
    "epochs": "epochs",
}


class Trained(Model):
    """Outputs of the stage. `hyperparameters` are those of the job; `left` names what the Customizer chose itself."""

    job_id: str
    model: str
    steps: int | None
    train_loss: list[LossPoint]
    val_loss: list[LossPoint]
    hyperparameters: dict[str, int | float] = Field(default_factory=dict)
    left: list[str] = Field(default_factory=list)

    @property
    def how(self) -> str:
        """`rank 8, alpha 16, learning rate 0.0001, batch size 8, epochs 1 (chosen by the Customizer: alpha)`."""
        values = {
            label: f"{self.hyperparameters[name]:g}" if name in self.hyperparameters else "unknown"
            for name, label in _NAMES.items()
        }
        chosen = ", ".join(label for name, label in _NAMES.items() if name in self.left)
        text = ", ".join(f"{label} {value}" for label, value in values.items())
        return f"{text} (chosen by the Customizer: {chosen})" if chosen else text


def _run(context: Context) -> Trained:
    customizer, settings = context.clients.customizer, context.settings
    uploaded = context.given("dataset", Uploaded)
    asked, repo = settings.hyperparameters.scheduled(uploaded.training_rows), uploaded.repo

    def describe(job: CustomizationJob) -> str:
        parts = [job.status]
        if job.steps_completed:
            total = (job.steps_per_epoch or 0) * asked.epochs
            parts.append(f"step {job.steps_completed}{f' of {total}' if total else ''}")
        if job.train_loss:
            parts.append(f"training loss {job.train_loss[-1].value:.3f}")
        if job.val_loss:
            parts.append(f"validation loss {job.val_loss[-1].value:.3f}")
        return ", ".join(parts)

    job = JobRun[CustomizationJob](
        what="customization job",
        start=lambda: customizer.start(
            config=context.outputs.customization_config,
            dataset=repo,
            output_model=adapter_name(repo),
            asked=asked,
            seed=settings.seed,
            run_id=context.run_id,
            stage="customization",
        ),
        find=lambda: customizer.find(context.run_id, "customization"),
        get=customizer.get,
        describe=describe,
        deadline_s=settings.deadlines.customization,
        outage_s=settings.deadlines.outage,
        advise=advise,
    ).complete(context)
    if job.output_model is None:
        raise JobFailed(f"customization job {job.id} completed without naming its model; see the Customizer's log")
    trained = Trained(
        job_id=job.id,
        model=job.output_model,
        steps=job.steps_completed,
        train_loss=job.train_loss,
        val_loss=job.val_loss,
        hyperparameters={**asked.model_dump(exclude_none=True), **job.hyperparameters},
        left=[name for name in Hyperparameters.model_fields if getattr(asked, name) is None],
    )
    context.progress.line(f"  {trained.how}")
    return trained


def model_gone(context: Context) -> str | None:
    """Why the tuned model has to be made again, or None."""
    model = context.given("customization", Trained).model
    return None if context.clients.models.has_model(model) else f"model {model} is not stored any more"


CUSTOMIZATION = Stage(
    name="customization",
    title="LoRA customization",
    run=_run,
    gives=Trained,
    needs=("dataset",),
    gone=model_gone,
    summary=lambda trained: f"model {trained.model}",
)
