"""From a measured curve to replicas, GPUs and cost: what one replica holds under an SLO, and what a target rate takes.

A point of the curve is one run at one rate, with the verdict of the SLO. What a replica holds lies between the highest
rate up to which every run passed and the lowest one above it at which one failed; the plan is made for the former. Runs
at the same rate must all pass. Replicas are taken to add up, since only one was measured: a router that favours some of
them, or caches that they no longer share, is in no number here.

It says when it extrapolates: when no run failed (the limit was not reached), when the lowest run failed already, when
a plan of several replicas gives each less than the lowest measured rate, and when a gap between the last good and the
first bad rate is wider than a quarter.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from load_tests.verdict.slo import Verdict
from nemostack.prices import Price

HOURS_PER_MONTH: Final = 730.0
WIDE_GAP: Final = 1.25


@dataclass(frozen=True, slots=True)
class Point:
    """One run: successes per second, output tokens per second with their interval, and its verdict."""

    run: str
    rate: float
    tokens_per_s: float
    tokens_interval: tuple[float, float] | None
    verdict: Verdict
    open_loop: bool


@dataclass(frozen=True, slots=True)
class Limit:
    """What one replica holds: at least `holds` requests/s, and less than `breaks` (None: not reached)."""

    holds: float
    breaks: float | None
    tokens_per_s: float
    tokens_interval: tuple[float, float]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Span:
    """A number with the range in which the measurement leaves it."""

    value: float
    low: float
    high: float


def of_gpus(price: Price, count: int) -> Span:
    """Price of so many GPUs; its middle is halfway between the ends."""
    low, high = (usd * count / price.gpus for usd in price.usd_per_hour)
    return Span((low + high) / 2, low, high)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a target rate takes. Costs are of machines that run all the time; `notes` say what was not measured."""

    target_rate: float
    replicas: Span
    gpus: Span
    usd_per_month: Span
    usd_per_million_tokens: Span
    full_load_usd_per_million_tokens: Span
    notes: list[str]


def limit(points: Sequence[Point]) -> Limit | None:
    """Find what a replica holds; None when not even the lowest rate passed."""
    by_rate: dict[float, list[Point]] = defaultdict(list)
    for point in points:
        by_rate[round(point.rate, 6)].append(point)
    good: list[Point] = []
    breaks: float | None = None
    for rate in sorted(by_rate):
        if any(point.verdict is not Verdict.PASS for point in by_rate[rate]):
            breaks = rate
            break
        good = by_rate[rate]
    if not good:
        return None
    tokens = sum(point.tokens_per_s for point in good) / len(good)
    ends = [point.tokens_interval or (point.tokens_per_s, point.tokens_per_s) for point in good]
    notes = []
    if breaks is None:
        notes.append(f"no run failed, so the limit lies above {good[0].rate:g} requests/s: measure higher rates")
    elif breaks > WIDE_GAP * good[0].rate:
        notes.append(f"nothing was measured between {good[0].rate:g} and {breaks:g} requests/s: measure there")
    if any(not point.open_loop for point in points):
        notes.append("some runs are closed loops, whose users wait for a slow server: their rates are no arrival rates")
    if len({round(point.rate, 6) for point in points}) == 1:
        notes.append("one rate is no curve: measure several")
    return Limit(good[0].rate, breaks, tokens, (min(low for low, _ in ends), max(high for _, high in ends)), notes)


def plan(
    found: Limit, *, target_rate: float, price: Price, gpus_per_replica: int, headroom: float, lowest_rate: float
) -> Plan:
    """Plan for `target_rate` requests/s. `headroom` is the share of a replica's limit that is kept free."""
    usable = 1 - headroom
    middle = _replicas(target_rate, found.holds * usable)
    # the limit itself lies between what held and what broke; where nothing broke there is no better end than what held
    fewest = _replicas(target_rate, (found.breaks or found.holds) * usable)
    replicas = Span(middle, fewest, middle)
    each = of_gpus(price, gpus_per_replica)
    tokens_per_request = Span(
        found.tokens_per_s / found.holds, found.tokens_interval[0] / found.holds, found.tokens_interval[1] / found.holds
    )
    hourly = Span(each.value * replicas.value, each.low * replicas.low, each.high * replicas.high)
    notes = list(found.notes)
    if middle > 1:
        notes.append(f"one replica was measured; {middle:g} of them are taken to hold {middle:g} times as much")
    if target_rate / middle < lowest_rate:
        notes.append(
            f"each replica would get {target_rate / middle:.3g} requests/s, less than the lowest measured rate of "
            f"{lowest_rate:.3g}"
        )
    return Plan(
        target_rate=target_rate,
        replicas=replicas,
        gpus=Span(*(n * gpus_per_replica for n in (replicas.value, replicas.low, replicas.high))),
        usd_per_month=Span(*(usd * HOURS_PER_MONTH for usd in (hourly.value, hourly.low, hourly.high))),
        usd_per_million_tokens=_per_million(hourly, tokens_per_request, target_rate),
        full_load_usd_per_million_tokens=_per_million(each, tokens_per_request, found.holds),
        notes=notes,
    )


def _replicas(target: float, each: float) -> int:
    return max(1, math.ceil(target / each - 1e-9))


def _per_million(hourly: Span, tokens_per_request: Span, rate: float) -> Span:
    def usd(cost: float, tokens: float) -> float:
        return cost / 3600 / (tokens * rate) * 1e6

    return Span(
        usd(hourly.value, tokens_per_request.value),
        usd(hourly.low, tokens_per_request.high),
        usd(hourly.high, tokens_per_request.low),
    )
