"""Rows of a dataset: what a record of a file says, as a question and its answer.

A record is an object with a prompt and a completion (the columns' names can be chosen, and may lead into objects:
request.prompt), or a chat: `messages`, of which the last turn is the assistant's and is the answer; what stands before
it is the question, of one turn or of many. Refuses missing and empty columns, texts that are none, turns out of order
and calls of tools, each with the reason.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]
Message = dict[str, str]


@dataclass(frozen=True)
class Columns:
    """What the columns of a record are called."""

    prompt: str = "prompt"
    completion: str = "completion"


@dataclass(frozen=True)
class Turn:
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True)
class Row:
    """One example. `turns` is what stands before the answer, where that is more than one turn of the user."""

    prompt: str
    completion: str
    turns: tuple[Turn, ...] = ()

    @property
    def question(self) -> list[Message]:
        """The turns that the model is given."""
        turns = self.turns or (Turn("user", self.prompt),)
        return [{"role": turn.role, "content": turn.content} for turn in turns]

    @property
    def messages(self) -> list[Message]:
        """The whole chat: the chat template then makes of it what NIM makes of a chat request."""
        return [*self.question, {"role": "assistant", "content": self.completion}]

    def as_record(self) -> dict[str, Any]:
        """Return the object to write into a file: a prompt and a completion where that is all there is to say."""
        if self.turns:
            return {"messages": self.messages}
        return {"prompt": self.prompt, "completion": self.completion}


def read_row(item: Any, columns: Columns) -> Row | str:
    """Make a row of a record, or say why it is none."""
    if not isinstance(item, dict):
        return f"is a JSON {type(item).__name__}, expected an object"
    names = (columns.prompt, columns.completion)
    if "messages" in item and not any(name in item for name in names):
        return _read_chat(item)
    values = [look_up(item, name) for name in names]
    for name, value in zip(names, values, strict=True):
        if value is None:
            has = ", ".join(sorted(map(str, item))) or "none"
            return f"lacks column {name!r} (has: {has}); name it with --prompt-column or --completion-column"
        if problem := _problem_of_text(value):
            return f"column {name!r} {problem}"
    prompt, completion = values
    return Row(prompt, completion)


def look_up(item: dict[str, Any], column: str) -> Any:
    """Look a column up: by its name, else by its dotted path into objects. None where there is none."""
    if column in item:
        return item[column]
    value: Any = item
    for part in column.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def normal(text: str) -> str:
    """Bring a text into the form in which it is compared: letters and digits alone, without case."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = "".join(character if character.isalnum() else " " for character in folded).split()
    return " ".join(words) or " ".join(folded.split())


def as_chats(rows: Iterable[Row]) -> bytes:
    """Training rows, as chats."""
    return json_lines({"messages": row.messages} for row in rows)


def as_test_items(rows: Sequence[Row]) -> bytes:
    """Test rows: `prompt` and `completion`, whatever the columns are called, and `messages` if any is a longer chat."""
    chats = any(row.turns for row in rows)
    return json_lines(
        {"prompt": row.prompt, "completion": row.completion} | ({"messages": row.question} if chats else {})
        for row in rows
    )


def as_load_prompts(rows: Iterable[Row]) -> bytes:
    """Questions alone, as a load test sends them."""
    return json_lines({"messages": row.question} if row.turns else {"prompt": row.prompt} for row in rows)


def json_lines(items: Iterable[dict[str, Any]]) -> bytes:
    """Write objects a line each, their characters as they are."""
    return "".join(f"{json.dumps(item, ensure_ascii=False)}\n" for item in items).encode()


def content_hash(splits: Mapping[str, Iterable[Row]]) -> str:
    """SHA-256 of what the rows say, whatever format, encoding and names of columns they came in."""
    total = hashlib.sha256()
    for split in sorted(splits):
        total.update(f"{split}\n".encode())
        for row in splits[split]:
            total.update(json.dumps(row.messages, ensure_ascii=False).encode() + b"\n")
    return total.hexdigest()


def _problem_of_text(value: Any) -> str:
    """Say what keeps a value from being a text to train and test on; empty when nothing does."""
    if not isinstance(value, str):
        return f"is of type {type(value).__name__}, expected text"
    if not value.strip():
        return "is empty"
    if any("\ud800" <= character <= "\udfff" for character in value):
        return "holds half of a surrogate pair, which is no character"
    return ""


def _read_chat(item: dict[str, Any]) -> Row | str:
    """Make a row of a chat, or say why it is none."""
    turns = item["messages"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return "messages: expected a list of objects with role and content"
    if item.get("tools") or any(turn.get("tool_calls") or turn.get("role") == "tool" for turn in turns):
        return "messages: calls of tools are not supported by this pipeline; the Customizer takes them directly"
    roles = [turn.get("role") for turn in turns]
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    if not spoken or len(spoken) % 2 or spoken != ["user", "assistant"] * (len(spoken) // 2):
        return (
            "messages: expected turns of user and assistant by turns, the assistant's last, after at most one system "
            f"turn; has {roles}"
        )
    for number, turn in enumerate(turns, start=1):
        if problem := _problem_of_text(turn.get("content")):
            return f"messages: turn {number}, of the {turn['role']}, {problem}"
    *question, answer = (Turn(turn["role"], turn["content"]) for turn in turns)
    prompt = "\n\n".join(turn.content for turn in question)
    return Row(prompt, answer.content, tuple(question) if len(question) > 1 else ())
