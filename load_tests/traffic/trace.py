"""Traces: requests to send again as they once came, from a file.

| file                      | columns or keys                                                                          |
|---------------------------|------------------------------------------------------------------------------------------|
| JSONL as Mooncake, AIPerf | `timestamp` (ms), `input_length`, `output_length`; also `text_input` or `messages`       |
| CSV as Azure's traces     | `TIMESTAMP` (a date and time, or seconds), `ContextTokens`, `GeneratedTokens`            |
| `requests.jsonl` of a run | what this load test wrote: due time, model, prompt tokens and tokens asked for           |

Each may have `model`. Times count from the first request. Refuses a row without a time, and one that is not a row of
any of these, with its line number. Other keys (`hash_ids`) are not looked at: a text of its length is made instead.
"""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from nemostack.errors import BadInput


class TraceRow(NamedTuple):
    """One request: seconds after the first one, and what is known of it."""

    at_s: float
    input_tokens: int | None = None
    output_tokens: int | None = None
    model: str | None = None
    prompt: str | list[dict[str, Any]] | None = None


def read_trace(path: Path, *, speed: float = 1.0) -> list[TraceRow]:
    """Read a trace in the order of its times, `speed` times as fast. Raises BadInput."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read the trace {path}: {error}") from error
    first = text.lstrip()[:1]
    rows = list(_json_rows(text, path) if first == "{" else _csv_rows(text, path))
    if not rows:
        raise BadInput(f"{path} holds no request")
    start = min(row.at_s for row in rows)
    return sorted(
        (row._replace(at_s=(row.at_s - start) / speed) for row in rows),
        key=lambda row: row.at_s,
    )


def _json_rows(text: str, path: Path) -> Iterator[TraceRow]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise BadInput(f"{place}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise BadInput(f"{place}: not a JSON object")
        if "t_send" in row:
            if not row.get("role"):  # requests beside the measured load are not part of what is sent again
                yield _recorded(row, place)
        else:
            yield TraceRow(
                _number(row, "timestamp", place) / 1e3,
                _tokens(row, "input_length", place),
                _tokens(row, "output_length", place),
                row.get("model"),
                row.get("text_input") or row.get("messages"),
            )


def _recorded(row: dict[str, Any], place: str) -> TraceRow:
    due = "t_send" if row.get("t_sched") is None else "t_sched"
    asked = _tokens(row, "asked_tokens", place)
    return TraceRow(_number(row, due, place), _tokens(row, "prompt_tokens", place), asked, row.get("model"))


def _csv_rows(text: str, path: Path) -> Iterator[TraceRow]:
    table = csv.DictReader(text.splitlines())
    if "TIMESTAMP" not in (table.fieldnames or ()):
        raise BadInput(f"{path}: neither JSON rows nor a CSV with the column TIMESTAMP")
    for row in table:
        place = f"{path}:{table.line_num}"
        yield TraceRow(
            _seconds(row["TIMESTAMP"], place),
            _tokens(row, "ContextTokens", place),
            _tokens(row, "GeneratedTokens", place),
            row.get("model") or None,
        )


def _seconds(text: str, place: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{place}: TIMESTAMP {text!r} is neither seconds nor a date and time") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(row: dict[str, Any], key: str, place: str) -> float:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(f"{place}: no number {key!r}, which says when the request came")
    return float(value)


def _tokens(row: dict[str, Any], key: str, place: str) -> int | None:
    value = row.get(key)
    if value is None or value == "":
        return None
    try:
        tokens = int(value)
    except (TypeError, ValueError):
        tokens = -1
    if tokens < 0:
        raise BadInput(f"{place}: {key!r} is not a number of tokens: {value!r}")
    return max(tokens, 1)
