"""Examples: chosen the same way every time, and shown exactly as they are."""

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from workflows.data.in_context import choose, literal, template
from workflows.data.rows import Row

ROWS = [Row(f"q{i}", f"a{i}") for i in range(50)]


def test_choice_depends_on_seed_and_rows_not_on_their_order() -> None:
    chosen = choose(ROWS, [], 3, seed=0)
    assert chosen == choose(list(reversed(ROWS)), [], 3, seed=0)
    assert chosen != choose(ROWS, [], 3, seed=1)
    assert chosen == choose(ROWS, [], 10, seed=0)[:3]
    assert len(set(chosen)) == 3


def test_test_prompts_are_never_shown_and_duplicates_only_once() -> None:
    test = [Row(row.prompt, "other") for row in ROWS[:48]]
    assert set(choose(ROWS + ROWS, test, 10, seed=0)) == set(ROWS[48:])


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "{{ item.completion }}",
        "{% for x in y %}",
        "{# no #}",
        'a "quoted" {{ \\n',
        "ends with\n",
        "a\r\nb",
        "é 한국어 😀 {{",
        "\\u0041 {{",
    ],
)
def test_literal_renders_to_itself(text: str) -> None:
    for keep in (True, False):
        environment = ImmutableSandboxedEnvironment(keep_trailing_newline=keep)
        assert environment.from_string(literal(text)).render(item={"completion": "LEAK"}) == text


def test_template() -> None:
    body = template([Row("q", "a")], max_tokens=96, temperature=0.0001)
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][-1]["content"] == "{{ item.prompt }}"
    assert (body["max_tokens"], body["temperature"]) == (96, 0.0001)
