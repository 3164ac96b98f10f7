"""One streamed completion, timed event by event.

Clock points are `time.perf_counter()` seconds: `t_send` just before the request is written (a new connection, where
none is free, is part of what follows), `t_first` and `t_last` the first and last event that carries output, `t_end`
the end of the body. An event counts as output only when its text, reasoning or tool call is not empty: the role-only
first event, the usage event and `[DONE]` do not. An event's stamp is when the kernel received it, or when it was read
where that is not known (`connections.py`).

Lines are read with geventhttpclient's `readline`, which returns as soon as a line is there. Locust's `iter_lines`
waits for full blocks of 1,024 bytes and would report the first token late. Nothing is retried: a retry would hide a
failure and stretch a latency.

A 2xx status alone is no success: an error event in the stream, a stream without output and one that ends without
`[DONE]` are failures of their own kinds.
"""

import json
import time
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import gevent
from geventhttpclient import HTTPClient
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError, HTTPSocketPoolResponse

from load_tests.client.connections import Connections, StampedSocket, is_idle

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


def text_of(event: dict[str, Any]) -> str:
    """Return the text of a chunk; neither its reasoning nor its tool calls."""
    return "".join(
        choice.get("text") or (choice.get("delta") or {}).get("content") or "" for choice in event.get("choices") or ()
    )


def has_output(event: dict[str, Any]) -> bool:
    """Whether a chunk of `/v1/completions` or `/v1/chat/completions` carries text, reasoning or a tool call."""
    for choice in event.get("choices") or ():
        if choice.get("text"):
            return True
        delta = choice.get("delta")
        if delta and (
            delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning") or delta.get("tool_calls")
        ):
            return True
    return False


class StreamingClient:
    """A pool of connections to one OpenAI-compatible server, for the greenlets of one process.

    `connections` must not be below the number of requests in flight, else requests queue inside the client.
    `timeout_s` bounds a request from send to the end of its body.
    """

    def __init__(self, base_url: str, *, connections: int, timeout_s: float, api_key: str | None = None) -> None:
        self.timeout_s = timeout_s
        self._prefix = urlsplit(base_url).path.rstrip("/")
        self._headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._http = HTTPClient.from_url(
            base_url,
            concurrency=connections,
            connection_timeout=min(10.0, timeout_s),
            network_timeout=None,  # the whole exchange has its limit
        )
        self._connections = _stamp_arrivals(self._http)

    def close(self) -> None:
        self._http.close()

    def stream(self, path: str, body: bytes, *, request_id: str, keep_text: bool = False) -> Exchange:
        """POST `body` to `path` and read the reply to its end. Failures are in the result, never raised.

        `request_id` goes along as X-Request-Id so that a server log can be joined to the samples.
        """
        headers = {**self._headers, "X-Request-Id": request_id}
        exchange = Exchange(t_send=time.perf_counter(), texts=[] if keep_text else None)
        response: HTTPSocketPoolResponse | None = None
        connection: StampedSocket | None = None
        timer = gevent.Timeout(self.timeout_s)
        timer.start()
        try:
            response = self._http.request("POST", self._prefix + path, body=body, headers=headers)
            exchange.status = response.status_code
            if response.status_code == 200:
                connection = self._connections.taken if self._connections else None
                _read_events(response, exchange, connection)
            else:
                _read_refusal(response, exchange)
        except gevent.Timeout as expired:
            if expired is not timer:
                raise
            exchange.fail("timeout", f"no complete reply within {self.timeout_s:g} s")
        except TimeoutError as error:
            exchange.fail("timeout", error)
        except HTTPConnectionClosed as error:
            exchange.fail("connect" if exchange.status is None else "truncated", error)
        except HTTPParseError as error:
            exchange.fail("connect" if exchange.status is None else "truncated", error)
        except OSError as error:
            exchange.fail("connect" if exchange.status is None else "truncated", error)
        finally:
            timer.close()
            if response is not None:
                response.release()
        exchange.t_end = connection.arrived if connection and exchange.error is None else time.perf_counter()
        return exchange


def _stamp_arrivals(http: HTTPClient) -> Connections | None:
    """Put connections that know when data came in the place of the client's own. None for TLS, where they cannot."""
    pool = http._connection_pool  # noqa: SLF001  # it takes no pool from outside
    if http.ssl:
        pool._is_socket_alive = is_idle  # type: ignore[method-assign, assignment, unused-ignore]  # noqa: SLF001
        return None
    http._connection_pool = stamped = Connections(  # noqa: SLF001
        http.host,
        http.port,
        http.host,
        http.port,
        size=pool.size,
        connection_timeout=pool.connection_timeout,
        network_timeout=pool.network_timeout,
    )
    return stamped


def _read_refusal(response: HTTPSocketPoolResponse, exchange: Exchange) -> None:
    status = response.status_code
    kind: ErrorKind = "malformed"
    if status == 429:
        kind = "http_429"
    elif 400 <= status < 500:
        kind = "http_4xx"
    elif status >= 500:
        kind = "http_5xx"
    exchange.fail(kind, f"HTTP {status}: {response.read().decode('utf-8', 'replace').strip()}")


def _read_events(response: HTTPSocketPoolResponse, exchange: Exchange, connection: StampedSocket | None) -> None:
    readline, clock, loads = response.readline, time.perf_counter, json.loads
    previous: float | None = None
    error_event = done = False
    while line := readline(b"\n"):
        stamp = clock() if connection is None else connection.arrived
        exchange.received_bytes += len(line)
        if not line.startswith(b"data:"):
            if line.startswith(b"event:"):
                error_event = line[6:].strip() == b"error"
            elif line.strip() and not line.startswith((b":", b"id:", b"retry:")):
                exchange.fail("malformed", f"not a line of an event stream: {line[:80]!r}")
                return
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            done = True
            continue  # read on to the end of the body, so that the connection can be used again
        try:
            event = loads(data)
        except ValueError:
            exchange.fail("malformed", f"not JSON: {data[:80]!r}")
            return
        if not isinstance(event, dict):
            exchange.fail("malformed", f"not a JSON object: {data[:80]!r}")
            return
        if error_event or event.get("error") or event.get("object") == "error":
            exchange.fail("stream_error", event.get("error") or event.get("message") or data.decode("utf-8", "replace"))
            return
        if has_output(event):
            exchange.content_events += 1
            if previous is None:
                exchange.t_first = stamp
            else:
                exchange.gaps_s.append(stamp - previous)
            exchange.t_last = previous = stamp
            if exchange.texts is not None:
                exchange.texts.append(text_of(event))
        if usage := event.get("usage"):
            exchange.prompt_tokens = usage.get("prompt_tokens")
            exchange.output_tokens = usage.get("completion_tokens")
            exchange.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        for choice in event.get("choices") or ():
            exchange.finish_reason = choice.get("finish_reason") or exchange.finish_reason
    if not done:
        exchange.fail("truncated", f"the stream ended without [DONE] after {exchange.content_events} output events")
    elif exchange.t_first is None:
        exchange.fail("empty", "the stream held no output")
