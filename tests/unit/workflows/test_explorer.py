"""The explorer of the report in a real browser: what is seen, in which order, by the address of the page."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.unit.pipeline_harness import Harness
from workflows.report.reproduce import command_of
from workflows.settings import Settings
from workflows.sweep.space import SweepSettings

_NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in _NAMES if (path := shutil.which(name))), None)
in_a_browser = pytest.mark.skipif(
    BROWSER is None, reason="no chromium on PATH: install it from your distribution (apt install chromium)"
)


class Table(HTMLParser):
    """Rows of #items that are not hidden, by their number, and what the status says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.numbers: list[int] = []
        self.sorted = ""
        self._first_cell = self._sorting = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "tr" and "data-keys" in given and "hidden" not in given:
            self._first_cell = True
        if tag == "th":
            self._sorting = given.get("aria-sort") in {"ascending", "descending"}

    def handle_data(self, data: str) -> None:
        if self._first_cell and data.strip():
            self.numbers.append(int(data))
            self._first_cell = False
        if self._sorting and data.strip():
            self.sorted, self._sorting = data, False


@pytest.fixture
def report(harness: Harness, settings: Settings) -> Path:
    return harness.run(settings).path / "report.html"


def looked_at(report: Path, state: str, tmp_path: Path) -> str:
    assert BROWSER is not None
    command = [
        *(BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--no-first-run", "--dump-dom"),
    ]
    done = subprocess.run(
        [*command, f"{report.resolve().as_uri()}#{state}"], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


@in_a_browser
@pytest.mark.slow
def test_search_and_sort_in_a_browser(report: Path, tmp_path: Path) -> None:
    # The fake scores item i with level + (i % 7 - 3) / 100, so item 7 (the first) and 0 tie at the bottom.
    all_items = Table(looked_at(report, "", tmp_path))
    assert (all_items.numbers, all_items.sorted) == ([1, 2, 3, 4, 5, 6, 7, 8], "#")
    best_first = Table(looked_at(report, "sort=3&down=1", tmp_path))
    assert (best_first.numbers, best_first.sorted) == ([7, 6, 5, 4, 3, 2, 1, 8], "LoRA ROUGE-L")
    found = looked_at(report, "q=question%205", tmp_path)
    assert Table(found).numbers == [6]
    assert re.search(r'id="explored"[^>]*>1 of 8 items', found)
    assert Table(looked_at(report, "show=lost", tmp_path)).numbers == []
    assert len(Table(looked_at(report, "show=won", tmp_path)).numbers) == 8  # LoRA gains 0.2 on each


def test_without_a_script_all_items_are_there(report: Path) -> None:
    assert Table(report.read_text()).numbers == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("change", "command"),
    [
        ({}, "nemostack run --limit 8"),
        ({"seed": 3, "shots": 0, "judge": False}, "nemostack run --seed 3 --limit 8 --shots 0 --no-judge"),
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
