"""What is asked: prompts from a JSONL file, as request bodies of the completions or the chat API.

Rows are `{"prompt": ...}` (or another column; other keys are ignored) or `{"messages": [...]}`; the first row decides
for the file. A unique prefix makes each prompt new to the server's prefix cache. Refuses an empty file and says which
line is wrong.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from load_tests.adapters import PreflightError

Api = Literal["completions", "chat"]
PATHS: dict[Api, str] = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}


def read_prompts(path: Path, column: str = "prompt") -> list[str | list[dict[str, Any]]]:
    """Prompts (text, the rows' `column`) or message lists, in file order. Raises PreflightError."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # not splitlines(): U+2028 may stand inside JSON text
    except (OSError, UnicodeDecodeError) as error:
        raise PreflightError(f"cannot read prompts from {path}: {error}; name another file with --prompts") from error
    prompts: list[str | list[dict[str, Any]]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise PreflightError(f"{path}:{number}: not JSON: {error}") from error
        prompt = (row.get(column) or row.get("messages")) if isinstance(row, dict) else None
        if not isinstance(prompt, str | list):
            raise PreflightError(f'{path}:{number}: no "{column}" text and no "messages" list')
        prompts.append(prompt)
    if not prompts:
        raise PreflightError(f"{path} holds no prompts; name another file with --prompts")
    return prompts


def _with_prefix(prompt: str | list[dict[str, Any]], prefix: str) -> str | list[dict[str, Any]]:
    if isinstance(prompt, str):
        return prefix + prompt
    first, *rest = prompt
    return [{**first, "content": f"{prefix}{first.get('content', '')}"}, *rest]


def bodies(
    prompts: list[str | list[dict[str, Any]]],
    *,
    api: Api,
    options: dict[str, Any],
    unique_prefix: bool,
    seed: int,
    worker: int = 0,
) -> Iterator[dict[str, Any]]:
    """Endless request bodies without `model`, prompts in a seeded random order that differs by worker."""
    rng = random.Random(f"prompts:{seed}:{worker}")
    count = 0
    while True:
        for prompt in rng.sample(prompts, len(prompts)):
            count += 1
            text = _with_prefix(prompt, f"[{seed}-{worker}-{count}] ") if unique_prefix else prompt
            body: dict[str, Any] = {**options, "stream": True, "stream_options": {"include_usage": True}}
            if api == "chat":
                body["messages"] = [{"role": "user", "content": text}] if isinstance(text, str) else text
            elif isinstance(text, str):
                body["prompt"] = text
            else:
                raise PreflightError('the prompts file has "messages"; use --api chat')
            yield body
