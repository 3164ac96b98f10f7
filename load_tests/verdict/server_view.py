"""What the server's own numbers say of a run, in words.

Counters are differences over the window. The queue grew when its last tenth lies above its first by more than it swung
and by at least five requests, and it was never back after the second that is named.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from load_tests.verdict.token_rate import Window

SAMPLES_KEPT: Final = 600
FULL: Final = 0.95
FEWEST: Final = 4
_LEAST_GROWTH: Final = 5.0
Samples = Sequence[dict[str, Any]]


def describe(samples: Samples, window: Window) -> dict[str, Any] | None:
    """Return findings and the samples to draw, at most 600; None when nobody was asked."""
    if not samples:
        return None
    told = [sample for sample in samples if set(sample) - {"t", "problem"}]
    step = max(1, -(-len(told) // SAMPLES_KEPT))
    problems = [sample["problem"] for sample in samples if "problem" in sample]
    return {
        "findings": findings(told, problems, window),
        "asked": len(samples),
        "unanswered": len(problems),
        "samples": [{k: v for k, v in sample.items() if k != "problem"} for sample in told[::step]],
    }


def findings(told: Samples, problems: Sequence[str], window: Window) -> list[str]:
    """Say what the server told inside the window."""
    if not told:
        return [f"The server told nothing of itself: {problems[-1] if problems else 'no sample'}."]
    inside = [sample for sample in told if window.start <= sample["t"] <= window.end]
    said = [] if len(inside) >= FEWEST else ["Too few samples of the server inside the window to say more."]
    if not said:
        said = [*_queue(inside), *_kv_cache(inside), *_preemptions(inside), *_adapters(inside), *_prefix_cache(inside)]
        said += _gpus(inside)
    if problems:
        said.append(f"{len(problems)} times it did not answer, last: {problems[-1]}.")
    return said


def series(samples: Samples, name: str) -> list[tuple[float, float]]:
    """Return (seconds, value) of a number where it was told."""
    return [(sample["t"], float(sample[name])) for sample in samples if name in sample]


def grew_since(points: Sequence[tuple[float, float]]) -> float | None:
    """Return since when a number grew until the end, or None when it did not."""
    if len(points) < FEWEST:
        return None
    times, values = (np.array(column) for column in zip(*points, strict=True))
    tenth = max(1, len(values) // 10)
    first, last = float(values[:tenth].mean()), float(values[-tenth:].mean())
    swing = float(np.abs(np.diff(values)).mean())
    if last - first < max(_LEAST_GROWTH, 2 * swing):
        return None
    low = np.flatnonzero(values <= first + 0.05 * (last - first))
    return float(times[low[-1]])


def _queue(inside: Samples) -> list[str]:
    points = series(inside, "waiting")
    if not points:
        return []
    most = max(value for _, value in points)
    since = grew_since(points)
    if since is not None:
        return [f"The queue grew from second {since:.0f}, to {points[-1][1]:.0f} waiting requests: saturated."]
    if most == 0:
        return ["No request waited in the server's queue."]
    return [f"At most {most:.0f} requests waited in the server's queue, which did not grow."]


def _kv_cache(inside: Samples) -> list[str]:
    points = series(inside, "kv_cache")
    if not points:
        return []
    most = max(value for _, value in points)
    full = [at for at, value in points if value >= FULL]
    if full:
        return [f"The KV cache was full from second {full[0]:.0f} ({most:.0%}): it bounds how many requests run."]
    return [f"The KV cache was at most {most:.0%} full."]


def _grown(inside: Samples, name: str) -> float:
    points = series(inside, name)
    return points[-1][1] - points[0][1] if points else 0.0


def _preemptions(inside: Samples) -> list[str]:
    count = _grown(inside, "preemptions")
    if count <= 0:
        return []
    return [f"{count:.0f} times a request was preempted and computed again: the KV cache is too small for the batch."]


def _adapters(inside: Samples) -> list[str]:
    asked, slots = series(inside, "adapters"), series(inside, "adapter_slots")
    if not asked:
        return []
    told = [f"At most {max(value for _, value in asked):.0f} adapters had requests in the server at a time."]
    if slots:
        count = slots[-1][1]
        share = sum(value > count for _, value in asked) / len(asked)
        if share > 0:
            told.append(
                f"In {share:.0%} of samples those were more than its {count:.0f} slots: requests waited for one."
            )
    return told


def _prefix_cache(inside: Samples) -> list[str]:
    asked, hits = _grown(inside, "prefix_queries"), _grown(inside, "prefix_hits")
    return [f"{hits / asked:.0%} of prompt tokens came from the prefix cache."] if asked > 0 and hits > 0 else []


def _gpus(inside: Samples) -> list[str]:
    points = series(inside, "gpu_use")
    if not points:
        return []
    return [f"The GPUs were busy {np.mean([value for _, value in points]):.0f} % of the time (DCGM)."]
