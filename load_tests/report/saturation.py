"""What a search for saturation found, in words, as JSON and as one HTML page that works offline."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from load_tests.report import formats
from load_tests.verdict.saturation import Bracket, Outcome, Step
from nemostack.report import page
from nemostack.report.svg import Series, lines

FILE: Final = "search.json"
PAGE: Final = "search.html"
WIDTH: Final = 640


def findings(
    found: Bracket,
    full: tuple[float, tuple[float, float] | None] | None,
    knee: float | None,
    steps: Sequence[Step],
    *,
    unit: str,
) -> list[str]:
    """Say what was found, the answer first."""
    said = [_limit(found, steps, unit)]
    if full is not None:
        interval = f" ({full[1][0]:.3g} to {full[1][1]:.3g})" if full[1] else ""
        said.append(f"Over-saturated, it completed {full[0]:.3g}{interval} requests/s: its limit without objectives.")
    if knee is not None:
        said.append(
            f"The knee of the curve is at {knee:g} {unit}: there throughput / mean end-to-end time is greatest."
        )
    if broken := [step for step in steps if step.outcome is Outcome.BREAKS]:
        first = min(broken, key=lambda step: step.rate)
        said.append(f"At {first.rate:g} {unit}: {first.why}")
    said += [f"At {s.rate:g} {unit}: {s.why}. Use more workers." for s in steps if s.outcome is Outcome.CLIENT]
    return said


def _limit(found: Bracket, steps: Sequence[Step], unit: str) -> str:
    if found.holds is None:
        if found.breaks is not None:
            return f"No rate held: {found.breaks:g} {unit} broke already."
        return "Nothing can be said: no step was decided. Use a longer --duration, or look at why steps were INVALID."
    times = sum(step.rate == found.holds and step.outcome is Outcome.HOLDS for step in steps)
    held = f"{found.holds:g} {unit} held" + (f" in {times} runs" if times > 1 else "")
    if found.breaks is None:
        return f"{held}, and nothing broke: the limit lies above."
    return f"{held}, {found.breaks:g} broke: the limit lies between."


def write(result: dict[str, Any], out: Path) -> None:
    """Write search.json and search.html."""
    (out / FILE).write_text(json.dumps(result, indent=2), encoding="utf-8")
    content = {"data": result, "plots": _plots(result)}
    filters = {"ms": formats.ms, "number": formats.rate}
    (out / PAGE).write_text(page.render(__package__, "search.html.j2", content, filters=filters), encoding="utf-8")


def _plots(result: dict[str, Any]) -> list[dict[str, Any]]:
    unit = result["unit"]
    open_loop = unit != "users"

    def curve(key: str) -> list[tuple[float, float]]:
        """One point a rate: the mean of its runs."""
        values: dict[float, list[float]] = {}
        for step in result["steps"]:
            if step[key] is not None:
                values.setdefault(step["rate"], []).append(step[key])
        return sorted((rate, fmean(several)) for rate, several in values.items())

    completed = Series("completed", 2, curve("completed_per_s"), marks=True)
    asked = Series("arrived", 0, sorted((step["rate"], step["rate"]) for step in result["steps"]))
    latencies = [Series("p50", 0, curve("ttft_p50_ms"), marks=True), Series("p95", 2, curve("ttft_p95_ms"), marks=True)]
    rates = [asked, completed] if open_loop else [completed]
    return [
        {
            "title": "Requests completed each second",
            "legend": [(one.label, one.style) for one in rates],
            "svg": lines("Completed", rates, x_label=unit, y_label="requests/s", width=WIDTH),
        },
        {
            "title": f"Time to first token{' from schedule' if open_loop else ''}",
            "legend": [(one.label, one.style) for one in latencies],
            "svg": lines("Time to first token", latencies, x_label=unit, y_label="ms", width=WIDTH),
        },
    ]
