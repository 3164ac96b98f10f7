"""Clients that misbehave, for a server that others are measured on: `--beside chaos` runs it in the middle third.

Each of a few clients does one of these in turn: breaks a stream off after its first event, sends half of a request and
leaves, sends what is no JSON, asks for a model that there is not, asks for nothing of a length that cannot be. None of
it is an attack that a server may fail under: all of it happens every day. Refuses nothing, and never stops by itself.
"""

import contextlib
import itertools
import json
import random
import socket
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from nemostack.clients.tls import shared_context

_PATH: Final = "/v1/completions"
_PAUSE_S: Final = (0.05, 0.5)


class Chaos:
    """One client. `seed` decides its pauses."""

    def __init__(self, nim_url: str, model: str, *, seed: int, api_key: str | None = None) -> None:
        self.url, self.model, self.rng = nim_url.rstrip("/"), model, random.Random(f"chaos:{seed}")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.http = httpx.Client(timeout=httpx.Timeout(30), headers=headers, verify=shared_context(httpx))
        self.done: dict[str, int] = {}

    def body(self, **changes: Any) -> dict[str, Any]:
        return {"model": self.model, "prompt": "Once", "max_tokens": 256, "stream": True, **changes}

    def break_off(self) -> None:
        """Read one event of a long reply, and close the connection."""
        with self.http.stream("POST", f"{self.url}{_PATH}", json=self.body()) as reply:
            next(reply.iter_raw(), None)

    def half_a_request(self) -> None:
        """Announce more than is sent, and leave."""
        parts = urlsplit(self.url)
        if parts.scheme != "http" or parts.hostname is None:
            return
        with socket.create_connection((parts.hostname, parts.port or 80), timeout=10) as connection:
            head = f"POST {parts.path}{_PATH} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 5000\r\n\r\n"
            connection.sendall(head.encode() + b'{"model": ')

    def no_json(self) -> None:
        self.http.post(f"{self.url}{_PATH}", content=b"{not json", headers={"Content-Type": "application/json"})

    def no_such_model(self) -> None:
        self.http.post(f"{self.url}{_PATH}", json=self.body(model="nobody/has-this@v0"))

    def no_such_length(self) -> None:
        self.http.post(f"{self.url}{_PATH}", content=json.dumps(self.body(max_tokens=-5)))

    def run(self, *, until: Callable[[], bool]) -> None:
        """Misbehave until told otherwise. What the server answers, if anything, is not looked at."""
        ways = (self.break_off, self.half_a_request, self.no_json, self.no_such_model, self.no_such_length)
        for way in itertools.cycle(ways):
            if until():
                return
            with contextlib.suppress(httpx.HTTPError, OSError):  # a server may well close such a connection
                way()
            self.done[way.__name__] = self.done.get(way.__name__, 0) + 1
            time.sleep(self.rng.uniform(*_PAUSE_S))
