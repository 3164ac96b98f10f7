"""Training rows: JSONL files of a dataset become checked rows, before anything heavy is loaded.

A row is either `{"messages": [...]}`, with `tools` if need be, or has the text columns that the config's prompt
template names. Whatever else stands in a file is reported with file, line and reason; rows are never skipped silently.
"""

# ruff: noqa: TRY004 - whatever is wrong with a line is a ValueError

import json
import random
import string
from dataclasses import dataclass
from pathlib import Path

from embedded.customizer.conversations import Turn, json_kind, parse_messages, parse_tools
from embedded.customizer.spec import JobError

HOLD_OUT = 0.1
_SHOWN = 5


@dataclass(frozen=True)
class Template:
    """A prompt template such as `{prompt} {completion}`: its last column is what the model learns to write.

    `whole`: the one column is a text without a prompt, of which all is learned.
    """

    text: str
    whole: bool = False

    @classmethod
    def parse(cls, text: str) -> "Template":
        """JobError unless plain `{column}` fields, at least two, the last at the very end."""
        template = cls(text)
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise JobError(f"prompt_template {text!r}: {error}") from error
        plain = all(name is None or (name.isidentifier() and not spec and not conv) for _, name, spec, conv in parts)
        if not plain or len(template.columns) < 2 or parts[-1][1] is None:
            raise JobError(
                f"prompt_template {text!r}: expected at least two columns in braces, the last one at the end",
                'For example "{prompt} {completion}".',
            )
        return template

    @property
    def columns(self) -> list[str]:
        """Names of the columns in order."""
        return [name for _, name, _, _ in string.Formatter().parse(self.text) if name]

    def split(self, row: dict[str, str]) -> tuple[str, str]:
        """(text that is given, text that is learned)."""
        last = self.columns[-1]
        given = self.text[: self.text.rindex("{" + last + "}")]
        return given.format_map(row), row[last]


@dataclass(frozen=True)
class Row:
    """Either a conversation, or a prompt and its completion (two turns; `chat` is then False).

    A `whole` text has an empty prompt and is not dressed as a conversation.
    """

    turns: tuple[Turn, ...]
    chat: bool
    tools: str = ""  # a JSON list, as `conversations.parse_tools` returns it
    whole: bool = False


@dataclass(frozen=True)
class Rows:
    """What a job trains on."""

    train: list[Row]
    validation: list[Row]
    warnings: list[str]


def parse_row(line: bytes, template: Template) -> Row:
    """ValueError with the reason when `line` is no row."""
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: {error.reason} at byte {error.start}") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"expected a JSON object, found {json_kind(row)}")
    if "messages" in row:
        return Row(parse_messages(row["messages"]), chat=True, tools=parse_tools(row.get("tools")))
    for column in template.columns:
        if column not in row:
            raise ValueError(f'no column "{column}" (columns: {", ".join(map(str, row)) or "none"})')
        if not isinstance(row[column], str):
            raise ValueError(f'column "{column}" is {json_kind(row[column])}, expected text')
    given, learned = template.split(row)
    if not learned.strip():
        raise ValueError(f'column "{template.columns[-1]}" is empty: there is nothing to learn')
    return Row((Turn("user", given), Turn("assistant", learned)), chat=False, whole=template.whole)


def _read_files(files: list[Path], root: Path, template: Template) -> list[Row]:
    rows: list[Row] = []
    problems: list[str] = []
    for file in files:
        name, before = file.relative_to(root), len(rows) + len(problems)
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                text = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
                if not text:
                    continue
                try:
                    rows.append(parse_row(text, template))
                except ValueError as error:
                    problems.append(f"{name} line {number}: {error}")
        if len(rows) + len(problems) == before:
            problems.append(f"{name}: empty file")
    if problems:
        more = f" ... and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise JobError(
            "; ".join(problems[:_SHOWN]) + more,
            f"Correct the file and upload it again. A row is {json.dumps(dict.fromkeys(template.columns, '...'))} "
            'or {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}.',
        )
    return rows


def read_rows(
    location: Path, template: Template, *, seed: int, limit: int | None = None, hold_out: float = HOLD_OUT
) -> Rows:
    """Rows below `location`: a folder with training/*.jsonl and validation/*.jsonl, or one .jsonl file to train on.

    Without validation rows a part of the training rows (at least one) is held out. `limit` bounds the rows of each
    part. JobError when there is nothing to train on or any line is wrong.
    """
    warnings = []
    root = location if location.is_dir() else location.parent
    training = sorted(location.glob("training/**/*.jsonl")) if location.is_dir() else [location]
    if not training:
        present = sorted(
            str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and ".cache" not in path.parts
        )
        raise JobError(
            f"no .jsonl file under training/ in the dataset (it has: {', '.join(present[:10]) or 'nothing'})",
            "Upload the rows to train on as training/NAME.jsonl.",
        )
    train = _read_files(training, root, template)
    validation = (
        _read_files(sorted(location.glob("validation/**/*.jsonl")), root, template) if location.is_dir() else []
    )
    if not validation:
        if len(train) < 2:
            raise JobError("one training row and no validation: at least two rows are needed to hold one out")
        order = random.Random(seed).sample(range(len(train)), len(train))
        held = set(order[: max(1, int(len(train) * hold_out))])
        validation = [row for number, row in enumerate(train) if number in held]
        train = [row for number, row in enumerate(train) if number not in held]
        warnings.append(f"no validation/*.jsonl: {len(validation)} of the training rows are held out for validation")
    rows = Rows(train[:limit], validation[:limit], warnings)
    turns = [turn for row in [*rows.train, *rows.validation] for turn in row.turns if turn.role == "assistant"]
    if empty := sum(not turn.is_learnable for turn in turns):
        warnings.append(f"{empty} empty assistant messages are not learned, only kept as context")
    return rows
