"""A run in Markdown, for the summary of a CI job or a comment: verdict, objectives, latency, adapters."""

from collections.abc import Iterable, Sequence
from typing import Any

from load_tests.report import adapters, formats
from load_tests.verdict import metrics


def of_run(data: dict[str, Any]) -> str:
    """Write the summary from the content of report.json."""
    whole = data["overall"]
    parts = [f"### Load test: {data['verdict']}"]
    rates = [formats.rate(whole["scalars"][name]) for name in ("request_throughput", "output_token_throughput")]
    parts.append(
        f"`{_cell(data['run']['base_model'])}`, {len(data['models']) - 1} adapters: {whole['successes']} succeeded, "
        f"{whole['errors']} failed in {data['window_s']:.0f} s; {rates[0]} requests/s, {rates[1]} tokens/s."
    )
    broken = [f"{c['name']}: {c['found']}, allowed {c['allowed']}" for c in data["validity"] if not c["ok"]]
    if broken:
        parts.append("**Not a measurement of the server:** " + "; ".join(map(_cell, broken)))
    if data["gates"]:
        rows = [
            (formats.objective(g), formats.gate_value(g), formats.gate_interval(g), g["samples"], g["verdict"])
            for g in data["gates"]
        ]
        parts.append(table(("objective", "measured", "95 % interval", "samples", "verdict"), rows))
    spreads = [(metrics.LATENCIES[name].label, whole["latencies"][name]) for name in ("ttft_ms", "tpot_ms", "e2e_ms")]
    stats = ("p50", "p95", "p99")
    rows_ = [(label, *(formats.ms(spread["percentiles"][p]) for p in stats)) for label, spread in spreads]
    parts.append(table(("latency", *stats), rows_))
    if data["adapters"] is not None:
        parts.append("\n".join(f"- {_cell(sentence)}" for sentence in adapters.sentences(data["adapters"])))
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table; cells become text that is no markup."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_cell(str(cell)) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Escape what Markdown or HTML would take for markup: names and errors come from a server."""
    for character in "\\`*_[]|":
        text = text.replace(character, "\\" + character)
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())
