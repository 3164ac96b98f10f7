"""The numbers of a run in the shape of AIPerf's `profile_export_aiperf.json` (schema 1.1), for tools that read that.

AIPerf's names, ours behind them: `inter_token_latency` is TPOT, `inter_chunk_latency` is ITL, `request_latency` is E2E
(to the last output event). Percentiles are over all samples, also where our own report says "not enough". What AIPerf
has and we do not measure is left out, as it does itself; `nemostack` holds our verdict, schema and run.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np

from load_tests.client.exchange import ERROR_KINDS
from load_tests.client.records import RequestRecord
from load_tests.verdict import metrics
from load_tests.verdict.token_rate import Window

SCHEMA_VERSION: Final = "1.1"
FILE: Final = "profile_export_aiperf.json"
_PERCENTILES: Final = (1, 5, 10, 25, 50, 75, 90, 95, 99)
_LATENCIES: Final = {
    "time_to_first_token": "ttft_ms",
    "inter_token_latency": "tpot_ms",
    "inter_chunk_latency": "itl_ms",
    "request_latency": "e2e_ms",
}


def export(data: dict[str, Any], records: Sequence[RequestRecord]) -> dict[str, Any]:
    """Make the document from the content of report.json and the run's samples."""
    start = float(data["run"]["spec"]["warmup_s"])
    window = Window(start, start + data["window_s"])
    inside = [r for r in records if not r.role and window.holds(r.due)]
    succeeded = [r for r in inside if r.ok]
    failed = [r for r in inside if r.outcome in ERROR_KINDS]
    whole = data["overall"]
    begun = datetime.fromisoformat(data["started_at"]) + timedelta(seconds=start)
    found: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "benchmark_id": data["id"],
        "start_time": begun.isoformat(),
        "end_time": (begun + timedelta(seconds=data["window_s"])).isoformat(),
        "was_cancelled": any(check["name"] == "ran to the end" and not check["ok"] for check in data["validity"]),
        **{name: _spread(metrics.samples(succeeded, ours), "ms") for name, ours in _LATENCIES.items()},
        "output_sequence_length": _spread([r.output_tokens for r in succeeded], "tokens"),
        "input_sequence_length": _spread([r.prompt_tokens for r in succeeded if r.prompt_tokens is not None], "tokens"),
        "output_token_throughput_per_user": _spread(
            [1e3 / tpot for r in succeeded if (tpot := metrics.tpot_ms(r))], "tokens/sec/user"
        ),
        "request_count": _one(len(succeeded), "requests"),
        "error_request_count": _one(len(failed), "requests"),
        "request_throughput": _one(whole["scalars"]["request_throughput"], "requests/sec"),
        "output_token_throughput": _one(whole["scalars"]["output_token_throughput"], "tokens/sec"),
        "total_osl": _one(sum(r.output_tokens for r in succeeded), "tokens"),
        "total_isl": _one(sum(r.prompt_tokens or 0 for r in succeeded), "tokens"),
        "goodput": _one(whole["scalars"]["goodput"], "requests/sec"),
        "good_request_count": _one(whole["good"], "requests"),
        "benchmark_duration": _one(data["window_s"], "sec"),
        "error_summary": [
            {"error_details": {"type": kind, "message": whole["error_examples"][kind]}, "count": count}
            for kind, count in whole["errors_by_kind"].items()
        ],
        "nemostack": {"schema": data["schema"], "verdict": data["verdict"], "run": data["run"]},
    }
    return {name: value for name, value in found.items() if value is not None}


def _one(value: float | None, unit: str) -> dict[str, Any] | None:
    return None if value is None else {"unit": unit, "avg": float(value)}


def _spread(values: Iterable[float], unit: str) -> dict[str, Any] | None:
    ordered = np.sort(np.fromiter(values, dtype=np.float64))
    if not len(ordered):
        return None
    return {
        "unit": unit,
        "avg": float(ordered.mean()),
        "min": float(ordered[0]),
        "max": float(ordered[-1]),
        **{f"p{p}": float(np.percentile(ordered, p)) for p in _PERCENTILES},
        "std": float(ordered.std(ddof=1)) if len(ordered) > 1 else 0.0,
        "count": len(ordered),
        "sum": float(ordered.sum()),
    }
