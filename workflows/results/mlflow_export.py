"""MLflow: a parent run per run, a child run per approach, idempotent, and never the reason why results are lost.

Uses MlflowClient with its own tracking URI, not mlflow's global state. A run that is there already, complete, is left
alone; half of one (we were killed) is deleted and written again. What goes wrong comes back as `problem`.
"""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemostack.errors import ServiceError
from nemostack.models import Model
from nemostack.redact import redact
from workflows.gate.verdict import GateReport
from workflows.results.approach import Approach
from workflows.results.benchmarks import BenchmarkComparison
from workflows.results.comparison import Comparison
from workflows.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_TAG, APPROACH_TAG = "nemostack.run_id", "nemostack.approach"
_PARENT = "parent"
_BATCH = 500  # MLflow takes 1,000 metrics a call
Curves = Mapping[str, Sequence[tuple[int, float]]]


class Logged(Model):
    """Where it is; `problem` says why not, or what is missing."""

    run_id: str | None = None
    url: str | None = None
    problem: str | None = None


class Tracker:
    """Logs one run of ours to one tracking server."""

    def __init__(self, uri: str, experiment: str, run_id: str) -> None:
        self._uri = uri
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
            parent = self._write(
                client, experiment, _PARENT, self._run_id, _parent_data(settings, hyperparameters, comparison, gate)
            )
            for approach in comparison.approaches:
                tags = {"mlflow.parentRunId": parent}
                data = _approach_data(approach, tags, curves if approach.name == "lora" else {})
                self._write(client, experiment, approach.name, approach.name, data)
            for benchmark in comparison.benchmarks:
                data = _benchmark_data(benchmark, {"mlflow.parentRunId": parent})
                self._write(client, experiment, f"benchmark {benchmark.benchmark}", benchmark.label, data)
        except Exception as error:  # noqa: BLE001 - results must survive whatever a tracking server does
            return Logged(problem=self.problem("logging to", error))
        return Logged(run_id=parent, url=f"{redact(self._uri)}/#/experiments/{experiment}/runs/{parent}")

    def attach(self, run_id: str, files: Iterable[Path]) -> str | None:
        """Add files to the parent run; why not, or None."""
        try:
            client = self._client()
            for file in files:
                client.log_artifact(run_id, str(file), "samples" if file.suffix == ".jsonl" else None)
        except Exception as error:  # noqa: BLE001 - see above
            return self.problem("storing artifacts in", error)
        return None

    def open(self) -> tuple["MlflowClient", str]:
        """Return a client and the experiment's id. Raises whatever goes wrong."""
        client = self._client()
        return client, self._experiment_id(client)

    def problem(self, doing: str, error: Exception) -> str:
        """Say what went wrong, and that nothing is lost."""
        if not self._uri:
            return "this stack has no MLflow; the results in the run directory are complete"
        reason = redact(" ".join(str(error).split()))[:300] or type(error).__name__
        return f"{doing} MLflow at {redact(self._uri)} failed: {reason}; the results in the run directory are complete"

    def _client(self) -> "MlflowClient":
        if not self._uri:
            raise ServiceError("this stack has no MLflow")
        _probe(self._uri)
        # mlflow would try for several minutes; a tracking server that answers health checks answers quickly.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self._uri)

    def _experiment_id(self, client: "MlflowClient") -> str:
        experiment = client.get_experiment_by_name(self._experiment)
        if experiment is None:
            return str(client.create_experiment(self._experiment))
        if experiment.lifecycle_stage == "deleted":
            raise ServiceError(f"experiment {self._experiment!r} is deleted: restore it, or choose another one")
        return str(experiment.experiment_id)

    def _write(self, client: "MlflowClient", experiment: str, kind: str, name: str, data: dict[str, Any]) -> str:
        """Id of the complete run of this kind, written now unless it was there."""
        query = f"tags.`{RUN_TAG}` = '{self._run_id}' AND tags.`{APPROACH_TAG}` = '{kind}'"
        for run in client.search_runs([experiment], query):
            parent = data["tags"].get("mlflow.parentRunId")
            if run.info.status == "FINISHED" and run.data.tags.get("mlflow.parentRunId") == parent:
                return str(run.info.run_id)
            client.delete_run(run.info.run_id)
        from mlflow.entities import Metric, Param

        tags = {RUN_TAG: self._run_id, APPROACH_TAG: kind, **data["tags"]}
        run_id = str(client.create_run(experiment, tags=tags, run_name=name).info.run_id)
        at = int(time.time() * 1000)
        client.log_batch(run_id, params=[Param(key, str(value)[:6000]) for key, value in data["params"].items()])
        points = [Metric(key, value, at, step) for key, step, value in data["metrics"]]
        for start in range(0, len(points), _BATCH):
            client.log_batch(run_id, metrics=points[start : start + _BATCH])
        client.set_terminated(run_id)
        return run_id


def _probe(uri: str) -> None:
    """Take a quick look before a slow library: connection refused is known within a second."""
    import httpx

    if uri.startswith(("http://", "https://")):
        httpx.get(f"{uri}/health", timeout=10.0, follow_redirects=True).raise_for_status()


def _parent_data(
    settings: Settings, hyperparameters: Mapping[str, float], comparison: Comparison, gate: GateReport | None
) -> dict[str, Any]:
    asked = settings.model_dump(mode="json", exclude={"hyperparameters", "deadlines", "model", "benchmark"})
    params = {**asked, **hyperparameters}
    metrics = [
        (f"{d.better}_minus_{d.worse}_{d.metric}{suffix}", 0, value)
        for d in comparison.differences
        for suffix, value in (("", d.estimate.mean), ("_low95", d.estimate.low), ("_high95", d.estimate.high))
        if value is not None
    ]
    if gate is None:
        return {"params": params, "metrics": metrics, "tags": {}}
    shown = gate.shown
    costs = {
        "training_gpu_hours": shown.run_cost.training_gpu_hours,
        "serving_gpu_hours": shown.run_cost.serving_gpu_hours,
        "run_usd": shown.run_cost.usd,
        "usd_per_correct_answer": shown.cost.usd_per_correct,
        "tokens_per_correct_answer": shown.cost.tokens_per_correct,
    }
    metrics += [(name, 0, value) for name, value in costs.items() if value is not None]
    return {"params": params, "metrics": metrics, "tags": {"nemostack.decision": gate.outcome}}


def _benchmark_data(benchmark: BenchmarkComparison, tags: dict[str, str]) -> dict[str, Any]:
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
    metrics = [
        (f"{stem}{name}{suffix}", 0, value)
        for name, score in estimates.items()
        for suffix, value in (("", score.mean), ("_low95", score.low), ("_high95", score.high))
        if value is not None
    ]
    return {"params": params, "metrics": metrics, "tags": tags}


def _approach_data(approach: Approach, tags: dict[str, str], curves: Curves) -> dict[str, Any]:
    params = {
        "approach": approach.name,
        "model": approach.model,
        "shots": approach.shots,
        "items": approach.items,
        "evaluation_job": approach.job_id,
    }
    metrics = [
        (f"{key}{suffix}", 0, value)
        for key, score in approach.scores.items()
        for suffix, value in (("", score.mean), ("_low95", score.low), ("_high95", score.high))
        if value is not None
    ]
    metrics.append(("answers_cut", 0, float(approach.cut)))
    metrics += [(name, step, value) for name, points in curves.items() for step, value in points]
    return {"params": params, "metrics": metrics, "tags": tags}
