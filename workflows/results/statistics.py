"""Estimates with 95 % intervals, and what may be concluded from them.

Per-item scores: percentile bootstrap of the mean (10,000 resamples, seeded, so that a report can be reproduced);
differences between approaches are paired, item by item. Only summary numbers (some Evaluators offer no samples):
normal intervals, and differences as if the two were independent, which is wider than pairing. A value that is not
finite is no score: it is left out and counted. Refuses to compare when there is nothing in common.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nemostack.models import Model

RESAMPLES = 10_000
LEVEL = 0.95
_Z = 1.959963984540054
_CELLS = 4_000_000  # index cells held at once: 32 MB

Method = Literal["bootstrap", "paired bootstrap", "Wilson", "normal", "none"]
Verdict = Literal["better", "worse", "unclear"]


class Estimate(Model):
    """A mean and its 95 % interval; `low` and `high` are None where the data allow none. `missing`: without a score."""

    mean: float
    low: float | None
    high: float | None
    n: int
    missing: int = 0
    method: Method


def of_items(
    values: Sequence[float], *, missing: int = 0, seed: int = 0, method: Method = "bootstrap"
) -> Estimate | None:
    """Mean of per-item values. None without a finite one, no interval for fewer than two."""
    array = np.asarray(values, dtype=np.float64)
    finite = array[np.isfinite(array)]
    missing += len(array) - len(finite)
    if len(finite) == 0:
        return None
    mean = float(finite.mean())
    if len(finite) == 1:
        return Estimate(mean=mean, low=None, high=None, n=1, missing=missing, method="none")
    tail = (1 - LEVEL) / 2 * 100
    low, high = np.percentile(resampled_means(finite, seed), [tail, 100 - tail])
    return Estimate(mean=mean, low=float(low), high=float(high), n=len(finite), missing=missing, method=method)


def of_shares(values: Sequence[float], *, missing: int = 0) -> Estimate:
    """Share of ones among zeros and ones, with Wilson's interval; it is honest where all answers are right, or none."""
    n = len(values)
    share = sum(values) / n
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * float(np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Estimate(mean=share, low=low, high=high, n=n, missing=missing, method="Wilson")


def of_summary(mean: float, stddev: float | None, n: int, *, missing: int = 0) -> Estimate:
    """Compute a normal interval from mean, population standard deviation and count."""
    if stddev is None or n < 2:
        return Estimate(mean=mean, low=None, high=None, n=n, missing=missing, method="none")
    half = _Z * stddev / float(np.sqrt(n))
    return Estimate(mean=mean, low=mean - half, high=mean + half, n=n, missing=missing, method="normal")


def paired_difference(a: Mapping[int, float], b: Mapping[int, float], *, seed: int = 0) -> Estimate | None:
    """Mean of b - a over the items that both have a score for; keys are item numbers. None when they share no item."""
    shared = sorted(a.keys() & b.keys())
    missing = len(a.keys() | b.keys()) - len(shared)
    return of_items([b[i] - a[i] for i in shared], missing=missing, seed=seed, method="paired bootstrap")


def independent_difference(a: Estimate, b: Estimate) -> Estimate:
    """B - a from two estimates that cannot be paired; their half-widths add as squares."""
    mean = b.mean - a.mean
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return Estimate(mean=mean, low=None, high=None, n=min(a.n, b.n), method="none")
    half = float(np.hypot((a.high - a.low) / 2, (b.high - b.low) / 2))
    return Estimate(mean=mean, low=mean - half, high=mean + half, n=min(a.n, b.n), method="normal")


def overlap(a: Estimate, b: Estimate) -> bool | None:
    """Whether the two intervals share a point; None when one of them has no interval."""
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return None
    return a.low <= b.high and b.low <= a.high


def verdict(difference: Estimate, margin: float = 0.0) -> Verdict:
    """Where the whole interval of a difference lies, seen from `margin`."""
    if difference.low is None or difference.high is None:
        return "unclear"
    if difference.low > margin:
        return "better"
    return "worse" if difference.high < margin else "unclear"


def resampled_means(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Means of resamples of the rows of `values`: one a resample, or one a resample and column.

    How often each row is drawn depends on the seed and the number of rows alone, so columns are resampled together.
    """
    n = len(values)
    if n * RESAMPLES <= _CELLS:
        return _all_draws(n, seed) @ values / n
    generator = np.random.default_rng(seed)
    rows = max(1, _CELLS // n)
    sizes = [min(rows, RESAMPLES - start) for start in range(0, RESAMPLES, rows)]
    return np.concatenate([_draws(generator, size, n) @ values / n for size in sizes])


@lru_cache(maxsize=1)
def _all_draws(n: int, seed: int) -> NDArray[np.float64]:
    """Kept, because a comparison asks for the same draws for each of its metrics."""
    return _draws(np.random.default_rng(seed), RESAMPLES, n)


def _draws(generator: np.random.Generator, size: int, n: int) -> NDArray[np.float64]:
    """Count how often each of `n` rows is drawn in each of `size` resamples."""
    index = generator.integers(0, n, size=(size, n), dtype=np.int64)
    index += np.arange(size)[:, None] * n
    return np.bincount(index.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)
