"""What has been moved, a line as soon as it is so: an interrupted migration goes on after the last line.

A last line that a kill cut off does not count. Refuses the journal of another pair of stacks.
"""

import json
from pathlib import Path

from pydantic import Field

from nemostack.errors import BadInput
from nemostack.models import Model


class Moved(Model):
    """One item that is on the platform. `files`: path there -> SHA-256 of what was read at the source."""

    key: str
    target: str
    fileset: str = ""
    files: dict[str, str] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)


class Journal:
    """The file."""

    def __init__(self, path: Path, *, source: str, target: str) -> None:
        self._path = path
        pair = {"from": source, "to": target}
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            self._append(pair)
        lines = path.read_text(encoding="utf-8").splitlines()
        known = json.loads(lines[0]) if lines else pair
        if known != pair:
            raise BadInput(
                f"{path} is of a migration from {known.get('from')} to {known.get('to')}: choose another folder "
                "with --out"
            )

    def moved(self) -> dict[str, Moved]:
        """Everything that is done, by key."""
        done: dict[str, Moved] = {}
        for line in self._path.read_text(encoding="utf-8").split("\n")[1:]:
            try:
                one = Moved.model_validate_json(line)
            except ValueError:
                continue
            done[one.key] = one
        return done

    def add(self, moved: Moved) -> None:
        """Write down one more."""
        self._append(moved.model_dump())

    def _append(self, value: object) -> None:
        whole = not self._path.exists() or self._path.read_bytes()[-1:] in {b"\n", b""}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(("" if whole else "\n") + json.dumps(value) + "\n")
