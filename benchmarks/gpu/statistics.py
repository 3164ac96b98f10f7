"""Intervals of medians and of ratios, by resampling: how far repeated runs of one benchmark lie apart."""

import random
import statistics
from collections.abc import Callable, Sequence

RESAMPLES = 2000


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Median and its 95 % interval."""
    return _bootstrap(len(values), lambda chosen: statistics.median(values[i] for i in chosen))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Ratio of medians and its 95 % interval. Values of the same place were measured in the same round."""
    return _bootstrap(
        min(len(ours), len(theirs)),
        lambda chosen: statistics.median(ours[i] for i in chosen) / statistics.median(theirs[i] for i in chosen),
    )


def geometric_mean(values: Sequence[float]) -> tuple[float, float, float]:
    """Geometric mean, of ratios for instance, and its 95 % interval."""
    return _bootstrap(len(values), lambda chosen: statistics.geometric_mean(values[i] for i in chosen))


def _bootstrap(count: int, value: Callable[[Sequence[int]], float]) -> tuple[float, float, float]:
    numbers = random.Random(0)
    found = sorted(value([numbers.randrange(count) for _ in range(count)]) for _ in range(RESAMPLES))
    return value(range(count)), found[int(0.025 * RESAMPLES)], found[int(0.975 * RESAMPLES)]
