"""Writing runs to an MLflow tracking server: each once, complete or written again, with its own client.

A run of ours is found again by two tags: which run, and which part of it (`kind`). One that is there and finished is
left alone; half of one (we were killed) is deleted and written again. `mlflow` is imported when it is needed, since
that takes seconds.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from nemostack.clients.tls import shared_context
from nemostack.errors import ServiceError
from nemostack.redact import redact

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_TAG: Final = "nemostack.run_id"
PARENT_TAG: Final = "mlflow.parentRunId"
_BATCH: Final = 500  # MLflow takes 1,000 metrics a call
_PARAM_CHARS: Final = 6000


@dataclass(frozen=True, slots=True)
class Entry:
    """One run as it is to stand there. `metrics`: name, step, value."""

    params: Mapping[str, object] = field(default_factory=dict)
    metrics: Sequence[tuple[str, int, float]] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


class TrackingServer:
    """A tracking server, of which only what we need."""

    def __init__(self, uri: str, *, kind_tag: str) -> None:
        self.uri, self._kind_tag = uri, kind_tag

    def client(self) -> "MlflowClient":
        """Return MLflow's client. Raises what a server raises that does not answer."""
        if not self.uri:
            raise ServiceError("this stack has no MLflow")
        _probe(self.uri)
        # mlflow would try for several minutes; a tracking server that answers health checks answers quickly.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.uri)

    def experiment_id(self, client: "MlflowClient", name: str) -> str:
        """Return the experiment's id; it is made where there is none."""
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            return str(client.create_experiment(name))
        if experiment.lifecycle_stage == "deleted":
            raise ServiceError(f"experiment {name!r} is deleted: restore it, or choose another one")
        return str(experiment.experiment_id)

    def write(self, client: "MlflowClient", experiment: str, *, run: str, kind: str, name: str, entry: Entry) -> str:
        """Id of the complete run of this kind, written now unless it was there."""
        query = f"tags.`{RUN_TAG}` = '{run}' AND tags.`{self._kind_tag}` = '{kind}'"
        for found in client.search_runs([experiment], query):
            same_parent = found.data.tags.get(PARENT_TAG) == entry.tags.get(PARENT_TAG)
            if found.info.status == "FINISHED" and same_parent:
                return str(found.info.run_id)
            client.delete_run(found.info.run_id)
        from mlflow.entities import Metric, Param

        tags = {RUN_TAG: run, self._kind_tag: kind, **entry.tags}
        run_id = str(client.create_run(experiment, tags=tags, run_name=name).info.run_id)
        at = int(time.time() * 1000)
        client.log_batch(run_id, params=[Param(key, str(value)[:_PARAM_CHARS]) for key, value in entry.params.items()])
        points = [Metric(key, value, at, step) for key, step, value in entry.metrics]
        for start in range(0, len(points), _BATCH):
            client.log_batch(run_id, metrics=points[start : start + _BATCH])
        client.set_terminated(run_id)
        return run_id

    def url(self, experiment: str, run_id: str) -> str:
        """Return the page of a run."""
        return f"{redact(self.uri)}/#/experiments/{experiment}/runs/{run_id}"

    def problem(self, doing: str, error: Exception) -> str:
        """Say what went wrong, in one line."""
        reason = redact(" ".join(str(error).split()))[:300] or type(error).__name__
        return f"{doing} MLflow at {redact(self.uri)} failed: {reason}"


def _probe(uri: str) -> None:
    """Take a quick look before a slow library: connection refused is known within a second."""
    import httpx

    if uri.startswith(("http://", "https://")):
        context = shared_context(httpx)
        httpx.get(f"{uri}/health", timeout=10.0, verify=context, follow_redirects=True).raise_for_status()


def named(stem: str, *, middle: float, low: float | None, high: float | None) -> list[tuple[str, int, float]]:
    """Return a number and the ends of its 95 % interval as metrics; ends that there are not are left out."""
    ends: tuple[tuple[str, Any], ...] = (("", middle), ("_low95", low), ("_high95", high))
    return [(f"{stem}{suffix}", 0, float(value)) for suffix, value in ends if value is not None]
