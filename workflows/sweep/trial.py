"""One trial of a sweep: a LoRA job, watched while it runs, given up when the search says so.

Its record lies in `trials/stages/` of the run, with the same states as a stage, so that an interrupted sweep picks the
job of the present trial up again. A job that fails costs its trial, not the sweep.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import Field

from nemostack.clients.customizer import CustomizationJob, LossPoint
from nemostack.errors import JobFailed, NotFound, ServiceError
from nemostack.models import Hyperparameters, Model
from workflows.engine.resumable_job import JobRun
from workflows.engine.run_directory import TRIALS, RunDirectory, StageRecord, now
from workflows.engine.stage import Context
from workflows.stages.cleanup import adapter_name
from workflows.stages.training_advice import advise
from workflows.stages.upload import Uploaded
from workflows.sweep.search import Attempt
from workflows.sweep.space import Choice

Ended = Literal["completed", "pruned", "failed"]
_BARS = "▁▂▃▄▅▆▇█"


class TrialResult(Model):
    """Outputs of a trial. `loss` is the lowest validation loss, whose weights the Customizer keeps."""

    number: int
    choice: Choice
    ended: Ended
    job_id: str | None = None
    model: str | None = None
    loss: float | None = None
    train_loss: list[LossPoint] = Field(default_factory=list)
    val_loss: list[LossPoint] = Field(default_factory=list)
    hyperparameters: dict[str, int | float] = Field(default_factory=dict)
    steps: int | None = None
    seconds: float = 0.0
    reason: str = ""


class _PrunedError(Exception):
    """The search has given the trial up."""


@dataclass
class Watch:
    """Who is told of a trial's losses as they come: the search, the terminal, MLflow."""

    attempt: Attempt
    show: Callable[[CustomizationJob], None]
    told: int = 0

    def look(self, job: CustomizationJob) -> None:
        """Raise _PrunedError when the search gives up."""
        self.show(job)
        for point in job.val_loss[self.told :]:
            self.told += 1
            if self.attempt.report(point.value) and not job.ended:
                raise _PrunedError


def records_of(run: RunDirectory) -> RunDirectory:
    """Where the records of the trials are: a folder like that of a run."""
    return RunDirectory(run.path / TRIALS)


def trial_name(number: int) -> str:
    """`trial_001`, also the mark of its job."""
    return f"trial_{number:03d}"


def results_of(run: RunDirectory) -> list[TrialResult]:
    """All trials that have ended, by their number."""
    records = records_of(run).stages()
    found = [TrialResult.model_validate(record.outputs) for record in records if record.settled]
    return sorted(found, key=lambda result: result.number)


def winner_of(results: Sequence[TrialResult]) -> TrialResult | None:
    """The completed trial of the lowest validation loss; None when none has completed."""
    completed = [result for result in results if result.ended == "completed" and result.loss is not None]
    return min(completed, key=lambda result: (result.loss, result.number), default=None)


def context_of(context: Context, number: int) -> Context:
    """Make the context of a trial: the same, with a record of its own."""
    run = records_of(context.run)
    (run.path / "stages").mkdir(parents=True, exist_ok=True)
    return replace(context, run=run, record=run.stage(trial_name(number), f"Trial {number}"))


def hyperparameters_of(context: Context, choice: Choice, uploaded: Uploaded) -> Hyperparameters:
    """Return what a trial of this choice asks for."""
    chosen = context.settings.hyperparameters.model_copy(update=choice.model_dump())
    return chosen.scheduled(uploaded.training_rows)


def run_trial(context: Context, number: int, watch: Watch, uploaded: Uploaded) -> TrialResult:
    """Carry one trial to its end. What is not the job's own failure, such as Ctrl-C, passes through."""
    record = context.record
    assert record is not None
    choice = watch.attempt.choice
    record.status, record.started_at = "running", record.started_at or now()
    record.attempts += 1
    context.note(choice=choice.model_dump())
    began = context.pace.clock()
    asked = hyperparameters_of(context, choice, uploaded)
    result = TrialResult(number=number, choice=choice, ended="failed")
    try:
        job = _job(context, record, asked, watch, repo=uploaded.repo).complete(context)
        result = result.model_copy(update={"ended": "completed", "model": job.output_model, **_losses(job)})
        if not job.val_loss:
            reason = f"customization job {job.id} reported no validation loss, by which trials are compared"
            result = result.model_copy(update={"ended": "failed", "reason": reason})
    except _PrunedError:
        job_id = str(context.notes["job_id"])
        job = context.clients.customizer.get(job_id)
        _cancel(context, job_id)
        reason = f"given up after {watch.told} looks at the validation loss: others were better by then"
        result = result.model_copy(update={"ended": "pruned", "reason": reason, **_losses(job)})
    except JobFailed as error:
        result = result.model_copy(update={"reason": str(error), "job_id": context.notes.get("job_id")})
    record.seconds += context.pace.clock() - began
    result = result.model_copy(update={"seconds": record.seconds})
    record.status, record.reason, record.finished_at = "done", result.reason, now()
    record.outputs = result.model_dump(mode="json")
    context.run.save_stage(record)
    return result


def _job(
    context: Context, record: StageRecord, asked: Hyperparameters, watch: Watch, *, repo: str
) -> JobRun[CustomizationJob]:
    customizer, settings = context.clients.customizer, context.settings
    return JobRun[CustomizationJob](
        what="customization job",
        start=lambda: customizer.start(
            config=context.outputs.customization_config,
            dataset=repo,
            output_model=adapter_name(repo),
            asked=asked,
            seed=settings.seed,
            run_id=context.run_id,
            stage=record.name,
        ),
        find=lambda: customizer.find(context.run_id, record.name),
        get=customizer.get,
        describe=lambda job: describe(job, asked.epochs),
        deadline_s=settings.deadlines.customization,
        outage_s=settings.deadlines.outage,
        on_look=watch.look,
        advise=advise,
    )


def _losses(job: CustomizationJob) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "loss": min((point.value for point in job.val_loss), default=None),
        "train_loss": job.train_loss,
        "val_loss": job.val_loss,
        "hyperparameters": job.hyperparameters,
        "steps": job.steps_completed,
    }


def _cancel(context: Context, job_id: str) -> None:
    try:
        context.clients.customizer.cancel(job_id)
    except NotFound:
        return
    except ServiceError as error:
        if error.status not in {400, 409, 422}:  # it had ended
            raise


def describe(job: CustomizationJob, epochs: int) -> str:
    """`running, step 12 of 64, training loss 1.204 █▆▄▂, validation loss 1.310 █▄▂`."""
    parts = [job.status]
    if job.steps_completed:
        total = (job.steps_per_epoch or 0) * epochs
        parts.append(f"step {job.steps_completed}{f' of {total}' if total else ''}")
    for label, points in (("training", job.train_loss), ("validation", job.val_loss)):
        if points:
            parts.append(f"{label} loss {points[-1].value:.3f} {sparkline([point.value for point in points])}".strip())
    return ", ".join(parts)


def sparkline(values: list[float], width: int = 16) -> str:
    """Draw values as bars, the latest at the right; nothing for fewer than two."""
    if len(values) < 2:
        return ""
    if len(values) > width:
        values = [values[round(k * (len(values) - 1) / (width - 1))] for k in range(width)]
    low, high = min(values), max(values)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] for value in values)
