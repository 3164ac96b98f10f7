"""A server that streams tokens at a known cadence and writes down when it did: an oracle for the client.

Nothing of it is a model. Run it at the rate that is planned for a real NIM, first: what the load test then reports
beyond the cadence is the client's own. It lists a base model, adapters, and one model per fault, which fails each
request in that way. With `--log` each reply leaves a line with its clock points (perf_counter, comparable on one
host) under the X-Request-Id that the client sent.

It counts the tokens of a prompt by words: one for each, two for one of more than five letters, and three besides, as a
begin-of-sequence token or a chat template would add.

It speaks just enough HTTP/1.1: POST with Content-Length, keep-alive, chunked replies.
"""

import asyncio
import contextlib
import json
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TextIO

from load_tests.mock_engine import Batch
from load_tests.mock_slots import AdapterSlots

BASE = "mock/base"
FAULTS = (
    *("http-400", "http-429", "http-500", "error-event", "error-object", "empty", "truncated", "malformed"),
    *("hang", "refuse", "no-usage", "closed-early"),
)
FLOOD_EVENTS = 32
"""How many events go into one write where none has to wait: one for each would measure the server's calls."""
LOADING = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter")
ListingStyle = Literal["parent", "root"]
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error"}


@dataclass
class Cadence:
    """The pace of every reply. `stall_at_s` after the first request all streams freeze for `stall_for_s`."""

    ttft_s: float = 0.05
    itl_s: float = 0.01
    tokens: int | None = None  # None: max_tokens of the request
    tokens_per_event: int = 1
    stall_at_s: float | None = None
    stall_for_s: float = 0.0
    adapter_itl_s: float | None = None  # of adapters; None: as the base model
    log: TextIO | None = None
    started: float | None = None  # when the first request came

    async def pause(self, until: float) -> None:
        """Sleep to an absolute perf_counter time, and through the stall if one is on."""
        if (wait := until - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        if self.stall_at_s is not None and self.started is not None:
            begin = self.started + self.stall_at_s
            now = time.perf_counter()
            if begin <= now < begin + self.stall_for_s:
                await asyncio.sleep(begin + self.stall_for_s - now)


@dataclass(frozen=True)
class Listing:
    """The reply of /v1/models. Adapters and faults belong to the base model, which is told by the key `style`.

    parent: as vLLM does from 0.5.4 on; `root` is then the folder that a model was loaded from. root: as NIM 1.x and
    older vLLM do; `parent` is then null everywhere.
    """

    adapters: tuple[str, ...] = ("mock/adapter-a@cust-1", "mock/adapter-b@cust-2")
    style: ListingStyle = "parent"
    faults: tuple[str, ...] = FAULTS

    @property
    def ids(self) -> set[str]:
        """Of all models but the base model."""
        return {*self.adapters, *(f"fault/{name}" for name in self.faults)}

    def reply(self) -> dict[str, Any]:
        by_parent = self.style == "parent"
        rows = [{"id": BASE, "root": "/models/mock-base" if by_parent else BASE, "parent": None, "max_model_len": 4096}]
        rows += [
            {"id": model, "root": f"/adapters/{k}" if by_parent else BASE, "parent": BASE if by_parent else None}
            for k, model in enumerate((*self.adapters, *(f"fault/{name}" for name in self.faults)))
        ]
        constants = {"object": "model", "created": 0, "owned_by": "mock"}
        return {"object": "list", "data": [{**row, **constants} for row in rows]}


class MockNim:
    """Connections and replies."""

    def __init__(
        self,
        cadence: Cadence,
        listing: Listing,
        slots: AdapterSlots | None = None,
        batch: Batch | None = None,
        *,
        runtime_loading: bool = False,
    ) -> None:
        self.cadence, self.listing, self.runtime_loading = cadence, listing, runtime_loading
        self.slots, self.batch = slots or AdapterSlots(), batch or Batch()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests on one connection until it closes."""
        # CancelledError: the server stops; asyncio's own callback would print a traceback for each open connection
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._one(reader, writer):
                pass
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        received = time.perf_counter()
        request, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = request.split(" ", 2)
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if method == "GET":
            return await self._get(writer, path)
        if self.runtime_loading and path in LOADING:
            return await self._change(writer, path, json.loads(body))
        if self.cadence.started is None:
            self.cadence.started = received
        asked = json.loads(body)
        model = asked["model"]
        fault = model.removeprefix("fault/") if model.startswith("fault/") else ""
        if fault == "refuse":
            return False
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault.startswith("http-"):
            return await _plain(writer, int(fault[5:]), {"detail": f"injected {fault}"})
        chat = path.endswith("/chat/completions")
        request_id = headers.get("x-request-id", "")
        if model != BASE and model not in self.listing.ids:
            return await _plain(writer, 404, {"message": f"The model `{model}` does not exist."})
        if not asked.get("stream"):
            return await _plain(writer, 200, {"usage": {"prompt_tokens": prompt_tokens(asked)}})
        adapter = self.slots.use(model) if model != BASE else contextlib.nullcontext(enter_result=False)
        async with self.batch.place() as waited, adapter as cold:
            late = time.perf_counter() - received if waited or cold else 0.0
            if reader.at_eof():  # as vLLM does, which aborts what nobody waits for any more
                return False
            return await self._stream(
                reader,
                writer,
                asked,
                chat=chat,
                fault=fault,
                request_id=request_id,
                received=received,
                cold=cold,
                late=late,
            )

    async def _get(self, writer: asyncio.StreamWriter, path: str) -> bool:
        if path == "/metrics":
            return await _plain(writer, 200, self.batch.metrics(BASE) + self.slots.metrics())
        if path == "/v1/models":
            return await _plain(writer, 200, self.listing.reply())
        if path == "/openapi.json" and self.runtime_loading:
            return await _plain(writer, 200, {"paths": {route: {} for route in LOADING}})
        return await _plain(writer, 404, {"detail": path})

    async def _change(self, writer: asyncio.StreamWriter, path: str, asked: dict[str, Any]) -> bool:
        """Load or unload an adapter, as vLLM's routes do."""
        name, adapters = asked["lora_name"], self.listing.adapters
        if path == LOADING[0]:
            await asyncio.sleep(self.slots.load_s)
            self.listing = replace(self.listing, adapters=(*adapters, name))
        elif name not in adapters:
            return await _plain(writer, 404, {"message": f"The lora adapter '{name}' cannot be found."})
        else:
            self.listing = replace(self.listing, adapters=tuple(other for other in adapters if other != name))
        return await _plain(writer, 200, "Success")

    async def _stream(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        asked: dict[str, Any],
        *,
        chat: bool,
        fault: str,
        request_id: str,
        received: float,
        cold: bool = False,
        late: float = 0.0,
    ) -> bool:
        cadence = self.cadence
        itl_s = cadence.itl_s
        if asked["model"] != BASE and cadence.adapter_itl_s is not None:
            itl_s = cadence.adapter_itl_s
        tokens = cadence.tokens or int(asked.get("max_tokens", 16))
        if fault == "closed-early":
            tokens = max(1, tokens // 2)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        kind = "chat.completion.chunk" if chat else "text_completion"  # some clients look at it
        head = {"id": "mock-1", "object": kind, "created": 1767600000, "model": asked["model"]}
        if chat:  # a role-only event, at once: it is not the first token
            writer.write(_event({**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}))
        content = {"index": 0, "delta": {"content": " word"}} if chat else {"index": 0, "text": " word"}
        choice = {**content, "logprobs": None, "finish_reason": None}
        chunk = _event({**head, "choices": [choice]})
        stamps: list[float] = []
        due = received + late + cadence.ttft_s
        if fault != "empty":
            events = -(-tokens // cadence.tokens_per_event)
            together = FLOOD_EVENTS if itl_s == 0 and not fault else 1
            for sent in range(0, events, together):
                await cadence.pause(due)
                if reader.at_eof():
                    return False
                count = min(together, events - sent)
                stamps.extend([time.perf_counter()] * count)
                writer.write(chunk * count)
                if itl_s == 0:
                    await writer.drain()
                due = max(due, stamps[-1] if cadence.stall_at_s is not None else due) + itl_s
                if fault and len(stamps) == 2 and await _break(writer, fault):
                    return False
        end = {"choices": [{"index": 0, "text": "", "delta": {}, "finish_reason": "length"}]}
        writer.write(_event({**head, **end}))
        if fault != "no-usage" and (asked.get("stream_options") or {}).get("include_usage"):
            prompt = prompt_tokens(asked)
            usage = {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}
            writer.write(_event({**head, "choices": [], "usage": usage}))
        if fault != "truncated":
            writer.write(_chunk(b"data: [DONE]\n\n"))
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        if cadence.log is not None:
            first, last = (stamps[0], stamps[-1]) if stamps else (None, None)
            row = {"id": request_id, "model": asked["model"], "received": received, "first": first, "last": last}
            cadence.log.write(json.dumps({**row, "cold": cold, "events": len(stamps), "tokens": tokens}) + "\n")
        return True


def prompt_tokens(asked: dict[str, Any]) -> int:
    """Count the tokens of a request's prompt, which may be a list of them."""
    if isinstance(asked.get("prompt"), list):
        return len(asked["prompt"])
    texts = [asked.get("prompt") or "", *(str(message["content"]) for message in asked.get("messages") or ())]
    return 3 + sum(1 + (len(word) > 5) for text in texts for word in text.split())


async def _break(writer: asyncio.StreamWriter, fault: str) -> bool:
    """Break a stream in its middle; True when the connection is to be closed."""
    if fault == "error-event":
        writer.write(_chunk(b'event: error\ndata: {"message": "injected: engine died"}\n\n'))
    elif fault == "error-object":
        writer.write(_event({"error": {"message": "injected: out of memory", "code": 500}}))
    elif fault == "malformed":
        writer.write(_chunk(b"data: {not json}\n\n"))
    elif fault != "closed-early":
        return False
    await writer.drain()
    return True


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(body: dict[str, Any]) -> bytes:
    return _chunk(b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n")


async def _plain(writer: asyncio.StreamWriter, status: int, body: dict[str, Any] | str) -> bool:
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    kind = "text/plain" if isinstance(body, str) else "application/json"
    head = f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    await writer.drain()
    return True


def serve_until_stopped(
    cadence: Cadence,
    listing: Listing,
    *,
    host: str,
    port: int,
    log: Path | None,
    slots: int | None = None,
    load_s: float = 0.0,
    places: int | None = None,
    runtime_loading: bool = False,
) -> None:
    """Serve until SIGINT or SIGTERM. Prints the address once it listens, which is a free port of its own for port 0."""
    with contextlib.ExitStack() as stack:
        if log is not None:
            cadence.log = stack.enter_context(log.open("w", buffering=1, encoding="utf-8"))

        async def serve() -> None:
            made = AdapterSlots(slots, load_s), Batch(places)
            nim = MockNim(cadence, listing, *made, runtime_loading=runtime_loading)
            await _serve(nim, host, port)

        asyncio.run(serve())


async def _serve(nim: MockNim, host: str, port: int) -> None:
    server = await asyncio.start_server(nim.serve, host, port, backlog=1024)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(f"http://{host}:{server.sockets[0].getsockname()[1]}", flush=True)
    await stop.wait()
    server.close()
