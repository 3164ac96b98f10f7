"""What a run will do, how long it takes and what it costs, from earlier runs on the same stack: for `--dry-run`.

A stage's time is that of the same stage before, per unit of its work: items asked for evaluations, rows times epochs
for training, questions for benchmarks. Reads run directories alone and asks no service anything. Refuses to guess: a
stage that no run on this stack has done is unknown, and a total with such a stage in it is only a lower bound.
"""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nemostack.errors import BadInput
from nemostack.models import Model
from nemostack.outputs import StackOutputs
from workflows.data import dataset
from workflows.engine.run_directory import RunDirectory, RunInfo, find_unfinished
from workflows.pipeline import plan
from workflows.settings import Settings
from workflows.stages.cleanup import is_same_stack
from workflows.stages.evaluation import LABELS
from workflows.stages.upload import Uploaded
from workflows.sweep.trial import records_of, results_of

NEWEST = 30
"""Runs that are looked at: older ones may tell of another machine."""
TRAINING = "customization"
_SERVING = (*LABELS, "benchmark", "prompt")


class Span(Model):
    """Seconds: the least, the median and the most that earlier runs would take for it."""

    low: float
    middle: float
    high: float
    measured: int


class StageForecast(Model):
    """One stage. `settled`: done before, in the run that would go on; `seconds` is None where nobody knows."""

    name: str
    title: str
    settled: bool = False
    seconds: Span | None = None


class Forecast(Model):
    """All of them. `earlier`: how many runs on this stack were found; `resumes`: the run that would go on."""

    stages: tuple[StageForecast, ...]
    earlier: int
    resumes: Path | None = None

    @property
    def left(self) -> tuple[StageForecast, ...]:
        """What there is still to do."""
        return tuple(stage for stage in self.stages if not stage.settled)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Titles of the stages that nothing is known of."""
        return tuple(stage.title for stage in self.left if stage.seconds is None)

    @property
    def total(self) -> Span | None:
        """Of what is known; None when that is nothing."""
        return _sum(stage.seconds for stage in self.left)

    @property
    def training(self) -> Span | None:
        """Time of the GPUs that train."""
        return _sum(stage.seconds for stage in self.left if stage.name == TRAINING)

    @property
    def serving(self) -> Span | None:
        """Time of the GPUs that answer."""
        return _sum(stage.seconds for stage in self.left if stage.name.startswith(_SERVING))


def forecast(root: Path, settings: Settings, outputs: StackOutputs | None, *, new: bool) -> Forecast:
    """Look ahead. `outputs` None: no stack is known, so there is nothing to compare with."""
    if outputs is None:
        return Forecast(stages=tuple(StageForecast(name=s.name, title=s.title) for s in plan(settings)), earlier=0)
    settings = settings.suited_to(outputs.base_model)
    rows = {} if settings.benchmark else _rows(dataset.load(settings).facts)
    digest = dataset.digest(settings)
    unfinished = None if new else find_unfinished(root, settings.kind, settings.identity(outputs, digest))
    earlier = list(_earlier(root, outputs))
    stages = []
    for stage in plan(settings):
        times = [
            seconds / done * _work(stage.name, settings, rows)
            for run in earlier
            for seconds, done in _measured(run, stage.name, settings)
        ]
        stages.append(
            StageForecast(
                name=stage.name,
                title=stage.title,
                settled=unfinished is not None and not stage.every_time and unfinished.stage(stage.name).settled,
                seconds=_span(times),
            )
        )
    return Forecast(stages=tuple(stages), earlier=len(earlier), resumes=unfinished.path if unfinished else None)


@dataclass(frozen=True)
class _Earlier:
    """A run that has been."""

    run: RunDirectory
    settings: Settings

    @cached_property
    def rows(self) -> dict[str, int]:
        """Of its dataset, by split; none where it had not come to that."""
        outputs = self.run.stage("dataset").outputs
        return _rows(Uploaded.model_validate(outputs).facts) if outputs else {}


def _earlier(root: Path, outputs: StackOutputs) -> Iterator[_Earlier]:
    """Yield the newest runs with this model on this stack."""
    found: list[tuple[RunDirectory, RunInfo]] = []
    for file in root.glob("*/run.json") if root.is_dir() else ():
        try:
            run = RunDirectory.open(file.parent)
            info = run.info()
        except BadInput:
            continue  # of another maker, or a load test
        if is_same_stack(info, outputs) and info.outputs.get("base_model") == outputs.base_model:
            found.append((run, info))
    for run, info in sorted(found, key=lambda pair: pair[1].created_at, reverse=True)[:NEWEST]:
        yield _Earlier(run, info.settings)


def _rows(facts: dataset.DatasetFacts) -> dict[str, int]:
    return {name: split.rows for name, split in facts.splits.items()}


def _work(name: str, settings: Settings, rows: dict[str, int]) -> float:
    """How much there is to do in a stage, in its own unit."""
    if name in LABELS:
        return min(settings.limit, rows.get("test", settings.limit))
    if name.startswith("prompt_"):
        return min(settings.limit, rows.get("validation", settings.limit))
    if name.startswith("benchmark_"):
        return settings.benchmark_items
    if name == "benchmark":
        return settings.limit
    if name == TRAINING:
        return _trained(settings, rows) * _epochs(settings)
    return 1


def _trained(settings: Settings, rows: dict[str, int]) -> int:
    return min(settings.train_rows or rows["train"], rows["train"])


def _epochs(settings: Settings) -> float:
    """Epochs of all trainings together; a search that draws at random takes the mean of what it draws from."""
    sweep = settings.sweep
    if sweep is None:
        return settings.hyperparameters.epochs
    if sweep.search == "grid":
        return sum(choice.epochs for choice in sweep.grid(settings.seed))
    return sweep.count * statistics.fmean(sweep.epochs)


def _measured(earlier: _Earlier, name: str, wanted: Settings) -> list[tuple[float, float]]:
    """Seconds of a stage in a run, with the work done in them; empty where it tells nothing about what is wanted."""
    record, settings = earlier.run.stage(name), earlier.settings
    if record.status != "done" or record.seconds <= 0:
        return []
    if name in LABELS or name.startswith("prompt_"):
        if settings.judge != wanted.judge:
            return []
        asked = record.outputs.get("items", _work(name, settings, earlier.rows)) - record.outputs.get("reused", 0)
        return [(record.seconds, asked)] if asked > 0 else []
    if name == "benchmark" and settings.benchmark != wanted.benchmark:
        return []
    if name == TRAINING and settings.sweep is not None:
        return _of_trials(earlier.run, _trained(settings, earlier.rows))
    return [(record.seconds, _work(name, settings, earlier.rows))]


def _of_trials(run: RunDirectory, trained: int) -> list[tuple[float, float]]:
    """Of the trials that went to their end, each with so many rows."""
    ended = [result for result in results_of(run) if result.ended == "completed"]
    times = {record.outputs.get("number"): record.seconds for record in records_of(run).stages()}
    return [(times[one.number], trained * one.choice.epochs) for one in ended if times.get(one.number)]


def _span(times: Sequence[float]) -> Span | None:
    if not times:
        return None
    return Span(low=min(times), middle=statistics.median(times), high=max(times), measured=len(times))


def _sum(spans: Iterable[Span | None]) -> Span | None:
    known = [span for span in spans if span is not None]
    if not known:
        return None
    return Span(
        low=sum(span.low for span in known),
        middle=sum(span.middle for span in known),
        high=sum(span.high for span in known),
        measured=min(span.measured for span in known),
    )
