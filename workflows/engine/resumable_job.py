"""Taking a job of the Evaluator or the Customizer from start to end, across interruptions of ours and of theirs.

The id is written down the moment it is known; a job whose id never was is found by its marks. A job already there is
picked up again. It is started afresh, with a word about it, when the service has lost it, when it had ended badly
before we came back, or when it failed after the service had been away; a job that fails otherwise is the user's to see.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from nemostack.clients.jobs import Job
from nemostack.clients.polling import wait_for
from nemostack.errors import JobFailed, NotFound, ServiceError
from workflows.engine.stage import Context

J = TypeVar("J", bound=Job)


@dataclass
class JobRun(Generic[J]):
    """How to handle one kind of job. `what` reads like "evaluation job"."""

    what: str
    start: Callable[[], J]
    find: Callable[[], J | None]
    get: Callable[[str], J]
    describe: Callable[[J], str]
    deadline_s: float
    outage_s: float
    on_look: Callable[[J], None] | None = None
    advise: Callable[[str], str] = lambda _message: ""
    restarts: int = 2
    _away: bool = field(default=False, init=False)

    def complete(self, context: Context) -> J:
        """Return the job, completed. JobFailed, DeadlineExceeded or ServiceError otherwise."""
        job = self._pick_up(context) or self._begin(context)
        while True:
            try:
                job = self._wait(context, job.id)
            except NotFound:
                self._spend_restart(context, f"{self.what} {job.id} is not known to the service any more")
                job = self._begin(context)
                continue
            if job.completed:
                return job
            if not (self._away and self.restarts > 0):
                reason = f": {job.message}" if job.message else ""
                advice = self.advise(job.message)
                raise JobFailed(
                    f"{self.what} {job.id} ended as {job.status}{reason}; {f'{advice}; ' if advice else ''}"
                    "look at the service's log, check all services with `nemostack doctor`, then run again to retry"
                )
            self._spend_restart(context, f"{self.what} {job.id} {job.status} after its service had been away")
            job = self._begin(context)

    def _pick_up(self, context: Context) -> J | None:
        known = context.notes.get("job_id")
        if known is None:
            if not context.notes.get("starting"):
                return None
            job = self.find()
            if job is not None:
                self._write_down(context, job)
                context.progress.line(f"  found the {self.what} {job.id} that was started before; it goes on")
            return job
        try:
            job = self.get(known)
        except NotFound:
            context.progress.line(f"  {self.what} {known} is not known to the service any more; starting another")
            return None
        if job.ended and not job.completed:
            context.progress.line(f"  {self.what} {known} had {job.status}; starting another")
            return None
        context.progress.line(f"  picking up {self.what} {known} again ({job.status})")
        return job

    def _begin(self, context: Context) -> J:
        context.note(starting=True, job_id=None)
        self._away = False
        job = self.start()
        self._write_down(context, job)
        return job

    def _write_down(self, context: Context, job: J) -> None:
        jobs = [*context.notes.get("jobs", []), job.id]
        context.note(starting=False, job_id=job.id, jobs=jobs)

    def _wait(self, context: Context, job_id: str) -> J:
        def look() -> J:
            try:
                job = self.get(job_id)
            except ServiceError as error:
                if not isinstance(error, NotFound):
                    self._away = True
                raise
            if self.on_look is not None:
                self.on_look(job)
            return job

        return wait_for(
            look,
            done=lambda job: job.ended,
            describe=self.describe,
            what=f"{self.what} {job_id}",
            deadline_s=self.deadline_s,
            outage_s=self.outage_s,
            pace=context.pace,
            tell=context.progress.update,
        )

    def _spend_restart(self, context: Context, why: str) -> None:
        if self.restarts <= 0:
            raise JobFailed(f"{why}, and it had been started again before; see the service's log, then run again")
        self.restarts -= 1
        context.progress.line(f"  {why}; starting another")
