"""Jobs of a stack that went wrong or go slowly: LoRA jobs that failed, and evaluations that will take hours.

They are warnings: whoever started a job learns of it there, and the next run works all the same. Looks at the newest
hundred jobs of each service, whoever started them, and of failures at those of the last WITHIN. Refuses to foresee the
end of a job whose service tells no progress: of that it says only how long it has run.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from nemostack.clients import Clients
from nemostack.clients.evaluator import EvaluationJob
from nemostack.clients.jobs import Job
from nemostack.errors import ServiceError
from nemostack.service_checks import Finding
from operations.doctor.check import brief
from workflows.stages.training_advice import advise

WITHIN = timedelta(days=7)
MAX_SHOWN = 3
SLOW_S, LOOK_AFTER_S = 3600.0, 300.0
_FAILED, _SLOW = "LoRA jobs succeed", "evaluations end soon"
_READ_ON = (
    "read the service's log (`log_commands` of the stack outputs), and check the data with `nemostack dataset check`"
)
_FASTER = (
    "ask fewer items (--limit), leave out the judge (--no-judge) or shorten answers (--max-tokens); raise "
    "--parallelism, and NIM's replicas where its queue is long (`nemostack load` shows what it holds)"
)


def look(clients: Clients, now: datetime | None = None) -> list[Finding]:
    """Findings about both kinds of jobs. A service that does not answer is told by its own check."""
    at = now or datetime.now(UTC)
    return [*_quiet(lambda: _trainings(clients, at)), *_quiet(lambda: _evaluations(clients, at))]


def _quiet(findings: Callable[[], Iterator[Finding]]) -> list[Finding]:
    try:
        return list(findings())
    except ServiceError:
        return []


def _trainings(clients: Clients, now: datetime) -> Iterator[Finding]:
    recent = [job for job in clients.customizer.newest() if _age(job, now) <= WITHIN.total_seconds()]
    failed = [job for job in recent if job.status == "failed"]
    if not failed:
        yield _finding("Customizer", _FAILED, f"{len(recent)} in the last {WITHIN.days} days, none failed")
    for job in failed[:MAX_SHOWN]:
        message = job.message or clients.customizer.get(job.id).message
        yield _finding(
            "Customizer",
            _FAILED,
            f"{job.id} failed: {brief(message) or 'no reason given'}",
            advise(message) or _READ_ON,
        )
    if len(failed) > MAX_SHOWN:
        yield _finding("Customizer", _FAILED, f"and {len(failed) - MAX_SHOWN} more of {len(recent)}", _READ_ON)


def _evaluations(clients: Clients, now: datetime) -> Iterator[Finding]:
    running = [job for job in clients.evaluator.newest() if not job.ended]
    slow = list(_slow(running, now))
    if not slow:
        yield _finding("Evaluator", _SLOW, f"{len(running)} running, none of them slow")
    for said in slow[:MAX_SHOWN]:
        yield _finding("Evaluator", _SLOW, said, _FASTER)
    if len(slow) > MAX_SHOWN:
        yield _finding("Evaluator", _SLOW, f"and {len(slow) - MAX_SHOWN} more", _FASTER)


def _slow(jobs: Sequence[EvaluationJob], now: datetime) -> Iterator[str]:
    for job in jobs:
        age = _age(job, now)
        if job.created_at is None or age < LOOK_AFTER_S:
            continue
        if job.progress:
            whole = age * 100 / job.progress
            if whole > SLOW_S:
                left = _clock(whole - age)
                so_far = f"{job.progress:.0f} % after {_clock(age)}"
                yield f"{job.id} is {job.status}, {so_far}: some {left} to go at this pace"
        elif age > SLOW_S:
            yield f"{job.id} is {job.status} for {_clock(age)}, and its service tells no progress"


def _age(job: Job, now: datetime) -> float:
    """Seconds since it was made; 0 where nobody says."""
    return (now - job.created_at).total_seconds() if job.created_at else 0.0


def _clock(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"


def _finding(service: str, check: str, evidence: str, fix: str = "") -> Finding:
    return Finding(service=service, check=check, level="warn" if fix else "ok", evidence=evidence, fix=fix)
