"""Whether a candidate's runs are worse than a baseline's: by how much, beyond which noise, and how sure that is.

Two runs of the same thing differ: on one GPU server by up to a quarter. With three runs or more on each side the noise
is measured: each run gives one value of a metric, and Welch's interval of the ratio holds what repeats did. With fewer
it is not, and cannot be from within a run; then the interval of the samples is widened by `run_noise`, the share by
which two runs are taken to differ.

A metric is WORSE when the whole interval of the change lies beyond the threshold, BETTER when it lies beyond it on the
good side, SAME when it lies within, else UNCLEAR. Intervals are Bonferroni's: all of them hold at once with 95 %.
Invalid runs are refused: they measured the client.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final

import numpy as np

from load_tests.client.records import RequestRecord
from load_tests.verdict import intervals, metrics
from load_tests.verdict.contrast import by_second
from load_tests.verdict.intervals import Ratio
from load_tests.verdict.token_rate import Window, batch_rates
from nemostack.exit_codes import ExitCode

FEWEST_RUNS: Final = 3
DEFAULT_METRICS: Final = ("ttft_ms p50", "ttft_ms p95", "tpot_ms p50", "output_token_throughput", "error_rate")
DEFAULT_THRESHOLD: Final = 0.05
DEFAULT_RUN_NOISE: Final = 0.10
ERROR_THRESHOLD: Final = 0.005
_MORE_IS_BETTER: Final = {"output_token_throughput", "request_throughput", "goodput", "slo_attainment"}
_SHARES: Final = {"error_rate", "slo_attainment"}


class Change(StrEnum):
    """Of one metric."""

    WORSE = "WORSE"
    BETTER = "BETTER"
    SAME = "SAME"
    UNCLEAR = "UNCLEAR"
    NO_DATA = "NO DATA"


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: the content of its report.json, and its samples where they are needed."""

    data: dict[str, Any]
    records: Sequence[RequestRecord] = ()

    @property
    def window(self) -> Window:
        start = float(self.data["run"]["spec"]["warmup_s"])
        return Window(start, start + self.data["window_s"])


@dataclass(frozen=True, slots=True)
class Compared:
    """One metric. `ratio`: candidate / baseline, 1 is no change; of shares: the difference, with 0 as no change."""

    metric: str
    basis: str
    baseline: float | None
    candidate: float | None
    change: float | None
    low: float | None
    high: float | None
    threshold: float
    result: Change


def known_metrics() -> list[str]:
    """Names that can be compared: `ttft_ms p95`, `output_token_throughput`."""
    return [f"{name} p{p:g}" for name in metrics.LATENCIES for p in metrics.PERCENTILES] + list(metrics.SCALARS)


def compare(
    baseline: Sequence[Run],
    candidate: Sequence[Run],
    *,
    names: Sequence[str] = DEFAULT_METRICS,
    threshold: float = DEFAULT_THRESHOLD,
    run_noise: float = DEFAULT_RUN_NOISE,
) -> list[Compared]:
    """Compare metric by metric."""
    confidence = 1 - 0.05 / len(names)
    repeated = min(len(baseline), len(candidate)) >= FEWEST_RUNS
    found = []
    for name in names:
        if name in _SHARES:
            found.append(_share(name, baseline, candidate, threshold=ERROR_THRESHOLD))
        elif repeated:
            values = [[v for run in side if (v := value(run.data, name)) is not None] for side in (baseline, candidate)]
            ratio = intervals.of_ratio(values[0], values[1], confidence)
            found.append(_judged(name, "repeats", ratio, threshold, noise=0.0))
        else:
            found.append(_judged(name, "within runs", _within(name, baseline, candidate), threshold, noise=run_noise))
    return found


def value(data: dict[str, Any], name: str) -> float | None:
    """Return a metric of a report."""
    metric, _, stat = name.partition(" ")
    whole = data["overall"]
    found = whole["latencies"][metric]["percentiles"][stat] if stat else whole["scalars"][metric]
    return None if found is None else float(found)


