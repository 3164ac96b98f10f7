"""The reply to one request with its clock points, and the kinds of failure it can end in.

Clock points are `time.perf_counter()` seconds: `t_send` just before the request is written (a new connection, where
none is free, is part of what follows), `t_first` and `t_last` the first and last event that carries output, `t_end`
the end of the body.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

ErrorKind = Literal[
    "connect", "timeout", "http_4xx", "http_429", "http_5xx", "stream_error", "truncated", "empty", "malformed"
]
ERROR_KINDS: Final[dict[str, str]] = {
    "connect": "no connection, or it was closed before the reply began",
    "timeout": "the whole reply did not arrive in time",
    "http_4xx": "HTTP status 400-499 other than 429",
    "http_429": "HTTP status 429: the server sheds load",
    "http_5xx": "HTTP status 500-599",
    "stream_error": "HTTP 200, then an error event in the stream",
    "truncated": "HTTP 200, but the stream ended without [DONE]",
    "empty": "HTTP 200 and [DONE], but no output",
    "malformed": "the reply is not an event stream of JSON objects",
}
DETAIL_CHARS: Final = 300


@dataclass(slots=True)
class Exchange:
    """The reply to one request, with its clock points (perf_counter seconds). `texts`: kept only where it is a list."""

    t_send: float
    t_first: float | None = None
    t_last: float | None = None
    t_end: float | None = None
    status: int | None = None
    gaps_s: list[float] = field(default_factory=list)
    content_events: int = 0
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    finish_reason: str | None = None
    received_bytes: int = 0
    texts: list[str] | None = None
    error: ErrorKind | None = None
    detail: str = ""

    def fail(self, kind: ErrorKind, detail: object) -> None:
        """Mark as failed; the first failure is the one that counts."""
        if self.error is None:
            self.error = kind
            self.detail = str(detail)[:DETAIL_CHARS]
