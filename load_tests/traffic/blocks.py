"""Blocks of a run in which one thing is off, or on, in turn: so that what it costs is measured within one run.

Two runs one after the other differ by more than what is to be measured: caches fill, clocks change, neighbours come.
Blocks of a few seconds in the order off on on off, off on on off, ... meet the same machine, and what drifts evenly
over the run falls out of the difference.

| contrast  | off                     | on                                                       |
|-----------|-------------------------|----------------------------------------------------------|
| base      | the base model alone    | adapters alone, as the mix has them                      |
| neighbour | the mix                 | the mix, and `--neighbour ID=RATE` on top, open loop     |
| beside    | the mix                 | the mix, while `--beside COMMAND` runs                   |

A command cannot be put on hold, so `beside` has one stretch of it, the middle third of the window, and blocks are cut
out of all three thirds. The first `SETTLE` of each block is not looked at: replies of the block before are still
running in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

ContrastKind = Literal["base", "neighbour", "beside"]
SETTLE: Final = 0.3
FEWEST_BLOCKS: Final = 6
_ORDER: Final = (False, True, True, False)


@dataclass(frozen=True, slots=True)
class Block:
    """One stretch, in seconds of the run's clock; `on` says whether the thing was on in it."""

    start: float
    end: float
    on: bool

    @property
    def looked_at(self) -> tuple[float, float]:
        """Without the time in which it settles."""
        return self.start + SETTLE * (self.end - self.start), self.end


@dataclass(frozen=True, slots=True)
class Contrast:
    """What is on and off in turn, and for how long each time."""

    kind: ContrastKind
    block_s: float

    def on_at(self, at: float, window: tuple[float, float]) -> bool:
        """Whether the thing is on at a time of the run's clock; never outside of the window."""
        start, end = window
        if not start <= at < end:
            return False
        if self.kind == "beside":
            first, last = self.stretch(window)
            return first <= at < last
        return _ORDER[int((at - start) / self.block_s) % len(_ORDER)]

    def stretch(self, window: tuple[float, float]) -> tuple[float, float]:
        """Start and end of the middle third."""
        start, end = window
        return start + (end - start) / 3, start + 2 * (end - start) / 3

    def blocks(self, window: tuple[float, float]) -> Iterator[Block]:
        """Whole blocks inside of the window, in order."""
        start, end = window
        parts = [(start, end)]
        if self.kind == "beside":
            first, last = self.stretch(window)
            parts = [(start, first), (first, last), (last, end)]
        for begin, stop in parts:
            for k in range(int((stop - begin) / self.block_s + 1e-9)):
                low = begin + k * self.block_s
                yield Block(low, low + self.block_s, self.on_at(low + self.block_s / 2, window))
