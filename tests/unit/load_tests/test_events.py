"""The events of a reply, however they are cut into blocks, against a reading of them line by line."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from load_tests.client.events import EventReader
from load_tests.client.exchange import Exchange

WORDS = (
    "a",
    " word",
    "x" * 300,
    " ",
    '"',
    "\\",
    "\n",
    "\x01",
    "\u00e9",
    "\ud55c\uad6d",
    "\U0001f600",
    "data: [DONE]",
    "}",
    "",
)


def chunk(text: str | None, *, chat: bool, finish: str | None = None, **more: Any) -> dict[str, Any]:
    content = {"delta": {"content": text}} if chat else {"text": text}
    choice = {"index": 0, **content, "logprobs": None, "finish_reason": finish}
    return {"id": "cmpl-1", "created": 1, "model": "m", "choices": [choice], **more}


def write(events: list[dict[str, Any]], *, ascii_only: bool, end: str = "\n\n") -> bytes:
    lines = [f"data: {json.dumps(event, ensure_ascii=ascii_only)}{end}" for event in events]
    return ("".join(lines) + f"data: [DONE]{end}").encode()


def blocks(body: bytes, random_: random.Random) -> Iterator[bytes]:
    while body:
        size = random_.choice((1, 7, 100, 1000, 5000))
        yield body[:size]
        body = body[size:]


@pytest.mark.parametrize("seed", range(40))
def test_every_text_is_read_once_whatever_the_blocks(seed: int) -> None:
    random_ = random.Random(seed)
    chat = seed % 2 == 0
    texts = random_.choices(WORDS, k=60)
    events = [chunk(text, chat=chat) for text in texts]
    last = chunk(" end", chat=chat, finish="length")
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 61}}
    end = random_.choice(("\n\n", "\r\n\r\n", "\n: keep-alive\n\n"))
    body = write([*events, last, usage], ascii_only=random_.random() < 0.5, end=end)

    exchange = Exchange(t_send=0.0, texts=[])
    reader = EventReader(exchange)
    assert all(reader.read(block, float(number)) for number, block in enumerate(blocks(body, random_), 1))
    reader.end()

    seen = [text for text in texts if text]
    assert (exchange.error, exchange.texts) == (None, [*seen, " end"])
    assert exchange.content_events == len(seen) + 1 == len(exchange.gaps_s) + 1
    assert exchange.t_first is not None
    assert exchange.t_last is not None
    assert exchange.t_first + sum(exchange.gaps_s) == pytest.approx(exchange.t_last)
    assert (exchange.finish_reason, exchange.prompt_tokens, exchange.output_tokens) == ("length", 3, 61)
    assert exchange.received_bytes == len(body)


def test_a_block_has_one_stamp() -> None:
    exchange = Exchange(t_send=0.0)
    reader = EventReader(exchange)
    body = write([chunk(" a", chat=False) for _ in range(5)], ascii_only=True).splitlines(keepends=True)
    reader.read(b"".join(body[:2]), 1.0)
    reader.read(b"".join(body[2:8]), 3.0)
    reader.read(b"".join(body[8:]), 3.5)
    assert (exchange.t_first, exchange.gaps_s, exchange.t_last) == (1.0, [2.0, 0.0, 0.0, 0.5], 3.5)


@pytest.mark.parametrize(
    ("late", "kind"),
    [
        (b'data: {"error": {"message": "out of memory"}}\n\n', "stream_error"),
        (b'event: error\ndata: {"choices": [{"index": 0, "text": " a"}]}\n\n', "stream_error"),
        (b"data: {nonsense\n\n", "malformed"),
        (b"<html>\n", "malformed"),
        (b'data: ["a"]\n\n', "malformed"),
        (b"", "truncated"),
    ],
)
def test_a_failure_after_many_chunks_alike(late: bytes, kind: str) -> None:
    exchange = Exchange(t_send=0.0)
    reader = EventReader(exchange)
    body = write([chunk(" a", chat=False) for _ in range(50)], ascii_only=True).removesuffix(b"data: [DONE]\n\n")
    assert reader.read(body, 1.0)
    assert reader.read(late, 2.0) == (kind == "truncated")
    reader.end()
    assert (exchange.error, exchange.content_events) == (kind, 50)


def test_no_output_is_empty() -> None:
    exchange = Exchange(t_send=0.0)
    reader = EventReader(exchange)
    reader.read(write([chunk("", chat=False), chunk(None, chat=True)], ascii_only=True), 1.0)
    reader.end()
    assert (exchange.error, exchange.t_first) == ("empty", None)


def test_reasoning_and_tool_calls_are_output_and_no_text() -> None:
    exchange = Exchange(t_send=0.0, texts=[])
    reader = EventReader(exchange)
    deltas = [{"reasoning_content": " hm"}] * 3 + [{"tool_calls": [{"index": 0}]}] + [{"content": " a"}] * 3
    events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    reader.read(write(events, ascii_only=True), 1.0)
    reader.end()
    assert exchange.content_events == 7
    assert "".join(exchange.texts or ()) == " a a a"
