"""Training files become checked rows and token ids: every refusal with its line, every mark on the right token."""

import json
import math
import random
from itertools import chain
from pathlib import Path

import pytest

from embedded.customizer.batches import epoch_batches, passes
from embedded.customizer.packing import Layout, pack
from embedded.customizer.spec import JobError
from embedded.customizer.tokens import Example, encode
from embedded.customizer.training_rows import Template, parse_row, read_rows
from tests.contract.customizer_support import jsonl, make_tokenizer, pairs

TEMPLATE = Template.parse("{prompt} {completion}")


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def _write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": "a", ', "not JSON"),
        (b'{"prompt": "\xff", "completion": "b"}', "not UTF-8"),
        (b'["a", "b"]', "expected a JSON object, found a list"),
        (b'{"prompt": "a", "answer": "b"}', 'no column "completion" (columns: prompt, answer)'),
        (b'{"prompt": "a", "completion": 7}', 'column "completion" is a number, expected text'),
        (b'{"prompt": null, "completion": "b"}', 'column "prompt" is null, expected text'),
        (b'{"prompt": "a", "completion": " "}', 'column "completion" is empty'),
        (b'{"messages": []}', '"messages" must be a list with at least one message'),
        (b'{"messages": [{"role": "robot", "content": "x"}]}', "message 1: role 'robot'"),
        (b'{"messages": [{"role": "user", "content": ["x"]}]}', 'message 1: "content" is a list'),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "no assistant message"),
        (b'{"messages": [{"role": "assistant", "content": null}]}', 'message 1: "content" is null'),
        (
            b'{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}]}',
            "only empty assistant",
        ),
        (
            b'{"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]}',
            "message 1, tool call 1: expected",
        ),
        (
            b'{"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]}',
            "message 1, tool call 1: arguments of 'f' are no JSON",
        ),
        (
            b'{"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": [1]}}]}]}',
            "arguments of 'f' are a list, expected an object",
        ),
        (b'{"messages": [{"role": "assistant", "content": "x"}], "tools": [{"type": "function"}]}', "tool 1: expected"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_line_fails_with_file_number_and_reason(tmp_path, line, reason):
    _write(tmp_path, {"training/train.jsonl": jsonl(pairs(6)) + line + b"\n" + jsonl(pairs(2))})
    with pytest.raises(JobError) as caught:
        read_rows(tmp_path, TEMPLATE, seed=0)
    assert caught.value.message.startswith("training/train.jsonl line 7: ")
    assert reason in caught.value.message
    assert ";" not in caught.value.message.removesuffix(reason), "one bad line, one problem"


def test_many_bad_lines_are_counted_not_listed(tmp_path):
    _write(tmp_path, {"training/a.jsonl": b"x\n" * 9, "validation/b.jsonl": b""})
    with pytest.raises(JobError, match=r"a\.jsonl line 5: .* \.\.\. and 4 more"):
        read_rows(tmp_path, TEMPLATE, seed=0)
    (tmp_path / "training/a.jsonl").write_bytes(jsonl(pairs(3)))
    with pytest.raises(JobError, match=r"^validation/b\.jsonl: empty file$"):
        read_rows(tmp_path, TEMPLATE, seed=0)


def test_files_are_merged_blank_lines_and_byte_order_mark_skipped(tmp_path):
    _write(
        tmp_path,
        {
            "training/b.jsonl": b"\xef\xbb\xbf" + jsonl(pairs(2)) + b"\n\n",
            "training/a.jsonl": jsonl(pairs(3, 10)),
            "validation/v.jsonl": jsonl(pairs(1, 20)),
            "testing/t.jsonl": b"not looked at",
        },
    )
    rows = read_rows(tmp_path, TEMPLATE, seed=0)
    assert [row.turns[0].content.strip() for row in rows.train] == [r["prompt"] for r in pairs(3, 10) + pairs(2)]
    assert len(rows.validation) == 1
    assert rows.warnings == []


def test_without_validation_a_tenth_is_held_out_and_said(tmp_path):
    _write(tmp_path, {"training/a.jsonl": jsonl(pairs(50))})
    rows = read_rows(tmp_path, TEMPLATE, seed=3)
    assert (len(rows.train), len(rows.validation)) == (45, 5)
    assert not set(rows.train) & set(rows.validation)
    assert rows.warnings == ["no validation/*.jsonl: 5 of the training rows are held out for validation"]
    assert read_rows(tmp_path, TEMPLATE, seed=3) == rows


def test_no_training_files_says_what_there_is(tmp_path):
    _write(tmp_path, {"training/a.json": b"[]", "train.jsonl": b"{}"})
    with pytest.raises(JobError, match=r"no \.jsonl file under training/.*train\.jsonl, training/a\.json"):
        read_rows(tmp_path, TEMPLATE, seed=0)


@pytest.mark.parametrize(
    "text",
    ["{prompt}", "no columns", "{prompt} {completion}!", "{a.b} {c}", "{a!r} {c}", "{a:>9} {c}", "{ {c}", "{} {}"],
)
def test_prompt_template_is_plain_columns_the_last_at_the_end(text):
    with pytest.raises(JobError, match="prompt_template"):
        Template.parse(text)


def _parts(example, tokenizer) -> tuple[str, str]:
    """(text before the learned tokens, learned text), found by decoding."""
    first = example.learned.index(True)
    assert all(example.learned[first:]), "learned tokens are the end of a prompt/completion row"
    return tokenizer.decode(example.ids[:first]), tokenizer.decode(example.ids[first:])


def _row(**columns):
    return parse_row(json.dumps(columns).encode(), TEMPLATE)


def test_with_a_chat_template_rows_become_the_turns_that_the_chat_endpoint_sends(tokenizer):
    (example,) = encode([_row(prompt="Who?", completion="Me.")], tokenizer, 512).examples
    assert _parts(example, tokenizer) == ("<|user|>Who?\n<|assistant|>", "Me.<|end|>")
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Who?"}], tokenize=True, add_generation_prompt=True, return_dict=False
    )
    assert example.ids[: len(asked)] == asked


