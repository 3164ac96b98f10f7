"""The plots of a load test, from its samples. The base model has the first colour, adapters have the third."""

from collections.abc import Sequence
from typing import Any, Final

from markupsafe import Markup

from load_tests.client.records import RequestRecord
from load_tests.verdict import metrics
from nemostack.report.svg import Bar, Group, Limit, Point, Series, bars, lines, scatter

WIDTH: Final = 640
MODELS_DRAWN: Final = 12
BASE: Final = 0
ADAPTERS: Final = 2
Legend = Sequence[tuple[str, int]]


def draw(data: dict[str, Any], records: Sequence[RequestRecord]) -> list[dict[str, Any]]:
    """Draw all plots: title, note, legend and SVG of each."""
    base, start = data["run"]["base_model"], float(data["run"]["spec"]["warmup_s"])
    end = start + data["window_s"]
    inside = [r for r in records if r.ok and start <= r.due < end]
    kinds = [("base model", BASE, [r for r in inside if r.model == base])]
    kinds += [("adapters", ADAPTERS, [r for r in inside if r.model != base])]
    kinds = [(label, style, group) for label, style, group in kinds if group]
    legend = [(label, style) for label, style, _ in kinds]
    inside = [r for r in inside if not r.role]
    spans = [(r.t_send, r.t_end if r.t_end is not None else end) for r in records if r.t_send is not None]
    last = max([end, *(stop for _, stop in spans)])
    bar_note = "bar: median, whisker: p95"
    dot_note = "one dot per request, at the time it was due; grey: warm-up"
    return [
        _plot("Time to first token, by model", _model_bars(data, "ttft_ms"), note=bar_note),
        _plot("Time per output token, by model", _model_bars(data, "tpot_ms"), note=bar_note),
        _plot("Time to first token, share of requests at or below", _shares(kinds, "ttft_ms"), legend),
        _plot("End to end, share of requests at or below", _shares(kinds, "e2e_ms"), legend),
        _plot("Time to first token over the run", _over_time(data, records, base, start, end), legend, dot_note),
        _plot("Requests in flight", _in_flight(spans, last)),
        _plot("Requests due and ended each second", _rates(records, last), [("due", 0), ("ended well", 2)]),
    ]


def _plot(title: str, svg: Markup, legend: Legend = (), note: str = "") -> dict[str, Any]:
    return {"title": title, "note": note, "legend": legend, "svg": svg}


def most_asked(data: dict[str, Any], most: int) -> list[str]:
    """Return the base model, the adapters that got the most requests and the slowest one, at most `most` and one."""
    base = data["run"]["base_model"]
    counts = {model: found["successes"] + found["errors"] for model, found in data["models"].items()}
    ranked = sorted(data["models"], key=lambda model: (model != base, -counts[model]))[:most]
    slowest = ((data["adapters"] or {}).get("worst") or {}).get("model")
    return [*ranked, *([slowest] if slowest in counts and slowest not in ranked else [])]


def _model_bars(data: dict[str, Any], metric: str) -> Markup:
    base = data["run"]["base_model"]
    groups = []
    for model in most_asked(data, MODELS_DRAWN):
        summary = data["models"][model]
        spread = summary["latencies"][metric]
        p50, p95 = spread["percentiles"]["p50"], spread["percentiles"]["p95"]
        bar = Bar(BASE if model == base else ADAPTERS, p50, None, p95, f"n={spread['count']}")
        groups.append(Group(model, (bar,)))
    return bars(metrics.LATENCIES[metric].label, groups, unit="ms", labels_above=True, width=WIDTH)


def _shares(kinds: Sequence[tuple[str, int, list[RequestRecord]]], metric: str) -> Markup:
    series = [Series(label, style, cumulative(metrics.samples(group, metric))) for label, style, group in kinds]
    low = min((one.points[0][0] for one in series if one.points), default=0.0)
    high = max((one.points[-1][0] for one in series if one.points), default=1.0)
    margin = max(0.1 * (high - low), 0.02 * high)
    return lines(
        metrics.LATENCIES[metric].label,
        series,
        x_label="ms",
        y_label="share",
        steps=True,
        x_range=(max(0.0, low - margin), high + margin),
        y_max=1.0,
        width=WIDTH,
    )


def _over_time(data: dict[str, Any], records: Sequence[RequestRecord], base: str, start: float, end: float) -> Markup:
    open_loop = data["run"]["spec"]["arrivals"] != "closed"
    latency = metrics.ttft_from_schedule_ms if open_loop else metrics.ttft_ms
    groups: dict[int, list[Point]] = {BASE: [], ADAPTERS: []}
    for record in records:
        value = latency(record) if record.ok else None
        if value is not None:
            groups[BASE if record.model == base else ADAPTERS].append((record.due, value))
    gates = [g for g in data["gates"] if g["metric"] == "ttft_ms" and g["scope"] == "overall" and g["bound"] == "max"]
    return scatter(
        "Time to first token over the run",
        [Series("", style, points) for style, points in groups.items()],
        x_label="seconds since start",
        y_label="ms from schedule" if open_loop else "ms",
        x_range=(0.0, end),
        limit=Limit(f"{gates[0]['stat']} objective", gates[0]["target"]) if gates else None,
        shaded=(0.0, start),
        width=WIDTH,
    )


def _in_flight(spans: Sequence[Point], last: float) -> Markup:
    return lines(
        "Requests in flight",
        [Series("in flight", ADAPTERS, in_flight(spans))],
        x_label="seconds since start",
        y_label="requests",
        steps=True,
        x_range=(0.0, last),
        width=WIDTH,
    )


def _rates(records: Sequence[RequestRecord], last: float) -> Markup:
    seconds = range(int(last) + 1)
    due, ended = dict.fromkeys(seconds, 0), dict.fromkeys(seconds, 0)
    for record in records:
        due[int(record.due)] = due.get(int(record.due), 0) + 1
        if record.ok and record.t_end is not None:
            ended[int(record.t_end)] = ended.get(int(record.t_end), 0) + 1
    return lines(
        "Requests each second",
        [
            Series("due", 0, [(float(second), float(count)) for second, count in due.items()]),
            Series("ended well", 2, [(float(second), float(count)) for second, count in ended.items()]),
        ],
        x_label="seconds since start",
        y_label="requests/s",
        steps=True,
        x_range=(0.0, last),
        width=WIDTH,
    )


def cumulative(values: Sequence[float]) -> list[Point]:
    """Return points (value, share of values at or below it)."""
    ordered = sorted(values)
    return [(value, (k + 1) / len(ordered)) for k, value in enumerate(ordered)]


def in_flight(spans: Sequence[Point]) -> list[Point]:
    """Return step points (time, number of spans open) from (start, end) pairs."""
    changes = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    points, open_spans = [(0.0, 0.0)], 0
    for at, change in changes:
        open_spans += change
        points.append((at, float(open_spans)))
    return points
