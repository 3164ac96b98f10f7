"""The command line's output: progress on stderr, results on stdout.

On a terminal the line being worked on is live; otherwise plain lines, and a running job says something at most every
ten seconds, or when it has something new to say. All of it also goes to the log of the run. Secrets are blotted out.
"""

import logging
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status

from nemostack import log_lines
from nemostack.redact import redact

LOG = logging.getLogger("nemostack")
_PLAIN_EVERY_S = 10.0


def stdout() -> Console:
    """For results. Wide when not a terminal, so that no line is broken for a reader that is a program."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def stderr() -> Console:
    """For progress and errors."""
    console = Console(stderr=True, highlight=False)
    return console if console.is_terminal else Console(stderr=True, highlight=False, width=200)


class Progress:
    """What is going on. `update` replaces the live line, `line` stays."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or stderr()
        self._status: Status | None = None
        self._title = ""
        self._said_at = 0.0
        self._said = ""

    def start(self, title: str) -> None:
        """Begin a piece of work."""
        self.stop()
        self._title, self._said, self._said_at = title, "", time.monotonic()
        log_lines.bind(task=title)
        LOG.info("%s", redact(title))
        if self.console.is_terminal:
            self._status = self.console.status(_plain(title), spinner="dots")
            self._status.start()
        else:
            self.console.print(_plain(title), soft_wrap=True)

    def update(self, text: str) -> None:
        """News of the piece of work."""
        if text == self._said:
            return
        LOG.debug("%s: %s", redact(self._title), redact(text))
        if self._status is not None:
            self._status.update(_plain(f"{self._title}  {text}"))
            self._said = text
        elif not self.console.is_terminal and time.monotonic() - self._said_at >= _PLAIN_EVERY_S:
            self.console.print(_plain(f"  {text}"), soft_wrap=True)
            self._said, self._said_at = text, time.monotonic()

    def line(self, text: str) -> None:
        LOG.info("%s", redact(text))
        self.console.print(_plain(text), soft_wrap=True)

    def stop(self) -> None:
        """End the live line."""
        log_lines.bind(task=None)
        if self._status is not None:
            self._status.stop()
            self._status = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(redact(text))
