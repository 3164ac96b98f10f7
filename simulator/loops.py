"""A thread that does one thing again and again, as a controller does.

It looks less often while there is nothing to do, and rests as long as a look took, so that a big cluster is not kept
busy by being looked at.
"""

import threading
import time
from collections.abc import Callable

import httpx

from simulator.api import ApiError

SHORTEST_S = 0.2
LONGEST_S = 1.6


class Loop:
    """Calls `once` until it is stopped. `once` says whether it changed something: then the next look comes soon."""

    def __init__(self, name: str, once: Callable[[], bool]) -> None:
        self.name = name
        self._once = once
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.trouble = ""
        """Why the last round failed, empty if it did not."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End, if it was started."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        period = SHORTEST_S
        took = 0.0
        while not self._stop.wait(max(period, took)):
            started = time.monotonic()
            try:
                period = SHORTEST_S if self._once() else min(2 * period, LONGEST_S)
                self.trouble = ""
            except (ApiError, httpx.HTTPError) as error:  # somebody else wrote in between, or deleted it: look again
                self.trouble, period = str(error), SHORTEST_S
            took = time.monotonic() - started
