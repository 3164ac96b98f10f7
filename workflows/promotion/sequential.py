"""A sequential test of paired gains that may be looked at after every item, as often as one likes.

A confidence sequence: with the probability of its level, the true mean lies in all of its intervals at once. It is
the empirical-Bernstein one of Waudby-Smith and Ramdas ("Estimating means of bounded random variables by betting", 2023)
with predictable plug-in weights, for values in [0, 1]; gains lie in [-1, 1] and are moved there. Needs no assumption
but that the items come in a random order. Refuses gains outside of [-1, 1].
"""

import math
from dataclasses import dataclass, field

_LARGEST_BET = 0.5


@dataclass
class ConfidenceSequence:
    """Feed it gains; `low` and `high` enclose the mean gain at any time."""

    alpha: float = 0.05
    n: int = 0
    low: float = -1.0
    high: float = 1.0
    _bets: float = field(default=0.0, repr=False)
    _won: float = field(default=0.0, repr=False)
    _spent: float = field(default=0.0, repr=False)
    _sum: float = field(default=0.5, repr=False)  # one imagined item in the middle
    _squares: float = field(default=0.25, repr=False)
    _total: float = field(default=0.0, repr=False)

    @property
    def mean(self) -> float:
        """Plain mean of the gains so far."""
        return self._total / self.n if self.n else 0.0

    def add(self, gain: float) -> None:
        """Take one more item."""
        if not -1 <= gain <= 1:
            raise ValueError(f"a gain of {gain} lies outside of -1 to 1")
        value = (gain + 1) / 2
        before, spread = self._sum / (self.n + 1), self._squares / (self.n + 1)
        self.n += 1
        self._total += gain
        bet = math.sqrt(2 * math.log(2 / self.alpha) / (spread * self.n * math.log(1 + self.n)))
        bet = min(bet, _LARGEST_BET)
        self._bets += bet
        self._won += bet * value
        self._spent += (value - before) ** 2 * (-math.log(1 - bet) - bet)
        self._sum += value
        self._squares += (value - self._sum / (self.n + 1)) ** 2
        middle, half = self._won / self._bets, (math.log(2 / self.alpha) + self._spent) / self._bets
        self.low = max(self.low, 2 * (middle - half) - 1)
        self.high = min(self.high, 2 * (middle + half) - 1)
