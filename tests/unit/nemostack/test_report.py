"""Charts and page of the reports: to scale, escaped, self-contained."""

import math
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from nemostack.report import page, svg
from nemostack.report.svg import Bar, Group, Limit, Series

HOSTILE = """<script>alert(1)</script> & "x" 'y' </svg>"""


def _positions(root: ET.Element, style: str, attribute: str) -> list[float]:
    return [float(element.get(attribute, "")) for element in root.iter() if element.get("class") == style]


@pytest.mark.parametrize("labels_above", [False, True])
def test_bars_and_whiskers_are_to_scale(labels_above: bool) -> None:
    bar = Bar(1, 0.5, 0.25, 0.75, "0.5")
    root = ET.fromstring(svg.bars("Scores", [Group("A", (bar,))], x_max=1.0, labels_above=labels_above))
    zero, *_, one = sorted(_positions(root, "grid", "x1"))
    [width] = _positions(root, "bar", "width")
    assert width == pytest.approx((one - zero) / 2, abs=0.1)
    [whisker] = [element.get("d", "") for element in root.iter() if element.get("class") == "whisker"]
    low, high = re.match(r"M([\d.]+) [\d.]+H([\d.]+)", whisker).groups()  # type: ignore[union-attr]
    assert float(low) == pytest.approx(zero + (one - zero) / 4, abs=0.1)
    assert float(high) == pytest.approx(zero + (one - zero) * 3 / 4, abs=0.1)


def test_a_whisker_without_a_low_end_begins_at_the_bar() -> None:
    root = ET.fromstring(svg.bars("TTFT", [Group("m", (Bar(0, 50, None, 80, "n=9"),))], unit="ms", labels_above=True))
    [x], [width] = _positions(root, "bar", "x"), _positions(root, "bar", "width")
    [whisker] = [element.get("d", "") for element in root.iter() if element.get("class") == "whisker"]
    assert whisker.startswith(f"M{x + width:.1f} ")


def test_bars_without_values_have_their_text_alone() -> None:
    root = ET.fromstring(svg.bars("TTFT", [Group("m", (Bar(0, None, None, None, "n=0"),))], unit="ms"))
    assert not _positions(root, "bar", "x")
    assert "n=0" in "".join(root.itertext())


def test_lines_fall_as_their_values_do() -> None:
    falling = Series("loss", 0, [(0, 4.0), (5, 2.0), (10, 1.0)])
    root = ET.fromstring(svg.lines("Loss", [falling], x_label="step", y_label="loss"))
    [path] = [element.get("d", "") for element in root.iter() if element.get("class") == "line s0"]
    points = [tuple(map(float, pair.split())) for pair in re.split("[ML]", path)[1:]]
    assert points[0][1] < points[1][1] < points[2][1]
    assert points[1][0] == pytest.approx((points[0][0] + points[2][0]) / 2, abs=0.1)


def test_steps_hold_a_value_until_the_next_point() -> None:
    steps = svg.lines("In flight", [Series("n", 2, [(0, 0), (1, 3), (2, 1)])], x_label="s", y_label="n", steps=True)
    [path] = re.findall(r'class="line s2" d="([^"]+)"', steps)
    assert re.fullmatch(r"M[\d.]+ [\d.]+(H[\d.]+V[\d.]+){2}", path)


def test_points_that_are_not_finite_are_left_out() -> None:
    only_nan = Series("a", 0, [(1, math.nan)])
    assert svg.lines("Loss", [only_nan], x_label="step", y_label="loss") == ""
    both = svg.lines("Loss", [only_nan, Series("b", 1, [(1, 2.0), (2, math.inf)])], x_label="step", y_label="loss")
    assert "nan" not in both
    assert "inf" not in both


def test_labels_at_the_ends_of_lines_do_not_cover_each_other() -> None:
    pair = [Series("training", 0, [(0, 2.0), (9, 1.0)]), Series("validation", 1, [(0, 2.0), (10, 1.0)])]
    root = ET.fromstring(svg.lines("Loss", pair, x_label="step", y_label="loss", end_labels=True))
    heights = [float(e.get("y", "")) for e in root.iter() if (e.get("class") or "").startswith("end ")]
    assert abs(heights[0] - heights[1]) >= 12
    # the shorter line's label does not lie on the longer line
    starts = [float(e.get("x", "")) for e in root.iter() if (e.get("class") or "").startswith("end ")]
    assert min(starts) > max(_positions(root, "grid", "x1"))


