"""Evaluations on the NeMo Platform: jobs of its evaluator, which asks models through the inference gateway.

Its results come back under the names of the microservices' scores, so that both lines fill the same tables.
"""

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nemostack.clients.evaluator import BenchmarkData, EvaluationJob, Sample, Score
from nemostack.clients.platform.evaluation import address, translate
from nemostack.clients.platform.jobs import Jobs, id_of, reason_of, status_of
from nemostack.errors import NotFound, ServiceError

if TYPE_CHECKING:
    from nemostack.clients.platform import Platform

TASK = "answers"
JUDGE_SECRET = "nemostack-judge-key"  # noqa: S105 - the name of a secret
USER_SECRET = "nemostack-user-{run}"  # noqa: S105 - the name of a secret
_ROWS, _AGGREGATES = "row-scores", "aggregate-scores"


class PlatformEvaluator:
    """Jobs of the one task `answers`, each in the workspace of its namespace."""

    def __init__(self, platform: "Platform") -> None:
        self._platform = platform
        self._jobs = Jobs(platform, "evaluator", "evaluate/jobs")

    def ping(self) -> str:
        """One cheap call; says what came back."""
        return f"{self._jobs.ping()} job(s) on the first page"

    def start(
        self, *, config: dict[str, Any], target: dict[str, Any], namespace: str, run_id: str, stage: str
    ) -> EvaluationJob:
        """Start a job for the first task of a config of the microservices' API v1. BadInput without a counterpart."""
        endpoint = target["model"]["api_endpoint"]
        task = next(iter(config["tasks"]))
        judge_key, token = _judge_key(config["tasks"][task].get("metrics") or {}), self._platform.token
        # By a secret alone the platform's evaluator can say who asks: `delete` takes that of the run away.
        judge_secret = JUDGE_SECRET if judge_key else None
        user_secret = USER_SECRET.format(run=run_id.lower()) if token else None
        translated = translate(
            config,
            task=task,
            url=endpoint["url"],
            model=endpoint["model_id"],
            judge_secret=judge_secret,
            user_secret=user_secret,
        )
        platform = self._platform.within(namespace)
        platform.ensure_workspace()
        for name, value in ((judge_secret, judge_key), (user_secret, token)):
            if name and value:
                platform.save_secret(name, value)
        return _job(self._jobs.start(translated.spec, workspace=namespace, run_id=run_id, stage=stage))

    def find(self, run_id: str, stage: str) -> EvaluationJob | None:
        """Find the job that this stage of this run started, should its id never have been written down."""
        found = self._jobs.find(run_id, stage)
        return None if found is None else self.get(found)

    def ids_of_run(self, run_id: str) -> list[str]:
        """Ids of the jobs that a run has started, of the newest hundred."""
        return self._jobs.ids_of_run(run_id)

    def newest(self) -> list[EvaluationJob]:
        """Return at most a hundred jobs, the newest first, without the reasons of failures."""
        return self._jobs.newest_as(EvaluationJob)

    def get(self, job_id: str) -> EvaluationJob:
        """NotFound when the platform does not know it."""
        progress = self._jobs.progress(job_id)
        return EvaluationJob(id=job_id, status=status_of(progress), message=reason_of(progress))

    def cancel(self, job_id: str) -> None:
        """Ask it to stop. Conflict when it has ended."""
        self._jobs.cancel(job_id)

    def delete(self, job_id: str) -> list[str]:
        """Delete it with its results and the token that it asked with; the names of what was there."""
        try:
            target = self._jobs.read(job_id)["spec"].get("target") or {}
        except NotFound:
            return []
        deleted = self._jobs.delete(job_id)
        secret = str(target.get("api_key_secret") or "")
        if secret.startswith(USER_SECRET.partition("{")[0]):
            self._platform.within(job_id.partition("/")[0]).delete_secret(secret)
        return [f"evaluation job {job_id}"] if deleted else []

    def scores(self, job_id: str) -> dict[str, dict[str, Score]]:
        """Task -> `metric.score` -> score, of a job that has ended."""
        rows = json.loads(self._jobs.result(job_id, _AGGREGATES))["scores"]
        return {TASK: {_address_of(row["name"]): _score(row) for row in rows}}

    def samples(self, job_id: str, task: str) -> list[Sample] | None:
        """Every item in order, None where the job has left no rows."""
        del task  # there is one
        try:
            lines = self._jobs.result(job_id, _ROWS).decode("utf-8").split("\n")
        except NotFound:
            return None
        try:
            return sorted((_sample(json.loads(line)) for line in lines if line.strip()), key=lambda one: one.index)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ServiceError(
                f"the rows of evaluation job {job_id} cannot be read: {type(error).__name__} {error}"
            ) from error

    def benchmark_data(self, job_id: str, task: str) -> BenchmarkData:  # noqa: ARG002 - there are no benchmarks
        """Nothing: the platform has no benchmarks."""
        return BenchmarkData()


def _judge_key(metrics: dict[str, Any]) -> str | None:
    endpoint = (metrics.get("judge") or {}).get("params", {}).get("model", {}).get("api_endpoint", {})
    return str(endpoint["api_key"]) if endpoint.get("api_key") else None


def _job(raw: dict[str, Any]) -> EvaluationJob:
    return EvaluationJob(id=id_of(raw), status=status_of(raw))


def _address_of(name: str) -> str:
    metric, _, score = name.rpartition(".")
    return address(metric, score)


def _score(raw: dict[str, Any]) -> Score:
    mean = _finite(raw.get("mean"))
    return Score(
        value=mean,
        count=raw.get("count"),
        mean=mean,
        stddev=_finite(raw.get("std_dev")),
        nan_count=raw.get("nan_count") or 0,
    )


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _scores(metrics: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for metric, outputs in metrics.items():
        for output in outputs:
            value = _finite(output.get("value"))
            if value is not None:
                yield address(metric, output["name"]), value


def _sample(raw: dict[str, Any]) -> Sample:
    sample = raw.get("sample") or {}
    response = sample.get("response") or {}
    choices = response.get("choices") or [{}]
    usage = response.get("usage") or {}
    return Sample(
        index=int(raw["row_index"]),
        item=raw.get("item") or {},
        output=str(sample.get("output_text") or ""),
        scores=dict(_scores(raw.get("metrics") or {})),
        cut=choices[0].get("finish_reason") == "length",
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
    )
