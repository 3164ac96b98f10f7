"""Rows become token ids, with a mark on each token that the model is to learn.

A prompt/completion row is trained as the chat endpoint will ask it whenever the base model has a chat template: the
prompt as the user's turn, the completion as the assistant's. Only models without one see the bare prompt template.
Of a conversation, every assistant turn that says something is learned, its calls of tools as the chat template writes
them; of all else only the context is kept. Refuses tools and calls that the template leaves out of its text, since the
model would learn to answer with nothing.
"""

import json
from dataclasses import dataclass
from typing import Any

from embedded.customizer.conversations import Turn, tool_names
from embedded.customizer.spec import JobError
from embedded.customizer.training_rows import Row

Segment = tuple[str, bool]


@dataclass(frozen=True)
class Example:
    """`learned[i]` tells whether `ids[i]` is to be predicted; the two have the same length."""

    ids: list[int]
    learned: list[bool]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Encoded:
    """Examples, and how many rows were cut or lost to the length limit."""

    examples: list[Example]
    truncated: int
    dropped: int


def _render(tokenizer: Any, turns: tuple[Turn, ...], tools: str, *, ask: bool) -> str:
    messages = [turn.message() for turn in turns]
    # Only rows with tools say so: a template that does not know them has no such variable.
    more = {"tools": json.loads(tools)} if tools else {}
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask, **more))
    except Exception as error:  # templates are programs of the model's author: they raise whatever they like
        roles = ", ".join(turn.role for turn in turns)
        raise JobError(f"the chat template cannot render a conversation of {roles}: {error}") from error


def _check_tools(tools: str, context: str) -> None:
    if missing := [name for name in tool_names(tools) if name not in context]:
        raise JobError(
            f"the chat template leaves out the row's tools (first: {missing[0]!r}), so the model would not see them",
            "Train a base model whose chat template knows tools, use a config with a chat_prompt_template that writes "
            "`tools`, or remove them from the rows.",
        )


def _check_calls(turn: Turn, answer: str) -> None:
    if missing := [name for name in turn.called_tools if name not in answer]:
        raise JobError(
            f"the chat template leaves out tool calls (first: {missing[0]!r}), so there is nothing to learn from them",
            "Train a base model whose chat template knows tool calls, or use a config with a chat_prompt_template that "
            "writes `tool_calls`.",
        )


def _ended(answer: str, eos: str) -> str:
    """`answer` up to its last end-of-text mark, which is added when missing."""
    return answer[: answer.rindex(eos) + len(eos)] if eos and eos in answer else answer + eos


def _conversation(turns: tuple[Turn, ...], tools: str, tokenizer: Any) -> list[Segment]:
    eos, done, segments = tokenizer.eos_token or "", "", []
    for number, turn in enumerate(turns):
        if not turn.is_learnable:
            continue
        context = _render(tokenizer, turns[:number], tools, ask=True)
        full = _render(tokenizer, turns[: number + 1], tools, ask=False)
        if not (full.startswith(context) and context.startswith(done)):
            return _last_turn(turns, tools, tokenizer)
        if not done:
            _check_tools(tools, context)
        answer = _ended(full[len(context) :], eos)
        _check_calls(turn, answer)
        segments += [(context[len(done) :], False), (answer, True)]
        done = context + answer
    return segments


def _last_turn(turns: tuple[Turn, ...], tools: str, tokenizer: Any) -> list[Segment]:
    """Learn the last turn alone: the template rewrites earlier ones, or does not open with the generation prompt."""
    last = max(number for number, turn in enumerate(turns) if turn.is_learnable)
    context = _render(tokenizer, turns[:last], tools, ask=True)
    full = _render(tokenizer, turns[: last + 1], tools, ask=False)
    _check_tools(tools, context)
    answer = full[len(context) :] if full.startswith(context) else turns[last].content
    _check_calls(turns[last], answer)
    return [(context, False), (_ended(answer, tokenizer.eos_token or ""), True)]


def _plain(row: Row, tokenizer: Any) -> list[Segment]:
    given, learned = row.turns[0].content, row.turns[1].content
    # Most vocabularies begin a word with its space, so the space in between belongs to what is learned.
    context = given.rstrip(" ")
    return [(context, False), (given[len(context) :] + learned + (tokenizer.eos_token or ""), True)]


def segments(row: Row, tokenizer: Any) -> list[Segment]:
    """Split the row's text, in order, into pieces that are either context (False) or to be learned (True)."""
    if not tokenizer.chat_template:
        if row.chat:
            raise JobError(
                'the base model has no chat template, so rows with "messages" cannot be used',
                "Use prompt/completion rows, or a config with chat_prompt_template.",
            )
        return _plain(row, tokenizer)
    if row.chat:
        return _conversation(row.turns, row.tools, tokenizer)
    if row.whole:
        return _plain(row, tokenizer)
    user, assistant = row.turns
    return _conversation((Turn("user", user.content.rstrip()), assistant), "", tokenizer)


def encode(rows: list[Row], tokenizer: Any, max_length: int) -> Encoded:
    """Make examples of at most `max_length` tokens.

    Longer rows lose their end; rows left with nothing to learn are dropped.
    """
    pieces = [segments(row, tokenizer) for row in rows]
    texts = [text for row in pieces for text, _ in row]
    ids = iter(tokenizer(texts, add_special_tokens=False).input_ids if texts else [])
    start: list[int] = []
    if not tokenizer.chat_template and tokenizer.bos_token_id is not None:  # chat templates write their own
        start = [tokenizer.bos_token_id] if tokenizer("a").input_ids[0] == tokenizer.bos_token_id else []
    examples, truncated, dropped = [], 0, 0
    for row in pieces:
        tokens, learned = list(start), [False] * len(start)
        for _, learn in row:
            part = next(ids)
            tokens += part
            learned += [learn] * len(part)
        if len(tokens) > max_length:
            truncated += 1
        # The first token has nothing before it from which it could be predicted.
        example = Example(tokens[:max_length], [False, *learned[1:max_length]])
        if any(example.learned):
            examples.append(example)
        else:
            dropped += 1
            truncated -= len(tokens) > max_length
    return Encoded(examples, truncated, dropped)
