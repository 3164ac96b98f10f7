"""Ports on loopback that no other test of this machine's user takes while they are held.

They lie outside the range from which the kernel picks ports for outgoing connections, so that none of those comes
between choice and use, and a lock file per block keeps other test processes away for as long as the block is held. A
program that is no test can still take one: whoever binds it has to be ready to try another block.
"""

import contextlib
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock

from nemostack.ports import is_free, outgoing_ports

BLOCK = 16
"""Ports per block; as many can be held in a row."""
LOWEST, HIGHEST = 20000, 32000


class NoFreePortsError(Exception):
    """All blocks are held by others."""


def blocks() -> list[int]:
    """Return the first port of each block that may be used."""
    outgoing = outgoing_ports()
    starts = range(LOWEST, HIGHEST - BLOCK + 1, BLOCK)
    outside = [start for start in starts if start not in outgoing and start + BLOCK - 1 not in outgoing]
    return outside or list(starts)


@contextlib.contextmanager
def hold() -> Iterator[range]:
    """Hold a block of ports on which nobody listens now, until the end of the context. Raises NoFreePortsError."""
    folder = Path(tempfile.gettempdir()) / f"nemostack-test-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    starts = blocks()
    for start in random.sample(starts, len(starts)):
        lock = filelock.FileLock(folder / f"{start}.lock", blocking=False)
        try:
            lock.acquire()
        except filelock.Timeout:
            continue
        try:
            ports = range(start, start + BLOCK)
            if all(is_free(port) for port in ports):
                yield ports
                return
        finally:
            lock.release()
    raise NoFreePortsError(f"no block of {BLOCK} free ports on loopback from {LOWEST} to {HIGHEST}")
