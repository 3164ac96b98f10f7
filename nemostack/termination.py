"""SIGTERM and SIGHUP end a command as Ctrl-C does: whatever cleans up after one of them cleans up after all.

CI runners, Kubernetes, systemd and `timeout` end a command by SIGTERM, a terminal that closes by SIGHUP. One is enough:
those that follow do not disturb the cleanup, whereas Ctrl-C still does. A signal that was ignored when the command
started stays ignored, as `nohup` wants it. Commands that pass signals on to a child set their own handlers meanwhile.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """Raised in the main thread by SIGTERM and SIGHUP, which only this process may have got, not its children."""


@contextmanager
def ends_as_interrupt() -> Iterator[None]:
    """Raise Terminated at the first of the signals."""
    before = install()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def install() -> dict[signal.Signals, "signal._HANDLER"]:
    """Set the handlers for good; returns those before them. Does nothing outside of the main thread."""
    came: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if not came:
            came.append(number)
            raise Terminated(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        return {}
    taken = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, interrupt) for number in taken}
