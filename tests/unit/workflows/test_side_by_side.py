"""Two runs on one page: which is better, what was done differently, every item with both answers."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.command_line import run_command
from tests.unit.pipeline_harness import Harness, write_dataset
from workflows.report.side_by_side import draw_side_by_side
from workflows.settings import Settings


def plain(page: str) -> str:
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL).split())


@pytest.fixture
def runs(harness: Harness, settings: Settings, tmp_path: Path) -> tuple[Path, Path]:
    """Two runs on Korean data, of which the second trains longer and answers two items worse and six better."""
    rows = [{"prompt": f"{i}번 책은 언제 반납합니까?", "completion": f"{i}일까지 반납하십시오."} for i in range(8)]
    test = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (settings.dataset / "test.jsonl").write_text(test + "\n", encoding="utf-8")
    first = harness.run(settings)
    original = harness.stack.item_scores

    def other_scores(job: dict[str, Any]) -> list[dict[str, Any]]:
        samples = original(job)
        for sample in samples:
            gain = -0.1 if sample["index"] < 2 else 0.2
            sample["scores"] = {name: value + gain for name, value in sample["scores"].items()}
            sample["sample"] = {"output_text": f"둘째 모델의 답 {sample['index']}", "finish_reason": "stop"}
        return samples

    harness.stack.item_scores = other_scores  # type: ignore[method-assign]
    longer = settings.hyperparameters.model_copy(update={"epochs": 3})
    second = harness.run(settings.model_copy(update={"hyperparameters": longer}))
    return first.path, second.path


def test_says_which_is_better_and_what_was_different(runs: tuple[Path, Path]) -> None:
    page = plain(draw_side_by_side(*runs))
    # six items gain 0.2 and two lose 0.1: (6 * 0.2 - 2 * 0.1) / 8
    assert "B is better than A ROUGE-L of B minus A: +0.125" in page
    assert "on 8 test items" in page
    assert re.search(r"epochs 1 3", page)
    assert "learning rate" not in page.partition("Scores")[0]  # the same in both
    assert "B is worse than A" in plain(draw_side_by_side(*reversed(runs)))


def test_a_run_beside_itself(runs: tuple[Path, Path]) -> None:
    page = plain(draw_side_by_side(runs[0], runs[0]))
    assert "A and B cannot be told apart" in page
    assert "the same settings, data and services, twice" in page


@pytest.mark.slow
def test_every_item_in_a_browser(runs: tuple[Path, Path], tmp_path: Path, open_page: Any) -> None:
    file = tmp_path / "both.html"
    assert run_command("runs", "compare", *map(str, runs), "--html", str(file)) == 0
    page = open_page(file, width=360, scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    status = page.locator("#explored")
    page.get_by_label("Search").fill("5번 책은")
    assert status.inner_text() == "1 of 8 items"
    page.locator("#items summary:visible").click()
    shown = page.locator("#items details[open]").inner_text()
    assert "answer 5" in shown
    assert "둘째 모델의 답 5" in shown
    page.get_by_label("Search").fill("")
    page.get_by_label("Show").select_option("lost")
    assert page.get_by_label("Show").locator("option:checked").inner_text() == "A wins"
    assert status.inner_text() == "2 of 8 items"


def test_what_cannot_be_put_side_by_side(
    runs: tuple[Path, Path], harness: Harness, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = harness.run(settings.model_copy(update={"dataset": write_dataset(tmp_path / "Other")}))
    file = tmp_path / "both.html"
    for arguments, reason in (
        ([runs[0]], "name two"),
        ([*runs, runs[0]], "name two"),
        ([runs[0], other.path], "no test item in common"),
        ([runs[0], tmp_path], "is not a run directory"),
    ):
        assert run_command("runs", "compare", *map(str, arguments), "--html", str(file)) == 2
        assert reason in capsys.readouterr().err
    assert not file.exists()
    assert run_command("runs", "compare", *map(str, runs), "--html", str(tmp_path / "none" / "both.html")) == 2
    assert "name another file with --html" in capsys.readouterr().err
