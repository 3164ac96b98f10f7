"""Where a server saturates: whether a run's queue grew, which rate holds, and where the knee of the curve lies.

*Backlog*: the requests that were due and had not ended. A server that keeps up has a backlog that swings about a
level; one that does not has one that grows as long as the load lasts. A run is over-saturated when, after the first
replies, its backlog grew by more than a twentieth of what arrived, and by more than it swings by itself. Latencies of
such a run say how long it lasted, not how fast the server is.

*Holds*: the highest rate at which every attempt met the SLO and none was over-saturated. *Breaks*: the lowest rate
above it of which that is not true. The server's limit lies between the two.

*Knee*: the rate at which throughput / mean end-to-end time is greatest (Kleinrock's power): beyond it, more
throughput is paid for with more than its share of waiting.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from load_tests.client.records import RequestRecord
from load_tests.verdict import intervals, metrics
from load_tests.verdict.slo import Verdict
from load_tests.verdict.token_rate import Window

LOOKS: Final = 60
GROWTH_SHARE: Final = 0.05
SWINGS: Final = 4.0
BATCHES: Final = 10
_SENT_RULE: Final = "sent of scheduled"
_FEWEST_ARRIVALS: Final = 10
_SEEN_SHARE: Final = 1 / 3


@dataclass(frozen=True, slots=True)
class Backlog:
    """How the requests due and not ended went over a window. `since_s`: when they began to grow, if they did."""

    start: float
    end: float
    arrivals_per_s: float
    growth_per_s: float
    growing: bool
    since_s: float | None

    @property
    def sentence(self) -> str:
        """Say what was found."""
        if not self.growing or self.since_s is None:
            return (
                f"The server kept up: {self.end:.0f} requests were open at the end, {self.start:.0f} at the beginning."
            )
        return (
            f"The queue grew from second {self.since_s:.0f}: saturated. {self.arrivals_per_s:.1f} requests/s arrived, "
            f"{self.arrivals_per_s - self.growth_per_s:.1f} were completed; {self.end:.0f} were open at the end."
        )


def backlog(records: Sequence[RequestRecord], window: Window) -> Backlog | None:
    """Look at the backlog over a window; None with too few arrivals, or when the replies take longer than the window.

    A request that never ended, or was dropped at the cap, stays open: it arrived and was not completed.
    """
    due = np.sort([r.due for r in records])
    ended = np.sort([r.t_end for r in records if r.t_end is not None])
    begin = max(window.start, _filled_at(records))
    length = _seen_s(records, window)
    arrived = int(np.searchsorted(due, window.end) - np.searchsorted(due, begin))
    if arrived < _FEWEST_ARRIVALS or length < window.length_s * _SEEN_SHARE:
        return None
    times = np.linspace(begin, window.end, LOOKS)
    open_now = (np.searchsorted(due, times, side="right") - np.searchsorted(ended, times, side="right")).astype(float)
    slope = float(np.polyfit(times, open_now, 1)[0])
    level = float(open_now[: LOOKS // 3].mean())
    grown = slope * length
    growing = grown > GROWTH_SHARE * arrived and grown > SWINGS * math.sqrt(max(level, 1.0))
    tenth = max(1, LOOKS // 10)
    first, last = float(open_now[:tenth].mean()), float(open_now[-tenth:].mean())
    low = np.flatnonzero(open_now <= first)
    since = float(times[low[-1]] if len(low) else times[0]) if growing else None
    return Backlog(first, last, arrived / length, slope, growing, since)


def _seen_s(records: Sequence[RequestRecord], window: Window) -> float:
    """Return the part of the window in which a growing queue would show: after the first replies."""
    return window.end - max(window.start, _filled_at(records))


def _filled_at(records: Sequence[RequestRecord]) -> float:
    """Return when the first replies had ended: until then the backlog grows whatever the server does."""
    spans = [(r.t_end, r.t_end - r.due) for r in records if r.t_end is not None]
    if not spans:
        return 0.0
    first = [length for _, length in sorted(spans)[:5]]
    return min(r.due for r in records) + float(np.median(first))


def completion_rate(
    records: Sequence[RequestRecord], window: Window
) -> tuple[float | None, tuple[float, float] | None]:
    """Return requests that ended well per second of the window, whenever due, with the interval over its stretches."""
    if window.length_s <= 0:
        return None, None
    ended = [r.t_end for r in records if r.ok and r.t_end is not None]
    counts, _ = np.histogram(ended, bins=np.linspace(window.start, window.end, BATCHES + 1))
    rates = counts / (window.length_s / BATCHES)
    return float(rates.mean()), intervals.of_mean(rates)


class Outcome(StrEnum):
    """Of one step."""

    HOLDS = "holds"
    BREAKS = "breaks"
    UNDECIDED = "undecided"
    CLIENT = "client limit"


@dataclass(frozen=True, slots=True)
class Step:
    """One run at one rate (closed loop: number of users)."""

    rate: float
    run: str
    verdict: Verdict
    outcome: Outcome
    why: str
    completed_per_s: float | None
    completed_interval: tuple[float, float] | None
    tokens_per_s: float | None
    mean_e2e_ms: float | None
    ttft_p50_ms: float | None
    ttft_p95_ms: float | None
    backlog: Backlog | None


def judge_step(
    verdict: Verdict, broken_rules: Sequence[str], found: Backlog | None, *, unseen: bool = False
) -> tuple[Outcome, str]:
    """Decide what a run says of its rate.

    `broken_rules`: names of the validity rules that it broke. `unseen`: a queue may have grown, and the run was too
    short to see it.
    """
    if found is not None and found.growing and set(broken_rules) <= {_SENT_RULE}:
        return Outcome.BREAKS, found.sentence
    if verdict is Verdict.INVALID:
        return Outcome.CLIENT, f"the run is INVALID: {', '.join(broken_rules)}"
    if verdict is Verdict.FAIL:
        return Outcome.BREAKS, "an objective was missed, or nothing succeeded"
    if verdict is Verdict.NOT_ENOUGH:
        return Outcome.UNDECIDED, "too few samples for an objective"
    if unseen:
        return Outcome.UNDECIDED, "the first replies took most of the window: lengthen --duration"
    return Outcome.HOLDS, "the objectives were met" if found is None else found.sentence


def measure(
    rate: float,
    run: str,
    records: Sequence[RequestRecord],
    window: Window,
    *,
    verdict: Verdict,
    broken_rules: Sequence[str],
    open_loop: bool,
) -> Step:
    """Make a step of a run's samples. A closed loop has no queue that could grow: its users wait."""
    measured = [r for r in records if not r.role]
    found = backlog(measured, window) if open_loop else None
    unseen = open_loop and _seen_s(measured, window) < window.length_s * _SEEN_SHARE
    outcome, why = judge_step(verdict, broken_rules, found, unseen=unseen)
    summary = metrics.summarise(measured, window)
    e2e = summary.latencies["e2e_from_schedule_ms" if open_loop else "e2e_ms"]
    ttft = summary.latencies["ttft_from_schedule_ms" if open_loop else "ttft_ms"]
    completed, interval = completion_rate(measured, window)
    return Step(
        rate=rate,
        run=run,
        verdict=verdict,
        outcome=outcome,
        why=why,
        completed_per_s=completed,
        completed_interval=interval,
        tokens_per_s=summary.scalars["output_token_throughput"],
        mean_e2e_ms=e2e.mean,
        ttft_p50_ms=ttft.percentiles["p50"],
        ttft_p95_ms=ttft.percentiles["p95"],
        backlog=found,
    )


