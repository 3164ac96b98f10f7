"""Jobs of the NeMo Platform, in one form for all its services: started at a service, followed at the job service.

A job is known by `workspace/name`. Its words for a status are brought to those of the microservices, in which
`completed`, `failed` and `cancelled` are the end.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from nemostack.clients.jobs import ENDED, RUN_FIELD, STAGE_FIELD, Job, marks
from nemostack.clients.polling import Pace, wait_for
from nemostack.errors import Conflict, NotFound

if TYPE_CHECKING:
    from nemostack.clients.platform import Platform

_STATUS = {"active": "running", "error": "failed"}
_ANY_WORKSPACE = "-"
_NEWEST = {"page_size": 100, "sort": "-created_at"}
_DEAD = {"failed", "cancelled", "cancelling"}
CANCEL_PAUSES_S = (0.2, 0.5, 1.0, 2.0)
ENDED_WITHIN_S = 90.0
AnyJob = TypeVar("AnyJob", bound=Job)


class Jobs:
    """The jobs of one service. `collection` is its path between workspace and job, such as `evaluate/jobs`."""

    def __init__(self, platform: "Platform", service: str, collection: str) -> None:
        self._platform, self._service, self._collection = platform, service, collection

    def _path(self, job_id: str, of: str = "") -> str:
        workspace, _, name = job_id.partition("/")
        return f"/apis/jobs/v2/workspaces/{quote(workspace)}/jobs/{quote(name)}{of}"

    def ping(self) -> int:
        """Count the jobs on the first page, which shows that the service answers."""
        return len(self.newest())

    def start(self, spec: dict[str, Any], *, workspace: str, run_id: str, stage: str) -> dict[str, Any]:
        """Start a job, marked so that it is found again."""
        path = f"/apis/{self._service}/v2/workspaces/{quote(workspace)}/{self._collection}"
        body = {"spec": spec, "custom_fields": marks(run_id, stage)}
        doing = f"starting a job of the service {self._service}"
        return dict(self._platform.call(doing, "POST", path, json=body).json())

    def find(self, run_id: str, stage: str) -> str | None:
        """Id of the newest job with these marks that may still bring a result."""
        for job in self.newest():
            fields = job.get("custom_fields") or {}
            marked = fields.get(RUN_FIELD) == run_id and fields.get(STAGE_FIELD) == stage
            if marked and status_of(job) not in _DEAD:
                return id_of(job)
        return None

    def ids_of_run(self, run_id: str) -> list[str]:
        """Ids of the jobs with the mark of a run, of the newest hundred."""
        return [id_of(job) for job in self.newest() if (job.get("custom_fields") or {}).get(RUN_FIELD) == run_id]

    def newest_as(self, kind: type[AnyJob]) -> list[AnyJob]:
        """Return the newest hundred as jobs of one kind, without the reasons of failures."""
        return [kind(id=id_of(job), status=status_of(job), created_at=job.get("created_at")) for job in self.newest()]

    def newest(self) -> list[dict[str, Any]]:
        """List at most a hundred jobs of all workspaces, the newest first."""
        path = f"/apis/{self._service}/v2/workspaces/{_ANY_WORKSPACE}/{self._collection}"
        answer = self._platform.call(f"listing the jobs of the service {self._service}", "GET", path, params=_NEWEST)
        return list(answer.json()["data"])

    def read(self, job_id: str) -> dict[str, Any]:
        """Return the job with its spec. NotFound when there is none."""
        return dict(self._platform.call(f"looking at job {job_id}", "GET", self._path(job_id)).json())

    def progress(self, job_id: str) -> dict[str, Any]:
        """Return the status of the job with its steps and their tasks. NotFound when there is none."""
        return dict(self._platform.call(f"looking at job {job_id}", "GET", self._path(job_id, "/status")).json())

    def cancel(self, job_id: str) -> None:
        """Ask it to stop. Conflict when it has ended.

        While its state changes the platform refuses with a conflict as well, and says so: "Please refetch and retry".
        """
        for pause in (*CANCEL_PAUSES_S, None):
            try:
                self._platform.call(f"cancelling job {job_id}", "POST", self._path(job_id, "/cancel"))
            except Conflict as error:
                if pause is None or "retry" not in str(error):
                    raise
                time.sleep(pause)
            else:
                return

    def delete(self, job_id: str, *, pace: Pace | None = None) -> bool:
        """Delete it with its results; False when there was none.

        Waits for the end of one that was cancelled: the platform forgets a job at once, and its process, which has not
        heard of it yet, goes on for a minute. DeadlineExceeded when that takes longer than `ENDED_WITHIN_S`.
        """
        try:
            wait_for(
                lambda: status_of(self.progress(job_id)),
                done=ENDED.__contains__,
                describe=str,
                what=f"the end of job {job_id}",
                deadline_s=ENDED_WITHIN_S,
                pace=pace,
            )
            self._platform.call(f"deleting job {job_id}", "DELETE", self._path(job_id))
        except NotFound:
            return False
        return True

    def result(self, job_id: str, name: str) -> bytes:
        """Content of one file that the job has left. NotFound when it left no such thing."""
        path = self._path(job_id, f"/results/{quote(name)}/download")
        return bytes(self._platform.call(f"downloading {name} of job {job_id}", "GET", path).content)


def id_of(job: dict[str, Any]) -> str:
    """`workspace/name`."""
    return f"{job['workspace']}/{job['name']}"


def status_of(job: dict[str, Any]) -> str:
    """Say the status in the words of the microservices."""
    status = str(job.get("status") or "unknown")
    return _STATUS.get(status, status)


def tasks_of(progress: dict[str, Any], step: str) -> Iterator[dict[str, Any]]:
    """List what the tasks of one step say."""
    for one in progress.get("steps") or []:
        if one.get("name") == step:
            yield from one.get("tasks") or []


def reason_of(progress: dict[str, Any]) -> str:
    """Why a job failed, in its own words: the error of the job, else the end of what a failed task wrote."""
    details = (progress.get("error_details") or {}) | ((progress.get("status_details") or {}).get("error") or {})
    message = " ".join(str(details[key]) for key in ("message", "explanation") if details.get(key))
    for step in progress.get("steps") or []:
        if step.get("status") != "error":
            continue
        for task in step.get("tasks") or []:
            own = (task.get("error_details") or {}).get("message") or ""
            message = message or str(own)
            last = _last_line(str(task.get("error_stack") or ""))
            if last and last not in message:
                return f"{message}: {last}" if message else last
    return message


def _last_line(log: str) -> str:
    """Read the last line of a task's log, which is text, or an object with the text as its message."""
    line = "".join(log.strip().splitlines()[-1:])
    with contextlib.suppress(ValueError, KeyError, TypeError):
        line = str(json.loads(line)["message"])
    return line.removeprefix("[stderr] ").strip()
