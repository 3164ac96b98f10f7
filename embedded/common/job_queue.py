"""Jobs carried out in threads, in order of creation, and taken up again after the service's end.

    created -> running -> completed | failed
       |          '-> cancelling -> cancelled | completed | failed (what came first)
       '-> cancelled

A job that was running when its service died is started again, but not a third time: a job that has killed its service
twice is failed, or it would do so for ever. An orderly stop of the service does not count. What a job does, and what
its document looks like, is the service's affair: see `JobRecords` and `Work`.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Protocol

from embedded.common.documents import Document, Documents
from embedded.common.errors import Conflict, NotFound

CREATED, RUNNING, CANCELLING = "created", "running", "cancelling"
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"
UNDER_WAY = (RUNNING, CANCELLING)  # a cancellation that arrives when the work has ended is too late
ENDED = (COMPLETED, FAILED, CANCELLED)
MAX_ATTEMPTS = 2
_FIRST = {CANCELLING: 0, RUNNING: 1, CREATED: 2}
_ATTEMPTS = "attempts"
_LOG = logging.getLogger("uvicorn.error")


class Stopped(Exception):  # noqa: N818 - an end, not an error
    """Work was given up because it was asked to stop; neither result nor failure."""


@dataclass(frozen=True)
class Ending:
    """How a job ended: `message` for people, and what its service wants to keep besides."""

    status: str
    message: str
    values: dict[str, Any] = field(default_factory=dict)


class JobRecords:
    """Jobs in a document store. A service overrides the two methods that say where the status stands."""

    kind = "job"

    def __init__(self, documents: Documents, title: str) -> None:
        self._documents, self.title = documents, title

    def status_of(self, document: Document) -> str:
        return str(document["status"])

    def with_status(self, document: Document, ending: Ending) -> Document:
        """Return the document with the status, message and values of `ending`, which may be a status under way."""
        return document | {"status": ending.status}

    def find(self, job_id: str) -> Document:
        """NotFound when there is no such job."""
        document = self._documents.get(self.kind, job_id)
        if document is None:
            raise NotFound(f"{self.title} {job_id!r} does not exist")
        return document

    def status(self, job_id: str) -> str:
        """Get the job's status."""
        return self.status_of(self.find(job_id))

    def unfinished(self) -> list[str]:
        """Ids of jobs that are not at their end: cancelled ones first, then those that had begun."""
        left = [(self.status_of(d), key) for key, d in self.by_id().items() if self.status_of(d) not in ENDED]
        return [key for _, key in sorted(left, key=lambda one: _FIRST.get(one[0], len(_FIRST)))]

    def by_id(self) -> dict[str, Document]:
        """All jobs, oldest first."""
        return {self.id_of(document): document for document in self._documents.all(self.kind)}

    def id_of(self, document: Document) -> str:
        return str(document["id"])

    def move(self, job_id: str, ending: Ending, *, when: Collection[str]) -> bool:
        """Change the status if it is one of `when`; return whether it was."""
        moved = False

        def edit(document: Document) -> Document:
            nonlocal moved
            moved = self.status_of(document) in when
            return self.with_status(document, ending) if moved else document

        self._documents.change(self.kind, job_id, edit)
        return moved

    def count_attempt(self, job_id: str, change: int = 1) -> int:
        """Add `change` to the number of starts, and return it. Starts that ended in good order are taken back."""
        document = self._documents.change(
            self.kind, job_id, lambda d: d | {_ATTEMPTS: max(0, int(d.get(_ATTEMPTS, 0)) + change)}
        )
        return int((document or {}).get(_ATTEMPTS, 0))

    def attempts(self, job_id: str) -> int:
        """How often the job was started and its service then died, or it still runs."""
        return int(self.find(job_id).get(_ATTEMPTS, 0))

    def remove(self, job_id: str) -> None:
        self._documents.delete(self.kind, job_id)


class Work(Protocol):
    """What a service does for its jobs."""

    def run(self, job_id: str, stop: threading.Event) -> Ending:
        """Carry the job to its end. Raises Stopped once `stop` is set; other exceptions fail the job."""

    def resume(self, job_id: str) -> None:
        """Note that a job goes on which the end of an earlier service interrupted."""

    def finish(self, job_id: str, ending: Ending) -> None:
        """Do what is due after a job's end, its cancellation in the queue included."""

    def describe(self, error: Exception) -> Ending:
        """Turn an exception that `run` raised into a failure."""


