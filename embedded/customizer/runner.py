"""Carries jobs out, a few at a time, in order of creation; each in a process of its own.

A job interrupted by the end of the service is taken up again at the next start. The runner alone decides how a job
ended: what the worker reported, the exit code when it could not report, or a cancellation.
"""

import logging
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from embedded.common.names import Ref, now
from embedded.customizer import worker, workers
from embedded.customizer.failures import JobError, StoreError
from embedded.customizer.jobs import Jobs
from embedded.customizer.progress import summarize
from embedded.customizer.stores import EntityStore

POLL_S = 0.1
_UNDER_WAY = ("running", "cancelling")  # a cancellation that arrives when the worker has ended is too late
_log = logging.getLogger("uvicorn.error")


class Runner:
    """The queue and the jobs under way."""

    def __init__(self, jobs: Jobs, processes: workers.Workers, entities: EntityStore, *, at_once: int) -> None:
        self._jobs, self._processes, self._entities = jobs, processes, entities
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="job")

    def recover(self) -> None:
        """Take up what a previous service left unfinished."""
        for job_id in self._jobs.unfinished():
            status = self._jobs.status(job_id)
            if status == "running":
                steps = summarize(self._jobs.folder(job_id).progress).steps_completed
                self._jobs.note(
                    job_id,
                    "interrupted",
                    f"the service was restarted after step {steps}; the job goes on from its last checkpoint",
                )
            self.submit(job_id)

    def submit(self, job_id: str) -> None:
        """Put the job at the end of the queue."""
        self._pool.submit(self._guarded, job_id)

    def stop(self) -> None:
        """End all processes at once; their jobs stay as they are, to be resumed."""
        self._stopping.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def cancel(self, job_id: str) -> None:
        """Ask for the end of a job; one that waits in the queue is cancelled on the spot."""
        if self._jobs.move(job_id, "cancelled", when=("created",)):
            self._pool.submit(self._mark_artifact, job_id, "upload_failed")
        else:
            self._jobs.move(job_id, "cancelling", when=("running",))

    def _guarded(self, job_id: str) -> None:
        try:
            self._carry_out(job_id)
        except Exception as error:  # noqa: BLE001 - the queue must go on, and the job must not hang
            _log.exception("job %s", job_id)
            self._jobs.move(job_id, "failed", when=("created", *_UNDER_WAY), error=worker.describe(error))

    def _carry_out(self, job_id: str) -> None:
        if self._stopping.is_set():
            return
        if self._jobs.status(job_id) == "cancelling":
            self._cancelled(job_id)
            return
        if self._jobs.status(job_id) == "created" and not self._jobs.move(job_id, "running", when=("created",)):
            return
        if self._jobs.status(job_id) != "running":
            return
        process = self._processes.start(self._jobs.folder(job_id).root)
        _log.info("job %s: process %s", job_id, process.pid)
        while process.is_alive():
            process.join(POLL_S)
            if self._stopping.is_set():
                workers.end(process)
                return
            if self._jobs.status(job_id) == "cancelling":
                workers.end(process)
        code = process.exitcode
        process.close()
        if self._jobs.status(job_id) == "cancelling":
            self._cancelled(job_id)
        elif code == 0:
            self._completed(job_id)
        else:
            self._failed(job_id, self._reason(job_id, code))

    def _reason(self, job_id: str, code: int | None) -> dict[str, Any]:
        reported = summarize(self._jobs.folder(job_id).progress).error
        if reported is not None and code == worker.EXIT_FAILED:
            return reported
        if code == worker.EXIT_DISK_FULL:
            message = "no space left on disk for the job's files: free some, then start the job again"
        elif code is not None and code < 0:
            name = signal.Signals(-code).name
            message = f"the job's process was ended by {name}"
            message += " (SIGKILL often means that memory ran out)" if name == "SIGKILL" else ""
        else:
            message = f"the job's process exited with code {code} and said nothing; see container-logs"
        return {"message": message, "exception_type": "WorkerDied", "timestamp": now()}

    def _completed(self, job_id: str) -> None:
        try:
            self._set_artifact(job_id, "upload_completed")
        except StoreError as error:
            error.message += "; the artifact is uploaded, but its entity could not be updated"
            self._failed(job_id, worker.describe(error))
            return
        self._jobs.move(job_id, "completed", when=_UNDER_WAY)
        self._jobs.folder(job_id).tidy()
        _log.info("job %s: completed", job_id)

    def _failed(self, job_id: str, error: dict[str, Any]) -> None:
        self._jobs.move(job_id, "failed", when=_UNDER_WAY, detail=error["message"], error=error)
        self._jobs.folder(job_id).remove_downloads()
        _log.warning("job %s: failed: %s", job_id, error["message"])
        self._mark_artifact(job_id, "upload_failed")

    def _cancelled(self, job_id: str) -> None:
        self._jobs.move(job_id, "cancelled", when=("cancelling",))
        self._jobs.folder(job_id).tidy()
        _log.info("job %s: cancelled", job_id)
        self._mark_artifact(job_id, "upload_failed")

    def _mark_artifact(self, job_id: str, status: str) -> None:
        try:
            self._set_artifact(job_id, status)
        except JobError as error:
            _log.warning("job %s: %s", job_id, error.message)

    def _set_artifact(self, job_id: str, status: str) -> None:
        model = self._jobs.document(job_id)["model"]
        change = {"artifact": {**model["artifact"], "status": status}}
        self._entities.update(Ref(model["namespace"], model["name"]), change)
