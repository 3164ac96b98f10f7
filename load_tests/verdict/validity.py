"""Rules by which a run is INVALID: a measurement of the client, or of half a run, but not of the server.

INVALID is not FAIL. Each rule states the value that was found and the one allowed; the report shows them before any
latency.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from load_tests.client.records import RequestRecord
from load_tests.options import RunManifest
from load_tests.verdict import metrics

MAX_CPU_PERCENT: Final = 80.0
MIN_ACHIEVED: Final = 0.99
MAX_LAG_SHARE: Final = 0.1  # of the TTFT objective
DEFAULT_DELAY_MS: Final = 20.0  # without a TTFT objective
MIN_DELAY_MS: Final = 5.0
MIN_WINDOW_SHARE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Check:
    """One rule, as found."""

    name: str
    found: str
    allowed: str
    ok: bool


def check(
    manifest: RunManifest,
    records: Sequence[RequestRecord],
    facts: Sequence[dict[str, Any]],
    *,
    ttft_limit_ms: float | None,
) -> list[Check]:
    """Apply every rule to the requests due in the window (`records`) and what the workers wrote (`facts`)."""
    delay_limit = DEFAULT_DELAY_MS if ttft_limit_ms is None else max(MIN_DELAY_MS, MAX_LAG_SHARE * ttft_limit_ms)
    why = "default" if ttft_limit_ms is None else f"a tenth of the TTFT objective of {ttft_limit_ms:g} ms"
    checks = [_whole(facts, manifest.workers), _cpu(facts), _loop(facts, delay_limit, why)]
    if manifest.spec.open_loop:
        checks += [_rate(records), _lag(records, delay_limit, why)]
    if estimated := sum(r.ok and r.tokens_from != "usage" for r in records):
        checks.append(Check("token counts", f"{estimated} replies without usage: counted by events", "usage", ok=True))
    return checks


def beside(facts: dict[str, Any]) -> list[Check]:
    """Apply the rule for a command that was to run beside the load, to what was noted of it; none without one."""
    if not facts:
        return []
    ran_s, code = facts["ended_s"] - facts["started_s"], facts["exit_code"]
    found = facts.get("problem") or (f"ran {ran_s:.0f} s" if code is None else f"exit code {code} after {ran_s:.0f} s")
    return [Check("command beside the load", found, "no failure", ok="problem" not in facts and code in {None, 0})]


def _whole(facts: Sequence[dict[str, Any]], expected: int) -> Check:
    if len(facts) != expected:
        return Check("all workers reported", f"{len(facts)} of {expected}", "all", ok=False)
    share = min((f["window_end_s"] - f["window_start_s"]) / (f["planned_end_s"] - f["window_start_s"]) for f in facts)
    return Check(
        "ran to the end", f"{share:.0%} of the window", f">= {MIN_WINDOW_SHARE:.0%}", share >= MIN_WINDOW_SHARE
    )


def _cpu(facts: Sequence[dict[str, Any]]) -> Check:
    means = []
    for fact in facts:
        inside = [c for at, c in fact["cpu_percent"] if fact["window_start_s"] < at <= fact["window_end_s"] + 1]
        means.append(float(np.mean(inside)) if inside else 0.0)
    worst = max(means, default=0.0)
    return Check(
        "client CPU", f"{worst:.0f} % of a core (busiest worker)", f"< {MAX_CPU_PERCENT:.0f} %", worst < MAX_CPU_PERCENT
    )


def _loop(facts: Sequence[dict[str, Any]], limit: float, why: str) -> Check:
    delays = [delay for fact in facts for delay in fact["loop_delay_ms"]]
    p99 = float(np.percentile(delays, 99)) if delays else 0.0
    return Check("client timing, p99", f"{p99:.1f} ms late", f"< {limit:g} ms ({why})", p99 < limit)


def _rate(records: Sequence[RequestRecord]) -> Check:
    sent = sum(r.outcome != "dropped" for r in records)
    share = sent / len(records) if records else 0.0
    return Check(
        "sent of scheduled", f"{sent} of {len(records)} ({share:.1%})", f">= {MIN_ACHIEVED:.0%}", share >= MIN_ACHIEVED
    )


def _lag(records: Sequence[RequestRecord], limit: float, why: str) -> Check:
    lags = [lag for r in records if (lag := metrics.send_lag_ms(r)) is not None]
    p50, p99 = (float(np.percentile(lags, p)) for p in (50, 99)) if lags else (0.0, 0.0)
    return Check("send lag, p99", f"{p99:.1f} ms (p50 {p50:.1f} ms)", f"< {limit:g} ms ({why})", p99 < limit)
