"""Evaluator: evaluation jobs (API v1), their scores and the answers they were given for.

Downloads are bounded in size and nothing of a downloaded archive is ever written to a path it names itself.
"""

import io
import json
import math
import zipfile
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic import Field

from nemostack.clients.error_mapping import calling
from nemostack.clients.jobs import Job, find_marked, ids_marked, marks
from nemostack.errors import NotFound, ServiceError
from nemostack.models import Model

if TYPE_CHECKING:
    from nemostack.clients import Clients

_SERVICE = "Evaluator"
RESULTS_NAMESPACE = "evaluation-results"
"""Of the repositories that some Evaluators copy their results to."""
MAX_UNZIPPED = 512 * 1024 * 1024


class EvaluationJob(Job):
    """An evaluation job as last seen."""

    progress: float | None = None


class Score(Model):
    """One score of a metric over all items. What the service did not say is None."""

    value: float | None
    count: int | None = None
    mean: float | None = None
    stddev: float | None = None
    nan_count: int = 0


class BenchmarkData(Model):
    """Where the questions of a benchmark come from, where the Evaluator says so; `note` if they are substitutes."""

    origin: str = ""
    published: bool | None = None
    note: str = ""


class Sample(Model):
    """One item, the answer to it and its scores, keyed `metric.score`. A score that could not be had is missing."""

    index: int
    item: dict[str, Any] = Field(default_factory=dict)
    output: str
    scores: dict[str, float]
    cut: bool = False
    """Whether the model was stopped by its limit of tokens (finish_reason `length`)."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    """Of the model's answer, where the Evaluator says so."""


class Evaluator:
    """Over the SDK."""

    def __init__(self, clients: "Clients") -> None:
        self._clients = clients
        self._sdk, self._url = clients.sdk, clients.outputs.nemo_url

    def ping(self) -> str:
        """One cheap call; says what came back."""
        with calling(_SERVICE, self._url, "listing evaluation jobs"):
            page = self._sdk.evaluation.jobs.list(page_size=1)
            return f"{len(page.data)} job(s) on the first page"

    def start(
        self, *, config: dict[str, Any], target: dict[str, Any], namespace: str, run_id: str, stage: str
    ) -> EvaluationJob:
        """Start a job; `config` and `target` as the API takes them inline."""
        fields: dict[str, object] = dict(marks(run_id, stage))
        with calling(_SERVICE, self._url, f"starting the evaluation {config.get('name', config['type'])}"):
            job = self._sdk.evaluation.jobs.create(
                config=config,  # type: ignore[arg-type] # the SDK's type is a TypedDict of the same shape
                target=target,  # type: ignore[arg-type]
                namespace=namespace,
                custom_fields=fields,
            )
            return _job(job)

    def find(self, run_id: str, stage: str) -> EvaluationJob | None:
        """Find the job that this stage of this run started, should its id never have been written down."""
        with calling(_SERVICE, self._url, "listing evaluation jobs"):
            rows = self._listed().data
        job = find_marked(rows, run_id, stage, _job)
        return job if isinstance(job, EvaluationJob) else None

    def ids_of_run(self, run_id: str) -> list[str]:
        """Ids of all jobs that a run has started."""
        with calling(_SERVICE, self._url, "listing evaluation jobs"):
            return ids_marked(self._listed(), run_id)

    def newest(self) -> list[EvaluationJob]:
        """Return at most a hundred jobs, the newest first, whoever started them."""
        with calling(_SERVICE, self._url, "listing evaluation jobs"):
            rows = self._listed().data
            return [_job(row) for row in rows]

    def _listed(self) -> Any:
        """Ask for the first page of all jobs, the newest first; iterating over it asks for the others."""
        return self._sdk.evaluation.jobs.list(sort="-created_at", page_size=100)

    def get(self, job_id: str) -> EvaluationJob:
        """NotFound when the Evaluator does not know it."""
        with calling(_SERVICE, self._url, f"looking at evaluation job {job_id}"):
            return _job(self._sdk.evaluation.jobs.retrieve(job_id))

    def cancel(self, job_id: str) -> None:
        """Ask it to stop. Conflict when it has ended."""
        with calling(_SERVICE, self._url, f"cancelling evaluation job {job_id}"):
            self._sdk.evaluation.jobs.cancel(job_id)

    def delete(self, job_id: str) -> list[str]:
        """Delete it with its results; the names of what was there."""
        removed, published = [], f"{RESULTS_NAMESPACE}/{job_id}"
        with suppress(NotFound):
            with calling(_SERVICE, self._url, f"deleting evaluation job {job_id}"):
                self._sdk.evaluation.jobs.delete(job_id)
            removed.append(f"evaluation job {job_id}")
        if self._clients.data_store.delete(published, "dataset"):
            removed.append(f"result repository {published}")
        return removed

    def scores(self, job_id: str) -> dict[str, dict[str, Score]]:
        """Task -> `metric.score` -> score, of a job that has ended."""
        tasks: dict[str, dict[str, Score]] = {}
        for task, content in self._tasks(job_id).items():
            tasks[task] = {}
            for metric, body in ((content or {}).get("metrics") or {}).items():
                for name, score in ((body or {}).get("scores") or {}).items():
                    tasks[task][f"{metric}.{name}"] = _score(score or {})
        return tasks

    def benchmark_data(self, job_id: str, task: str) -> BenchmarkData:
        """Say where a benchmark's questions come from; empty where the Evaluator does not tell."""
        data = (self._tasks(job_id).get(task) or {}).get("data")
        if not isinstance(data, dict):
            return BenchmarkData()
        known = {key: data[key] for key in BenchmarkData.model_fields if data.get(key) is not None}
        return BenchmarkData.model_validate(known)

    def _tasks(self, job_id: str) -> dict[str, Any]:
        with calling(_SERVICE, self._url, f"fetching the results of evaluation job {job_id}"):
            response = self._sdk.evaluation.jobs.results(job_id)
            result: dict[str, Any] = response.to_dict(mode="json", exclude_unset=True, warnings=False)
        return result.get("tasks") or {}

    def samples(self, job_id: str, task: str) -> list[Sample] | None:
        """Every item of a task in order, None where this Evaluator offers no samples to download."""
        try:
            with calling(_SERVICE, self._url, f"downloading the results of evaluation job {job_id}"):
                archive = self._sdk.evaluation.jobs.download_results(job_id).read()
        except NotFound:
            return None
        text = _member(archive, f"{task}/samples.jsonl", job_id)
        if text is None:
            return None
        try:
            lines = text.decode("utf-8").split("\n")  # not splitlines(): U+2028 may stand inside JSON text
            samples = [_sample(json.loads(line)) for line in lines if line.strip()]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ServiceError(
                f"samples of evaluation job {job_id} cannot be read: {type(error).__name__} {error}"
            ) from error
        return sorted(samples, key=lambda sample: sample.index)


