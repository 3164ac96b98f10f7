"""What the gate looks at, as the directory of a run has it: answers, benchmarks, times, tokens, the load test."""

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from nemostack.errors import BadInput
from workflows.engine.run_directory import RunDirectory, StageRecord
from workflows.results.approach import Approach, ItemResult
from workflows.results.benchmarks import BenchmarkComparison
from workflows.results.comparison import Comparison
from workflows.stages.evaluation import LABELS

TRAINING = "customization"
_SERVING = (*LABELS, "benchmark")


@dataclass(frozen=True)
class Evidence:
    """One approach of one run. Times are those of the stages by the clock, in seconds.

    `seconds` includes what reused answers took when they were asked for: an answer costs what it costs.
    """

    approach: Approach
    items: tuple[ItemResult, ...]
    seconds: float
    run_training_s: float
    run_serving_s: float
    benchmarks: tuple[BenchmarkComparison, ...] = ()
    load_verdict: str | None = None


def of_run(run: RunDirectory) -> list[Evidence]:
    """All finished evaluations of a run, in their order; BadInput without any."""
    records = {record.name: record for record in run.stages()}
    serving = sum(record.seconds for name, record in records.items() if name.startswith(_SERVING))
    load = records.get("load_test", StageRecord(name="load_test", title=""))
    benchmarks = tuple(_benchmarks(run))
    found = [
        Evidence(
            approach=approach,
            items=tuple(run.load_samples(name, ItemResult)),
            seconds=records[name].seconds + approach.reused_s,
            run_training_s=records[TRAINING].seconds if TRAINING in records else 0.0,
            run_serving_s=serving,
            benchmarks=benchmarks,
            load_verdict=load.outputs.get("verdict"),
        )
        for name in LABELS
        if name in records and records[name].status == "done"
        for approach in [Approach.model_validate(records[name].outputs)]
    ]
    if not found:
        raise BadInput(f"run {run.path} holds no finished evaluation; run the same command again to finish it")
    return found


def _benchmarks(run: RunDirectory) -> list[BenchmarkComparison]:
    file = run.path / "comparison.json"
    return read_comparison(file).benchmarks if file.exists() else []


def read_comparison(file: Path) -> Comparison:
    """comparison.json; BadInput where it cannot be read. What older versions wrote beside it is passed over."""
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        return Comparison.model_validate({key: raw[key] for key in Comparison.model_fields if key in raw})
    except (OSError, ValueError, TypeError) as error:
        reason = "it was not written by this version" if isinstance(error, ValidationError) else str(error)
        raise BadInput(f"{file} cannot be used: {reason}") from error
