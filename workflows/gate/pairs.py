"""Tests on pairs: what two models have scored on the same items.

    gain_p_values       paired bootstrap, one-sided: could the mean gain be no more than the margin?
    mcnemar_p           exact McNemar test, one-sided, for items that are right or wrong
    holm                the same p-values, corrected for several candidates
    detectable_gain     the smallest gain that as many items of this spread would show
    items_needed        the items that would show a gain of a certain size

A gain is shown at `ONE_SIDED`, half of what a 95 % interval leaves out, so that a test agrees with its interval.
Refuses nothing: where nothing can be said (no item, one item), a p-value is 1 and a size is None.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from workflows.results.statistics import LEVEL, RESAMPLES, resampled_means

ONE_SIDED = (1 - LEVEL) / 2
POWER = 0.8


def gain_p_values(gains: NDArray[np.float64], margin: float = 0.0, *, seed: int = 0) -> NDArray[np.float64]:
    """Share of resamples whose mean gain is not above `margin`, for each column of `gains` (items by candidates)."""
    if len(gains) < 2:
        return np.ones(gains.shape[1])
    not_above = (resampled_means(gains, seed) <= margin + _rounding(gains)).sum(axis=0)
    return np.asarray((1 + not_above) / (RESAMPLES + 1), dtype=np.float64)


def _rounding(gains: NDArray[np.float64]) -> float:
    """What sums of floating-point numbers may be off by: a mean gain that is exactly the margin is no gain."""
    return 1e-12 * max(1.0, float(np.abs(gains).max(initial=0.0)))


def mcnemar_p(won: int, lost: int) -> float:
    """Probability of at least `won` of the items on which one of the two alone is right, if it were a coin's choice."""
    disagree = won + lost
    ways: int = sum(math.comb(disagree, k) for k in range(won, disagree + 1))
    return ways / (1 << disagree)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: of all that pass at a level, none is wrong but with the probability of the level."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def detectable_gain(stddev: float, n: int, *, candidates: int = 1) -> float | None:
    """Gain that is shown in 8 of 10 samples of `n` items whose gains have this standard deviation."""
    return None if n < 2 else _noise(candidates) * stddev / math.sqrt(n)


def items_needed(stddev: float, gain: float, *, candidates: int = 1) -> int | None:
    """Items of this spread with which a true gain of this size is shown in 8 of 10 samples; None for no gain."""
    return None if gain <= 0 else math.ceil((_noise(candidates) * stddev / gain) ** 2)


def _noise(candidates: int) -> float:
    """Standard errors that a true gain must measure, at the level of the strictest of Holm's steps."""
    normal = NormalDist()
    return normal.inv_cdf(1 - ONE_SIDED / candidates) + normal.inv_cdf(POWER)
