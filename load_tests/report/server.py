"""The server's own numbers as plots, on the time axis of the requests."""

from typing import Any, Final

from load_tests.verdict.server_view import series
from nemostack.report.svg import Series, lines

WIDTH: Final = 640
_PLOTS: Final = (
    ("Requests in the server", "requests", (("running", "running"), ("waiting", "waiting"))),
    ("KV cache", "share", (("in use", "kv_cache"),)),
    ("Adapters in the server", "adapters", (("with requests", "adapters"), ("slots", "adapter_slots"))),
    ("GPUs busy", "%", (("busy", "gpu_use"),)),
)


def plots(server: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Draw each number that the server told."""
    if server is None or not server["samples"]:
        return []
    samples, drawn = server["samples"], []
    for title, unit, wanted in _PLOTS:
        found = [
            Series(label, style, points)
            for (label, name), style in zip(wanted, (2, 0), strict=False)
            if (points := series(samples, name))
        ]
        if not found:
            continue
        svg = lines(
            title,
            found,
            x_label="seconds since start",
            y_label=unit,
            steps=True,
            x_range=(0.0, max(samples[-1]["t"], 1.0)),
            y_max=1.0 if unit == "share" else None,
            width=WIDTH,
        )
        legend = [(one.label, one.style) for one in found] if len(found) > 1 else []
        drawn.append({"title": title, "note": "told by the server", "legend": legend, "svg": svg})
    return drawn
