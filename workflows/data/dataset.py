"""A folder with train.jsonl, validation.jsonl and test.jsonl: read, checked, described.

Each line is a JSON object with a prompt and a completion (the columns' names can be chosen, and may lead into objects:
request.prompt), or a chat: `messages` with one turn of the user and one of the assistant, and at most one of the
system, which is put before the question. Every problem is reported with its file and lines, all of them at once.
Refuses broken JSON, missing or empty columns, longer chats, calls of tools and empty files; duplicates and test prompts
that also stand in the training data are counted and warned of, not refused.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nemostack.errors import BadInput
from nemostack.models import Model
from workflows.settings import Settings

SPLITS = ("train", "validation", "test")
_PROBLEMS_SHOWN = 10
_LINES_SHOWN = 5
_ASKED = 8  # references whose tokens the server counts, the longest in bytes
_MOST_TOKENS = 1024  # leaves room for the prompt in the context of a small server


@dataclass(frozen=True)
class Row:
    """One example."""

    prompt: str
    completion: str


class SplitFacts(Model):
    """What a split looks like. Lengths in characters."""

    rows: int
    duplicates: int
    mean_prompt: float
    mean_completion: float
    longest_completion: int
    sha256: str


class DatasetFacts(Model):
    """What the dataset looks like."""

    name: str
    splits: dict[str, SplitFacts]
    leaked: int
    warnings: list[str]


@dataclass(frozen=True)
class Dataset:
    """All rows in the order of their files, and what is to be said about them."""

    train: tuple[Row, ...]
    validation: tuple[Row, ...]
    test: tuple[Row, ...]
    facts: DatasetFacts

    def max_tokens(self, count_tokens: Callable[[str], int | None] = lambda _text: None) -> int:
        """Room for the longest reference and a quarter more: a multiple of 16, from 32 to 1024.

        `count_tokens` is the server's tokenizer, and answers None where the server has none to ask. Then two bytes of
        UTF-8 count as a token, which is generous for every script; characters would not be: one of Hangul may be more
        than a token.
        """
        rows = {row.completion for split in (self.train, self.validation, self.test) for row in split}
        longest = sorted(rows, key=lambda text: len(text.encode()), reverse=True)[:_ASKED]
        counts = [count_tokens(text) for text in longest[:1]]
        counts += [count_tokens(text) for text in longest[1:]] if counts != [None] else []
        known = [count for count in counts if count is not None]
        tokens = max(known) * 5 // 4 if known else len(longest[0].encode()) // 2
        return min(_MOST_TOKENS, max(32, -(-(tokens + 8) // 16) * 16))


def as_chat(rows: Iterable[Row]) -> bytes:
    """Training rows as chats: the chat template then makes of them what NIM makes of a chat request."""
    return _lines(
        {"messages": [{"role": "user", "content": row.prompt}, {"role": "assistant", "content": row.completion}]}
        for row in rows
    )


def as_pairs(rows: Iterable[Row]) -> bytes:
    """Test rows: `prompt` and `completion`, whatever the user's columns are called."""
    return _lines({"prompt": row.prompt, "completion": row.completion} for row in rows)


def _lines(items: Iterable[dict[str, Any]]) -> bytes:
    return "".join(f"{json.dumps(item, ensure_ascii=False)}\n" for item in items).encode()


def digest(settings: Settings) -> str:
    """Of the files as they are, without judging them; '' when one is missing (reading will say so)."""
    total = hashlib.sha256()
    for split in SPLITS:
        try:
            total.update(hashlib.sha256((settings.dataset / f"{split}.jsonl").read_bytes()).digest())
        except OSError:
            return ""
    return total.hexdigest()


def load(settings: Settings) -> Dataset:
    """Read and check the dataset folder. BadInput lists what is wrong, line by line."""
    problems: list[Problem] = []
    if not settings.dataset.is_dir():
        raise BadInput(f"dataset {settings.dataset} is not a directory; expected one with {_files()}")
    rows = {split: _read(settings.dataset / f"{split}.jsonl", settings, problems) for split in SPLITS}
    if problems:
        raise BadInput(f"dataset {settings.dataset} cannot be used, {len(problems)} problem(s):\n{_listing(problems)}")
    rows["train"] = rows["train"][: settings.train_rows]
    rows["validation"] = rows["validation"][: settings.validation_rows]
    return Dataset(
        train=tuple(rows["train"]),
        validation=tuple(rows["validation"]),
        test=tuple(rows["test"]),
        facts=_facts(settings, rows),
    )


def _files() -> str:
    return ", ".join(f"{split}.jsonl" for split in SPLITS)


@dataclass(frozen=True)
class Problem:
    """A reason why a file cannot be used, and the line that it is about; 0 for the file as a whole."""

    file: str
    line: int
    text: str


def _listing(problems: list[Problem]) -> str:
    """List the problems; those of several lines that are alike are one."""
    lines_of: dict[tuple[str, str], list[int]] = {}
    for problem in problems:
        lines_of.setdefault((problem.file, problem.text), []).append(problem.line)
    entries = []
    for (file, text), lines in lines_of.items():
        if lines == [0]:
            entries.append(f"  {file}: {text}")
            continue
        shown = ", ".join(map(str, lines[:_LINES_SHOWN]))
        more = f" and {len(lines) - _LINES_SHOWN} more" if len(lines) > _LINES_SHOWN else ""
        entries.append(f"  {file} line{'s' if len(lines) > 1 else ''} {shown}{more}: {text}")
    rest = len(entries) - _PROBLEMS_SHOWN
    return "\n".join([*entries[:_PROBLEMS_SHOWN], *([f"  and {rest} more kinds"] if rest > 0 else [])])


