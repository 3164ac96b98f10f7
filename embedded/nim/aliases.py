"""Aliases at the NIM: a request that names `prod` is answered by an adapter, chosen by weights.

    PUT, GET, DELETE /v1/aliases/{name}     GET /v1/aliases

Nothing is proxied: the name in the body is replaced before vLLM reads it, and the header `x-nemostack-model` says which
model answered. A request with `user` always gets the same model while the weights stay; others are drawn. Where the
chosen model refuses or fails before its first byte, the alias's first route answers instead, and the failure is
counted: users of a canary see none. A shadow is asked the same in the background and answers nobody. Aliases survive a
restart. What an alias is asked can be sampled, see samples.py. This is our own; NIMs of NVIDIA have no aliases.
Requests that name no alias are passed on untouched.
"""

import asyncio
import hashlib
import json
import random
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embedded.nim.samples import MOST_BYTES, SampleBook, Sampler
from nemostack.aliases import Alias, AliasName, AliasState, RouteStats
from nemostack.files import write_atomically

ROUTED = {"/v1/chat/completions", "/v1/completions", "/tokenize"}
HEADER = b"x-nemostack-model"
SHADOW = "shadow"
MOST_SHADOWS = 8  # at once; a shadow that is slower than its model must not pile up
_FILE: TypeAdapter[dict[AliasName, Alias]] = TypeAdapter(dict[AliasName, Alias])
_KEPT = 1000
_FAILED = {404, 500, 502, 503}  # of the model, not of the request


class Tally:
    """Counts and times of one model under one alias."""

    def __init__(self) -> None:
        self.requests = self.failures = 0
        self.first_byte: deque[float] = deque(maxlen=_KEPT)
        self.total: deque[float] = deque(maxlen=_KEPT)

    def stats(self) -> RouteStats:
        return RouteStats(
            requests=self.requests,
            failures=self.failures,
            first_byte_p50=_quantile(self.first_byte, 0.5),
            first_byte_p95=_quantile(self.first_byte, 0.95),
            total_p50=_quantile(self.total, 0.5),
            total_p95=_quantile(self.total, 0.95),
        )


