"""Files on their way into the store, and the ids that are made of contents."""

import hashlib
import json
import os
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self


def canonical(value: Any) -> bytes:
    """JSON whose bytes depend on nothing but the value: what ids are made of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def git_id(kind: str, data: bytes) -> str:
    """Compute the 40 hex digits by which git would name this object."""
    return hashlib.sha1(b"%s %d\0" % (kind.encode(), len(data)) + data, usedforsecurity=False).hexdigest()


class Received(NamedTuple):
    """A file that has come in whole and belongs to no repository yet: `part` goes when its Receiver is left."""

    part: Path
    sha256: str
    size: int
    git_sha1: str


class Receiver:
    """Takes a file in pieces of any size, in constant memory. On leaving it is removed, unless moved away by then."""

    def __init__(self, temporary: Path, size: int | None = None) -> None:
        """`size` in bytes, when known, is what git's id of a blob begins with; without it that id is ''."""
        self._part = temporary / uuid.uuid4().hex
        self._sha256, self._size = hashlib.sha256(), 0
        self._sha1 = None if size is None else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)

    def __enter__(self) -> Self:
        self._file = self._part.open("xb")
        return self

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)
        if self._sha1:
            self._sha1.update(data)
        self._size += len(data)

    def finish(self) -> Received:
        """Put it on disk for good."""
        self._file.flush()
        os.fsync(self._file.fileno())
        git_sha1 = self._sha1.hexdigest() if self._sha1 else ""
        return Received(self._part, self._sha256.hexdigest(), self._size, git_sha1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)
