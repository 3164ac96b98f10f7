"""Intervals of means and ratios, from few values that were measured one after the other.

All are 95 % intervals unless told otherwise. They answer "what would this be if I measured on", and hold as far as the
values are independent; where the module that calls knows better (blocks of one run, repeats of a run), it says which
values it gives.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

RESAMPLES: Final = 400
FEWEST: Final = 3


def _student(freedom: float, confidence: float) -> float:
    """Return how many standard errors an interval reaches to each side of a mean."""
    from scipy.special import stdtrit  # a quarter of a second, and the processes that send never judge

    return float(stdtrit(freedom, 0.5 + confidence / 2))


def of_mean(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> tuple[float, float] | None:
    """Return Student's interval of the mean; None below three values."""
    found = np.asarray(values, dtype=np.float64)
    if len(found) < FEWEST:
        return None
    half = _student(len(found) - 1, confidence) * float(found.std(ddof=1)) / math.sqrt(len(found))
    return float(found.mean()) - half, float(found.mean()) + half


@dataclass(frozen=True, slots=True)
class Ratio:
    """How `candidate` stands to `baseline`: 1.1 is a tenth more. `low` and `high` are None with too few values."""

    baseline: float | None
    candidate: float | None
    ratio: float | None
    low: float | None
    high: float | None
    values: tuple[int, int]


def of_ratio(baseline: Sequence[float], candidate: Sequence[float], confidence: float = 0.95) -> Ratio:
    """Return the ratio of the geometric means with Welch's interval on the logarithms; two values each are too few.

    The values must be positive: others say nothing of a ratio, and are left out.
    """
    a, b = (np.log([v for v in values if v > 0]) for values in (baseline, candidate))
    counts = (len(a), len(b))
    means = tuple(float(np.exp(v.mean())) if len(v) else None for v in (a, b))
    if not len(a) or not len(b):
        return Ratio(means[0], means[1], None, None, None, counts)
    middle = float(b.mean() - a.mean())
    if min(counts) < FEWEST:
        return Ratio(means[0], means[1], math.exp(middle), None, None, counts)
    parts = [float(v.var(ddof=1)) / len(v) for v in (a, b)]
    error = sum(parts)
    if error == 0:
        return Ratio(means[0], means[1], math.exp(middle), math.exp(middle), math.exp(middle), counts)
    freedom = error**2 / sum(part**2 / (count - 1) for part, count in zip(parts, counts, strict=True))
    half = _student(freedom, confidence) * math.sqrt(error)
    return Ratio(means[0], means[1], math.exp(middle), math.exp(middle - half), math.exp(middle + half), counts)


def bootstrap_ratio(
    baseline: Sequence[np.ndarray], candidate: Sequence[np.ndarray], statistic: Callable[[np.ndarray], float]
) -> Ratio:
    """Return the ratio of a statistic of two pools of samples, which come in blocks of time that are resampled whole.

    Samples of one second are alike (they shared a queue), so that resampling single ones would promise too much.
    """
    pools = [[block for block in blocks if len(block)] for blocks in (baseline, candidate)]
    counts = (sum(map(len, pools[0])), sum(map(len, pools[1])))
    values = [statistic(np.concatenate(pool)) if pool else None for pool in pools]
    below, above = values
    ratio = above / below if below and above is not None else None
    if ratio is None or min(len(pool) for pool in pools) < FEWEST:
        return Ratio(below, above, ratio, None, None, counts)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        picked = [np.concatenate([pool[k] for k in rng.integers(len(pool), size=len(pool))]) for pool in pools]
        if base := statistic(picked[0]):
            drawn.append(statistic(picked[1]) / base)
    low, high = np.percentile(drawn, [2.5, 97.5]) if drawn else (math.nan, math.nan)
    return Ratio(below, above, ratio, float(low), float(high), counts)
