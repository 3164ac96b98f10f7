"""Estimates against closed forms, and against scipy, which bootstraps by its own code."""

import math
import statistics as plain

import numpy as np
import pytest
from scipy import stats

from workflows.results.statistics import (
    Estimate,
    independent_difference,
    of_items,
    of_summary,
    overlap,
    paired_difference,
    verdict,
)


def width(found: Estimate) -> float:
    assert found.low is not None
    assert found.high is not None
    return found.high - found.low


def skewed(n: int) -> list[float]:
    return list(np.random.default_rng(7).beta(2, 5, size=n))


def test_bootstrap_agrees_with_scipy() -> None:
    values = skewed(100)
    found = of_items(values)
    assert found is not None
    other = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(99))
    interval = other.confidence_interval
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.002)
    assert found.mean == pytest.approx(plain.fmean(values))


def test_bootstrap_of_a_coin_follows_the_binomial() -> None:
    # A resampled mean of k ones in n is Binomial(n, k / n) / n, exactly.
    n, ones = 60, 24
    found = of_items([1.0] * ones + [0.0] * (n - ones))
    exact = stats.binom(n, ones / n).ppf([0.025, 0.975]) / n
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(exact), abs=1 / n)


def test_wide_samples_narrow_as_the_root_of_n() -> None:
    small, large = of_items(skewed(100)), of_items(skewed(10_000))
    assert small is not None
    assert large is not None
    assert width(small) / width(large) == pytest.approx(10, rel=0.2)


def test_same_seed_same_interval() -> None:
    assert of_items(skewed(50), seed=3) == of_items(skewed(50), seed=3)
    assert of_items(skewed(50), seed=3) != of_items(skewed(50), seed=4)


def test_values_that_are_none_are_counted() -> None:
    found = of_items([0.5, math.nan, 0.7, math.inf], missing=2)
    assert found is not None
    assert (found.mean, found.n, found.missing) == (pytest.approx(0.6), 2, 4)
    assert of_items([math.nan]) is None
    assert of_items([]) is None


def test_one_item_has_no_interval() -> None:
    assert of_items([0.4]) == Estimate(mean=0.4, low=None, high=None, n=1, method="none")
    assert of_summary(0.4, None, 100).low is None


def test_summary_is_the_normal_interval() -> None:
    found = of_summary(0.5, 0.2, 100)
    low, high = stats.norm(0.5, 0.2 / 10).interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_pairing_removes_what_both_share() -> None:
    noise = skewed(100)
    a = dict(enumerate(noise))
    b = {i: value + 0.01 * (1 + (i % 2)) for i, value in a.items()}
    found = paired_difference(a, b)
    first, second = of_items(list(a.values())), of_items(list(b.values()))
    assert found is not None
    assert first is not None
    assert second is not None
    assert found.mean == pytest.approx(0.015)
    assert verdict(found) == "better"
    assert overlap(first, second) is True  # though their own intervals overlap
    assert verdict(independent_difference(first, second)) == "unclear"


def test_pairing_uses_only_shared_items() -> None:
    found = paired_difference({0: 0.1, 1: 0.1, 2: 0.9}, {0: 0.2, 1: 0.2, 7: 0.0})
    assert found is not None
    assert (found.mean, found.n, found.missing) == (pytest.approx(0.1), 2, 2)
    assert paired_difference({0: 0.1}, {1: 0.1}) is None


def test_independent_difference_is_the_two_sample_z_interval() -> None:
    found = independent_difference(of_summary(0.4, 0.3, 90), of_summary(0.6, 0.2, 40))
    half = stats.norm.ppf(0.975) * math.sqrt(0.3**2 / 90 + 0.2**2 / 40)
    assert (found.low, found.high) == pytest.approx((0.2 - half, 0.2 + half))


def estimate(low: float | None, high: float | None) -> Estimate:
    return Estimate(mean=0.0, low=low, high=high, n=5, method="normal")


@pytest.mark.parametrize(
    ("low", "high", "margin", "expected"),
    [
        (0.01, 0.2, 0.0, "better"),
        (0.01, 0.2, 0.05, "unclear"),
        (-0.2, -0.01, 0.0, "worse"),
        (-0.1, 0.1, 0.0, "unclear"),
        (0.0, 0.1, 0.0, "unclear"),
        (0.01, 0.02, 0.05, "worse"),
        (None, None, 0.0, "unclear"),
    ],
)
def test_verdict(low: float | None, high: float | None, margin: float, expected: str) -> None:
    assert verdict(estimate(low, high), margin) == expected


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [((0, 1), (1, 2), True), ((0, 1), (1.01, 2), False), ((0, 3), (1, 2), True), ((None, None), (1, 2), None)],
)
def test_overlap(a: tuple[float, float], b: tuple[float, float], expected: bool | None) -> None:
    assert overlap(estimate(*a), estimate(*b)) is expected
    assert overlap(estimate(*b), estimate(*a)) is expected


def test_coverage_is_about_95_percent() -> None:
    generator = np.random.default_rng(5)
    hits = 0
    for seed in range(200):
        found = of_items(list(generator.normal(0.5, 0.1, size=60)), seed=seed)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0.5 <= found.high
    assert 180 <= hits <= 198  # 95 % of 200, give or take three standard deviations
