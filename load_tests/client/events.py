"""The events of one streamed completion, read block by block as they come.

An event counts as output only when its text, reasoning or tool call is not empty: the role-only first event, the usage
event and `[DONE]` do not. All events of a block have its stamp. A 2xx status alone is no success: an error event in the
stream, a stream without output and one that ends without `[DONE]` are failures of their own kinds.

The chunks of a reply differ in nothing but their text, so one that is alike before and after a text is not parsed
again: its text decides nothing but whether it is there. A text of other than plain ASCII, with quotes or escapes, and
whatever is not alike, is parsed as JSON.
"""

import json
import re
from typing import Any, Final, NamedTuple

from load_tests.client.exchange import Exchange

_TEXT: Final = re.compile(rb'"(?:text|content)": ?"([ !#-\[\]-~]+)"')
_is_plain: Final = re.compile(rb"[ !#-\[\]-~]+").fullmatch  # ASCII without quote, escape and control characters
_END: Final = b"\n\n"
_LOOKS: Final = 8
"""How many chunks of a reply are looked at for what they have in common."""


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


class _Alike(NamedTuple):
    """What stands before and after the text of most chunks of a reply, and between the texts of two."""

    before: bytes
    after: bytes
    between: bytes


class EventReader:
    """Fills an exchange from the blocks of its reply's body. After a failure it reads nothing more."""

    __slots__ = ("_alike", "_done", "_error_event", "_exchange", "_looks", "_rest")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._rest = b""
        self._alike: _Alike | None = None
        self._looks = _LOOKS
        self._error_event = self._done = False

    def read(self, block: bytes, stamp: float) -> bool:
        """Read a block that came at `stamp` (s); False when the reply has failed."""
        exchange, alike = self._exchange, self._alike
        exchange.received_bytes += len(block)
        block = self._rest + block
        outputs = 0
        if alike is not None and len(pieces := block.split(alike.between)) > 2:
            outputs = self._read_lines(pieces[0] + alike.after + _END)
            texts = pieces[1:-1]
            if self._alike is alike and all(texts) and _is_plain(b"".join(texts)):
                outputs += self._take(texts)
                block = alike.before + pieces[-1]
            else:
                block = alike.before + alike.between.join(pieces[1:])
        if exchange.error is None:
            outputs += self._read_lines(block)
        if outputs:
            _stamp(exchange, stamp, outputs)
        return exchange.error is None

    def _read_lines(self, block: bytes) -> int:
        """Read a block line by line, and keep what is left of it; the number of events with output."""
        *lines, self._rest = block.split(b"\n")
        outputs = 0
        for line in lines:
            if not line:
                continue
            alike = self._alike
            if alike is not None and line.startswith(alike.before) and line.endswith(alike.after):
                text = line[len(alike.before) : -len(alike.after)]
                if _is_plain(text):
                    outputs += self._take([text])
                    continue
            outputs += self._read_line(line)
            if self._exchange.error is not None:
                break
        return outputs

    def _take(self, texts: list[bytes]) -> int:
        """Take the plain texts of chunks that are alike otherwise; how many they are."""
        if self._exchange.texts is not None:
            self._exchange.texts.extend(text.decode("ascii") for text in texts)
        return len(texts)

    def end(self) -> None:
        """Tell the end of the body."""
        exchange = self._exchange
        if not self._done:
            exchange.fail("truncated", f"the stream ended without [DONE] after {exchange.content_events} output events")
        elif exchange.t_first is None:
            exchange.fail("empty", "the stream held no output")

    def _read_line(self, line: bytes) -> bool:
        """Read one line; whether it is an event with output."""
        exchange = self._exchange
        if not line.startswith(b"data:"):
            if line.startswith(b"event:"):
                self._error_event = line[6:].strip() == b"error"
                self._alike = None
            elif line.strip() and not line.startswith((b":", b"id:", b"retry:")):
                exchange.fail("malformed", f"not a line of an event stream: {line[:80]!r}")
            return False
        data = line[5:].strip()
        if data == b"[DONE]":
            self._done = True
            return False  # read on to the end of the body, so that the connection can be used again
        try:
            event = json.loads(data)
        except ValueError:
            exchange.fail("malformed", f"not JSON: {data[:80]!r}")
            return False
        if not isinstance(event, dict):
            exchange.fail("malformed", f"not a JSON object: {data[:80]!r}")
            return False
        if self._error_event or event.get("error") or event.get("object") == "error":
            exchange.fail("stream_error", event.get("error") or event.get("message") or data.decode("utf-8", "replace"))
            return False
        for choice in event.get("choices") or ():
            exchange.finish_reason = choice.get("finish_reason") or exchange.finish_reason
        if usage := event.get("usage"):
            exchange.prompt_tokens = usage.get("prompt_tokens")
            exchange.output_tokens = usage.get("completion_tokens")
            exchange.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        if not has_output(event):
            return False
        if exchange.texts is not None:
            exchange.texts.append(text_of(event))
        if self._looks and not usage and exchange.finish_reason is None:
            self._looks -= 1
            self._alike = _around(line, text_of(event))
        return True


def _around(line: bytes, text: str) -> _Alike | None:
    """Return what stands before and after the `text` of a chunk; None where that is not plain to see."""
    matches = list(_TEXT.finditer(line))
    if len(matches) != 1 or matches[0][1] != text.encode():
        return None
    before, after = line[: matches[0].start(1)], line[matches[0].end(1) :]
    return _Alike(before, after, between=after + _END + before)


def _stamp(exchange: Exchange, stamp: float, outputs: int) -> None:
    """Count events with output that came together."""
    if exchange.t_last is None:
        exchange.t_first = stamp
    else:
        exchange.gaps_s.append(stamp - exchange.t_last)
    exchange.gaps_s.extend([0.0] * (outputs - 1))
    exchange.t_last = stamp
    exchange.content_events += outputs