def _quantile(values: deque[float], share: float) -> float | None:
    """The value that this share of all does not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else None


class AliasBook:
    """All aliases, on disk and in memory, and what they have been asked."""

    def __init__(self, file: Path) -> None:
        """Read what was there; ValueError when it cannot be read, for a forgotten alias is an outage."""
        self._file = file
        self.tallies: dict[tuple[str, str], Tally] = {}
        self.samples = SampleBook()
        self._aliases: dict[str, Alias] = {}
        if file.exists():
            try:
                self._aliases = dict(_FILE.validate_json(file.read_bytes()))
            except ValidationError as error:
                raise ValueError(f"{file} holds no aliases that can be used; move it away to start without") from error

    def __bool__(self) -> bool:
        return bool(self._aliases)

    def names(self) -> list[str]:
        return sorted(self._aliases)

    def get(self, name: str) -> Alias | None:
        return self._aliases.get(name)

    def put(self, name: str, alias: Alias) -> None:
        """Set an alias; requests that begin afterwards follow it, and its counts begin anew."""
        self._save({**self._aliases, name: alias})

    def remove(self, name: str) -> bool:
        """Forget an alias; False when there was none."""
        if name not in self._aliases:
            return False
        self.samples.end(name)
        self._save({key: value for key, value in self._aliases.items() if key != name})
        return True

    def _save(self, aliases: dict[str, Alias]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._file, _FILE.dump_json(aliases, indent=1))
        changed = {name for name in {*aliases, *self._aliases} if aliases.get(name) != self._aliases.get(name)}
        self.tallies = {key: tally for key, tally in self.tallies.items() if key[0] not in changed}
        self._aliases = aliases

    def state(self, name: str) -> AliasState | None:
        """An alias with what its models were asked."""
        alias = self._aliases.get(name)
        if alias is None:
            return None
        stats = {
            route.model: self.tallies[name, route.model].stats()
            for route in alias.routes
            if (name, route.model) in self.tallies
        }
        shadow = self.tallies.get((name, SHADOW))
        return AliasState(name=name, alias=alias, stats=stats, shadow_stats=shadow.stats() if shadow else None)

    def tally(self, name: str, model: str) -> Tally:
        return self.tallies.setdefault((name, model), Tally())

    @staticmethod
    def choose(name: str, alias: Alias, user: object) -> str:
        """Draw a model by the weights; by the user, if one is named."""
        place = random.random()
        if isinstance(user, str) and user:
            digest = hashlib.sha256(f"{name}\0{user}".encode()).digest()
            place = int.from_bytes(digest[:8], "big") / 2**64
        left = place * sum(route.weight for route in alias.routes)
        for route in alias.routes:
            left -= route.weight
            if left < 0:
                return route.model
        return alias.stable


class AliasRouting:
    """ASGI middleware that puts the model's name in the place of the alias's.

    vLLM makes it from its name alone, before there is a book: that is in the state of the app, as `alias_book`.
    """

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = time.monotonic) -> None:
        self.app, self.clock = app, clock
        self._shadows: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what names no alias as it is."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in ROUTED:
            await self.app(scope, receive, send)
            return
        book: AliasBook | None = getattr(scope["app"].state, "alias_book", None)
        if not book:
            await self.app(scope, receive, send)
            return
        request = _Request(scope, await _whole(receive))
        name = request.asked.get("model")
        alias = book.get(name) if isinstance(name, str) else None
        if alias is None or not isinstance(name, str):
            await self.app(*request.as_it_is(receive), send)
            return
        chosen = book.choose(name, alias, request.asked.get("user"))
        tally, spare = book.tally(name, chosen), chosen != alias.stable
        sampler = book.samples.get(name)
        if sampler is not None and (scope["path"] == "/tokenize" or not sampler.draw()):
            sampler = None
        if not await self._ask(request, chosen, receive, send, tally, may_fail=spare, sampler=sampler):
            stable = book.tally(name, alias.stable)
            await self._ask(request, alias.stable, receive, send, stable, may_fail=False, sampler=sampler)
        if alias.shadow is not None and scope["path"] != "/tokenize" and random.random() < alias.shadow.share:
            self._cast_shadow(request, alias.shadow.model, book.tally(name, SHADOW))

    def _cast_shadow(self, request: "_Request", model: str, tally: Tally) -> None:
        if len(self._shadows) >= MOST_SHADOWS:
            return
        task = asyncio.create_task(self._shadow(request, model, tally))
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)

    async def _ask(
        self,
        request: "_Request",
        model: str,
        receive: Receive,
        send: Send,
        tally: Tally,
        *,
        may_fail: bool,
        sampler: Sampler | None = None,
    ) -> bool:
        """Let `model` answer. False when it may fail and has: nothing was sent then, and another one may answer."""
        began = self.clock()
        started = held = ok = False
        said = bytearray()
        tally.requests += 1

        async def forward(message: Message) -> None:
            nonlocal started, held, ok
            if message["type"] == "http.response.start":
                failed = message["status"] in _FAILED
                tally.failures += failed
                held, ok = failed and may_fail, message["status"] < 400
                if not failed:
                    tally.first_byte.append(self.clock() - began)
                message = {**message, "headers": [*message.get("headers", []), (HEADER, model.encode())]}
            if held:
                return
            started = True
            await send(message)
            if message["type"] != "http.response.body":
                return
            if sampler is not None and ok and len(said) <= MOST_BYTES:
                said.extend(message.get("body", b""))
            if not message.get("more_body"):
                tally.total.append(self.clock() - began)
                if sampler is not None and ok and len(said) <= MOST_BYTES:
                    sampler.add(model, request.asked, bytes(said))

        try:
            await self.app(*request.to(model, receive), forward)
        except Exception:
            tally.failures += 1
            if started or not may_fail:
                raise
            return False
        return not held

    async def _shadow(self, request: "_Request", model: str, tally: Tally) -> None:
        async def never() -> Message:
            await asyncio.Event().wait()  # nobody hangs up: nobody is there
            raise AssertionError

        async def nowhere(_message: Message) -> None:
            """Drop it: the answer of a shadow is for nobody."""

        try:
            await self._ask(request, model, never, nowhere, tally, may_fail=True)
        except Exception:  # noqa: BLE001 - counted in _ask, and no user has asked
            return


class _Request:
    """A request whose body was read, to be asked of one model or another."""

    def __init__(self, scope: Scope, body: bytes) -> None:
        self._scope, self._body = scope, body
        try:
            asked = json.loads(body)
        except ValueError:
            asked = None
        self.asked: dict[str, Any] = asked if isinstance(asked, dict) else {}

    def as_it_is(self, receive: Receive) -> tuple[Scope, Receive]:
        """Give the request back as it came."""
        return self._scope, _replayed(self._body, receive)

    def to(self, model: str, receive: Receive) -> tuple[Scope, Receive]:
        """Make the same request to a model by its own name."""
        body = json.dumps({**self.asked, "model": model}, ensure_ascii=False).encode()
        headers = [(name, value) for name, value in self._scope["headers"] if name.lower() != b"content-length"]
        scope = {**self._scope, "headers": [*headers, (b"content-length", str(len(body)).encode())], "state": {}}
        return scope, _replayed(body, receive)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Hand out the body that was read, then what comes: that the client has hung up."""
    left = [body]

    async def replay() -> Message:
        return {"type": "http.request", "body": left.pop(), "more_body": False} if left else await receive()

    return replay


async def _whole(receive: Receive) -> bytes:
    """Read the body to its end, or to where the client hangs up."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body"):
            return bytes(body)
