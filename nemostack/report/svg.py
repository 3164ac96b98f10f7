"""Charts as SVG text, without script or font files; the page's style sheet colours them, for light and dark.

Numbers go in, markup comes out. A series is coloured by its class `s0`, `s1`, ... (see theme.css). Every text is
escaped: labels come from model servers and data sets, and may hold anything.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

WIDTH: Final = 760
MAX_POINTS: Final = 2000
_LINE_HEIGHT: Final = 260
_LINE_MARGINS: Final = (52.0, 14.0, 12.0, 40.0)  # left, right, top, bottom
_END_LABEL_WIDTH: Final = 128.0
_END_LABEL_GAP: Final = 15.0
_BAR_ROW: Final = 17.0
_BAR_MARGINS: Final = (118.0, 96.0, 8.0, 26.0)
_AXIS_WIDTH: Final = 30.0
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """One named set of points. `style` is the number of its colour; `marks` draws a dot at each point of a line."""

    label: str
    style: int
    points: Sequence[Point]
    marks: bool = False


@dataclass(frozen=True, slots=True)
class Limit:
    """A horizontal line across the chart, such as an objective."""

    label: str
    value: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar with its whisker; `text` stands behind it.

    Without `low` the whisker begins at the end of the bar, without `high` there is none, without `value` only the text.
    """

    style: int
    value: float | None
    low: float | None
    high: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Group:
    """Bars under one label."""

    label: str
    bars: tuple[Bar, ...]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round values inside [low, high], about `about` of them."""
    step = _step(low, high, about)
    if step is None:
        return [low]
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def round_up(value: float, about: int = 5) -> float:
    """Return the first tick at or above `value`, as the end of an axis from zero."""
    step = _step(0.0, value, about)
    return 1.0 if step is None else round(math.ceil(value / step - 1e-9) * step, 10)


def _step(low: float, high: float, about: int) -> float | None:
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return None
    raw = span / about
    magnitude = 10.0 ** math.floor(math.log10(raw))
    return next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw * 0.999)


def number(value: float) -> str:
    """Write a number short: three significant digits below 100, whole numbers above."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def thin(points: Sequence[Point], most: int = MAX_POINTS) -> Sequence[Point]:
    """Return at most `most` points, evenly picked, first and last kept."""
    if len(points) <= most:
        return points
    return [points[round(k * (len(points) - 1) / (most - 1))] for k in range(most)]


def lines(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    steps: bool = False,
    end_labels: bool = False,
    x_range: Point | None = None,
    y_max: float | None = None,
    width: int = WIDTH,
) -> Markup:
    """Draw lines. `steps`: a value holds until the next point. `end_labels`: each line is named at its end.

    Points that are not finite are left out; empty markup when none is left.
    """
    end_values = [one.points[-1][1] if one.points else math.nan for one in series]  # as they are, nan included
    series = [_finite(one) for one in series]
    if not any(one.points for one in series):
        return Markup()
    frame = _Frame(
        x_range or (0.0, _extent(series, 0)),
        (0.0, y_max if y_max is not None else round_up(_extent(series, 1))),
        x_label,
        y_label,
        width=width,
        right=_END_LABEL_WIDTH if end_labels else _LINE_MARGINS[1],
    )
    label_heights: list[float] = []
    for one, end_value in zip(series, end_values, strict=True):
        if not one.points:
            continue
        path = [(frame.px(x), frame.py(y)) for x, y in thin(one.points)]
        join = "H{0:.1f}V{1:.1f}" if steps else "L{0:.1f} {1:.1f}"
        start, *rest = path
        d = f"M{start[0]:.1f} {start[1]:.1f}" + "".join(join.format(x, y) for x, y in rest)
        frame.add(f'<path class="line s{one.style}" d="{d}"/>')
        if one.marks or len(path) == 1:
            dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in path)
            frame.add(f'<g class="marks s{one.style}">{dots}</g>')
        if end_labels:
            height = path[-1][1] + 4
            while any(abs(height - other) < _END_LABEL_GAP for other in label_heights):
                height -= _END_LABEL_GAP
            label_heights.append(height)
            frame.text(f"end s{one.style}", frame.right + 10, height, f"{one.label} {end_value:.2f}")
    return frame.svg(title)


def scatter(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    x_range: Point,
    limit: Limit | None = None,
    shaded: Point | None = None,
    width: int = WIDTH,
) -> Markup:
    """Draw dots. `shaded` is a range of x with another background, such as the warm-up."""
    top = _extent(series, 1)
    if limit is not None and limit.value <= 2 * top:
        top = max(top, limit.value)
    frame = _Frame(x_range, (0.0, 1.05 * top), x_label, y_label, width=width, shaded=shaded)
    for one in series:
        dots = "".join(f'<circle cx="{frame.px(x):.1f}" cy="{frame.py(y):.1f}" r="2.4"/>' for x, y in thin(one.points))
        frame.add(f'<g class="dots s{one.style}">{dots}</g>')
    if limit is not None and limit.value <= frame.y[1]:
        frame.limit(limit)
    return frame.svg(title)


