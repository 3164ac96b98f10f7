"""Records of one file: JSON Lines, a JSON array, CSV, TSV or parquet, each with the line (or row of a table) it is on.

What cannot be read is a problem with its line, and the rest is read on. Refuses files of other kinds, and CSV whose
lines have not as many fields as the header: what stands in which column would be a guess.
"""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflows.data.encodings import Undecodable, decode
from workflows.data.problems import Problem

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
_SEPARATORS = ",;\t|"
_LONGEST_FIELD = 1 << 27


@dataclass(frozen=True)
class Record:
    """One object of a file."""

    line: int
    item: Any


@dataclass
class Contents:
    """What a file holds, and how it is written."""

    file: str
    format: str
    encoding: str = ""
    mark: bool = False
    """Whether it begins with a byte order mark."""
    records: list[Record] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def take(self, found: Iterator[Record | Problem]) -> None:
        """Sort what was found into records and problems."""
        for one in found:
            if isinstance(one, Problem):
                self.problems.append(one)
            else:
                self.records.append(one)


def read_file(path: Path, encoding: str | None = None) -> Contents:
    """Read a file by its suffix. What is wrong with it stands in `problems`."""
    suffix, name = path.suffix.lower(), path.name
    contents = Contents(name, suffix.removeprefix("."))
    try:
        if suffix == ".parquet":
            contents.take(_parquet(path))
        elif suffix in SUFFIXES:
            decoded = decode(path.read_bytes(), encoding)
            contents.encoding, contents.mark = decoded.encoding, decoded.mark
            if suffix in {".csv", ".tsv"}:
                contents.take(_table(name, decoded.text, "\t" if suffix == ".tsv" else None))
            else:
                contents.take(_json(name, decoded.text))
        else:
            contents.problems.append(Problem(name, 0, f"is of no kind that is read here: {', '.join(SUFFIXES)}"))
    except OSError as error:
        contents.problems.append(Problem(name, 0, f"cannot be read ({error.strerror or error})"))
    except Undecodable as error:
        contents.problems.append(Problem(name, error.line, str(error)))
    if not contents.records and not contents.problems:
        contents.problems.append(Problem(name, 0, "holds no rows"))
    return contents


def _json(file: str, text: str) -> Iterator[Record | Problem]:
    array = _array(text)
    if array is not None:
        yield from (Record(number, item) for number, item in enumerate(array, start=1))
        return
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines(): U+2028 may stand inside JSON text
        if not line.strip():
            continue
        try:
            yield Record(number, json.loads(line))
        except json.JSONDecodeError as error:
            yield Problem(file, number, f"is not JSON ({error.msg} at column {error.colno})")
        except RecursionError:
            yield Problem(file, number, "is not usable JSON (nested too deeply)")


def _array(text: str) -> list[Any] | None:
    """Return the items where the whole file is one array of objects, as data is often exported."""
    if not text.lstrip().startswith("["):
        return None
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return items if isinstance(items, list) and all(isinstance(item, dict) for item in items) else None


def _table(file: str, text: str, separator: str | None) -> Iterator[Record | Problem]:
    csv.field_size_limit(_LONGEST_FIELD)
    first = text.split("\n", 1)[0]
    separator = separator or max(_SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1
    try:
        header = [name.strip() for name in next(reader, [])]
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            yield Problem(file, 1, f"the header names {', '.join(map(repr, twice))} more than once")
            return
        line = reader.line_num + 1
        for fields in reader:
            if any(field.strip() for field in fields):
                if len(fields) == len(header):
                    yield Record(line, dict(zip(header, fields, strict=True)))
                else:
                    yield Problem(file, line, f"has {len(fields)} field(s), the header has {len(header)}")
            line = reader.line_num + 1
    except csv.Error as error:
        yield Problem(file, line, f"is not CSV ({error}); a quote that is not closed takes the rest of the file")


def _parquet(path: Path) -> Iterator[Record | Problem]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as opened:
            number = 0
            for batch in opened.iter_batches():
                for item in batch.to_pylist():
                    number += 1
                    yield Record(number, item)
    except (pa.ArrowException, ValueError) as error:
        yield Problem(path.name, 0, f"is not parquet ({' '.join(str(error).split())[:200]})")