def test_a_limit_far_above_all_points_is_not_drawn() -> None:
    def draw(limit: float) -> str:
        points = [Series("", 0, [(1, 10.0)])]
        return svg.scatter("T", points, x_label="s", y_label="ms", x_range=(0, 2), limit=Limit("p95 objective", limit))

    assert "p95 objective" in draw(15)
    assert "p95 objective" not in draw(1000)


def test_a_shaded_range_has_its_width() -> None:
    root = ET.fromstring(
        svg.scatter("T", [Series("", 0, [(1, 1)])], x_label="s", y_label="ms", x_range=(0, 10), shaded=(0, 2.5))
    )
    [width] = _positions(root, "shade", "width")
    [ten_left, *_, ten_right] = sorted(x for x in _positions(root, "grid", "x1") if x)
    assert width == pytest.approx((ten_right - ten_left) / 4, abs=0.2)


def test_every_text_of_a_chart_is_escaped() -> None:
    point = Series(HOSTILE, 0, [(1, 1)])
    charts = [
        svg.bars(HOSTILE, [Group(HOSTILE, (Bar(0, 1, None, None, HOSTILE),))], unit=HOSTILE),
        svg.lines(HOSTILE, [point], x_label=HOSTILE, y_label=HOSTILE, end_labels=True),
        svg.scatter(HOSTILE, [point], x_label=HOSTILE, y_label=HOSTILE, x_range=(0, 1), limit=Limit(HOSTILE, 1)),
    ]
    for chart in charts:
        root = ET.fromstring(chart)  # fails on markup that came in through a text
        assert HOSTILE in [*root.itertext(), *(value for element in root.iter() for value in element.attrib.values())]
        assert "script" not in {element.tag for element in root.iter()}


@pytest.mark.parametrize("high", [0.003, 0.9, 1.0, 4.2, 88, 12345.0])
def test_an_axis_covers_its_values_with_few_ticks(high: float) -> None:
    end = svg.round_up(high)
    assert high <= end * 1.001 <= 2 * high
    assert 3 <= len(svg.ticks(0.0, end)) <= 7


def test_ticks_are_round_and_inside() -> None:
    assert svg.ticks(0, 87) == [0, 20, 40, 60, 80]
    assert svg.ticks(0, 0) == [0]
    assert svg.ticks(0, 0.3) == [0, 0.1, 0.2, 0.3]


def test_many_points_are_thinned_with_both_ends() -> None:
    points = [(float(k), 0.0) for k in range(10_000)]
    thinned = svg.thin(points)
    assert (len(thinned), thinned[0], thinned[-1]) == (svg.MAX_POINTS, points[0], points[-1])


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A package with one template, whose body the test chooses."""
    folder = tmp_path / "a_report_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, folder.name, raising=False)  # that of the test before

    def render(body: str, **content: object) -> str:
        blocks = {"title": "T", "header": "H", "content": body, "footer": "F"}
        text = "".join(f"{{% block {name} %}}{block}{{% endblock %}}" for name, block in blocks.items())
        (folder / "t.html.j2").write_text('{% extends "page.html.j2" %}' + text)
        return page.render(folder.name, "t.html.j2", content)

    return render


def test_a_page_is_complete_and_fetches_nothing(template) -> None:
    text = template("<p>{{ text }}</p>", text=HOSTILE)
    assert text.startswith("<!doctype html>")
    assert "default-src 'none'" in text
    assert "--paper" in text
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"url\(|@import|<script|https?://", text)


def test_texts_are_neither_markup_nor_templates(template) -> None:
    assert "{{ 7 * 7 }}" in template("{{ text }}", text="{{ 7 * 7 }}")
    with pytest.raises(UndefinedError):
        template("{{ missing }}")
    with pytest.raises(SecurityError):
        template("{{ values.append(1) }}", values=[])


def test_a_template_is_compiled_once_and_again_when_it_has_changed(template, monkeypatch) -> None:
    compiled = []
    compile_template = ImmutableSandboxedEnvironment.compile

    def record(self, source, name=None, *more):
        compiled.append(name)
        return compile_template(self, source, name, *more)

    monkeypatch.setattr(ImmutableSandboxedEnvironment, "compile", record)
    assert "<p>one</p>" in template("<p>{{ text }}</p>", text="one")
    compiled.clear()
    assert "<p>two</p>" in template("<p>{{ text }}</p>", text="two")
    assert compiled == []
    assert "<b>two</b>" in template("<b>{{ text }}</b>", text="two")
    assert compiled == ["t.html.j2"]