def _read(file: Path, settings: Settings, problems: list[Problem]) -> list[Row]:
    try:
        content = file.read_bytes()
    except OSError as error:
        problems.append(Problem(file.name, 0, f"cannot be read ({error.strerror}); expected {_files()}"))
        return []
    if _is_json_array(content):
        problems.append(Problem(file.name, 0, "is one JSON array; write one object per line (JSON Lines)"))
        return []
    rows: list[Row] = []
    before = len(problems)
    for number, raw in enumerate(content.split(b"\n"), start=1):
        if raw.strip():
            row = _row(raw, settings)
            if isinstance(row, Row):
                rows.append(row)
            else:
                problems.append(Problem(file.name, number, row))
    if not rows and len(problems) == before:
        problems.append(Problem(file.name, 0, "holds no rows"))
    return rows


def _is_json_array(content: bytes) -> bool:
    """Tell whether the whole file is an array of objects, as data is often exported."""
    if not content.lstrip().startswith(b"["):
        return False
    try:
        items = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(items, list) and all(isinstance(item, dict) for item in items)


def _row(raw: bytes, settings: Settings) -> Row | str:
    """Return the row, or why it is none."""
    try:
        item = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return "is not UTF-8"
    except json.JSONDecodeError as error:
        return f"is not JSON ({error.msg} at column {error.colno})"
    except RecursionError:
        return "is not usable JSON (nested too deeply)"
    if not isinstance(item, dict):
        return f"is a JSON {type(item).__name__}, expected an object"
    columns = (settings.prompt_column, settings.completion_column)
    if "messages" in item and not any(column in item for column in columns):
        return _row_of_chat(item)
    values = [_value(item, column) for column in columns]
    for column, value in zip(columns, values, strict=True):
        if value is None:
            return f"lacks column {column!r} (has: {', '.join(sorted(item)) or 'none'})"
        if problem := _problem_of_text(value):
            return f"column {column!r} {problem}"
    return Row(*map(str, values))


def _value(item: dict[str, Any], column: str) -> Any:
    """Look a column up: by its name, else by its dotted path into objects. None where there is none."""
    if column in item:
        return item[column]
    value: Any = item
    for part in column.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _problem_of_text(value: Any) -> str:
    """Say what keeps a value from being a text to train and test on; empty when nothing does."""
    if not isinstance(value, str):
        return f"is of type {type(value).__name__}, expected text"
    if not value.strip():
        return "is empty"
    if any("\ud800" <= character <= "\udfff" for character in value):
        return "holds half of a surrogate pair, which is no character"
    return ""


def _row_of_chat(item: dict[str, Any]) -> Row | str:
    """Make a row of a chat with one question and one answer, or say why it is none."""
    turns = item["messages"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return "messages: expected a list of objects with role and content"
    if item.get("tools") or any(turn.get("tool_calls") or turn.get("role") == "tool" for turn in turns):
        return "messages: calls of tools are not supported by this pipeline; the Customizer takes them directly"
    roles = [turn.get("role") for turn in turns]
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        return f"messages: expected one user and one assistant turn, after at most one system turn; has {roles}"
    texts = [turn.get("content") for turn in turns]
    for role, text in zip(roles, texts, strict=True):
        if problem := _problem_of_text(text):
            return f"messages: the {role} turn {problem}"
    *question, answer = texts
    return Row("\n\n".join(question), answer)


def _facts(settings: Settings, rows: dict[str, list[Row]]) -> DatasetFacts:
    warnings, splits = [], {}
    for split, items in rows.items():
        duplicates = len(items) - len(set(items))
        if duplicates:
            warnings.append(f"{split}.jsonl: {duplicates} duplicate row(s)")
        splits[split] = SplitFacts(
            rows=len(items),
            duplicates=duplicates,
            mean_prompt=sum(len(row.prompt) for row in items) / len(items),
            mean_completion=sum(len(row.completion) for row in items) / len(items),
            longest_completion=max(len(row.completion) for row in items),
            sha256=hashlib.sha256((settings.dataset / f"{split}.jsonl").read_bytes()).hexdigest(),
        )
    seen = {_normal(row.prompt) for row in rows["train"]}
    leaked = [number for number, row in enumerate(rows["test"], start=1) if _normal(row.prompt) in seen]
    if leaked:
        warnings.append(
            f"test.jsonl: {len(leaked)} prompt(s) also stand in train.jsonl (first: row {leaked[0]});"
            " scores on them tell nothing about new data"
        )
    if len(rows["test"]) < settings.limit:
        warnings.append(f"test.jsonl has {len(rows['test'])} rows, fewer than the {settings.limit} asked for")
    name = re.sub(r"[^a-z0-9]+", "-", settings.dataset.resolve().name.lower()).strip("-")[:32] or "dataset"
    return DatasetFacts(name=name, splits=splits, leaked=len(leaked), warnings=warnings)


def _normal(text: str) -> str:
    return " ".join(text.lower().split())
