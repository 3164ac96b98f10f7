"""The numbers of a load test, each with its definition beside it.

Latencies are over successful requests of the measurement window and from raw samples: no buckets, no averages of
percentiles. A percentile is None ("not enough") below 1 / (1 - p) samples: 20 for p95, 100 for p99, 1,000 for p99.9.
N is output tokens by the server's usage; where a server sends none, output events are counted and marked as estimated.
Token throughput counts tokens by the time at which they arrived (`token_rate.py`); all else is of requests that were
due in the window.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

from load_tests.client.exchange import ERROR_KINDS
from load_tests.client.records import RequestRecord
from load_tests.verdict.token_rate import Window, token_rate

Z95: Final = NormalDist().inv_cdf(0.975)
PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0, 99.9)


def _ms(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else (end - start) * 1e3


def send_lag_ms(r: RequestRecord) -> float | None:
    """From the scheduled time to the send; the client's own delay."""
    return _ms(r.t_sched, r.t_send)


def ttft_ms(r: RequestRecord) -> float | None:
    """From send to the first output event."""
    return _ms(r.t_send, r.t_first)


def ttft_from_schedule_ms(r: RequestRecord) -> float | None:
    """From the scheduled time to the first output event."""
    return _ms(r.t_sched, r.t_first)


def e2e_ms(r: RequestRecord) -> float | None:
    """From send to the last output event."""
    return _ms(r.t_send, r.t_last)


def e2e_from_schedule_ms(r: RequestRecord) -> float | None:
    """From the scheduled time to the last output event."""
    return _ms(r.t_sched, r.t_last)


def tpot_ms(r: RequestRecord) -> float | None:
    """Mean time of each output token after the first; None for a reply of one token."""
    whole, first = e2e_ms(r), ttft_ms(r)
    if whole is None or first is None or r.output_tokens < 2:
        return None
    return (whole - first) / (r.output_tokens - 1)


def normalized_tpot_ms(r: RequestRecord) -> float | None:
    """E2E over all output tokens, prefill included."""
    whole = e2e_ms(r)
    return None if whole is None or r.output_tokens < 1 else whole / r.output_tokens


@dataclass(frozen=True, slots=True)
class Latency:
    """A latency metric: its label, the definition shown beside it, and how to get it from one request."""

    label: str
    definition: str
    of: Callable[[RequestRecord], float | None] | None  # None: many samples per request


LATENCIES: Final[dict[str, Latency]] = {
    "ttft_ms": Latency("TTFT", "t_first - t_send: send to first non-empty output event", ttft_ms),
    "tpot_ms": Latency(
        "TPOT", "(E2E - TTFT) / (N - 1) per request, for N >= 2; AIPerf and GuideLLM call this ITL", tpot_ms
    ),
    "itl_ms": Latency("ITL", "each gap between output events, pooled; event gaps, not tokens, if N > events", None),
    "e2e_ms": Latency("E2E", "t_last - t_send: send to last output event", e2e_ms),
    "normalized_tpot_ms": Latency("Normalized TPOT", "E2E / N per request, prefill included", normalized_tpot_ms),
    "send_lag_ms": Latency("Send lag", "t_send - t_sched: the client's own delay, open loop only", send_lag_ms),
    "ttft_from_schedule_ms": Latency(
        "TTFT from schedule",
        "t_first - t_sched, open loop only: a stall shows in every request due during it",
        ttft_from_schedule_ms,
    ),
    "e2e_from_schedule_ms": Latency("E2E from schedule", "t_last - t_sched, open loop only", e2e_from_schedule_ms),
}
SCALARS: Final[dict[str, str]] = {
    "request_throughput": "successes / window, 1/s",
    "output_token_throughput": "tokens of successes that arrived in the window, whenever due / window, tokens/s",
    "error_rate": "errors / (successes + errors)",
    "goodput": "successes that meet every per-request limit / window, 1/s",
    "slo_attainment": "successes that meet every per-request limit / (successes + errors)",
}


@dataclass(frozen=True, slots=True)
class Distribution:
    """Summary of raw samples. `intervals` are 95 % intervals of the percentiles, from order statistics."""

    count: int
    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    percentiles: dict[str, float | None]
    intervals: dict[str, tuple[float, float] | None]


def percentile_name(p: float) -> str:
    """50.0 -> p50, 99.9 -> p99.9."""
    return f"p{p:g}"


def enough_for(p: float) -> int:
    """Count the samples below which percentile `p` (0-100) says nothing."""
    return math.ceil(round(100 / (100 - p), 6))


def percentile(ordered: np.ndarray, p: float) -> float | None:
    """Percentile `p` (0-100) by linear interpolation, or None when there are too few samples."""
    if len(ordered) < enough_for(p):
        return None
    return float(np.percentile(ordered, p))


def percentile_interval(ordered: np.ndarray, p: float) -> tuple[float, float] | None:
    """Distribution-free 95 % interval of a percentile: the order statistics at n q +- z sqrt(n q (1 - q))."""
    n, q = len(ordered), p / 100
    if n < enough_for(p):
        return None
    half = Z95 * math.sqrt(n * q * (1 - q))
    low, high = math.floor(n * q - half), math.ceil(n * q + half)
    return float(ordered[max(0, low - 1)]), float(ordered[min(n - 1, high - 1)])