class JobQueue:
    """The queue of jobs, and the threads that work on it."""

    def __init__(self, records: JobRecords, work: Work, *, at_once: int) -> None:
        self._records, self._work, self._at_once = records, work, at_once
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._active: dict[str, threading.Event] = {}
        self._lock = threading.RLock()
        self._closing = threading.Event()

    def start(self) -> None:
        """Start the threads, and take up what a previous service left unfinished."""
        for job_id in self._records.unfinished():
            self._recover(job_id)
        for number in range(self._at_once):
            # Daemons: long arithmetic must not hold up the service's end; what it computes is computed again.
            thread = threading.Thread(target=self._serve, name=f"job-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def submit(self, job_id: str) -> None:
        """Put the job at the end of the queue."""
        self._queue.put(lambda: self._carry_out(job_id))

    def cancel(self, job_id: str) -> None:
        """Ask for a job's end; one that waits in the queue is cancelled on the spot. Conflict if it has ended."""
        with self._lock:
            status = self._records.status(job_id)
            if status in ENDED:
                raise Conflict(f"{self._records.title} {job_id} is {status} already: there is nothing to cancel")
            ending = Ending(CANCELLED, "cancelled before it started")
            if job_id not in self._active and self._records.move(job_id, ending, when=(CREATED,)):
                self._queue.put(lambda: self._work.finish(job_id, ending))
                return
            self._records.move(job_id, Ending(CANCELLING, CANCELLING), when=(RUNNING,))
            if job_id in self._active:
                self._active[job_id].set()

    def delete(self, job_id: str) -> Document:
        """Remove an ended job and return what it was. Conflict while it waits or works."""
        with self._lock:
            document = self._records.find(job_id)
            status = self._records.status_of(document)
            if status not in ENDED:
                raise Conflict(f"{self._records.title} {job_id} is {status}: cancel it first")
            self._records.remove(job_id)
            return document

    def stop(self, within_s: float = 3.5) -> None:
        """Interrupt the running jobs, which stay `running` for the next start; returns after `within_s` at most."""
        with self._lock:
            self._closing.set()
            for stop in self._active.values():
                stop.set()
        for _ in self._threads:
            self._queue.put(None)
        deadline = time.monotonic() + within_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _recover(self, job_id: str) -> None:
        status = self._records.status(job_id)
        if status == CANCELLING:
            self._end(job_id, Ending(CANCELLED, CANCELLED))
        elif status == RUNNING and self._records.attempts(job_id) >= MAX_ATTEMPTS:
            self._end(
                job_id,
                Ending(
                    FAILED,
                    f"the service died {MAX_ATTEMPTS} times while this job was running, so it is not started again; "
                    "the service's log may say why (memory is the usual cause). Start a new job to try once more",
                ),
            )
        else:
            if status == RUNNING:
                self._work.resume(job_id)
            self.submit(job_id)

    def _serve(self) -> None:
        while (task := self._queue.get()) is not None:
            if self._closing.is_set():
                return
            try:
                task()
            except Exception:  # noqa: BLE001 - one job's trouble must not end the thread
                _LOG.exception("job queue")

    def _carry_out(self, job_id: str) -> None:
        with self._lock:
            if self._closing.is_set() or not self._records.move(
                job_id, Ending(RUNNING, RUNNING), when=(CREATED, RUNNING)
            ):
                return
            self._records.count_attempt(job_id)
            stop = self._active[job_id] = threading.Event()
        try:
            ending = self._work.run(job_id, stop)
        except Stopped:
            if self._closing.is_set():
                self._records.count_attempt(job_id, -1)
                return
            ending = Ending(CANCELLED, CANCELLED)
        except Exception as error:  # noqa: BLE001 - the queue must go on, and the job must not hang
            ending = self._work.describe(error)
        finally:
            with self._lock:
                del self._active[job_id]
        self._end(job_id, ending)

    def _end(self, job_id: str, ending: Ending) -> None:
        if not self._records.move(job_id, ending, when=UNDER_WAY):
            _LOG.warning("%s %s: ended as %s, but is gone or at its end", self._records.title, job_id, ending.status)
        self._records.count_attempt(job_id, -MAX_ATTEMPTS)
        _LOG.info(
            "%s %s: %s", self._records.title, job_id, ending.message if ending.status == FAILED else ending.status
        )
        self._work.finish(job_id, ending)
