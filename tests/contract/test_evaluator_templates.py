"""Templates, rows and records: what comes from outside is data, and stays data."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from embedded.evaluator.errors import DataError
from embedded.evaluator.records import Records
from embedded.evaluator.rows import read_file
from embedded.evaluator.templates import check, render, render_tree

CONTEXT = {
    "item": {"prompt": "Q?", "n": 2, "messages": [{"role": "user", "content": "hi"}]},
    "sample": {"output_text": " A "},
}


def test_renders_columns_and_filters() -> None:
    assert render("{{item.prompt | lower}}/{{ sample.output_text | trim }}/{{item['n'] * 3}}", CONTEXT, "t") == "q?/A/6"


def test_columns_have_bare_names_too() -> None:
    context = {"item": {"some_output": "x", "item": "hidden", "range": "hidden", "sample": 1}, "sample": {"a": 2}}
    assert render("{{some_output}}/{{item.item}}/{{sample.a}}/{{range(2) | list}}", context, "t") == "x/hidden/2/[0, 1]"
    with pytest.raises(DataError, match=r"'nothing' is undefined.*item has: some_output"):
        render("{{nothing}}", context, "t")


def test_messages_may_be_json_text() -> None:
    body = render_tree({"messages": "{{ item.messages | tojson }}", "max_tokens": 5}, CONTEXT, "t")
    assert body == {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}


def test_missing_column_is_named_with_those_present() -> None:
    with pytest.raises(DataError, match=r"task qa: row 3: .*'ideal'.*item has: prompt, n, messages"):
        render("{{item.ideal}}", CONTEXT, "task qa: row 3")


def test_missing_default_truth_names_what_was_looked_for() -> None:
    with pytest.raises(DataError, match=r"none of ideal_response, completion.*item has: prompt"):
        render("{{ expected_answer(item) }}", CONTEXT, "t")


@pytest.mark.parametrize(
    "attack",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ item.__class__.__init__.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ lipsum.__globals__['os'].environ }}",
        "{{ item.update({'x': 1}) }}",
        "{{ item.messages.append(1) }}",
        "{{ ('%s' | attr('__class__')) }}",
        "{{ '{0.__class__}'.format(item) }}",
        "{{ 'x' * 999999999 }}",
        "{{ [0] * 999999999 }}",
        "{{ 9 ** 9999999 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ 'x'.ljust(999999999) }}",
        "{{ 'x'.ljust(99999) | length }}",
        "{{ '{:99999}'.format(1) | length }}",
        "{{ '{:99999}'['format'](1) | length }}",
        "{{ ('{:99999}' | attr('format'))(1) | length }}",
        "{{ ['{:99999}'] | map(attribute='format') | map('string') | list | length }}",
        "{{ range(999999999) | list }}",
        "{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
    ],
)
def test_injection_is_refused(attack: str) -> None:
    with pytest.raises(DataError):
        render(attack, json.loads(json.dumps(CONTEXT)), "t")


def test_a_row_is_never_itself_a_template() -> None:
    assert render("{{item.x}}", {"item": {"x": "{{ 7 * 7 }}"}}, "t") == "{{ 7 * 7 }}"


def test_syntax_errors_are_found_before_anything_runs() -> None:
    with pytest.raises(DataError, match=r"here\.messages\[0\]\.content: bad template, line 1"):
        check({"messages": [{"role": "user", "content": "{{ item."}]}, "here")


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("a.jsonl", '{"a": 1}\n\n{"a": "x\u2028y"}\n', [{"a": 1}, {"a": "x\u2028y"}]),
        ("a.json", '\ufeff[{"a": 1}]', [{"a": 1}]),
        ("a.json", '{"a": 1}\n{"a": 2}', [{"a": 1}, {"a": 2}]),
        ("a.csv", 'p,c\n"x, y","two\nlines"\n', [{"p": "x, y", "c": "two\nlines"}]),
    ],
)
def test_reads_json_jsonl_and_csv(tmp_path: Path, name: str, text: str, rows: list[dict[str, Any]]) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_file(tmp_path / name) == rows


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": ', "line 2 is no JSON"),
        ("a.jsonl", b"[1, 2]", "row 1 is int"),
        ("a.json", b'[{"a": 1}', "no JSON"),
        ("a.csv", b"a,b\n1,2,3\n", "line 2 has not 2 columns"),
        ("a.jsonl", b"\xff\xfe", "not UTF-8"),
    ],
)
def test_unreadable_files_say_where(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=says):
        read_file(tmp_path / name)


def test_records_survive_a_line_cut_short(tmp_path: Path) -> None:
    records = Records(tmp_path / "r.jsonl")
    records.append({"n": 1})
    records.close()
    with records.path.open("ab") as file:
        file.write(b'{"n": 2, "text": "\xed')
        os.fsync(file.fileno())
    again = Records(records.path)
    assert list(again.read()) == [{"n": 1}]
    again.append({"n": 3})
    again.close()
    assert list(Records(records.path).read()) == [{"n": 1}, {"n": 3}]
