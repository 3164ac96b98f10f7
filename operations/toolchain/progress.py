"""Progress of long steps on stderr: what is done, how long it may take, time gone by.

On a terminal the elapsed time ticks in place; elsewhere a line comes every 30 seconds, so that a log shows life.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LINE_INTERVAL_S = 30.0


@contextmanager
def step(what: str) -> Iterator[None]:
    """Announce `what`, tick while the body runs, then say how long it took (or that it failed)."""
    terminal = sys.stderr.isatty()
    started = time.monotonic()
    done = threading.Event()

    def elapsed() -> str:
        seconds = int(time.monotonic() - started)
        return f"{seconds // 60}:{seconds % 60:02d}"

    def tick() -> None:
        while not done.wait(1.0 if terminal else LINE_INTERVAL_S):
            end = "" if terminal else "\n"
            print(f"{chr(13) if terminal else ''}==> {what} ... {elapsed()}", end=end, file=sys.stderr, flush=True)

    print(f"==> {what}", end="" if terminal else "\n", file=sys.stderr, flush=True)
    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    outcome = "failed after"
    try:
        yield
        outcome = "done in"
    finally:
        done.set()
        ticker.join()
        print(f"{chr(13) if terminal else ''}==> {what}: {outcome} {elapsed()}", file=sys.stderr, flush=True)
