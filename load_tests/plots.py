"""Plots as SVG text: no script, no remote font, colours from the page's style so that dark mode works.

Every label is escaped: model ids come from a server and may hold anything.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 12, 38
EDGE = WIDTH - RIGHT
MAX_POINTS = 2000
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """One named set of points; `style` is a class of the page's style sheet (c1..c6)."""

    label: str
    style: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Limit:
    """A line across the plot, such as an objective."""

    label: str
    value: float


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values covering [low, high], about `about` of them."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    raw = span / about
    magnitude = 10 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def number(value: float) -> str:
    """Short text: 3 significant digits below 100, whole numbers above."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def thin(points: Sequence[Point], most: int = MAX_POINTS) -> Sequence[Point]:
    """At most `most` points, evenly picked, ends kept."""
    if len(points) <= most:
        return points
    return [points[round(k * (len(points) - 1) / (most - 1))] for k in range(most)]


class _Frame:
    """Scales, axes and grid of one plot."""

    def __init__(self, x: Point, y: Point, x_label: str, y_label: str) -> None:
        self.x0, self.x1 = x
        self.y0, self.y1 = y[0], y[1] * 1.05 if y[1] > 0 else 1.0
        if self.x1 <= self.x0:
            self.x1 = self.x0 + 1
        self.parts: list[str] = []
        for value in ticks(self.y0, self.y1):
            at = self.py(value)
            self.parts.append(f'<line class="grid" x1="{LEFT}" x2="{EDGE}" y1="{at:.1f}" y2="{at:.1f}"/>')
            self.parts.append(
                f'<text class="tick" x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{number(value)}</text>'
            )
        for value in ticks(self.x0, self.x1, 7):
            at, base = self.px(value), HEIGHT - BOTTOM
            self.parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{base}" y2="{base + 4}"/>')
            self.parts.append(
                f'<text class="tick" x="{at:.1f}" y="{base + 17}" text-anchor="middle">{number(value)}</text>'
            )
        self.parts.append(f'<text class="axis" x="{EDGE}" y="{HEIGHT - 4}" text-anchor="end">{escape(x_label)}</text>')
        self.parts.append(f'<text class="axis" x="4" y="{HEIGHT - 4}">{escape(y_label)}</text>')

    def px(self, value: float) -> float:
        return LEFT + (value - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def py(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)

    def limit(self, limit: Limit) -> None:
        if limit.value <= self.y1:
            at = self.py(limit.value)
            self.parts.append(f'<line class="limit" x1="{LEFT}" x2="{EDGE}" y1="{at:.1f}" y2="{at:.1f}"/>')
            self.parts.append(
                f'<text class="limit" x="{EDGE}" y="{at - 5:.1f}" text-anchor="end">{escape(limit.label)}</text>'
            )

    def svg(self, title: str) -> Markup:
        body = "".join(self.parts)
        return Markup(  # noqa: S704 - every label in the parts was escaped when it was added
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{body}</svg>'
        )


def _extent(series: Sequence[Series], axis: int) -> float:
    return max((p[axis] for s in series for p in s.points), default=1.0)


def lines(title: str, series: Sequence[Series], *, x_label: str, y_label: str, steps: bool = False,
          x_range: Point | None = None, y_max: float | None = None) -> Markup:  # fmt: skip
    """Line plot (`steps`: the value holds until the next point)."""
    frame = _Frame(
        x_range or (0.0, _extent(series, 0)),
        (0.0, y_max if y_max is not None else _extent(series, 1)),
        x_label,
        y_label,
    )
    for one in series:
        path: list[str] = []
        for x, y in thin(one.points):
            px, py = frame.px(x), frame.py(y)
            if not path:
                path.append(f"M{px:.1f} {py:.1f}")
            elif steps:
                path.append(f"H{px:.1f}V{py:.1f}")
            else:
                path.append(f"L{px:.1f} {py:.1f}")
        if path:
            frame.parts.append(f'<path class="line {one.style}" d="{"".join(path)}"/>')
    return frame.svg(title)


def scatter(title: str, series: Sequence[Series], *, x_label: str, y_label: str, x_range: Point,
            limit: Limit | None = None, shaded: Point | None = None) -> Markup:  # fmt: skip
    """Dots; `shaded` is a range of x drawn in grey (the warm-up)."""
    top = _extent(series, 1)
    if limit is not None and limit.value <= 2 * top:
        top = max(top, limit.value)
    frame = _Frame(x_range, (0.0, top), x_label, y_label)
    if shaded is not None and shaded[1] > shaded[0]:
        left, right = frame.px(shaded[0]), frame.px(shaded[1])
        frame.parts.insert(
            0,
            f'<rect class="shade" x="{left:.1f}" y="{TOP}" width="{right - left:.1f}"'
            f' height="{HEIGHT - TOP - BOTTOM}"/>',
        )
    for one in series:
        dots = "".join(f'<circle cx="{frame.px(x):.1f}" cy="{frame.py(y):.1f}" r="2.4"/>' for x, y in thin(one.points))
        frame.parts.append(f'<g class="dots {one.style}">{dots}</g>')
    if limit is not None:
        frame.limit(limit)
    return frame.svg(title)


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a bar plot: bars up to p50, whiskers to p95; None where there were too few samples."""

    label: str
    style: str
    p50: float | None
    p95: float | None
    note: str


def bars(title: str, rows: Sequence[Bar], *, unit: str) -> Markup:
    """Horizontal bars, a row a model, label above its bar so that long ids fit."""
    step, left, right = 44, 4, 90
    height = step * len(rows) + 30
    top = max((v for row in rows for v in (row.p50, row.p95) if v is not None), default=1.0) * 1.05
    scale = (WIDTH - left - right) / top if top > 0 else 1.0
    parts = []
    for value in ticks(0, top, 6):
        x = left + value * scale
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{height - 24}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - 8}" text-anchor="middle">{number(value)}</text>')
    parts.append(f'<text class="axis" x="{WIDTH}" y="{height - 8}" text-anchor="end">{escape(unit)}</text>')
    for k, row in enumerate(rows):
        y = k * step + 18
        parts.append(f'<text class="rowlabel" x="{left}" y="{y - 3}">{escape(row.label)}</text>')
        end = float(left)
        if row.p50 is not None:
            parts.append(
                f'<rect class="bar {row.style}" x="{left}" y="{y + 2}" width="{row.p50 * scale:.1f}" height="14"'
                ' rx="2"/>'
            )
            end = left + row.p50 * scale
        if row.p95 is not None:
            x = left + row.p95 * scale
            parts.append(f'<path class="whisker {row.style}" d="M{end:.1f} {y + 9}H{x:.1f}M{x:.1f} {y + 4}v10"/>')
            end = x
        parts.append(f'<text class="tick" x="{end + 8:.1f}" y="{y + 13}">{escape(row.note)}</text>')
    return Markup(  # noqa: S704 - every label in the parts was escaped when it was added
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def cdf(values: Sequence[float]) -> list[Point]:
    """Points (value, share of values at or below it)."""
    ordered = sorted(values)
    return [(value, (k + 1) / len(ordered)) for k, value in enumerate(ordered)]


def in_flight(spans: Sequence[Point]) -> list[Point]:
    """Step points (time, number of spans open) from (start, end) pairs."""
    changes = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    points, open_now = [(0.0, 0.0)], 0
    for at, change in changes:
        open_now += change
        points.append((at, float(open_now)))
    return points
