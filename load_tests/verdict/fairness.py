"""Whether adapters are served alike: Jain's index over them, and the one that is served worst.

What is compared is the speed that a caller of an adapter gets: output tokens / E2E, the mean over its requests. Jain's
index is (sum x)^2 / (n sum x^2): 1 when all get the same, 1/n when one gets all. Adapters with fewer than five
successes are left out, and their number is told.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from load_tests.client.records import RequestRecord
from load_tests.verdict import metrics

FEWEST: Final = 5


@dataclass(frozen=True, slots=True)
class Worst:
    """The adapter whose TTFT is the highest, at the best percentile for which it has samples."""

    model: str
    stat: str
    value: float
    interval: tuple[float, float] | None
    samples: int
    of: int


@dataclass(frozen=True, slots=True)
class Fairness:
    """`jain` is None with fewer than two adapters judged; `left_out` had too few requests."""

    jain: float | None
    judged: int
    left_out: int
    slowest: str | None
    slowest_share: float | None  # its speed / the mean speed


def jain(values: Sequence[float]) -> float | None:
    """Return Jain's index of values that are not negative; None below two values, or when all are zero."""
    found = np.asarray(values, dtype=np.float64)
    if len(found) < 2 or not found.any():
        return None
    return float(found.sum() ** 2 / (len(found) * (found**2).sum()))


def by_model(records: Iterable[RequestRecord]) -> dict[str, list[RequestRecord]]:
    """Group requests by the model that they asked for."""
    groups: dict[str, list[RequestRecord]] = defaultdict(list)
    for record in records:
        groups[record.model].append(record)
    return dict(groups)


def fairness(groups: Mapping[str, Sequence[RequestRecord]]) -> Fairness:
    """Judge adapters (or tenants) by the speed that their callers got."""
    speeds: dict[str, float] = {}
    for name, records in groups.items():
        found = [r.output_tokens / e2e for r in records if r.ok and (e2e := metrics.e2e_ms(r))]
        if len(found) >= FEWEST:
            speeds[name] = 1e3 * float(np.mean(found))
    if not speeds:
        return Fairness(None, 0, len(groups), None, None)
    slowest = min(speeds, key=lambda name: (speeds[name], name))
    mean = float(np.mean(list(speeds.values())))
    return Fairness(
        jain=jain(list(speeds.values())),
        judged=len(speeds),
        left_out=len(groups) - len(speeds),
        slowest=slowest if len(speeds) > 1 else None,
        slowest_share=speeds[slowest] / mean if len(speeds) > 1 and mean else None,
    )


def worst(groups: Mapping[str, Sequence[RequestRecord]]) -> Worst | None:
    """Name the adapter with the highest p95 TTFT, or p50 where none has 20 samples; None when none has enough."""
    for p in (95.0, 50.0):
        needed = max(FEWEST, metrics.enough_for(p))
        ordered = {
            model: values
            for model, records in groups.items()
            if len(values := np.sort(metrics.samples(records, "ttft_ms"))) >= needed
        }
        if ordered:
            found = {model: float(np.percentile(values, p)) for model, values in ordered.items()}
            model = max(found, key=lambda name: (found[name], name))
            interval = metrics.percentile_interval(ordered[model], p)
            stat = metrics.percentile_name(p)
            return Worst(model, stat, found[model], interval, len(ordered[model]), len(ordered))
    return None
