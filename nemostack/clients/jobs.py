"""The common part of jobs of the Evaluator and the Customizer: their statuses."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, field_validator

ENDED = frozenset({"completed", "failed", "cancelled"})
RUN_FIELD, STAGE_FIELD = "nemostack_run", "nemostack_stage"


class Job(BaseModel):
    """A job as last seen. `message` says what the service says about it."""

    id: str
    status: str = "unknown"
    message: str = ""
    created_at: datetime | None = None

    @field_validator("created_at")
    @classmethod
    def _of_utc(cls, at: datetime | None) -> datetime | None:
        return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen. A status nobody knows counts as alive: the deadline ends it."""
        return self.status in ENDED

    @property
    def completed(self) -> bool:
        """Whether it ended well; progress of 100 % does not say so."""
        return self.status == "completed"


def marks(run_id: str, stage: str) -> dict[str, str]:
    """Name the custom fields by which a job is found again when its id was never written down."""
    return {RUN_FIELD: run_id, STAGE_FIELD: stage}


def ids_marked(rows: Iterable[Any], run_id: str) -> list[str]:
    """Pick the ids of all jobs of a run, whatever became of them."""
    return [str(row.id) for row in rows if (getattr(row, "custom_fields", None) or {}).get(RUN_FIELD) == run_id]


def find_marked(rows: list[Any], run_id: str, stage: str, convert: Callable[[Any], Job]) -> Job | None:
    """Pick the newest job of `rows` (newest first) that carries these marks and may still bring a result."""
    for row in rows:
        fields = getattr(row, "custom_fields", None) or {}
        if fields.get(RUN_FIELD) == run_id and fields.get(STAGE_FIELD) == stage:
            job = convert(row)
            if job.status not in {"failed", "cancelled", "cancelling"}:
                return job
    return None
