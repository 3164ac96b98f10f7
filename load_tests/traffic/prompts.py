"""Prompts from a JSONL file, as request bodies of the completions or the chat API.

Rows are `{"prompt": "text"}` (or another column; other keys are ignored) or `{"messages": [...]}`, which only the chat
API takes. A unique prefix makes each prompt new to the server's prefix cache. Refuses an empty file, and a row that the
API cannot take, with its line number, before any request is sent.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from nemostack.errors import BadInput

Api = Literal["completions", "chat"]
Prompt = str | list[dict[str, Any]]
PATHS: dict[Api, str] = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}


def read_prompts(path: Path, column: str = "prompt", *, api: Api) -> list[Prompt]:
    """Read prompts (text, the rows' `column`) or message lists, in file order. Raises BadInput."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # not splitlines(): U+2028 may stand inside JSON text
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read prompts from {path}: {error}; name another file with --prompts") from error
    prompts: list[Prompt] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise BadInput(f"{path}:{number}: not JSON: {error}") from error
        prompts.append(_prompt(row, column, api, f"{path}:{number}"))
    if not prompts:
        raise BadInput(f"{path} holds no prompts; name another file with --prompts")
    return prompts


def _prompt(row: Any, column: str, api: Api, place: str) -> Prompt:
    """Take the prompt out of a row that stands at `place`. Raises BadInput."""
    if not isinstance(row, dict):
        raise BadInput(f"{place}: not a JSON object")
    text = row.get(column)
    if isinstance(text, str) and text:
        return text
    if text:
        raise BadInput(f'{place}: "{column}" is not text; name a column of texts with --prompt-column')
    messages = row.get("messages")
    if not messages:
        raise BadInput(f'{place}: no "{column}" text and no "messages" list')
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise BadInput(f'{place}: "messages" is not a list of objects with role and content')
    if api != "chat":
        raise BadInput(f'{place}: "messages" are not for the completions API; use --api chat')
    return messages


def _with_prefix(prompt: Prompt, prefix: str) -> Prompt:
    if isinstance(prompt, str):
        return prefix + prompt
    first, *rest = prompt
    content = first.get("content") or ""
    if isinstance(content, list):  # parts: text, images
        return [{**first, "content": [{"type": "text", "text": prefix}, *content]}, *rest]
    return [{**first, "content": f"{prefix}{content}"}, *rest]


def shuffled(
    prompts: list[Prompt], *, unique_prefix: bool, seed: int, worker: int = 0
) -> Iterator[tuple[Prompt, None]]:
    """Endless prompts, in a seeded random order that differs by worker; how many tokens they have is not known."""
    rng = random.Random(f"prompts:{seed}:{worker}")
    count = 0
    while True:
        for prompt in rng.sample(prompts, len(prompts)):
            count += 1
            yield (_with_prefix(prompt, f"[{seed}-{worker}-{count}] ") if unique_prefix else prompt), None


def body(prompt: Prompt, *, api: Api, options: dict[str, Any]) -> dict[str, Any]:
    """Make a request body, all but its `model`."""
    made: dict[str, Any] = {**options, "stream": True, "stream_options": {"include_usage": True}}
    if api == "chat":
        made["messages"] = as_messages(prompt)
    else:
        made["prompt"] = prompt
    return made


def as_messages(prompt: Prompt) -> list[dict[str, Any]]:
    """Return a prompt as the messages of a chat."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
