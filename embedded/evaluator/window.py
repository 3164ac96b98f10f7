"""How many requests a model is asked at once: as many as it takes without complaint, `parallelism` at most.

NVIDIA's `parallelism` is a fixed number of requests. Here it is the ceiling: the window grows by one for each answer
until the model first complains, then by one for each full window of answers, and is halved at each complaint (429, 502,
503, 504, no answer in time, or one that took more than half of that time). Requests that were under way when it was
halved do not halve it again. It never falls below one.
"""

import asyncio
import math
import time
from dataclasses import dataclass

COMPLAINTS = frozenset({429, 502, 503, 504})
_FIRST = 16
_SLOW = 0.5
"""Share of `request_timeout` after which an answer counts as a complaint."""


@dataclass(frozen=True)
class Turn:
    """A request under way: when it began, and how often the window had been halved by then."""

    began: float
    halvings: int


class Window:
    """Of one model, in one event loop."""

    def __init__(self, most: int, timeout_s: float) -> None:
        self._most, self._slow_s = most, timeout_s * _SLOW
        self._size = float(min(_FIRST, most))
        self._under_way = self.refused = self._halvings = 0
        self._room = asyncio.Event()

    @property
    def size(self) -> int:
        """How many may be under way now."""
        return math.floor(self._size)

    async def enter(self) -> Turn:
        """Wait for a place."""
        while self._under_way >= self.size:
            self._room.clear()
            await self._room.wait()
        self._under_way += 1
        return Turn(time.monotonic(), self._halvings)

    def leave(self, turn: Turn, status: int | None) -> None:
        """Give the place back; `status` of the answer, None where none came in time."""
        used = 2 * self._under_way >= self.size  # a window that is not used says nothing of a larger one
        self._under_way -= 1
        complaint = status is None or status in COMPLAINTS
        self.refused += complaint
        if complaint or time.monotonic() - turn.began > self._slow_s:
            if turn.halvings == self._halvings:
                self._size, self._halvings = max(1.0, self._size / 2), self._halvings + 1
        elif used:
            self._size = min(float(self._most), self._size + (1 / self._size if self._halvings else 1))
        self._room.set()

    def cancel(self) -> None:
        """Give the place of a request back that was given up."""
        self._under_way -= 1
        self._room.set()

    def remark(self) -> str:
        """Say that the model was asked less at once than allowed, and why; empty if it was not."""
        if not self._halvings:
            return ""
        return (
            f"{self.refused} request(s) were refused or not answered in time; asked {self.size} at once in the end, "
            f"{self._most} are allowed"
        )
