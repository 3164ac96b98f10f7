"""Files of a running task: appended records that survive a restart, and small files replaced in one step."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from nemostack.files import replaced_file


class Records:
    """JSON objects, one a line. What was appended before a crash is read back; a line cut short is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO | None = None

    def read(self) -> Iterator[dict[str, Any]]:
        """All whole records so far; cuts a broken last line off, so that the next append starts on its own line."""
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with self.path.open("r+b") as file:
                file.truncate(whole)
        for line in data[:whole].split(b"\n"):
            if line:
                yield json.loads(line)

    def append(self, record: dict[str, Any]) -> None:
        """Add a record; on return the operating system has it."""
        if self._file is None:
            self._file = self.path.open("a", encoding="utf-8")
        self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def replace_lines(path: Path, records: list[dict[str, Any]]) -> None:
    """Write a JSONL file so that readers see the old or the new one, never half."""
    with replaced_file(path) as file:
        file.writelines(json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n" for record in records)
