"""How many LoRA slots and replicas a popularity and an objective need, from what one run measured.

The model: requests ask for adapters independently by their popularity p, and the server keeps the L adapters that were
used last. Che's approximation then gives the share of requests that find their adapter not loaded: with T from
sum(1 - exp(-p_i T)) = L, an adapter is missed with exp(-p_i T). A unit test holds it against simulated LRU caches. The
TTFT of a number of slots is the mixture of the cold and the warm TTFT that the run measured, in those shares.

What it takes for granted, and says: that a cold or warm request costs with other slots what it cost in this run (more
slots mean more adapters in a batch, which costs throughput and memory), and that popularity stays. Replicas: *shared*
when any replica may get any adapter (each then sees the whole popularity), *by adapter* when each adapter has its
replica (a router that hashes the model's name).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

MOST_REPLICAS: Final = 16
_STEPS: Final = 200


def miss_share(popularity: Sequence[float], slots: int) -> float:
    """Return the share of requests whose adapter is not among the `slots` that were used last."""
    shares = np.asarray(popularity, dtype=np.float64)
    shares = shares[shares > 0]
    if slots >= len(shares):
        return 0.0
    if slots < 1:
        return 1.0
    shares = shares / shares.sum()
    low, high = 0.0, 1.0
    while float((1 - np.exp(-shares * high)).sum()) < slots:
        high *= 2
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if float((1 - np.exp(-shares * middle)).sum()) < slots else (low, middle)
        if math.isclose(low, high, rel_tol=1e-9):
            break
    return float((shares * np.exp(-shares * high)).sum())


def spread(popularity: Sequence[float], replicas: int) -> list[list[float]]:
    """Divide adapters among replicas as a hash of their names would about do: dealt out by rank."""
    ordered = sorted(popularity, reverse=True)
    return [part for k in range(replicas) if (part := ordered[k::replicas])]


def miss_share_by_adapter(popularity: Sequence[float], slots: int, replicas: int) -> float:
    """Return the share of misses when each adapter has its replica, weighted by the replicas' traffic."""
    total = sum(popularity)
    return sum(sum(part) / total * miss_share(part, slots) for part in spread(popularity, replicas)) if total else 0.0


def mixture_percentile(parts: Sequence[tuple[float, np.ndarray]], p: float) -> float | None:
    """Return percentile `p` of a mixture of samples, each part with its weight; None when a part has no samples."""
    used = [(weight, values) for weight, values in parts if weight > 0]
    if not used or any(not len(values) for _, values in used):
        return None
    values = np.concatenate([values for _, values in used])
    weights = np.concatenate([np.full(len(values), weight / len(values)) for weight, values in used])
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(len(values) - 1, int(np.searchsorted(reached, p / 100 - 1e-12)))])


@dataclass(frozen=True, slots=True)
class Choice:
    """A number of slots (on each of `replicas`) with its expected cold share and TTFT percentile."""

    slots: int
    replicas: int
    routing: str
    cold_share: float
    ttft_ms: float | None
    meets: bool | None


@dataclass(frozen=True, slots=True)
class Advice:
    """`choices`: the curve over slots of one replica. `needed`: the fewest slots that meet; None when none does."""

    metric: str
    target_ms: float | None
    adapters: int
    measured_slots: int
    measured_cold_share: float
    expected_cold_share: float
    choices: list[Choice]
    needed: int | None
    replicas: list[Choice]
    why_not: str


def advise(
    popularity: Sequence[float],
    *,
    cold: np.ndarray,
    warm: np.ndarray,
    base: np.ndarray,
    base_share: float,
    slots: int,
    cold_share: float,
    percentile: float,
    target_ms: float | None,
) -> Advice:
    """Advise from the TTFT samples of a run. `base_share` of requests go to the base model, which needs no slot."""

    def choice(count: int, replicas: int, routing: str) -> Choice:
        missed = (
            miss_share(popularity, count) if routing == "shared" else miss_share_by_adapter(popularity, count, replicas)
        )
        parts = [(base_share, base), ((1 - base_share) * missed, cold), ((1 - base_share) * (1 - missed), warm)]
        value = mixture_percentile(parts, percentile)
        meets = None if value is None or target_ms is None else value <= target_ms
        return Choice(count, replicas, routing, missed, value, meets)

    adapters = sum(1 for share in popularity if share > 0)
    choices = [choice(count, 1, "shared") for count in range(1, adapters + 1)] if adapters <= _STEPS else []
    if not choices:
        choices = [choice(count, 1, "shared") for count in _candidates(adapters)]
    needed = next((one.slots for one in choices if one.meets), None)
    replicas = [choice(slots, count, "by adapter") for count in range(1, min(MOST_REPLICAS, adapters) + 1)]
    return Advice(
        metric=f"ttft_ms p{percentile:g}",
        target_ms=target_ms,
        adapters=adapters,
        measured_slots=slots,
        measured_cold_share=cold_share,
        expected_cold_share=miss_share(popularity, slots),
        choices=choices,
        needed=needed,
        replicas=replicas,
        why_not=_why_not(choices, needed, target_ms, adapters),
    )


def _candidates(adapters: int) -> list[int]:
    """Return up to some sixty numbers of slots up to all adapters, closer together where they are few."""
    return sorted(
        {*range(1, 17), *(round(2 ** (k / 4)) for k in range(16, 4 * 60) if 2 ** (k / 4) < adapters), adapters}
    )


def _why_not(choices: Sequence[Choice], needed: int | None, target_ms: float | None, adapters: int) -> str:
    if needed is not None:
        return ""
    if target_ms is None:
        return "no objective for TTFT was given"
    if all(one.ttft_ms is None for one in choices):
        return "the run has no cold or no warm request of an adapter to go by"
    return (
        f"even with a slot for each of the {adapters} adapters TTFT would miss it: the load is too high for a replica"
    )
