"""Structured logs: with NEMOSTACK_LOG_FORMAT=json every line of progress or log is one JSON object.

    {"time": "2026-01-05T09:10:11.123Z", "level": "info", "event": "...", "stack": "local", "run": "..."}

One place for all commands and services: stderr (of services stdout as well) is replaced by a stream that makes an
object of what one write brings, so nobody who prints has to know. The level is what the text begins with ("error: ",
"WARNING ...") and is taken off. `bind` adds fields to all later lines. Secrets are blotted out. Refuses to touch
results on stdout, and what other programs write to the terminal themselves, such as Pulumi's own table.
"""

import contextlib
import io
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal, TextIO, get_args

from nemostack.redact import redact

ENV = "NEMOSTACK_LOG_FORMAT"
Format = Literal["text", "json"]
FORMATS: tuple[str, ...] = get_args(Format)
_LEVEL = re.compile(
    r"(error|critical|fatal|warning|notice|info|debug)(?::\s*|\s*\n\s*|\s+(?=\d\d-\d\d |\d{4}-|\[))", re.IGNORECASE
)
_NOISE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|==> |[ \u2500-\u257f]*[\u2500-\u257f] *")  # colours, arrows, boxes
_CLOCK = re.compile(r"(?:\d{4}-)?\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?\s+")
_bound: dict[str, str] = {}


def wants_json() -> bool:
    """Whether the environment asks for it."""
    return os.environ.get(ENV) == "json"


def bind(**fields: str | None) -> None:
    """Add fields to every later line of this process; None takes one away."""
    for name, value in fields.items():
        if value is None:
            _bound.pop(name, None)
        else:
            _bound[name] = value


@contextlib.contextmanager
def bound(**fields: str) -> Iterator[None]:
    """Add fields to the lines of the body."""
    before = {name: _bound.get(name) for name in fields}
    bind(**fields)
    try:
        yield
    finally:
        bind(**before)


def line(event: str, level: str = "info", **fields: Any) -> str:
    """Make one object of JSON, without the end of the line."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    row = {"time": at, "level": level, "event": redact(event), **_bound, **fields}
    return json.dumps(row, ensure_ascii=False, default=str)


def line_of_text(text: str) -> str | None:
    """Make an object of what somebody has printed; None of white space. What is an object of ours already stays so."""
    text = _NOISE.sub("", text.rpartition("\r")[2]).strip()
    if not text:
        return None
    if text.startswith('{"time": ') and text.endswith("}") and "\n" not in text:
        return text
    found = _LEVEL.match(text)
    level = found.group(1).lower() if found else "info"
    return line(_CLOCK.sub("", text[found.end() :], count=1) if found else text, level)


class JsonFormatter(logging.Formatter):
    """Records of Python's logging as such lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Make one line, with the traceback as a field."""
        fields = {"logger": record.name}
        if record.exc_info:
            fields["traceback"] = redact(self.formatException(record.exc_info))
        return line(record.getMessage(), record.levelname.lower(), **fields)


class JsonStream(io.TextIOBase):
    """Writes objects to `target`: what one write brings is one event, once it ends with the end of a line."""

    encoding = "utf-8"

    def __init__(self, target: TextIO) -> None:
        self.target = target
        self._lock = threading.Lock()
        self._begun = threading.local()  # `print` writes the text and the end of its line apart

    def write(self, text: str) -> int:
        """Keep what has no end yet, and pass the rest on."""
        whole, end, rest = (getattr(self._begun, "text", "") + text).rpartition("\n")
        self._begun.text = rest
        self._pass_on(whole if end else "")
        return len(text)

    def flush(self) -> None:
        """Let nothing wait, such as a question whose line does not end."""
        text, self._begun.text = getattr(self._begun, "text", ""), ""
        self._pass_on(text)

    def _pass_on(self, text: str) -> None:
        made = line_of_text(text)
        if made is not None:
            with self._lock:
                self.target.write(made + "\n")
                self.target.flush()

    def isatty(self) -> bool:
        """Nobody should draw on it."""
        return False

    def fileno(self) -> int:
        """Whatever children write to."""
        return self.target.fileno()

    def writable(self) -> bool:
        """It is for nothing else."""
        return True


def install(*, stdout: bool = False, **fields: str) -> None:
    """Replace stderr, and `stdout` where that is a log too, if the environment asks for JSON. Twice does no harm."""
    if not wants_json():
        return
    bind(**fields)
    for name in ("stderr", *(["stdout"] if stdout else [])):
        stream = getattr(sys, name)
        if not isinstance(stream, JsonStream):
            setattr(sys, name, JsonStream(stream))


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Do so for a while; `choose` inside of the body still counts."""
    stderr, bindings, asked = sys.stderr, dict(_bound), os.environ.get(ENV)
    install()
    try:
        yield
    finally:
        sys.stderr = stderr
        _bound.clear()
        _bound.update(bindings)
        os.environ.pop(ENV, None)
        if asked is not None:
            os.environ[ENV] = asked


def choose(asked: str) -> None:
    """Take a format from here on, in children as well. ValueError for a word that is none."""
    if asked not in FORMATS:
        raise ValueError(f"{asked!r} is no format of the log: choose one of {', '.join(FORMATS)}")
    os.environ[ENV] = asked
    install()


def text_environment() -> dict[str, str]:
    """Our environment for a child whose words are read by us."""
    return {name: value for name, value in os.environ.items() if name != ENV}


def write(event: str, level: str = "info", **fields: Any) -> None:
    """Write one object to stderr, which `install` has replaced."""
    print(line(event, level, **fields), file=sys.stderr, flush=True)
