"""The report of a load test as one HTML page that works offline, without script, in light and dark."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from load_tests.client.records import RequestRecord
from load_tests.report import formats, plots
from load_tests.verdict import metrics
from nemostack.report import page


def render(data: dict[str, Any], records: Sequence[RequestRecord]) -> str:
    """Render the page from the content of report.json and all samples."""
    return page.render(
        __package__,
        "report.html.j2",
        {
            "data": data,
            "started_at": datetime.fromisoformat(data["started_at"]),
            "spec": data["run"]["spec"],
            "whole": data["overall"],
            "latencies": metrics.LATENCIES,
            "scalars": metrics.SCALARS,
            "plots": plots.draw(data, records),
        },
        filters={
            "ms": formats.ms,
            "number": formats.rate,
            "objective": formats.objective,
            "gate_value": formats.gate_value,
            "gate_interval": formats.gate_interval,
        },
    )