def bars(
    title: str,
    groups: Sequence[Group],
    *,
    unit: str = "",
    x_max: float | None = None,
    labels_above: bool = False,
    width: int = WIDTH,
) -> Markup:
    """Draw horizontal bars with whiskers, from zero to `x_max` (default: the largest value and a little more).

    Labels stand at the left, or above their bars where they may be long (`labels_above`).
    """
    left, right, top, bottom = _BAR_MARGINS
    left, head, gap = (4.0, 18.0, 8.0) if labels_above else (left, 0.0, 15.0)
    height = top + sum(head + len(group.bars) * _BAR_ROW + gap for group in groups) + bottom
    values = [v for group in groups for bar in group.bars for v in (bar.value, bar.high) if v is not None]
    end = x_max if x_max is not None else 1.05 * max(values, default=1.0) or 1.0
    axis_right = right + (_AXIS_WIDTH if unit else 0)

    def px(value: float) -> float:
        return left + (width - left - axis_right) * min(1.0, max(0.0, value / end))

    parts: list[str] = []
    for value in ticks(0.0, end):
        parts.append(_line("grid", px(value), px(value), top, height - bottom))
        parts.append(_text("tick", px(value), height - bottom + 18, number(value), "middle"))
    if unit:
        parts.append(_text("axis", width, height - bottom + 18, unit, "end"))
    y = top + (0.0 if labels_above else gap / 2)
    for group in groups:
        if labels_above:
            parts.append(_text("label", left, y + head - 5, group.label))
        else:
            middle = y + len(group.bars) * _BAR_ROW / 2
            parts.append(_text("label", left - 12, middle + 4, group.label, "end"))
        y += head
        for bar in group.bars:
            parts.append(_bar(bar, px, y))
            y += _BAR_ROW
        y += gap
    return _svg(title, parts, width, height)


def _bar(bar: Bar, px: Callable[[float], float], y: float) -> str:
    left, centre, end = px(0.0), y + _BAR_ROW / 2, px(0.0)
    parts = [f'<g class="s{bar.style}"><title>{escape(bar.text)}</title>']
    if bar.value is not None:
        end = px(bar.value)
        size = f'width="{max(1.0, end - left):.1f}" height="{_BAR_ROW - 4:.1f}"'
        parts.append(f'<rect class="bar" x="{left:.1f}" y="{y + 2:.1f}" {size} rx="2"/>')
    if bar.high is not None:
        start, stop = end if bar.low is None else px(bar.low), px(bar.high)
        caps = "".join(f"M{x:.1f} {centre - 4:.1f}v8" for x in ((stop,) if bar.low is None else (start, stop)))
        parts.append(f'<path class="whisker" d="M{start:.1f} {centre:.1f}H{stop:.1f}{caps}"/>')
        end = max(end, stop)
    return "".join(parts) + _text("value", end + 7, centre + 4, bar.text) + "</g>"


class _Frame:
    """Scales, axes and grid of a chart of points."""

    def __init__(
        self,
        x: Point,
        y: Point,
        x_label: str,
        y_label: str,
        *,
        width: int,
        right: float = _LINE_MARGINS[1],
        shaded: Point | None = None,
    ) -> None:
        self.width, self.left, self.right = width, _LINE_MARGINS[0], width - right
        self.top, self.bottom = _LINE_MARGINS[2], _LINE_HEIGHT - _LINE_MARGINS[3]
        self.x = x if x[1] > x[0] else (x[0], x[0] + 1)
        self.y = y if y[1] > y[0] else (y[0], y[0] + 1)
        self._parts: list[str] = []
        if shaded is not None and shaded[1] > shaded[0]:
            start, stop = self.px(shaded[0]), self.px(shaded[1])
            size = f'width="{stop - start:.1f}" height="{self.bottom - self.top:.1f}"'
            self.add(f'<rect class="shade" x="{start:.1f}" y="{self.top}" {size}/>')
        for value in ticks(*self.y):
            self.add(_line("grid", self.left, self.right, self.py(value), self.py(value)))
            self.text("tick", self.left - 8, self.py(value) + 4, number(value), "end")
        for value in ticks(*self.x, 7):
            self.add(_line("grid", self.px(value), self.px(value), self.bottom, self.bottom + 4))
            self.text("tick", self.px(value), self.bottom + 17, number(value), "middle")
        self.text("axis", self.right, _LINE_HEIGHT - 4, x_label, "end")
        self.text("axis", 4, _LINE_HEIGHT - 4, y_label)

    def px(self, value: float) -> float:
        return self.left + (value - self.x[0]) / (self.x[1] - self.x[0]) * (self.right - self.left)

    def py(self, value: float) -> float:
        return self.bottom - (value - self.y[0]) / (self.y[1] - self.y[0]) * (self.bottom - self.top)

    def add(self, part: str) -> None:
        self._parts.append(part)

    def text(self, style: str, x: float, y: float, text: str, anchor: str = "start") -> None:
        self.add(_text(style, x, y, text, anchor))

    def limit(self, limit: Limit) -> None:
        at = self.py(limit.value)
        self.add(_line("limit", self.left, self.right, at, at))
        self.text("limit", self.right, at - 5, limit.label, "end")

    def svg(self, title: str) -> Markup:
        return _svg(title, self._parts, self.width, _LINE_HEIGHT)


def _finite(series: Series) -> Series:
    points = [point for point in series.points if all(map(math.isfinite, point))]
    return Series(series.label, series.style, points, series.marks)


def _extent(series: Sequence[Series], axis: int) -> float:
    return max((point[axis] for one in series for point in one.points), default=1.0)


def _line(style: str, x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def _text(style: str, x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, parts: Sequence[str], width: float, height: float) -> Markup:
    title = escape(title)
    head = f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{title}"><title>{title}</title>'
    return Markup(head + "".join(parts) + "</svg>")  # noqa: S704 - every text in the parts was escaped by _text or _bar
