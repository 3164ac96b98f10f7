"""Splits: reproducible, of the sizes asked for, and nothing that belongs together on two sides."""

import json
import random
from pathlib import Path

import pytest

from nemostack.errors import BadInput
from workflows.data.convert import clean
from workflows.data.rows import Columns, Row, normal
from workflows.data.sources import Placed, Reading, read_source
from workflows.data.split import Shares, split_rows
from workflows.data.written import Manifest, Origin, write_dataset

rng = random.Random(4)
ROWS = [
    Placed(Row(f"{n} {rng.random()} {rng.random()}", f"answer {n}"), "a.csv", n + 2, f"customer {n % 40}")
    for n in range(200)
]


def lines(rows: list[Placed]) -> list[int]:
    return [placed.line for placed in rows]


def test_sizes_seed_and_order_of_the_file() -> None:
    plain = [Placed(one.row, one.file, one.line) for one in ROWS]
    first = split_rows(plain, Shares(0.1, 0.2), seed=7).rows
    assert {split: len(rows) for split, rows in first.items()} == {"train": 140, "validation": 20, "test": 40}
    assert sorted(line for rows in first.values() for line in lines(rows)) == lines(ROWS)
    backwards = split_rows(plain[::-1], Shares(0.1, 0.2), seed=7).rows
    assert {split: set(lines(rows)) for split, rows in backwards.items()} == {
        split: set(lines(rows)) for split, rows in first.items()
    }
    assert set(lines(split_rows(plain, Shares(0.1, 0.2), seed=8).rows["test"])) != set(lines(first["test"]))
    assert len(split_rows(plain, Shares(15, 30), seed=7).rows["test"]) == 30


def test_groups_questions_and_near_duplicates_stay_together() -> None:
    rows = [
        *ROWS,
        Placed(Row(ROWS[0].row.prompt.upper(), "another answer"), "a.csv", 500, "customer 900"),
        Placed(Row(ROWS[1].row.prompt + " ", "answer"), "a.csv", 501, "customer 901"),
    ]
    splits = split_rows(rows, Shares(0.2, 0.3), seed=0)
    side = {placed.line: split for split, part in splits.rows.items() for placed in part}
    for group in {placed.group for placed in ROWS}:
        assert len({side[placed.line] for placed in ROWS if placed.group == group}) == 1, group
    assert side[500] == side[2]
    assert side[501] == side[3]
    questions = [{normal(placed.row.prompt) for placed in part} for part in splits.rows.values()]
    assert not set.intersection(*questions)
    assert splits.groups == 40
    assert 0.2 * len(rows) <= len(splits.rows["test"]) <= 0.33 * len(rows)


@pytest.mark.parametrize("shares", [Shares(0.5, 0.5), Shares(0.1, 0), Shares(100, 100), Shares(0.001, 0.2)])
def test_shares_that_leave_a_split_empty(shares: Shares) -> None:
    with pytest.raises(BadInput, match="200 rows cannot be split"):
        split_rows(ROWS, shares, seed=0)


def test_one_group_cannot_be_split() -> None:
    rows = [Placed(one.row, one.file, one.line, "the only one") for one in ROWS]
    with pytest.raises(
        BadInput, match=r"1 group\(s\) that belong together, the largest of 200: nothing is left for val"
    ):
        split_rows(rows, Shares(), seed=0)


def test_what_is_left_out_is_written_down(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "train.csv").write_text("prompt,completion\na,1\na,1\nb,\nc,3\nd,4\n")
    (source / "dev.csv").write_text("prompt,completion\nC!,3\n")
    (source / "test.jsonl").write_text('{"prompt": "D", "completion": "4"}\n')
    kept = clean(read_source(str(source)))
    assert kept.rows == {"train": [Row("a", "1")], "validation": [Row("C!", "3")], "test": [Row("D", "4")]}
    manifest = write_dataset(tmp_path / "out", kept.rows, kept.dropped, Origin(source="in"), force=False)
    dropped = [json.loads(line) for line in (tmp_path / "out" / "dropped.jsonl").read_text().splitlines()]
    assert {(entry["file"], entry["line"]): entry["reason"] for entry in dropped} == {
        ("train.csv", 3): "says what line 2 says",
        ("train.csv", 4): "column 'completion' is empty",
        ("train.csv", 5): "its question is also in validation",
        ("train.csv", 6): "its question is also in test",
    }
    assert manifest.dropped["its question is also in test"] == 1
    assert Manifest.model_validate_json((tmp_path / "out" / "dataset.json").read_text()) == manifest
    assert clean(read_source(str(tmp_path / "out"))).dropped == [], "what was made clean stays so"


def test_the_hash_is_of_what_the_rows_say(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("q;a\r\n서울;수도\r\n".encode("cp949"))
    (tmp_path / "b.jsonl").write_text('{"prompt": "서울", "completion": "수도"}')
    one = clean(read_source(str(tmp_path / "a.csv"), Reading(Columns("q", "a"), "cp949")))
    other = clean(read_source(str(tmp_path / "b.jsonl")))
    hashes = {
        write_dataset(tmp_path / n, k.rows, [], Origin(), force=False).sha256 for n, k in (("x", one), ("y", other))
    }
    assert len(hashes) == 1


def test_data_of_another_origin_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("precious")
    with pytest.raises(
        BadInput, match=r"holds train.csv: name another folder with --out, or replace them with --force"
    ):
        write_dataset(tmp_path, {"train": [Row("a", "b")]}, [], Origin(), force=False)
    assert (tmp_path / "train.csv").read_text() == "precious"


def test_nothing_left(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,completion\n,x\n")
    with pytest.raises(BadInput, match=r"nothing is left of all .*\n  a.csv line 2: column 'prompt' is empty"):
        clean(read_source(str(tmp_path / "a.csv")))
