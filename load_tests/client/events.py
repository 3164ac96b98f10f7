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
from typing import Any, Final

from load_tests.client.exchange import Exchange

_TEXT: Final = re.compile(rb'"(?:text|content)": ?"([ !#-\[\]-~]+)"')
_is_plain: Final = re.compile(rb"[ !#-\[\]-~]+").fullmatch  # ASCII without quote, escape and control characters
_NOTHING: Final = (b"", b"")
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


class EventReader:
    """Fills an exchange from the blocks of its reply's body. After a failure it reads nothing more."""

    __slots__ = ("_alike", "_done", "_error_event", "_exchange", "_looks", "_rest")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._rest = b""
        self._alike = _NOTHING  # what stands before and after the text of most chunks
        self._looks = _LOOKS
        self._error_event = self._done = False

    def read(self, block: bytes, stamp: float) -> bool:
        """Read a block that came at `stamp` (s); False when the reply has failed."""
        exchange = self._exchange
        exchange.received_bytes += len(block)
        *lines, self._rest = (self._rest + block).split(b"\n")
        outputs = 0
        before, after = self._alike
        for line in lines:
            if not line:
                continue
            if before and line.startswith(before) and line.endswith(after):
                text = line[len(before) : -len(after)]
                if _is_plain(text):
                    outputs += 1
                    if exchange.texts is not None:
                        exchange.texts.append(text.decode("ascii"))
                    continue
            outputs += self._read_line(line)
            if exchange.error is not None:
                break
            before, after = self._alike
        if outputs:
            _stamp(exchange, stamp, outputs)
        return exchange.error is None

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
                self._alike = _NOTHING
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


def _around(line: bytes, text: str) -> tuple[bytes, bytes]:
    """Return what stands before and after the `text` of a chunk; nothing where that is not plain to see."""
    matches = list(_TEXT.finditer(line))
    if len(matches) != 1 or matches[0][1] != text.encode():
        return _NOTHING
    return line[: matches[0].start(1)], line[matches[0].end(1) :]


def _stamp(exchange: Exchange, stamp: float, outputs: int) -> None:
    """Count events with output that came together."""
    if exchange.t_last is None:
        exchange.t_first = stamp
    else:
        exchange.gaps_s.append(stamp - exchange.t_last)
    exchange.gaps_s.extend([0.0] * (outputs - 1))
    exchange.t_last = stamp
    exchange.content_events += outputs
