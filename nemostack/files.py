"""Files that are replaced as a whole, and locks between processes.

A replaced file holds its old content or its new one, also after a power failure: the new content is written beside it
under another name, brought to the disk, and renamed. A lock belongs to its process: a killed one holds nothing.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

from filelock import FileLock

FOREVER: Final = -1.0


@contextmanager
def replaced_file(path: Path, *, mode: int = 0o644, temporary: Path | None = None) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` when the block ends, and is removed when it fails.

    `temporary`: folder of the same file system for the unfinished file, by default that of `path`.
    """
    handle, name = tempfile.mkstemp(dir=temporary or path.parent, prefix=f".{path.name}.")
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield cast("BinaryIO", file)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_atomically(path: Path, content: str | bytes, *, mode: int = 0o644, temporary: Path | None = None) -> None:
    """Replace `path` as a whole or not at all. Text is written as UTF-8; see `replaced_file` for the options."""
    with replaced_file(path, mode=mode, temporary=temporary) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def sync_folder(folder: Path) -> None:
    """Bring the names in `folder` to the disk, so that a rename in it lasts."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path, *, wait_s: float = FOREVER, mode: int = 0o644) -> Iterator[None]:
    """Hold the lock file `path`, which stays afterwards. Raises TimeoutError when it is not free within `wait_s`.

    Processes exclude one another by flock, and so do calls in one process.
    """
    with FileLock(path, timeout=wait_s, mode=mode, thread_local=False, fallback_to_soft=False):
        yield
