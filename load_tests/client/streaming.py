"""One streamed completion, timed event by event.

An event's stamp is when the kernel received it, or when it was read where that is not known (`connections.py`).

geventhttpclient's `readline` returns as soon as a line is there, and whatever came with it is taken along. Locust's
`iter_lines` waits for full blocks of 1,024 bytes and would report the first token late. Nothing is retried: a retry
would hide a failure and stretch a latency.
"""

import time
from typing import Final
from urllib.parse import urlsplit

import gevent
from geventhttpclient import HTTPClient
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError, HTTPSocketPoolResponse

from load_tests.client.connections import Connections, StampedSocket, is_idle
from load_tests.client.events import EventReader
from load_tests.client.exchange import ErrorKind, Exchange

BLOCK_BYTES: Final = 16384
"""What is read at once at most; a server sends events of some 200 bytes."""


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
            block_size=BLOCK_BYTES,
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
    reader = EventReader(exchange)
    buffer = response._body_buffer  # noqa: SLF001  # `read` would wait for a full block
    while line := response.readline(b"\n"):
        stamp = time.perf_counter() if connection is None else connection.arrived
        block = line + buffer
        buffer.clear()
        if not reader.read(block, stamp):
            return
    reader.end()
