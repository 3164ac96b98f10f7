"""The report of a load test as one HTML page that works offline, without script, in light and dark."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from load_tests.client.records import RequestRecord
from load_tests.report import adapters, formats, plots, server
from load_tests.verdict import metrics
from nemostack.report import page

MODELS_SHOWN: Final = 24
COMPARED: Final = (
    ("ttft_ms, warm adapters", "TTFT p50: warm adapters to the base model"),
    ("ttft_ms, cold adapters", "TTFT p50: cold adapters to the base model"),
    ("ttft_ms, cold to warm", "TTFT p50: cold adapters to warm ones"),
    ("tpot_ms, adapters", "TPOT p50: adapters to the base model"),
    ("ttft_ms, canary to stable", "TTFT p50: the canary to the stable model"),
    ("tpot_ms, canary to stable", "TPOT p50: the canary to the stable model"),
)


def render(data: dict[str, Any], records: Sequence[RequestRecord]) -> str:
    """Render the page from the content of report.json and all samples."""
    return page.render(
        __package__,
        "report.html.j2",
        {
            "data": data,
            "started_at": datetime.fromisoformat(data["started_at"]),
            "spec": data["run"]["spec"],
            "asked": formats.asked(data["run"]["spec"]),
            "whole": data["overall"],
            "latencies": metrics.LATENCIES,
            "scalars": metrics.SCALARS,
            "plots": plots.draw(data, records),
            "effects": data["adapters"],
            "adapter_sentences": adapters.sentences(data["adapters"]) if data["adapters"] else [],
            "adapter_plots": adapters.plots(data["adapters"]) if data["adapters"] else [],
            "server_plots": server.plots(data["server"]),
            "compared": COMPARED,
            "shown_models": plots.most_asked(data, MODELS_SHOWN),
        },
        filters={
            "ms": formats.ms,
            "number": formats.rate,
            "objective": formats.objective,
            "gate_value": formats.gate_value,
            "gate_interval": formats.gate_interval,
            "change": adapters.change,
        },
    )
