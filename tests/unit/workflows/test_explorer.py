"""The explorer of the report in a real browser: what is seen, in which order, by mouse, keyboard and address."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.pipeline_harness import Harness
from workflows.report.reproduce import command_of
from workflows.settings import Settings
from workflows.sweep.space import SweepSettings


@pytest.fixture
def report(harness: Harness, settings: Settings) -> Path:
    return harness.run(settings).path / "report.html"


def numbers(page: Any) -> list[int]:
    """Numbers of the items that are seen, from top to bottom."""
    return [int(text) for text in page.locator("#items tbody tr:visible td:first-child").all_inner_texts()]


@pytest.mark.slow
def test_search_and_sort(report: Path, open_page: Any) -> None:
    # The fake scores item i with level + (i % 7 - 3) / 100, so item 7 (the first) and 0 tie at the bottom.
    page = open_page(report)
    assert numbers(page) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("#")
    for _ in range(2):
        page.get_by_role("button", name="LoRA ROUGE-L").click()
    assert numbers(page) == [7, 6, 5, 4, 3, 2, 1, 8]
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("LoRA ROUGE-L")
    address = page.url
    page.get_by_label("Search").fill("question 5")
    assert numbers(page) == [6]
    assert page.locator("#explored").inner_text() == "1 of 8 items"
    page.goto("about:blank")
    page.goto(address)  # the view is in the address
    assert numbers(page) == [7, 6, 5, 4, 3, 2, 1, 8]
    page.get_by_label("Show").select_option("lost")
    assert numbers(page) == []
    page.get_by_label("Show").select_option("won")
    assert len(numbers(page)) == 8  # LoRA gains 0.2 on each


@pytest.mark.slow
def test_the_keyboard_is_enough(report: Path, open_page: Any) -> None:
    page = open_page(report)
    page.get_by_label("Search").focus()
    page.keyboard.type("question 5")
    for _ in range(2):  # past the choice of what to show
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # sorts by number, downwards
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("#")
    answers = page.locator("#items details:visible .answer")
    assert not answers.first.is_visible()
    while page.evaluate("document.activeElement.tagName") != "SUMMARY":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert answers.first.is_visible()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"  # one sees where one is


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_and_wide_light_and_dark(report: Path, open_page: Any, scheme: str, width: int) -> None:
    page = open_page(report, scheme=scheme, width=width)
    paper, ink = (
        sum(map(int, re.findall(r"[0-9]+", page.evaluate(f"getComputedStyle(document.body).{name}"))[:3]))
        for name in ("backgroundColor", "color")
    )
    assert (paper > ink) == (scheme == "light")
    assert abs(paper - ink) > 400  # of 765
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_text("test question 0?").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_a_script_all_items_are_there(report: Path) -> None:
    rows = re.findall(r'data-keys="[^"]*"><td class="n">([0-9]+)</td>', report.read_text(encoding="utf-8"))
    assert rows == ["1", "2", "3", "4", "5", "6", "7", "8"]


@pytest.mark.parametrize(
    ("change", "command"),
    [
        ({}, "nemostack run --limit 8"),
        ({"seed": 3, "shots": 0, "judge": False}, "nemostack run --seed 3 --limit 8 --shots 0 --no-judge"),
        (
            {"examples": "similar", "choose_shots": (1, 3)},
            "nemostack run --limit 8 --examples similar --choose-shots 1,3",
        ),
        (
            {"sweep": SweepSettings(ranks=(4, 8), learning_rates=(1e-4, 1e-3))},
            "nemostack sweep --limit 8 --search grid --ranks 4,8 --learning-rates 0.0001,0.001 --epochs 1",
        ),
    ],
)
def test_the_command_that_makes_it_again(
    harness: Harness, settings: Settings, change: dict[str, object], command: str
) -> None:
    info = harness.prepare(settings.model_copy(update=change)).run.info()
    said = command_of(info)
    assert re.sub(r" --dataset '[^']*My Data'", "", said) == command
