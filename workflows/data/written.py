"""Datasets that we write: a file for each split, what was dropped and why, and a manifest of where all came from.

    FOLDER/train.jsonl validation.jsonl test.jsonl   rows
    FOLDER/dropped.jsonl                             file, line and reason of each record that was left out
    FOLDER/dataset.json                              source, its revision and files, seed, rows and hashes

Each file is replaced as a whole, the manifest last. Refuses a folder that holds data of another origin unless told to.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from nemostack.errors import BadInput
from nemostack.files import write_atomically
from nemostack.models import Model
from nemostack.version import VERSION
from workflows.data.formats import SUFFIXES
from workflows.data.problems import Problem
from workflows.data.rows import Row, content_hash, json_lines

MANIFEST, DROPPED = "dataset.json", "dropped.jsonl"


class Origin(Model):
    """Where a dataset comes from, and by which command with which choices it was made."""

    source: str = ""
    revision: str = ""
    command: str = ""
    choices: dict[str, Any] = Field(default_factory=dict)


class Manifest(Origin):
    """dataset.json."""

    rows: dict[str, int]
    dropped: dict[str, int] = Field(description="Reason -> records that were left out for it")
    sha256: str = Field(description="Of what the rows say")
    files: dict[str, str] = Field(description="File -> SHA-256")
    nemostack: str = VERSION


def write_dataset(
    folder: Path,
    splits: Mapping[str, Sequence[Row]],
    dropped: Sequence[Problem],
    origin: Origin,
    *,
    force: bool,
) -> Manifest:
    """Write all files. BadInput where the folder cannot be written, or holds data that we did not make."""
    require_free(folder, force=force)
    contents = {f"{split}.jsonl": json_lines(row.as_record() for row in rows) for split, rows in splits.items()}
    contents[DROPPED] = json_lines(
        {"file": problem.file, "line": problem.line, "reason": problem.text} for problem in dropped
    )
    manifest = Manifest(
        **origin.model_dump(),
        rows={split: len(rows) for split, rows in splits.items()},
        dropped=count_reasons(dropped),
        sha256=content_hash(splits),
        files={name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_atomically(folder / name, content)
        write_atomically(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise BadInput(
            f"writing to {folder} failed: {error.strerror or error}; name another folder with --out"
        ) from error
    return manifest


def require_free(folder: Path, *, force: bool) -> None:
    """BadInput when `folder` holds data that was not written by us, which would be lost or mixed with ours."""
    if force or not folder.is_dir() or (folder / MANIFEST).exists():
        return
    there = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if there:
        raise BadInput(
            f"{folder} holds {', '.join(there[:5])}: name another folder with --out, or replace them with --force"
        )


def count_reasons(dropped: Iterable[Problem]) -> dict[str, int]:
    """Count the records left out for each reason."""
    counts: dict[str, int] = {}
    for problem in dropped:
        counts[problem.text] = counts.get(problem.text, 0) + 1
    return counts
