"""Output tokens counted by the time at which they arrived, and the rate of a window with its interval.

Counting whole replies by the time at which they were due gives a window waves: users of a closed loop with equal reply
lengths move in step, so that a window holds 14 waves or 15. Here a reply that crosses the edge of a window gives it the
tokens that arrived inside, whoever was due when. A reply's tokens are spread evenly over its events, as the server says
only how many there were in all.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from load_tests.client.records import RequestRecord
from load_tests.verdict import intervals

MOST_BATCHES = 30
SHORTEST_BATCH_S = 0.5


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the run in seconds of its clock, the end not included."""

    start: float
    end: float

    @property
    def length_s(self) -> float:
        return max(0.0, self.end - self.start)

    def holds(self, at: float) -> bool:
        return self.start <= at < self.end


def arrivals(records: Iterable[RequestRecord]) -> tuple[np.ndarray, np.ndarray]:
    """Return the times at which events of successful replies arrived, ascending, and the tokens of each."""
    times, tokens = [], []
    for record in records:
        if not record.ok or record.t_first is None or not record.content_events:
            continue
        at = record.t_first + np.concatenate(([0.0], np.cumsum(record.gaps_ms) / 1e3))
        times.append(at)
        tokens.append(np.full(len(at), record.output_tokens / len(at)))
    if not times:
        return np.empty(0), np.empty(0)
    all_times, all_tokens = np.concatenate(times), np.concatenate(tokens)
    order = np.argsort(all_times, kind="stable")
    return all_times[order], all_tokens[order]


def counted(times: np.ndarray, tokens: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the tokens that arrived between each two of the ascending `edges`."""
    total = np.concatenate(([0.0], np.cumsum(tokens)))
    return np.diff(total[np.searchsorted(times, edges, side="left")])


def token_rate(records: Iterable[RequestRecord], window: Window) -> tuple[float | None, tuple[float, float] | None]:
    """Return tokens per second that arrived in the window, and the 95 % interval of that rate.

    The interval is that of the means of up to 30 stretches of equal length: it holds what this run did, not how another
    run would differ from it.
    """
    rates = batch_rates(records, window)
    return (float(rates.mean()), intervals.of_mean(rates)) if len(rates) else (None, None)


def batch_rates(records: Iterable[RequestRecord], window: Window) -> np.ndarray:
    """Return the tokens per second of up to 30 stretches of equal length; none for a window without length."""
    if window.length_s <= 0:
        return np.empty(0)
    batches = min(MOST_BATCHES, max(1, math.floor(window.length_s / SHORTEST_BATCH_S)))
    edges = np.linspace(window.start, window.end, batches + 1)
    return counted(*arrivals(records), edges) / (window.length_s / batches)