def exit_code(found: Sequence[Compared]) -> ExitCode:
    """Decide: worse before unclear before done."""
    results = {one.result for one in found}
    if Change.WORSE in results:
        return ExitCode.LOAD_REGRESSION
    return ExitCode.LOAD_NOT_ENOUGH if results & {Change.UNCLEAR, Change.NO_DATA} else ExitCode.DONE


def _within(name: str, baseline: Sequence[Run], candidate: Sequence[Run]) -> Ratio:
    metric, _, stat = name.partition(" ")
    if metric in metrics.LATENCIES:

        def seconds(side: Sequence[Run]) -> list[np.ndarray]:
            inside = ([r for r in run.records if not r.role and run.window.holds(r.due)] for run in side)
            return [block for records in inside for block in by_second(records, metric)]

        at = partial(_percentile, p=float(stat[1:]))
        return intervals.bootstrap_ratio(seconds(baseline), seconds(candidate), at)
    if metric == "output_token_throughput":

        def rates(side: Sequence[Run]) -> list[float]:
            measured = ([r for r in run.records if not r.role] for run in side)
            return [v for run, of in zip(side, measured, strict=True) for v in batch_rates(of, run.window)]

        return intervals.of_ratio(rates(baseline), rates(candidate))
    values = [[v for run in side if (v := value(run.data, name)) is not None] for side in (baseline, candidate)]
    return intervals.of_ratio(values[0], values[1])


def _percentile(values: np.ndarray, *, p: float) -> float:
    return float(np.percentile(values, p))


def _judged(name: str, basis: str, ratio: Ratio, threshold: float, *, noise: float) -> Compared:
    if ratio.ratio is None:
        return Compared(name, basis, ratio.baseline, ratio.candidate, None, None, None, threshold, Change.NO_DATA)
    low = None if ratio.low is None else ratio.low / (1 + noise)
    high = None if ratio.high is None else ratio.high * (1 + noise)
    if low is None or high is None:
        result = Change.UNCLEAR
    else:
        more_is_better = name.partition(" ")[0] in _MORE_IS_BETTER
        result = _result(low - 1, high - 1, threshold, more_is_better=more_is_better)
    return Compared(
        name, basis, ratio.baseline, ratio.candidate, ratio.ratio - 1, _change(low), _change(high), threshold, result
    )


def _change(end: float | None) -> float | None:
    """Return an end of a ratio's interval as a change."""
    return None if end is None else end - 1


def _result(low: float, high: float, threshold: float, *, more_is_better: bool) -> Change:
    worse, better = (high < -threshold, low > threshold) if more_is_better else (low > threshold, high < -threshold)
    if worse:
        return Change.WORSE
    if better:
        return Change.BETTER
    return Change.SAME if -threshold <= low and high <= threshold else Change.UNCLEAR


def _share(name: str, baseline: Sequence[Run], candidate: Sequence[Run], *, threshold: float) -> Compared:
    """Compare shares of requests by Newcombe's interval of their difference, from Wilson's of each."""
    counts = [_count(name, side) for side in (baseline, candidate)]
    wilsons = [metrics.wilson(hits, total) for hits, total in counts]
    if wilsons[0] is None or wilsons[1] is None:
        return Compared(name, "requests", None, None, None, None, None, threshold, Change.NO_DATA)
    a, b = (hits / total for hits, total in counts)
    (low_a, high_a), (low_b, high_b) = wilsons[0], wilsons[1]
    low = (b - a) - ((b - low_b) ** 2 + (high_a - a) ** 2) ** 0.5
    high = (b - a) + ((high_b - b) ** 2 + (a - low_a) ** 2) ** 0.5
    result = _result(low, high, threshold, more_is_better=name in _MORE_IS_BETTER)
    if result is Change.UNCLEAR and a == b:
        result = Change.SAME  # too few requests to exclude half a percent, and not one sign of it
    return Compared(name, "requests", a, b, b - a, low, high, threshold, result)


def _count(name: str, side: Sequence[Run]) -> tuple[int, int]:
    summaries = [run.data["overall"] for run in side]
    total = sum(s["successes"] + s["errors"] for s in summaries)
    hits = sum((s["errors"] if name == "error_rate" else s["good"] or 0) for s in summaries)
    return hits, total
