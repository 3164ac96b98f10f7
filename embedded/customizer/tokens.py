"""Rows become token ids, with a mark on each token that the model is to learn.

A prompt/completion row is trained as the chat endpoint will ask it whenever the base model has a chat template: the
prompt as the user's turn, the completion as the assistant's. Only models without one see the bare prompt template.
Of a conversation, every assistant turn is learned; of all else only the context is kept.
"""

from dataclasses import dataclass
from typing import Any

from embedded.customizer.failures import JobError
from embedded.customizer.rows import Row, Turn

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


def _render(tokenizer: Any, turns: tuple[Turn, ...], *, ask: bool) -> str:
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask))
    except Exception as error:  # templates are programs of the model's author: they raise whatever they like
        roles = ", ".join(turn.role for turn in turns)
        raise JobError(f"the chat template cannot render a conversation of {roles}: {error}") from error


def _ended(answer: str, eos: str) -> str:
    """`answer` up to its last end-of-text mark, which is added when missing."""
    return answer[: answer.rindex(eos) + len(eos)] if eos and eos in answer else answer + eos


def _conversation(turns: tuple[Turn, ...], tokenizer: Any) -> list[Segment]:
    eos, done, segments = tokenizer.eos_token or "", "", []
    for number, turn in enumerate(turns):
        if turn.role != "assistant":
            continue
        context = _render(tokenizer, turns[:number], ask=True)
        full = _render(tokenizer, turns[: number + 1], ask=False)
        if not (full.startswith(context) and context.startswith(done)):
            # A template that rewrites earlier turns or does not open with the generation prompt: learn the last only.
            last = max(n for n, t in enumerate(turns) if t.role == "assistant")
            context = _render(tokenizer, turns[:last], ask=True)
            return [(context, False), (_ended(turns[last].content, eos), True)]
        answer = _ended(full[len(context) :], eos)
        segments += [(context[len(done) :], False), (answer, True)]
        done = context + answer
    return segments


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
        return _conversation(row.turns, tokenizer)
    user, assistant = row.turns
    return _conversation((Turn("user", user.content.rstrip()), assistant), tokenizer)


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
