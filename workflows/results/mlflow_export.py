"""MLflow: a parent run per run, a child run per approach, idempotent, and never the reason why results are lost.

How runs are written is in `nemostack/tracking.py`. What goes wrong comes back as `problem`.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nemostack.models import Model
from nemostack.tracking import PARENT_TAG, Entry, TrackingServer, named
from workflows.gate.verdict import GateReport
from workflows.results.approach import Approach
from workflows.results.benchmarks import BenchmarkComparison
from workflows.results.comparison import Comparison
from workflows.results.statistics import Estimate
from workflows.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

APPROACH_TAG = "nemostack.approach"
_PARENT = "parent"
Curves = Mapping[str, Sequence[tuple[int, float]]]


class Logged(Model):
    """Where it is; `problem` says why not, or what is missing."""

    run_id: str | None = None
    url: str | None = None
    problem: str | None = None


class Tracker:
    """Logs one run of ours to one tracking server."""

    def __init__(self, uri: str, experiment: str, run_id: str) -> None:
        self._server = TrackingServer(uri, kind_tag=APPROACH_TAG)
        self._experiment = experiment
        self._run_id = run_id

    def log(
        self,
        settings: Settings,
        hyperparameters: Mapping[str, float],
        comparison: Comparison,
        gate: GateReport | None,
        curves: Curves,
    ) -> Logged:
        """Parent and children. Never raises for what MLflow does or does not do."""
        try:
            client, experiment = self.open()
            write = partial(self._server.write, client, experiment, run=self._run_id)
            entry = _parent_entry(settings, hyperparameters, comparison, gate)
            parent = write(kind=_PARENT, name=self._run_id, entry=entry)
            for approach in comparison.approaches:
                entry = _approach_entry(approach, parent, curves if approach.name == "lora" else {})
                write(kind=approach.name, name=approach.name, entry=entry)
            for benchmark in comparison.benchmarks:
                entry = _benchmark_entry(benchmark, parent)
                write(kind=f"benchmark {benchmark.benchmark}", name=benchmark.label, entry=entry)
        except Exception as error:  # noqa: BLE001 - results must survive whatever a tracking server does
            return Logged(problem=self.problem("logging to", error))
        return Logged(run_id=parent, url=self._server.url(experiment, parent))

    def attach(self, run_id: str, files: Iterable[Path]) -> str | None:
        """Add files to the parent run; why not, or None."""
        try:
            client = self._server.client()
            for file in files:
                client.log_artifact(run_id, str(file), "samples" if file.suffix == ".jsonl" else None)
        except Exception as error:  # noqa: BLE001 - see above
            return self.problem("storing artifacts in", error)
        return None

    def open(self) -> tuple["MlflowClient", str]:
        """Return a client and the experiment's id. Raises whatever goes wrong."""
        client = self._server.client()
        return client, self._server.experiment_id(client, self._experiment)

    def problem(self, doing: str, error: Exception) -> str:
        """Say what went wrong, and that nothing is lost."""
        if not self._server.uri:
            return "this stack has no MLflow; the results in the run directory are complete"
        return f"{self._server.problem(doing, error)}; the results in the run directory are complete"


def _parent_entry(
    settings: Settings, hyperparameters: Mapping[str, float], comparison: Comparison, gate: GateReport | None
) -> Entry:
    asked = settings.model_dump(mode="json", exclude={"hyperparameters", "deadlines", "model", "benchmark"})
    params = {**asked, **hyperparameters}
    metrics = [
        metric
        for d in comparison.differences
        for metric in _estimate(f"{d.better}_minus_{d.worse}_{d.metric}", d.estimate)
    ]
    if gate is None:
        return Entry(params, metrics)
    shown = gate.shown
    costs = {
        "training_gpu_hours": shown.run_cost.training_gpu_hours,
        "serving_gpu_hours": shown.run_cost.serving_gpu_hours,
        "run_usd": shown.run_cost.usd,
        "usd_per_correct_answer": shown.cost.usd_per_correct,
        "tokens_per_correct_answer": shown.cost.tokens_per_correct,
    }
    metrics += [(name, 0, value) for name, value in costs.items() if value is not None]
    return Entry(params, metrics, {"nemostack.decision": gate.outcome})


def _estimate(stem: str, estimate: Estimate) -> list[tuple[str, int, float]]:
    return named(stem, middle=estimate.mean, low=estimate.low, high=estimate.high)


def _benchmark_entry(benchmark: BenchmarkComparison, parent: str) -> Entry:
    """One row a benchmark; the names of a substitute's numbers say that it is one."""
    params = {
        "benchmark": benchmark.benchmark,
        "metric": benchmark.metric,
        "items": benchmark.base.n,
        "questions": benchmark.data.origin or "unknown",
        **({"note": benchmark.data.note} if benchmark.data.note else {}),
    }
    stem = "substitute_" if benchmark.data.note else ""
    estimates = {"base": benchmark.base, "tuned": benchmark.tuned, "tuned_minus_base": benchmark.difference}
    metrics = [metric for name, score in estimates.items() for metric in _estimate(f"{stem}{name}", score)]
    return Entry(params, metrics, {PARENT_TAG: parent})


def _approach_entry(approach: Approach, parent: str, curves: Curves) -> Entry:
    params = {
        "approach": approach.name,
        "model": approach.model,
        "shots": approach.shots,
        "items": approach.items,
        "evaluation_job": approach.job_id,
    }
    metrics = [metric for key, score in approach.scores.items() for metric in _estimate(key, score)]
    metrics += [("answers_cut", 0, float(approach.cut)), ("answers_reused", 0, float(approach.reused))]
    metrics += [(name, step, value) for name, points in curves.items() for step, value in points]
    return Entry(params, metrics, {PARENT_TAG: parent})
