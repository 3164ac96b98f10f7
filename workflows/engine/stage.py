"""Stages as data, and the runner that takes a run through them.

A stage declares its name, what it needs (names of earlier stages), the model of what it gives, and when it may be
skipped. The runner settles them in order and writes every step to the run directory, so that a killed run goes on
where it was: a settled stage is not repeated, unless it looks at the present (`every_time`) or what it made is gone
(`gone`) while a later stage still needs it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from nemostack.clients import Clients
from nemostack.clients.polling import Pace
from nemostack.console import Progress
from nemostack.errors import NemostackError
from nemostack.outputs import StackOutputs
from workflows.engine.run_directory import RunDirectory, StageRecord, now
from workflows.settings import Settings

M = TypeVar("M", bound=BaseModel)


@dataclass
class Context:
    """What a stage works with."""

    run: RunDirectory
    run_id: str
    settings: Settings
    outputs: StackOutputs
    clients: Clients
    progress: Progress
    pace: Pace = field(default_factory=Pace)
    judge_key: str | None = None
    record: StageRecord | None = None

    def note(self, **notes: Any) -> None:
        """Write down something of the present stage at once, e.g. the id of a job just started."""
        assert self.record is not None
        self.record.notes.update(notes)
        self.run.save_stage(self.record)

    @property
    def notes(self) -> dict[str, Any]:
        """What this stage has written down, now or before it was interrupted."""
        assert self.record is not None
        return self.record.notes

    def given(self, stage: str, kind: type[M]) -> M:
        """Load the outputs of an earlier stage."""
        return kind.model_validate(self.run.stage(stage).outputs)


def _never(_context: Context) -> str | None:
    return None


@dataclass(frozen=True)
class Stage:
    """One step. `skip` and `gone` give a reason, or None for "no"."""

    name: str
    title: str
    run: Callable[[Context], BaseModel]
    gives: type[BaseModel]
    needs: tuple[str, ...] = ()
    skip: Callable[[Context], str | None] = _never
    gone: Callable[[Context], str | None] = _never
    every_time: bool = False
    summary: Callable[[Any], str] = lambda _outputs: ""


def check_plan(stages: Sequence[Stage]) -> None:
    """ValueError when a stage needs what no earlier one gives."""
    known: set[str] = set()
    for stage in stages:
        unknown = set(stage.needs) - known
        if unknown or stage.name in known:
            raise ValueError(f"stage {stage.name}: needs {sorted(unknown)}, after {sorted(known)}")
        known.add(stage.name)


def run_stages(stages: Sequence[Stage], context: Context) -> list[StageRecord]:
    """Settle all stages; the first failure is written down and passed on."""
    check_plan(stages)
    results = []
    for number, stage in enumerate(stages, start=1):
        record = context.record = context.run.stage(stage.name, stage.title)
        head = f"[{number}/{len(stages)}] {stage.title}"
        reason = _why_again(stages, stage, record, context)
        if record.settled and reason is None:
            context.progress.line(f"{head}: {record.status} before, kept")
        else:
            if record.settled and not stage.every_time:
                context.progress.line(f"{head}: again, {reason}")
                record.notes.pop("job_id", None)  # its result is gone; `jobs` stays, for the cleanup
            _settle(stage, record, context, head)
        results.append(record)
    return results


def _why_again(stages: Sequence[Stage], stage: Stage, record: StageRecord, context: Context) -> str | None:
    if not record.settled:
        return "not settled"
    if stage.every_time:
        return "looks at the present"
    if record.status == "done" and any(
        stage.name in later.needs and not context.run.stage(later.name).settled for later in stages
    ):
        return stage.gone(context)
    return None


def _settle(stage: Stage, record: StageRecord, context: Context, head: str) -> None:
    skipped = stage.skip(context)
    if skipped is not None:
        record.status, record.reason, record.finished_at = "skipped", skipped, now()
        record.started_at = record.started_at or now()
        context.run.save_stage(record)
        context.progress.line(f"{head}: skipped, {skipped}")
        return
    record.attempts += 1
    record.status, record.reason, record.outputs = "running", "", {}
    record.started_at, record.finished_at = record.started_at or now(), None
    context.run.save_stage(record)
    context.progress.start(head)
    clock = time.monotonic()
    try:
        outputs = stage.run(context)
    except BaseException as error:
        record.status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        record.reason = str(error) if isinstance(error, NemostackError) else type(error).__name__
        raise
    else:
        assert isinstance(outputs, stage.gives)
        record.status, record.outputs = "done", outputs.model_dump(mode="json")
    finally:
        context.progress.stop()
        record.seconds += time.monotonic() - clock
        record.finished_at = now()
        context.run.save_stage(record)
    summary = stage.summary(outputs)
    context.progress.line(f"{head}: done in {record.seconds:.1f} s{f', {summary}' if summary else ''}")
