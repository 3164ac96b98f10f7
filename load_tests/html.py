"""The report as one HTML page that works offline: styles and plots inside, no script, light and dark."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from load_tests import metrics, plots
from load_tests.records import RequestRecord

TEMPLATES = Path(__file__).parent / "templates"


def ms(value: float | None) -> str:
    """Milliseconds for people; what cannot be said is said so."""
    if value is None:
        return "not enough"
    if value >= 10_000:
        return f"{value / 1000:.1f} s"
    if value >= 100:
        return f"{value:,.0f} ms"
    return f"{value:.1f} ms" if value >= 10 else f"{value:.2f} ms"


def rate(value: float | None) -> str:
    """Something a second."""
    return "not enough" if value is None else plots.number(value)


def value(gate: dict[str, Any], key: str = "value") -> str:
    """Write a gate's value or target in its metric's unit."""
    number = gate[key]
    if number is None:
        return "not enough"
    if gate["metric"] in metrics.LATENCIES:
        return ms(number)
    if gate["metric"] in {"error_rate", "slo_attainment"}:
        return f"{number:.2%}"
    return f"{number:.2f} {'tokens/s' if 'token' in gate['metric'] else '/s'}"


def objective(gate: dict[str, Any]) -> str:
    """`TTFT p95 <= 500 ms (overall)`."""
    latency = metrics.LATENCIES.get(gate["metric"])
    label = latency.label if latency else gate["metric"].replace("_", " ")
    stat = f" {gate['stat']}" if gate["stat"] else ""
    sign = "<=" if gate["bound"] == "max" else ">="
    return f"{label}{stat} {sign} {value(gate, 'target')} ({gate['scope']})"


def interval(gate: dict[str, Any]) -> str:
    """Write a gate's 95 % interval."""
    if gate["interval"] is None:
        return ""
    low, high = (value({**gate, "value": end}) for end in gate["interval"])
    return f"{low} to {high}"


def render(data: dict[str, Any], records: Sequence[RequestRecord]) -> str:
    """Make the page."""
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(ms=ms, number=rate)
    environment.globals.update(objective=objective, gate_value=value, gate_interval=interval)
    return environment.get_template("report.html.j2").render(
        data=data,
        spec=data["run"]["spec"],
        whole=data["overall"],
        latencies=metrics.LATENCIES,
        scalars=metrics.SCALARS,
        plots=_plots(data, records),
    )


def _plots(data: dict[str, Any], records: Sequence[RequestRecord]) -> list[dict[str, Any]]:
    base, start = data["run"]["base_model"], float(data["run"]["spec"]["warmup_s"])
    end = start + data["window_s"]
    inside = [r for r in records if r.ok and start <= r.due < end]
    kinds = [("base model", "c1", [r for r in inside if r.model == base])]
    kinds += [("adapters", "c2", [r for r in inside if r.model != base])]
    kinds = [(label, style, group) for label, style, group in kinds if group]
    legend = [(label, style) for label, style, _ in kinds]
    spans = [(r.t_send, r.t_end if r.t_end is not None else end) for r in records if r.t_send is not None]
    last = max([end, *(b for _, b in spans)])
    bars, dots = "bar: median, whisker: p95", "one dot per request, at the time it was due; grey: warm-up"
    return [
        _plot("Time to first token, by model", _model_bars(data, "ttft_ms"), note=bars),
        _plot("Time per output token, by model", _model_bars(data, "tpot_ms"), note=bars),
        _plot("Time to first token, share of requests at or below", _cdf(kinds, "ttft_ms"), legend),
        _plot("End to end, share of requests at or below", _cdf(kinds, "e2e_ms"), legend),
        _plot("Time to first token over the run", _over_time(data, records, base, start, end), legend, dots),
        _plot("Requests in flight", _in_flight(spans, last)),
        _plot("Requests due and ended each second", _rates(records, last), [("due", "c1"), ("ended well", "c2")]),
    ]


def _plot(title: str, svg: Any, legend: Sequence[tuple[str, str]] = (), note: str = "") -> dict[str, Any]:
    return {"title": title, "note": note, "legend": legend, "svg": svg}


def _in_flight(spans: Sequence[tuple[float, float]], last: float) -> Any:
    return plots.lines(
        "Requests in flight",
        [plots.Series("in flight", "c1", plots.in_flight(spans))],
        x_label="seconds since start",
        y_label="requests",
        steps=True,
        x_range=(0.0, last),
    )


def _model_bars(data: dict[str, Any], metric: str) -> Any:
    base = data["run"]["base_model"]
    rows = []
    for model, summary in data["models"].items():
        spread = summary["latencies"][metric]
        p50, p95 = spread["percentiles"]["p50"], spread["percentiles"]["p95"]
        rows.append(plots.Bar(model, "c1" if model == base else "c2", p50, p95, f"n={spread['count']}"))
    return plots.bars(metrics.LATENCIES[metric].label, rows, unit="ms")


def _cdf(kinds: Sequence[tuple[str, str, list[RequestRecord]]], metric: str) -> Any:
    series = [plots.Series(label, style, plots.cdf(metrics.samples(group, metric))) for label, style, group in kinds]
    low = min((s.points[0][0] for s in series if s.points), default=0.0)
    high = max((s.points[-1][0] for s in series if s.points), default=1.0)
    margin = max(0.1 * (high - low), 0.02 * high)
    return plots.lines(
        metrics.LATENCIES[metric].label,
        series,
        x_label="ms",
        y_label="share",
        steps=True,
        x_range=(max(0.0, low - margin), high + margin),
        y_max=1 / 1.05,
    )


def _over_time(data: dict[str, Any], records: Sequence[RequestRecord], base: str, start: float, end: float) -> Any:
    open_loop = data["run"]["spec"]["arrivals"] != "closed"
    of = metrics.ttft_from_schedule_ms if open_loop else metrics.ttft_ms
    groups: dict[str, list[plots.Point]] = {"c1": [], "c2": []}
    for r in records:
        took = of(r) if r.ok else None
        if took is not None:
            groups["c1" if r.model == base else "c2"].append((r.due, took))
    gates = [g for g in data["gates"] if g["metric"] == "ttft_ms" and g["scope"] == "overall" and g["bound"] == "max"]
    limit = plots.Limit(f"{gates[0]['stat']} objective", gates[0]["target"]) if gates else None
    return plots.scatter(
        "TTFT over the run",
        [plots.Series(style, style, points) for style, points in groups.items()],
        x_label="seconds since start",
        y_label="ms from schedule" if open_loop else "ms",
        x_range=(0.0, end),
        limit=limit,
        shaded=(0.0, start),
    )


def _rates(records: Sequence[RequestRecord], last: float) -> Any:
    seconds = range(int(last) + 1)
    due, ended = dict.fromkeys(seconds, 0), dict.fromkeys(seconds, 0)
    for r in records:
        due[int(r.due)] = due.get(int(r.due), 0) + 1
        if r.ok and r.t_end is not None:
            ended[int(r.t_end)] = ended.get(int(r.t_end), 0) + 1
    return plots.lines(
        "Requests each second",
        [
            plots.Series("due", "c1", [(float(s), float(n)) for s, n in due.items()]),
            plots.Series("ended well", "c2", [(float(s), float(n)) for s, n in ended.items()]),
        ],
        x_label="seconds since start",
        y_label="requests/s",
        steps=True,
        x_range=(0.0, last),
    )
