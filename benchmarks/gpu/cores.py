"""Processor cores that a server has to itself, so that one round of a benchmark is like the next.

With hundreds of streams open, a server of tokens is bound by its processor: one thread of its API process writes every
token, one of its engine's process launches every step. The kernel moves them about, now and then onto the two halves of
one core, and a round says then where they were. Linux only.
"""

import contextlib
import os
from pathlib import Path

import psutil

FEWEST = 8
"""Logical processors from which on a server gets cores of its own."""
_TOPOLOGY = Path("/sys/devices/system/cpu")


def pairs() -> list[set[int]]:
    """The logical processors of this process by core; processors without a sibling are put together in twos."""
    usable = sorted(os.sched_getaffinity(0))
    cores: dict[str, set[int]] = {}
    for number in usable:
        siblings = _TOPOLOGY / f"cpu{number}/topology/thread_siblings_list"
        key = siblings.read_text().strip() if siblings.exists() else str(number)
        cores.setdefault(key, set()).add(number)
    found = list(cores.values())
    if all(len(core) == 1 for core in found):
        return [set(usable[at : at + 2]) for at in range(0, len(usable), 2)]
    return found


def keep_apart(servers: list[int]) -> bool:
    """Put each server's own process on the first core and its children on the second, this process on the others.

    The servers share them, because one is measured at a time. False, and nothing is done, with fewer than `FEWEST`.
    """
    if len(os.sched_getaffinity(0)) < FEWEST:
        return False
    first, second, *others = pairs()
    for server in map(psutil.Process, servers):
        _pin(server, first)
        for child in server.children(recursive=True):
            _pin(child, second)
    os.sched_setaffinity(0, set().union(*others))
    return True


def _pin(process: psutil.Process, processors: set[int]) -> None:
    for thread in process.threads():
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(thread.id, processors)