def wilson(hits: int, total: int) -> tuple[float, float] | None:
    """95 % Wilson interval of a proportion; None without samples."""
    if total == 0:
        return None
    share, z2 = hits / total, Z95 * Z95
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total)) / (1 + z2 / total)
    return max(0.0, middle - half), min(1.0, middle + half)


def describe(samples: Iterable[float]) -> Distribution:
    """Summarise samples (any order)."""
    ordered = np.sort(np.fromiter(samples, dtype=np.float64))
    if not len(ordered):
        none = {percentile_name(p): None for p in PERCENTILES}
        return Distribution(0, None, None, None, None, dict(none), dict(none))
    return Distribution(
        count=len(ordered),
        mean=float(ordered.mean()),
        std=float(ordered.std(ddof=1)) if len(ordered) > 1 else None,
        min=float(ordered[0]),
        max=float(ordered[-1]),
        percentiles={percentile_name(p): percentile(ordered, p) for p in PERCENTILES},
        intervals={percentile_name(p): percentile_interval(ordered, p) for p in PERCENTILES},
    )


def samples(records: Iterable[RequestRecord], metric: str) -> list[float]:
    """Raw samples of a latency metric over the successes among `records`."""
    latency = LATENCIES[metric]
    if latency.of is None:
        return [gap for r in records if r.ok for gap in r.gaps_ms]
    return [value for r in records if r.ok and (value := latency.of(r)) is not None]


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything counted over one group of requests in a window of `window_s` seconds."""

    window_s: float
    successes: int
    errors: int
    errors_by_kind: dict[str, int]
    error_examples: dict[str, str]
    incomplete: int
    dropped: int
    length_mismatches: int
    prompt_length_mismatches: int
    estimated_tokens: int
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    tokens_per_event: float | None
    good: int | None
    scalars: dict[str, float | None]
    scalar_intervals: dict[str, tuple[float, float] | None]
    latencies: dict[str, Distribution]


def is_good(record: RequestRecord, limits: dict[str, float]) -> bool:
    """Whether a success meets every per-request limit; a value that is undefined for it (TPOT of one token) passes."""
    for metric, limit in limits.items():
        of = LATENCIES[metric].of
        value = of(record) if of is not None else None
        if value is not None and value > limit:
            return False
    return record.ok


def summarise(records: Sequence[RequestRecord], window: Window, limits: dict[str, float] | None = None) -> Summary:
    """Summary of the requests due in a window; `limits` are the per-request limits (ms) that define goodput.

    `records` are those of the whole run, since tokens of requests that were due before the window arrive in it.
    """
    inside = [r for r in records if window.holds(r.due)]
    succeeded = [r for r in inside if r.ok]
    kinds = Counter(r.outcome for r in inside if r.outcome in ERROR_KINDS)
    finished = len(succeeded) + kinds.total()
    good = sum(is_good(r, limits) for r in succeeded) if limits else None
    tokens, events = sum(r.output_tokens for r in succeeded), sum(r.content_events for r in succeeded)
    examples: dict[str, str] = {}
    for r in inside:
        if r.outcome in ERROR_KINDS:
            examples.setdefault(r.outcome, r.detail)
    per_second = 1 / window.length_s if window.length_s > 0 else None
    tokens_per_s, tokens_interval = token_rate(records, window)
    return Summary(
        window_s=window.length_s,
        successes=len(succeeded),
        errors=kinds.total(),
        errors_by_kind=dict(kinds.most_common()),
        error_examples=examples,
        incomplete=sum(r.outcome == "incomplete" for r in inside),
        dropped=sum(r.outcome == "dropped" for r in inside),
        length_mismatches=sum(r.output_tokens != r.asked_tokens for r in succeeded),
        prompt_length_mismatches=sum(
            r.asked_prompt_tokens is not None and r.prompt_tokens not in {None, r.asked_prompt_tokens}
            for r in succeeded
        ),
        estimated_tokens=sum(r.tokens_from != "usage" for r in succeeded),
        prompt_tokens=sum(r.prompt_tokens or 0 for r in succeeded),
        output_tokens=tokens,
        cached_tokens=sum(r.cached_tokens or 0 for r in succeeded),
        tokens_per_event=tokens / events if events else None,
        good=good,
        scalars={
            "request_throughput": len(succeeded) * per_second if per_second else None,
            "output_token_throughput": tokens_per_s,
            "error_rate": kinds.total() / finished if finished else None,
            "goodput": good * per_second if good is not None and per_second else None,
            "slo_attainment": good / finished if good is not None and finished else None,
        },
        scalar_intervals={
            "output_token_throughput": tokens_interval,
            "error_rate": wilson(kinds.total(), finished),
            "slo_attainment": wilson(good, finished) if good is not None else None,
        },
        latencies={name: describe(samples(inside, name)) for name in LATENCIES},
    )
