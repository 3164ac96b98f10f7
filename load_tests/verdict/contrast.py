"""What one thing costs the rest, within one run: blocks with it on against blocks with it off, and groups of requests.

Of blocks (`traffic/blocks.py`): each block gives one value of each number, the ratio of on to off is that of the
geometric means of the blocks, and its interval is Welch's on their logarithms. Of groups of requests that were mixed
all the time, such as adapters and the base model: the ratio of medians, with an interval from seconds of the run that
are drawn again as a whole.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from load_tests.client.records import RequestRecord
from load_tests.traffic.blocks import Block
from load_tests.verdict import intervals, metrics
from load_tests.verdict.intervals import Ratio
from load_tests.verdict.token_rate import arrivals, counted

COMPARED: Final = ("ttft_ms", "tpot_ms", "e2e_ms")
FEWEST_IN_BLOCK: Final = 5


@dataclass(frozen=True, slots=True)
class BlockContrast:
    """Ratios of on to off by number; `blocks` counts those of each kind, off first."""

    blocks: tuple[int, int]
    ratios: dict[str, Ratio]
    off: list[dict[str, float | None]]
    on: list[dict[str, float | None]]


def of_blocks(records: Sequence[RequestRecord], blocks: Iterable[Block]) -> BlockContrast:
    """Compare blocks. Tokens count in the block in which they arrived, requests in that in which they were due."""
    times, tokens = arrivals(records)
    values: dict[bool, list[dict[str, float | None]]] = {False: [], True: []}
    for block in blocks:
        start, end = block.looked_at
        due = [r for r in records if start <= r.due < end]
        inside = float(counted(times, tokens, np.array([start, end]))[0])
        row: dict[str, float | None] = {"start": start, "output_token_throughput": inside / (end - start)}
        for metric in COMPARED:
            found = metrics.samples(due, metric)
            row[f"{metric} p50"] = float(np.median(found)) if len(found) >= FEWEST_IN_BLOCK else None
        values[block.on].append(row)
    names = ["output_token_throughput", *(f"{metric} p50" for metric in COMPARED)]

    def of(name: str, *, on: bool) -> list[float]:
        return [value for row in values[on] if (value := row[name]) is not None]

    ratios = {name: intervals.of_ratio(of(name, on=False), of(name, on=True)) for name in names}
    return BlockContrast((len(values[False]), len(values[True])), ratios, values[False], values[True])


def of_groups(
    baseline: Iterable[RequestRecord], candidate: Iterable[RequestRecord], metric: str, percentile: float = 50.0
) -> Ratio:
    """Compare a percentile of a latency between two groups of requests of the same time."""

    def at(values: np.ndarray) -> float:
        return float(np.percentile(values, percentile))

    return intervals.bootstrap_ratio(by_second(baseline, metric), by_second(candidate, metric), at)


def by_second(records: Iterable[RequestRecord], metric: str) -> list[np.ndarray]:
    """Return the samples of a latency of successes, by the second in which they were due."""
    of: Callable[[RequestRecord], float | None] | None = metrics.LATENCIES[metric].of
    seconds: dict[int, list[float]] = defaultdict(list)
    for record in records:
        value = of(record) if record.ok and of is not None else None
        if value is not None:
            seconds[int(record.due)].append(value)
    return [np.array(values) for _, values in sorted(seconds.items())]
