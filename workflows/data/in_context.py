"""Examples in the prompt: which ones, and how they become a template for the Evaluator.

The examples are the same for every item and stand before it as earlier turns of the chat, so that an engine with a
prefix cache computes them once. The choice depends on the seed and the examples alone, not on their order in the
file. Examples whose prompt is also a test prompt are never shown.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from workflows.data.rows import Message, Row


def choose(train: Sequence[Row], test: Iterable[Row], k: int, seed: int) -> list[Row]:
    """`k` different rows of `train`; fewer when there are not so many."""
    tested = {row.prompt for row in test}
    candidates = sorted({row for row in train if row.prompt not in tested}, key=lambda row: _rank(row, seed))
    return candidates[:k]


def messages(examples: Sequence[Row], question: str) -> list[dict[str, str]]:
    """Chat turns: the examples as they are, then `question`, which is a Jinja template."""
    turns = [{"role": turn["role"], "content": literal(turn["content"])} for row in examples for turn in row.messages]
    return [*turns, {"role": "user", "content": question}]


def template(examples: Sequence[Row], *, max_tokens: int, temperature: float, chats: bool = False) -> dict[str, Any]:
    """Build the body of the chat request that the Evaluator makes per item. `chats`: items have their turns."""
    return {
        "messages": "{{ item.messages | tojson }}" if chats else messages(examples, "{{ item.prompt }}"),
        "max_tokens": max_tokens,
        "temperature": temperature,
    }


def shown_before(examples: Sequence[Row], row: Row) -> list[Message]:
    """Put the examples before the turns of a row; the system's turn, of which there is one at most, stays first."""
    own = row.question
    head = own[:1] if own[0]["role"] == "system" else []
    shown = [turn for example in examples for turn in example.messages if turn["role"] != "system"]
    return [*head, *shown, *own[len(head) :]]


def literal(text: str) -> str:
    """Write a Jinja template that renders to exactly `text`, whatever it holds."""
    if not any(mark in text for mark in ("{{", "{%", "{#", "\r")) and not text.endswith("\n"):
        return text
    # A JSON string without ASCII escapes is also a Jinja string literal of the same value.
    return "{{ " + json.dumps(text, ensure_ascii=False) + " }}"


def _rank(row: Row, seed: int) -> str:
    return hashlib.sha256(json.dumps([seed, row.prompt, row.completion]).encode()).hexdigest()
