"""Datasets: what is wrong is said with file and line, what is odd is counted."""

import json
from pathlib import Path

import pytest

from nemostack.errors import BadInput
from tests.unit.pipeline_harness import write_dataset
from workflows.data import dataset
from workflows.data.rows import Row, as_test_items
from workflows.data.sources import SPLITS
from workflows.settings import DEFAULT_DATASET, Kind, Settings


def broken(tmp_path: Path, line: str) -> str:
    folder = write_dataset(tmp_path / "d")
    with (folder / "train.jsonl").open("a") as file:
        file.write(f"\n{line}\n")
    with pytest.raises(BadInput) as caught:
        dataset.load(Settings(dataset=folder, limit=4))
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"prompt": "a", "completion": ', "is not JSON (Expecting value at column 31)"),
        ('["a"]', "is a JSON list, expected an object"),
        ('{"prompt": "a", "answer": "b"}', "lacks column 'completion' (has: answer, prompt)"),
        ("{}", "lacks column 'prompt' (has: none)"),
        ('{"prompt": "a", "completion": 5}', "column 'completion' is of type int, expected text"),
        ('{"prompt": "  ", "completion": "b"}', "column 'prompt' is empty"),
        ('{"prompt": "\\ud800", "completion": "b"}', "column 'prompt' holds half of a surrogate pair"),
        ("[" * 100_000, "is not"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    # 12 rows, an empty line, then the bad one.
    assert f"train.jsonl line 14: {said}" in broken(tmp_path, line)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}, ("q", "a")),
        (
            {
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "q"},
                    {"role": "assistant", "content": "a"},
                ]
            },
            ("Be brief.\n\nq", "a"),
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "q"},
                    {"role": "assistant", "content": "a"},
                    {"role": "user", "content": "and?"},
                    {"role": "assistant", "content": "b"},
                ]
            },
            ("q\n\na\n\nand?", "b"),
        ),
        ({"messages": "history", "prompt": "q", "completion": "a"}, ("q", "a")),
    ],
)
def test_chats_are_rows(tmp_path: Path, row: dict[str, object], expected: tuple[str, str]) -> None:
    folder = write_dataset(tmp_path)
    (folder / "test.jsonl").write_text(json.dumps(row))
    (read,) = dataset.load(Settings(dataset=folder, limit=1)).test
    assert (read.prompt, read.completion) == expected
    if "prompt" not in row:
        assert read.messages == row["messages"], "the model sees the turns as they are"


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([{"role": "user", "content": "q"}], "expected turns of user and assistant"),
        (
            [{"role": "user", "content": "q"}, {"role": "assistant", "content": ""}],
            "turn 2, of the assistant, is empty",
        ),
        (
            [{"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}],
            "calls of tools are not supported",
        ),
        ("hello", "expected a list of objects"),
        ([{"role": "assistant", "content": "a"}, {"role": "user", "content": "q"}], "expected turns of user"),
        (
            [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}] * 2 + [{"role": "user"}],
            "expected t",
        ),
        ([{"role": "system", "content": "s"}], "expected turns of user"),
    ],
)
def test_other_chats_are_refused_with_the_reason(tmp_path: Path, messages: object, problem: str) -> None:
    assert f"train.jsonl line 14: messages: {problem}" in broken(tmp_path, json.dumps({"messages": messages}))


def test_columns_may_lead_into_objects(tmp_path: Path) -> None:
    for split in SPLITS:
        row = {"request": {"text": f"{split}?"}, "response": {"text": "yes"}}
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(row))
    data = dataset.load(Settings(dataset=tmp_path, prompt_column="request.text", completion_column="response.text"))
    assert data.test == (Row("test?", "yes"),)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("test.json", json.dumps([{"prompt": "a", "completion": "é"}], indent=2).encode()),
        ("test.jsonl", b"\xef\xbb\xbf" + '{"prompt": "a", "completion": "é"}'.encode()),
        ("test.jsonl", '\ufeff{"prompt": "a", "completion": "é"}'.encode("utf-16-le")),
        ("test.csv", 'prompt,completion\r\n"a","é"\r\n'.encode()),
        ("test.csv", b"\xef\xbb\xbf" + "prompt;completion\na;é".encode()),
        ("test.tsv", "id\tprompt\tcompletion\n1\ta\té\n".encode()),
    ],
)
def test_every_format_makes_the_same_rows(tmp_path: Path, name: str, content: bytes) -> None:
    folder = write_dataset(tmp_path)
    (folder / "test.jsonl").unlink()
    (folder / name).write_bytes(content)
    assert dataset.load(Settings(dataset=folder)).test == (Row("a", "é"),)


def test_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path)
    (folder / "test.jsonl").write_bytes(b'{"prompt": "\xff", "completion": "b"}\n')
    with pytest.raises(BadInput, match=r"test.jsonl line 1: is not UTF-8"):
        dataset.load(Settings(dataset=folder))


