"""The sample dataset: reproducible, well formed, and its test split really held out."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.unit.base_model.support import LEGAL, built, load_generator

generator = load_generator()
SPLITS = ("train", "validation", "test")


def rows(split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (LEGAL / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def dataset() -> dict[str, list[dict[str, str]]]:
    return {split: rows(split) for split in SPLITS}


def test_files_regenerate_byte_for_byte(tmp_path: Path) -> None:
    assert generator.main(["--out", str(tmp_path)]) == 0
    for split in SPLITS:
        assert (tmp_path / f"{split}.jsonl").read_bytes() == (LEGAL / f"{split}.jsonl").read_bytes()


def test_check_notices_a_changed_file(tmp_path: Path, capsys, monkeypatch) -> None:
    already = built()
    monkeypatch.setattr(generator, "build", lambda: already)
    for split in SPLITS:
        (tmp_path / f"{split}.jsonl").write_bytes((LEGAL / f"{split}.jsonl").read_bytes())
    (tmp_path / "test.jsonl").write_text("{}\n", encoding="utf-8")
    assert generator.main(["--check", "--out", str(tmp_path)]) == 1
    assert "test.jsonl" in capsys.readouterr().err


def test_counts_and_format(dataset) -> None:
    assert len(dataset["train"]) >= 1000
    assert len(dataset["validation"]) >= 200
    assert len(dataset["test"]) >= 200
    for row in (row for split in SPLITS for row in dataset[split]):
        assert set(row) == {"prompt", "completion"}
        assert "\n\nQuestion: " in row["prompt"]
        assert not re.search(r"[{}]", row["prompt"] + row["completion"])


def test_answers_cite_the_section_that_was_asked_about(dataset) -> None:
    for row in (row for split in SPLITS for row in dataset[split]):
        cited = re.match(r"Pursuant to Section (\d+\.\d), ", row["completion"])
        assert cited is not None
        line = next(line for line in row["prompt"].splitlines() if line.startswith(f"Section {cited.group(1)} "))
        numbers = [word for word in re.findall(r"\d[\d,.]*\d|\d", row["completion"]) if word != cited.group(1)]
        assert all(number in line for number in numbers)


def test_every_kind_of_clause_is_asked_about_in_every_split(dataset) -> None:
    for split in SPLITS:
        asked = Counter(
            clause.heading
            for row in dataset[split]
            for clause in generator.CLAUSES
            if re.sub(r"\{\w+\}.*", "", clause.answer.removeprefix("{party} ")).strip().split(" the ")[0]
            in row["completion"]
        )
        assert len(asked) == len(generator.CLAUSES), split


def test_no_prompt_occurs_twice(dataset) -> None:
    prompts = Counter(row["prompt"] for split in SPLITS for row in dataset[split])
    assert max(prompts.values()) == 1


def nearest(row: dict[str, str], others: list[frozenset[tuple[str, ...]]]) -> float:
    own = generator.shingles(row["prompt"])
    return float(max(generator.similarity(own, other) for other in others))


def test_no_held_out_item_is_near_a_training_item(dataset) -> None:
    seen = [generator.shingles(row["prompt"]) for split in ("train", "validation") for row in dataset[split]]
    assert max(nearest(row, seen) for row in dataset["test"]) < generator.NEAR_DUPLICATE


def test_the_near_duplicate_check_fires_on_a_planted_one(dataset) -> None:
    planted = dataset["train"][0] | {"prompt": dataset["train"][0]["prompt"].replace("Question:", "Question: So")}
    seen = [generator.shingles(row["prompt"]) for row in dataset["train"]]
    assert nearest(planted, seen) >= generator.NEAR_DUPLICATE


def test_held_out_items_use_values_that_training_never_saw(dataset) -> None:
    learnt = "\n".join(row["prompt"] + row["completion"] for split in ("train", "validation") for row in dataset[split])
    held_out = "\n".join(row["prompt"] + row["completion"] for row in dataset["test"])
    pools = generator.HELD_OUT
    for name in (*pools.first_names, *pools.second_names, *pools.states, *pools.towns):
        assert name not in learnt
        assert name in held_out
    amounts = re.compile(r"USD [\d,]+\d|[A-Z][a-z]+ \d+, \d{4}")
    assert not set(amounts.findall(held_out)) & set(amounts.findall(learnt))
    assert not set(pools.days) & set(generator.LEARNING.days)


def test_no_held_out_skeleton_was_trained_on() -> None:
    splits = built()
    learnt = {item.skeleton for split in ("train", "validation") for item in splits[split]}
    assert not learnt & {item.skeleton for item in splits["test"]}
