"""Where data comes from: a file, a folder with a file for each split, or a dataset of the Hugging Face Hub.

A source is read whole into rows, with the line each row is on. Rows that cannot be used are problems, never dropped
without a word. Refuses a folder without any split, and two files for one split.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nemostack.errors import BadInput
from workflows.data import hub
from workflows.data.formats import SUFFIXES, Contents, read_file
from workflows.data.problems import Problem
from workflows.data.rows import Columns, Row, look_up, read_row

SPLITS = ("train", "validation", "test")
_OTHER_NAMES = {"valid": "validation", "val": "validation", "dev": "validation", "training": "train", "testing": "test"}
ALL = "all"
"""The one split of a source that is not split."""


@dataclass(frozen=True)
class Placed:
    """A row, and where it stands. `group` is the value of the column that keeps rows together."""

    row: Row
    file: str
    line: int
    group: str = ""


@dataclass
class Part:
    """The rows of one split, and what could not be used."""

    split: str
    contents: Contents
    rows: list[Placed] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def read(self) -> int:
        """How many records there were, usable or not."""
        return len(self.rows) + len(self.problems)


@dataclass
class Source:
    """All that was read. `revision`: the commit on the Hub."""

    name: str
    parts: list[Part]
    revision: str = ""

    @property
    def splits(self) -> dict[str, Part]:
        return {part.split: part for part in self.parts}

    @property
    def problems(self) -> list[Problem]:
        return [problem for part in self.parts for problem in part.problems]


@dataclass(frozen=True)
class Reading:
    """How a source is to be read. `group` is the column whose equal values belong together."""

    columns: Columns = field(default_factory=Columns)
    encoding: str | None = None
    group: str | None = None
    of_hub: hub.Wanted = field(default_factory=hub.Wanted)


_PLAIN = Reading()


def read_source(source: str, reading: Reading = _PLAIN) -> Source:
    """Read a file, a folder or `hf://datasets/org/name`. BadInput where there is nothing to read."""
    if source.startswith(hub.PREFIX):
        found = hub.fetch(source, reading.of_hub)
        parts = [_part(split, paths, reading) for split, paths in _by_split(found.files).items()]
        return Source(source, parts, found.revision)
    path = Path(source)
    if path.is_dir():
        files = find_splits(path)
        if not files:
            raise BadInput(
                f"folder {path} holds no file for any split; expected {', '.join(SPLITS)} with one of "
                f"{', '.join(SUFFIXES)}, or name one file"
            )
        return Source(source, [_part(split, [file], reading) for split, file in files.items()])
    if not path.is_file():
        raise BadInput(f"{source} is neither a file nor a folder; a dataset of the Hub is hf://datasets/org/name")
    return Source(source, [_part(ALL, [path], reading)])


def joined(source: Source) -> Source:
    """Put all splits of a source together, as one part."""
    first, *rest = source.parts
    whole = Part(ALL, first.contents, list(first.rows), list(first.problems))
    for part in rest:
        whole.rows += part.rows
        whole.problems += part.problems
    return Source(source.name, [whole], source.revision)


def find_splits(folder: Path) -> dict[str, Path]:
    """Find the file of each split. BadInput when there are two for one."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        split = _OTHER_NAMES.get(path.stem.lower(), path.stem.lower())
        if split not in SPLITS:
            continue
        if split in found:
            raise BadInput(f"{found[split]} and {path} are both the {split} split; leave one of them there")
        found[split] = path
    return {split: found[split] for split in SPLITS if split in found}


def _by_split(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Sort the files of a Hub dataset by the split that their names tell; those that tell none are one split."""
    found: dict[str, list[Path]] = {}
    for path in files:
        words = f"{path.stem} {path.parent.name}".lower().replace("-", " ").replace("_", " ").split()
        named = [_OTHER_NAMES.get(word, word) for word in words]
        split = next((name for name in named if name in SPLITS), ALL)
        found.setdefault(split, []).append(path)
    return found


def _part(split: str, paths: Sequence[Path], reading: Reading) -> Part:
    """Read the files of one split; several are read one after another."""
    first, *rest = [read_file(path, reading.encoding) for path in paths]
    part = Part(split, first)
    for contents in (first, *rest):
        part.problems += contents.problems
        for record in contents.records:
            row = read_row(record.item, reading.columns)
            group = look_up(record.item, reading.group) if reading.group and isinstance(record.item, dict) else ""
            if isinstance(row, str):
                part.problems.append(Problem(contents.file, record.line, row))
            elif reading.group and group is None:
                part.problems.append(Problem(contents.file, record.line, f"lacks the group's column {reading.group!r}"))
            else:
                part.rows.append(Placed(row, contents.file, record.line, str(group)))
    return part