@dataclass(frozen=True, slots=True)
class Bracket:
    """The highest rate that holds and the lowest above it that breaks; None where there is none."""

    holds: float | None
    breaks: float | None

    @property
    def width(self) -> float | None:
        """By what share the end lies above the beginning."""
        return None if self.holds is None or self.breaks is None else self.breaks / self.holds - 1


def bracket(steps: Sequence[Step]) -> Bracket:
    """Find the limit between the steps. A rate holds when it was decided and each of its decided attempts held."""
    by_rate: dict[float, list[Outcome]] = {}
    for step in steps:
        if step.outcome in {Outcome.HOLDS, Outcome.BREAKS}:
            by_rate.setdefault(step.rate, []).append(step.outcome)
    holds: float | None = None
    for rate in sorted(by_rate):
        if Outcome.BREAKS in by_rate[rate]:
            return Bracket(holds, rate)
        holds = rate
    return Bracket(holds, None)


def knee(steps: Sequence[Step]) -> float | None:
    """Return the rate of the greatest power; None below three rates, where there is no curve to have a knee."""
    power: dict[float, list[float]] = {}
    for step in steps:
        if step.completed_per_s and step.mean_e2e_ms and step.outcome is not Outcome.CLIENT:
            power.setdefault(step.rate, []).append(step.completed_per_s / step.mean_e2e_ms)
    if len(power) < intervals.FEWEST:
        return None
    return max(power, key=lambda rate: float(np.mean(power[rate])))


def capacity(steps: Sequence[Step]) -> tuple[float, tuple[float, float] | None] | None:
    """Return what the server completed at the highest over-saturated rate, requests/s: its limit without an SLO."""
    full = [s for s in steps if s.backlog is not None and s.backlog.growing and s.completed_per_s is not None]
    if not full:
        return None
    top = max(full, key=lambda step: step.rate)
    assert top.completed_per_s is not None
    return top.completed_per_s, top.completed_interval