def test_without_a_chat_template_rows_follow_the_prompt_template():
    tokenizer = make_tokenizer(chat=False)
    (example,) = encode([_row(prompt="Who?", completion="Me.")], tokenizer, 512).examples
    assert _parts(example, tokenizer) == ("Who?", " Me.<|end|>")
    template = Template.parse("Q: {q}\nA:{a}")
    row = parse_row(b'{"q": "Who?", "a": " Me."}', template)
    assert _parts(encode([row], tokenizer, 512).examples[0], tokenizer) == ("Q: Who?\nA:", " Me.<|end|>")
    chat = parse_row(b'{"messages": [{"role": "assistant", "content": "x"}]}', TEMPLATE)
    with pytest.raises(JobError, match="no chat template"):
        encode([chat], tokenizer, 512)


def test_every_assistant_turn_of_a_conversation_is_learned_and_nothing_else(tokenizer):
    turns = [("system", "Be brief."), ("user", "A?"), ("assistant", "a."), ("user", "B?"), ("assistant", "b.")]
    row = _row(messages=[{"role": role, "content": content} for role, content in turns])
    (example,) = encode([row], tokenizer, 512).examples
    text = "<|system|>Be brief.\n<|user|>A?\n<|assistant|>a.<|end|>\n<|user|>B?\n<|assistant|>b.<|end|>"
    assert tokenizer.decode(example.ids) == text
    learned = "".join(
        tokenizer.decode([i]) if mark else "_" for i, mark in zip(example.ids, example.learned, strict=True)
    )
    assert [part for part in learned.split("_") if part] == ["a.<|end|>", "b.<|end|>"]


TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
# In the manner of Hermes and Qwen: what the model may call at the top, its calls as JSON between marks.
TOOL_TEMPLATE = (
    "{% if tools %}<|system|>{% for tool in tools %}{{ tool.function | tojson }}{% endfor %}{{ '\n' }}{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}"
    "{% for call in m.tool_calls or [] %}<call>{{ call.function | tojson }}</call>{% endfor %}"
    "{% if m.role == 'assistant' %}<|end|>{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CALL = '<call>{"name": "get_weather", "arguments": {"city": "Ulm"}}</call>'


def _ask_weather(**assistant):
    return [{"role": "user", "content": "Weather in Ulm?"}, {"role": "assistant", **assistant}]


def _function(arguments):
    return {"name": "get_weather", "arguments": arguments}


@pytest.mark.parametrize(
    "assistant",
    [
        {"tool_calls": [{"id": "1", "type": "function", "function": _function({"city": "Ulm"})}]},
        {"content": None, "tool_calls": [{"function": _function('{"city": "Ulm"}')}]},
        {"content": "", "tool_calls": [{"function": _function({"city": "Ulm"})}]},
        {"content": None, "function_call": _function('{"city": "Ulm"}')},
    ],
    ids=["no-content", "null-content-text-arguments", "empty-content", "function_call"],
)
def test_calls_of_tools_are_learned_as_the_chat_template_writes_them(assistant):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = TOOL_TEMPLATE
    after = [{"role": "tool", "content": "21", "tool_call_id": "1"}, {"role": "assistant", "content": "It is 21."}]
    row = _row(messages=[*_ask_weather(**assistant), *after], tools=TOOLS)
    (example,) = encode([row], tokenizer, 2048).examples
    text = tokenizer.decode(example.ids)
    assert text.startswith('<|system|>{"name": "get_weather"')
    assert f"<|user|>Weather in Ulm?\n<|assistant|>{CALL}<|end|>\n<|tool|>21\n<|assistant|>It is 21.<|end|>" in text
    learned = "".join(
        tokenizer.decode([i]) if mark else "\0" for i, mark in zip(example.ids, example.learned, strict=True)
    )
    assert [part for part in learned.split("\0") if part] == [f"{CALL}<|end|>", "It is 21.<|end|>"]


def test_several_calls_in_one_turn_are_all_learned():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = TOOL_TEMPLATE
    calls = [{"function": _function({"city": city})} for city in ("Ulm", "Bonn")]
    (example,) = encode([_row(messages=_ask_weather(tool_calls=calls))], tokenizer, 2048).examples
    assert _parts(example, tokenizer)[1] == CALL + CALL.replace("Ulm", "Bonn") + "<|end|>"


def test_a_template_without_tools_is_the_reason_of_the_refusal(tokenizer):
    call = {"content": "", "tool_calls": [{"function": _function({"city": "Ulm"})}]}
    with pytest.raises(JobError, match=r"chat template leaves out tool calls \(first: 'get_weather'\)"):
        encode([_row(messages=_ask_weather(**call))], tokenizer, 2048)
    with pytest.raises(JobError, match=r"chat template leaves out the row's tools \(first: 'get_weather'\)"):
        encode([_row(messages=_ask_weather(content="21 degrees"), tools=TOOLS)], tokenizer, 2048)


def test_an_empty_assistant_turn_is_never_learned(tokenizer, tmp_path):
    turns = [("user", "A?"), ("assistant", " "), ("user", "B?"), ("assistant", "b.")]
    messages = [{"role": role, "content": content} for role, content in turns]
    (example,) = encode([_row(messages=messages)], tokenizer, 512).examples
    assert _parts(example, tokenizer) == ("<|user|>A?\n<|assistant|> <|end|>\n<|user|>B?\n<|assistant|>", "b.<|end|>")
    _write(tmp_path, {"training/a.jsonl": jsonl([{"messages": messages}] * 3), "validation/v.jsonl": jsonl(pairs(1))})
    assert read_rows(tmp_path, TEMPLATE, seed=0).warnings == [
        "3 empty assistant messages are not learned, only kept as context"
    ]


def test_long_rows_are_cut_and_rows_with_nothing_left_dropped(tokenizer):
    rows = [
        _row(prompt="p", completion="c" * 50),
        _row(prompt="p" * 50, completion="c"),
        _row(prompt="p", completion="c"),
    ]
    encoded = encode(rows, tokenizer, 20)
    assert (encoded.truncated, encoded.dropped) == (1, 1)
    assert [len(example) for example in encoded.examples] == [20, len("?p?") + len("?c?")]


def test_an_epoch_holds_every_row_once_and_differs_from_the_next():
    first, second = (epoch_batches(103, 10, seed=5, epoch=e) for e in (0, 1))
    assert [len(batch) for batch in first] == [10] * 10 + [3]
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(103))
    assert first != second
    assert first == epoch_batches(103, 10, seed=5, epoch=0)


def test_passes_hold_every_row_once_within_the_limit_and_are_about_even():
    random_ = random.Random(0)
    for _ in range(300):
        lengths = [random_.randint(1, 400) for _ in range(random_.randint(1, 40))]
        groups = passes(lengths, max_tokens=900)
        assert list(chain(*groups)) == list(range(len(lengths)))
        sizes = [sum(lengths[i] for i in group) for group in groups]
        assert max(sizes) <= 900
        assert len(sizes) <= 2 * math.ceil(sum(sizes) / 900)
    assert [len(group) for group in passes([100] * 10, max_tokens=900)] == [5, 5]
    assert passes([1000, 1], max_tokens=900) == [[0], [1]]  # a row is never cut


def test_rows_lie_end_to_end_and_what_they_share_stands_once():
    rows = [
        Example([7, 8, 9, 1, 2], [False, False, False, False, True]),
        Example([7, 8, 9, 3], [False, False, False, True]),
        Example([7, 8, 9, 1, 4, 5], [False] * 4 + [True, True]),
    ]
    packed = pack(rows)
    assert packed.layout == Layout(3, (2, 1, 3))
    assert packed.ids.tolist() == [7, 8, 9, 1, 2, 3, 1, 4, 5]
    assert packed.positions.tolist() == [0, 1, 2, 3, 4, 3, 3, 4, 5]
    assert packed.before.tolist() == [3, 2, 6, 7]  # the second row's first own token follows what is shared
    assert packed.targets.tolist() == [2, 3, 4, 5]
    alone = pack(rows, share=False)
    assert alone.layout == Layout(0, (5, 4, 6))
    assert alone.ids.tolist() == [token for row in rows for token in row.ids]
    assert alone.before.tolist() == [3, 7, 12, 13]


def test_nothing_that_is_learned_is_shared_and_every_row_keeps_a_token():
    same = Example([1, 2, 3], [False, True, True])
    assert pack([same, same]).layout == Layout(1, (2, 2))
    given = Example([1, 2, 3], [False, False, True])
    assert pack([given, given]).layout == Layout(2, (1, 1))
    assert pack([given]).layout == Layout(0, (3,))