def _job(raw: Any) -> EvaluationJob:
    data = raw.to_dict(mode="json", exclude_unset=True, warnings=False)
    details = data.get("status_details") or {}
    return EvaluationJob(
        id=data["id"],
        status=data.get("status") or "unknown",
        message=details.get("message") or "",
        created_at=data.get("created_at"),
        progress=details.get("progress"),
    )


def _score(raw: dict[str, Any]) -> Score:
    stats = raw.get("stats") or {}
    stddev = stats.get("stddev")
    if stddev is None and stats.get("variance") is not None:
        stddev = math.sqrt(max(0.0, stats["variance"]))
    return Score(
        value=raw.get("value"),
        count=stats.get("count"),
        mean=stats.get("mean"),
        stddev=stddev,
        nan_count=stats.get("nan_count") or 0,
    )


def _member(archive: bytes, wanted: str, job_id: str) -> bytes | None:
    """Read the one file we want out of the archive, in memory and bounded; None when it is not in there."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            names = [name for name in opened.namelist() if name == wanted or name.endswith(f"/{wanted}")]
            if not names:
                return None
            with opened.open(min(names, key=len)) as member:
                content = member.read(MAX_UNZIPPED + 1)
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, NotImplementedError, EOFError) as error:
        raise ServiceError(f"the archive of evaluation job {job_id} cannot be read: {error}") from error
    if len(content) > MAX_UNZIPPED:
        raise ServiceError(
            f"{wanted} of evaluation job {job_id} unpacks to more than {MAX_UNZIPPED >> 20} MiB: refused"
        )
    return content


def _sample(raw: dict[str, Any]) -> Sample:
    numbers = {
        key: float(value)
        for key, value in (raw.get("scores") or {}).items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
    sample = raw.get("sample") or {}
    response = sample.get("response") or {}
    choices = response.get("choices") or [{}]
    usage = sample.get("usage") or response.get("usage") or {}
    return Sample(
        index=int(raw["index"]),
        item=raw.get("item") or {},
        output=str(sample.get("output_text") or ""),
        scores=numbers,
        cut="length" in {sample.get("finish_reason"), choices[0].get("finish_reason")},
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
