"""One line per request: the raw samples from which everything else is computed.

Times are seconds since the worker's own start (never wall clock: hosts' clocks differ). `outcome` is `ok`, an error
kind of `streaming`, `incomplete` (still running when the run's grace ended) or `dropped` (due, but the cap on requests
in flight was reached, so never sent). `role` is empty for the load that is measured; `neighbour` and `churn` are
requests beside it, which are reported apart.
"""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final, Self, TextIO


@dataclass(slots=True)
class RequestRecord:
    """A request as it went. `t_sched` is None in a closed loop; `tokens_from` says how tokens were counted.

    `asked_prompt_tokens` is None where no length was asked for, `turn` the number of the question in its chat.
    """

    id: str
    worker: int
    model: str
    t_sched: float | None
    t_send: float | None
    t_first: float | None = None
    t_last: float | None = None
    t_end: float | None = None
    outcome: str = "ok"
    detail: str = ""
    status: int | None = None
    asked_tokens: int = 0
    asked_prompt_tokens: int | None = None
    turn: int = 1
    prompt_tokens: int | None = None
    output_tokens: int = 0
    tokens_from: str = "usage"
    cached_tokens: int | None = None
    content_events: int = 0
    finish_reason: str | None = None
    cold: bool = False
    cold_from: str = ""
    role: str = ""
    gaps_ms: list[float] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the whole reply arrived as it should."""
        return self.outcome == "ok"

    @property
    def due(self) -> float:
        """When it was to be sent: the schedule's time in an open loop, else the time it was sent."""
        at = self.t_sched if self.t_sched is not None else self.t_send
        assert at is not None  # a record has one or the other
        return at

    @classmethod
    def parse(cls, line: str) -> Self:
        """From a JSONL line; keys that this version does not know are an error."""
        return cls(**json.loads(line))

    def line(self) -> str:
        """As a JSONL line, its end included."""
        values = {name: getattr(self, name) for name in _FIELDS}  # `asdict` would copy the gaps one by one
        return json.dumps(values, separators=(",", ":")) + "\n"


_FIELDS: Final = tuple(one.name for one in fields(RequestRecord))


class RecordWriter:
    """Appends records to a JSONL file, one line each; flushed so that a killed run keeps them."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = path.open("x", buffering=1, encoding="utf-8")

    def write(self, record: RequestRecord) -> None:
        self._file.write(record.line())

    def close(self) -> None:
        self._file.close()


def read_records(folder: Path) -> list[RequestRecord]:
    """All workers' records, in the order they were due."""
    records = [
        RequestRecord.parse(line)
        for path in sorted(folder.glob("requests-*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return sorted(records, key=lambda record: (record.due, record.id))
