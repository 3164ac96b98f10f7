"""Commit requests: one JSON object per line (NDJSON), files base64-encoded within.

The request lies in a file, not in memory, and the contents go from there to other files in pieces: neither a large file
nor a large commit needs memory of its size. Refuses lines that are no operation, before anything has changed.
"""

import base64
import binascii
import json
import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from embedded.data_store import disk
from embedded.data_store.hub_errors import EntryNotFound, Invalid
from embedded.data_store.names import file_path
from embedded.data_store.repository import File, Repository, Tree, lfs_pointer

# Within a JSON string the quotes would be escaped, so that this is a key wherever it stands.
_CONTENT = re.compile(rb'"content"\s*:\s*"([A-Za-z0-9+/]*+={0,2})"')
_NOT_BLANK = re.compile(rb"\S")
_PIECE = 4 * 1024**2  # a multiple of 4: base64 decodes in groups of four
_MAX_LINE = 1024**2  # bytes of a line, besides the file's contents
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Request(NamedTuple):
    """A commit request, its files already among the repository's blobs."""

    title: str
    message: str
    parent: str | None
    operations: list[tuple[str, str, File | None]]  # operation, path, and the file to put there

    def apply(self, tree: Tree) -> Tree:
        """Return the files after the operations, in their order. EntryNotFound for deleting what is not there."""
        for operation, path, file in self.operations:
            if file is not None:
                tree[path] = file
                continue
            gone = [path] if operation == "deletedFile" else [name for name in tree if name.startswith(f"{path}/")]
            if not gone or gone[0] not in tree:
                kind = "file" if operation == "deletedFile" else "folder"
                raise EntryNotFound(f"A {kind} with this name doesn't exist: {path}")
            for name in gone:
                del tree[name]
        return tree


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    if path.stat().st_size == 0:
        raise Invalid("the commit is empty: expected one JSON object a line, the first with key 'header'")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _lines(data: mmap.mmap) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        if _NOT_BLANK.search(data, start, end):
            yield start, end
        start = end + 1


def _keep(repository: Repository, data: mmap.mmap, start: int, end: int, temporary: Path) -> File:
    """Decode base64 between two places of `data` into a blob of the repository."""
    padding = data[max(start, end - 2) : end].count(b"=")
    with disk.Receiver(temporary, size=(end - start) // 4 * 3 - padding) as receiver:
        for at in range(start, end, _PIECE):
            receiver.write(base64.b64decode(data[at : min(at + _PIECE, end)], validate=True))
        received = receiver.finish()
        repository.keep(received)
    return File(received.sha256, received.size, received.git_sha1, is_lfs=False)


def _operation(text: bytes, number: int) -> tuple[str, dict[str, Any]]:
    try:
        line = json.loads(text)
    except ValueError as error:
        raise Invalid(f"line {number} of the commit is no JSON: {error}") from error
    if not isinstance(line, dict) or not isinstance(line.get("key"), str) or not isinstance(line.get("value"), dict):
        raise Invalid(f'line {number} of the commit: expected {{"key": operation, "value": {{...}}}}')
    return line["key"], line["value"]


def _lfs_file(repository: Repository, value: dict[str, Any]) -> File:
    sha256, size = value.get("oid"), value.get("size")
    if value.get("algo", "sha256") != "sha256" or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise Invalid(f"LFS file {value.get('path')!r}: expected algo sha256 and an oid of 64 hex digits")
    try:
        stored = repository.blob(sha256).stat().st_size
    except FileNotFoundError:
        raise Invalid(f"LFS file {value.get('path')!r}: {sha256} has not been uploaded to this repository") from None
    if size not in {None, stored}:
        raise Invalid(f"LFS file {value.get('path')!r}: its size is {stored}, not {size!r}")
    pointer = lfs_pointer(sha256, stored)
    return File(sha256, stored, disk.git_id("blob", pointer), is_lfs=True)


def read(spool: Path, repository: Repository, temporary: Path) -> Request:
    """Understand a request that lies in `spool`, and put its files among the repository's blobs."""
    title, message, parent = "", "", None
    operations: list[tuple[str, str, File | None]] = []
    with _mapped(spool) as data:
        for number, (start, end) in enumerate(_lines(data), start=1):
            content = _CONTENT.search(data, start, end)
            inner = content.span(1) if content else (end, end)
            if end - start - (inner[1] - inner[0]) > _MAX_LINE:
                raise Invalid(f"line {number} of the commit is too long, or its content is not plain base64")
            key, value = _operation(data[start : inner[0]] + data[inner[1] : end], number)
            if key == "header":
                title, message = str(value.get("summary") or ""), str(value.get("description") or "")
                parent = value.get("parentCommit")
                continue
            path = file_path(str(value.get("path") or "").removesuffix("/" if key == "deletedFolder" else ""))
            if key == "file":
                if content is None or value.get("encoding", "base64") != "base64":
                    raise Invalid(f"line {number} of the commit: expected a file's content in base64")
                try:
                    operations.append((key, path, _keep(repository, data, *inner, temporary)))
                except binascii.Error as error:
                    raise Invalid(f"line {number} of the commit: {path}: {error}") from error
            elif key == "lfsFile":
                operations.append((key, path, _lfs_file(repository, value)))
            elif key in {"deletedFile", "deletedFolder"}:
                operations.append((key, path, None))
            else:
                raise Invalid(f"line {number} of the commit: operation {key!r} is not known here")
    if not title:
        raise Invalid("the commit has no message: expected a line with key 'header' and a summary")
    return Request(title, message, parent, operations)
