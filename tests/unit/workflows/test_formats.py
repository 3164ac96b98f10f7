"""Files as they come from spreadsheets, exports and other countries."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workflows.data.encodings import Undecodable, decode, known_encoding
from workflows.data.formats import read_file

KOREAN = "서울은 대한민국의 수도이며 많은 사람이 살고 있습니다. 도서관은 월요일에 쉽니다.\n" * 5


@pytest.mark.parametrize(
    ("codec", "name", "mark"),
    [("utf-8", "UTF-8", False), ("utf-8-sig", "UTF-8", True), ("utf-16", "UTF-16", True), ("utf-32", "UTF-32", True)],
)
def test_marks_tell_the_encoding(codec: str, name: str, mark: bool) -> None:
    decoded = decode(KOREAN.encode(codec))
    assert (decoded.text, decoded.encoding, decoded.mark) == (KOREAN, name, mark)


def test_another_encoding_is_named_not_guessed() -> None:
    content = ("plain line\n" + KOREAN).encode("cp949")
    with pytest.raises(Undecodable, match=r"is not UTF-8; it may be cp949: if so.*--encoding cp949") as caught:
        decode(content)
    assert caught.value.line == 2
    assert decode(content, "cp949").text == "plain line\n" + KOREAN
    with pytest.raises(Undecodable, match="is not utf-16"):
        decode(b"odd", "utf-16")


def test_only_encodings_of_texts_are_known() -> None:
    assert known_encoding("CP949") == "cp949"
    assert [known_encoding(name) for name in ("base64", "nonsense", "")] == [None, None, None]


def test_csv_with_everything_that_spreadsheets_write(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes('question,answer\r\n"a, ""b""\r\nsecond line",x\r\n,,\r\nlast,y\r\nshort\r\n'.encode("utf-8-sig"))
    contents = read_file(path)
    assert [(record.line, record.item) for record in contents.records] == [
        (2, {"question": 'a, "b"\r\nsecond line', "answer": "x"}),
        (5, {"question": "last", "answer": "y"}),
    ]
    assert [(problem.line, problem.text) for problem in contents.problems] == [(6, "has 1 field(s), the header has 2")]
    assert (contents.encoding, contents.mark) == ("UTF-8", True)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('a,b\nx,"never closed\ny,z\n', 2, "is not CSV"),
        ("a,a\nx,y\n", 1, "the header names 'a' more than once"),
        ("a,b\n", 0, "holds no rows"),
        ("", 0, "holds no rows"),
    ],
)
def test_csv_that_is_none(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    [problem] = read_file(path).problems
    assert problem.line == line
    assert said in problem.text


def test_parquet(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n}", "completion": "한국어", "n": n} for n in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert [(record.line, record.item) for record in read_file(tmp_path / "a.parquet").records] == list(
        zip((1, 2, 3), rows, strict=True)
    )
    (tmp_path / "b.parquet").write_bytes(b"PAR1 nonsense")
    [problem] = read_file(tmp_path / "b.parquet").problems
    assert problem.text.startswith("is not parquet")


def test_line_separators_inside_json_are_no_ends_of_lines(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "a\u2028b\x85"}, ensure_ascii=False) + "\nnonsense\n")
    contents = read_file(tmp_path / "a.jsonl")
    assert [record.item for record in contents.records] == [{"prompt": "a\u2028b\x85"}]
    assert [problem.line for problem in contents.problems] == [2]


def test_other_kinds_of_files(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    assert "is of no kind that is read here" in read_file(tmp_path / "a.xlsx").problems[0].text
    assert "cannot be read (No such file" in read_file(tmp_path / "b.csv").problems[0].text
