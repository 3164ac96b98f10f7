"""Examples in the prompt: which ones, and how they become a template for the Evaluator.

The examples are the same for every item and stand before it as earlier turns of the chat, so that an engine with a
prefix cache computes them once. The choice depends on the seed and the examples alone, not on their order in the
file. Examples whose prompt is also a test prompt are never shown.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from workflows.data.dataset import Row


def choose(train: Sequence[Row], test: Iterable[Row], k: int, seed: int) -> list[Row]:
    """`k` different rows of `train`; fewer when there are not so many."""
    tested = {row.prompt for row in test}
    candidates = sorted({row for row in train if row.prompt not in tested}, key=lambda row: _rank(row, seed))
    return candidates[:k]


def messages(examples: Sequence[Row], question: str) -> list[dict[str, str]]:
    """Chat turns: the examples as they are, then `question`, which is a Jinja template."""
    turns: list[dict[str, str]] = []
    for row in examples:
        turns.append({"role": "user", "content": literal(row.prompt)})
        turns.append({"role": "assistant", "content": literal(row.completion)})
    return [*turns, {"role": "user", "content": question}]


def template(examples: Sequence[Row], *, max_tokens: int, temperature: float) -> dict[str, Any]:
    """Build the body of the chat request that the Evaluator makes per item."""
    return {
        "messages": messages(examples, "{{ item.prompt }}"),
        "max_tokens": max_tokens,
        "temperature": temperature,
    }


def literal(text: str) -> str:
    """Write a Jinja template that renders to exactly `text`, whatever it holds."""
    if not any(mark in text for mark in ("{{", "{%", "{#", "\r")) and not text.endswith("\n"):
        return text
    # A JSON string without ASCII escapes is also a Jinja string literal of the same value.
    return "{{ " + json.dumps(text, ensure_ascii=False) + " }}"


def _rank(row: Row, seed: int) -> str:
    return hashlib.sha256(json.dumps([seed, row.prompt, row.completion]).encode()).hexdigest()
