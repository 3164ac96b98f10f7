"""Charts as SVG made by hand: two shapes do not need a plotting library, and CSS gives them light and dark.

Numbers in, markup out. Colours come from CSS classes of the page (`s0`, `s1`, `s2`: one per approach).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 760


@dataclass(frozen=True)
class Bar:
    """One approach in one metric, as fractions of the axis 0..1; low and high None without an interval."""

    series: int
    mean: float
    low: float | None
    high: float | None
    text: str


@dataclass(frozen=True)
class Group:
    """One metric."""

    label: str
    bars: tuple[Bar, ...]


def intervals(groups: Sequence[Group], series: Sequence[str]) -> Markup:
    """Horizontal bars with error bars, a group per metric."""
    left, right, row, gap, top = 118, 96, 17, 15, 8
    span = WIDTH - left - right
    height = top + sum(len(group.bars) * row + gap for group in groups) + 26
    parts = [_svg_head(height, "Scores of the approaches with 95 % intervals: " + ", ".join(series))]
    bottom = height - 26
    for tick in range(6):
        x = left + span * tick / 5
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick / 5:.1f}</text>')
    y = float(top + gap / 2)
    for group in groups:
        middle = y + len(group.bars) * row / 2
        parts.append(
            f'<text class="label" x="{left - 12}" y="{middle + 4:.1f}" text-anchor="end">{escape(group.label)}</text>'
        )
        for bar in group.bars:
            parts.append(_bar(bar, left, span, y, row))
            y += row
        y += gap
    return Markup("".join(parts) + "</svg>")  # noqa: S704 - every text in it went through escape


def _bar(bar: Bar, left: float, span: float, y: float, row: float) -> str:
    def x(value: float) -> float:
        return left + span * min(1.0, max(0.0, value))

    centre = y + row / 2
    width = max(1.0, x(bar.mean) - left)
    end = x(bar.mean if bar.high is None else max(bar.high, bar.mean))
    parts = [
        f'<g class="s{bar.series}"><title>{escape(bar.text)}</title>',
        f'<rect class="bar" x="{left}" y="{y + 2:.1f}" width="{width:.1f}" height="{row - 4:.1f}" rx="2"/>',
    ]
    if bar.low is not None and bar.high is not None:
        low, high = x(bar.low), x(bar.high)
        path = f"M{low:.1f} {centre:.1f}H{high:.1f}M{low:.1f} {centre - 4:.1f}v8M{high:.1f} {centre - 4:.1f}v8"
        parts.append(f'<path class="whisker" d="{path}"/>')
    parts.append(f'<text class="value" x="{end + 7:.1f}" y="{centre + 4:.1f}">{escape(bar.text)}</text></g>')
    return "".join(parts)


def losses(train: Sequence[tuple[int, float]], validation: Sequence[tuple[int, float]]) -> Markup:
    """Training and validation loss over optimizer steps; empty markup without points."""
    points = [*train, *validation]
    finite = [(step, value) for step, value in points if math.isfinite(value)]
    if not finite:
        return Markup()
    left, right, top, bottom, height = 44, 128, 14, 40, 300
    last = max(step for step, _ in finite) or 1
    ticks = nice_ticks(0.0, max(value for _, value in finite))
    ceiling = ticks[-1]

    def x(step: float) -> float:
        return left + (WIDTH - left - right) * step / last

    def y(value: float) -> float:
        return height - bottom - (height - bottom - top) * value / ceiling

    parts = [_svg_head(height, "Training and validation loss over optimizer steps")]
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{left}" x2="{WIDTH - right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 9}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    parts.extend(
        f'<text class="tick" x="{x(tick):.1f}" y="{height - bottom + 19}" text-anchor="middle">{tick:g}</text>'
        for tick in nice_ticks(0.0, float(last))
        if tick <= last
    )
    parts.append(
        f'<text class="tick" x="{(left + WIDTH - right) / 2}" y="{height - 4}" text-anchor="middle">step</text>'
    )
    ends: list[float] = []
    for css, name, series in (("train", "training", train), ("val", "validation", validation)):
        line = [(x(step), y(value)) for step, value in sorted(series) if math.isfinite(value)]
        if not line:
            continue
        parts.append(f'<polyline class="{css}" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in line)}"/>')
        if css == "val" or len(line) == 1:
            parts.extend(f'<circle class="{css}" cx="{a:.1f}" cy="{b:.1f}" r="3.5"/>' for a, b in line)
        label_y = line[-1][1] + 4
        while any(abs(label_y - other) < 15 for other in ends):
            label_y -= 15
        ends.append(label_y)
        final = max(series)[1]
        parts.append(
            f'<text class="{css} label" x="{line[-1][0] + 10:.1f}" y="{label_y:.1f}">{name} {final:.2f}</text>'
        )
    return Markup("".join(parts) + "</svg>")  # noqa: S704 - numbers and our own words only


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from `low` to at least `high`."""
    raw = (high - low) / about if high > low else 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    count = math.ceil((high - low) / step - 1e-9)
    return [round(low + step * i, 10) for i in range(max(1, count) + 1)]


def _svg_head(height: float, about: str) -> str:
    about = escape(about)
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{about}"><title>{about}</title>'
