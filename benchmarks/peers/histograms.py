"""The server's own word on a run: means of vLLM's histograms of TTFT and TPOT over the requests that ended in it.

A server that has no such histograms, or no `/metrics`, has no word. Names: vLLM 0.22, `v1/metrics/loggers.py`.
"""

import re
from typing import Final

import httpx

TTFT: Final = "vllm:time_to_first_token_seconds"
TPOT: Final = "vllm:request_time_per_output_token_seconds"
_LINE: Final = re.compile(r"^(vllm:\w+_(?:sum|count))(?:\{.*\})? (\S+)$", re.MULTILINE)


def read_totals(url: str) -> dict[str, float]:
    """Return sums (s) and counts of the histograms of all engines so far, by their names in Prometheus text."""
    answer = httpx.get(f"{url}/metrics", timeout=30, trust_env=False)
    totals: dict[str, float] = {}
    for name, value in _LINE.findall(answer.text if answer.status_code == 200 else ""):
        totals[name] = totals.get(name, 0.0) + float(value)
    return totals


def means_between(before: dict[str, float], after: dict[str, float]) -> tuple[float | None, float | None]:
    """Return the mean TTFT and TPOT between two readings, in ms; None where no request ended."""

    def mean_ms(name: str) -> float | None:
        seconds, requests = (after.get(f"{name}_{end}", 0) - before.get(f"{name}_{end}", 0) for end in ("sum", "count"))
        return seconds / requests * 1e3 if requests else None

    return mean_ms(TTFT), mean_ms(TPOT)