def test_all_problems_at_once_but_not_too_many(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path)
    (folder / "train.jsonl").write_text("nonsense\n" * 30)
    (folder / "validation.jsonl").write_text("\n")
    (folder / "test.jsonl").unlink()
    with pytest.raises(BadInput) as caught:
        dataset.load(Settings(dataset=folder))
    text = str(caught.value)
    assert "32 problem(s)" in text
    assert "train.jsonl lines 1, 2, 3, 4, 5 and 25 more: is not JSON (Expecting value at column 1)\n" in text
    assert "validation.jsonl: holds no rows" in text
    (folder / "train.jsonl").write_text('{"prompt": "a", "completion": "b"}')
    with pytest.raises(BadInput, match=r"(?s)validation.jsonl: holds no rows.*test: is missing; expected train, valid"):
        dataset.load(Settings(dataset=folder))


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"is not a directory; expected one with train, validation, test"):
        dataset.load(Settings(dataset=tmp_path / "nowhere"))


def test_duplicates_are_counted(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", {"train": 5, "validation": 2, "test": 3})
    with (folder / "test.jsonl").open("a") as file:
        file.write('{"prompt": "test question 0?", "completion": "test answer 0."}\n')
    data = dataset.load(Settings(dataset=folder, limit=100))
    assert data.facts.splits["test"].duplicates == 1
    warnings = " ".join(data.facts.warnings)
    assert "1 duplicate row(s)" in warnings
    assert "fewer than the 100 asked for" in warnings


@pytest.mark.parametrize("kind", ["run", "customize"])
def test_a_run_does_not_train_on_what_it_tests_on(tmp_path: Path, kind: Kind) -> None:
    folder = write_dataset(tmp_path / "d", {"train": 5, "validation": 2, "test": 3})
    with (folder / "test.jsonl").open("a") as file:
        file.write('{"prompt": "  TRAIN question: 3! ", "completion": "x"}\n')
    with pytest.raises(
        BadInput, match=r"1 question\(s\) of test.jsonl \(line 4\) also stand in train.jsonl \(line 4\)"
    ):
        dataset.load(Settings(kind=kind, dataset=folder))
    assert dataset.load(Settings(kind=kind, dataset=folder, train_rows=3)).facts.leaked == 0, "line 4 is not trained on"


def test_an_evaluation_trains_on_nothing_and_warns(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", {"train": 5, "validation": 2, "test": 3})
    with (folder / "test.jsonl").open("a") as file:
        file.write('{"prompt": "train question 3?", "completion": "x"}\n')
    data = dataset.load(Settings(kind="evaluate", dataset=folder))
    assert data.facts.leaked == 1
    assert "1 question(s) also stand in the training data" in " ".join(data.facts.warnings)


def test_columns_can_be_named_and_order_is_kept(tmp_path: Path) -> None:
    for split in SPLITS:
        rows = [{"q": f"{split}{i}", "a": "é 한국어", "other": 1} for i in range(3)]
        (tmp_path / f"{split}.jsonl").write_text("\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    data = dataset.load(Settings(dataset=tmp_path, prompt_column="q", completion_column="a"))
    assert [row.prompt for row in data.train] == ["train0", "train1", "train2"]
    lines = as_test_items(data.test).decode().splitlines()
    assert json.loads(lines[0]) == {"prompt": "test0", "completion": "é 한국어"}


def test_max_tokens_leaves_room_for_the_longest(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path)
    (folder / "test.jsonl").write_text(json.dumps({"prompt": "a", "completion": "x" * 190}))
    assert dataset.load(Settings(dataset=folder)).max_tokens() == 112


@pytest.mark.parametrize(
    ("letter", "tokens_per_letter"),
    [("e", 0.25), ("한", 171 / 261), ("日", 150 / 225), ("न", 330 / 354), ("λ", 282 / 318), ("ก", 177 / 336)],
)
def test_without_a_tokenizer_every_script_has_room(tmp_path: Path, letter: str, tokens_per_letter: float) -> None:
    """Tokens per letter as a public multilingual tokenizer counted them in sentences of each language."""
    folder = write_dataset(tmp_path)
    (folder / "test.jsonl").write_text(json.dumps({"prompt": "a", "completion": letter * 300}))
    assert dataset.load(Settings(dataset=folder)).max_tokens() >= 300 * tokens_per_letter


def test_the_tokenizer_of_the_server_decides_where_there_is_one(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path)
    (folder / "test.jsonl").write_text(json.dumps({"prompt": "a", "completion": "한" * 100}))
    data = dataset.load(Settings(dataset=folder))
    assert data.max_tokens(lambda text: 2 * len(text)) == 272  # 200 and a quarter more, 8 to spare, in sixteens
    asked: list[str] = []
    data.max_tokens(asked.append)
    assert len(asked) == 1, "a server without a tokenizer is asked once"


def test_the_sample_dataset_is_clean() -> None:
    data = dataset.load(Settings(dataset=DEFAULT_DATASET))
    assert data.facts.leaked == 0
    assert len(data.test) >= 100
