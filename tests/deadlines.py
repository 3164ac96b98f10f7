"""Deadlines of tests that wait for something: longer while the machine has more to do than it has cores.

So what hangs fails in the time that is named, and what is only slow because others work beside it does not.
"""

import os
import time


def stretched(seconds: float) -> float:
    """Return so many seconds of a machine that has a core for everything that runs."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


class Deadline:
    """Passed after so many seconds, stretched."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._begun = seconds, time.monotonic()

    @property
    def passed(self) -> bool:
        return time.monotonic() - self._begun > stretched(self._seconds)
