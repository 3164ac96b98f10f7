"""Carries out the Customizer's jobs, each in a process of its own; the queue is that of `common.job_queue`.

A job interrupted by the end of the service is taken up again from its last checkpoint. How a job ended is decided here:
by what the worker reported, the exit code when it could not report, or a cancellation.
"""

import logging
import signal
import threading
from typing import Any

from embedded.common.job_queue import CANCELLED, COMPLETED, FAILED, Ending, Stopped
from embedded.common.names import Ref, now
from embedded.customizer import worker, workers
from embedded.customizer.jobs import Jobs
from embedded.customizer.progress import summarize
from embedded.customizer.spec import JobError, StoreError
from embedded.customizer.stores import EntityStore

POLL_S = 0.1
_log = logging.getLogger("uvicorn.error")


class Runner:
    """What the queue asks for, see `job_queue.Work`."""

    def __init__(self, jobs: Jobs, processes: workers.Workers, entities: EntityStore) -> None:
        self._jobs, self._processes, self._entities = jobs, processes, entities

    def run(self, job_id: str, stop: threading.Event) -> Ending:
        """Wait for the job's worker. Raises Stopped once the worker was ended on request."""
        process = self._processes.start(self._jobs.folder(job_id).root)
        _log.info("job %s: process %s", job_id, process.pid)
        while process.is_alive():
            process.join(POLL_S)
            if stop.is_set() and process.is_alive():
                workers.end(process)
                raise Stopped
        code = process.exitcode
        process.close()
        if code != 0:
            return _failure(self._reason(job_id, code))
        try:
            self._set_artifact(job_id, "upload_completed")
        except StoreError as error:
            error.message += "; the artifact is uploaded, but its entity could not be updated"
            return _failure(worker.describe(error))
        return Ending(COMPLETED, COMPLETED)

    def resume(self, job_id: str) -> None:
        """Say in the job's log that it was interrupted."""
        steps = summarize(self._jobs.folder(job_id).progress).steps_completed
        self._jobs.note(
            job_id,
            "interrupted",
            f"the service was restarted after step {steps}; the job goes on from its last checkpoint",
        )

    def finish(self, job_id: str, ending: Ending) -> None:
        """Delete what is not needed any more, and mark the output of a job that gave none."""
        if ending.status == FAILED:
            self._jobs.folder(job_id).remove_downloads()
        else:
            self._jobs.folder(job_id).tidy()
        if ending.status in {FAILED, CANCELLED}:
            try:
                self._set_artifact(job_id, "upload_failed")
            except JobError as error:
                _log.warning("job %s: %s", job_id, error.message)

    def describe(self, error: Exception) -> Ending:
        """Tell an error of this service as the reason."""
        _log.error("a job failed", exc_info=error)
        return _failure(worker.describe(error))

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

    def _set_artifact(self, job_id: str, status: str) -> None:
        model = self._jobs.find(job_id)["model"]
        change = {"artifact": {**model["artifact"], "status": status}}
        self._entities.update(Ref(model["namespace"], model["name"]), change)


def _failure(error: dict[str, Any]) -> Ending:
    return Ending(FAILED, str(error["message"]), {"error": error})
