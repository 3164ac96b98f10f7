"""Locks that an interrupted Pulumi left in this clone's file backend.

Pulumi refuses to work on a stack that another Pulumi has locked, even when that one is gone. A lock whose process
no longer exists on this machine is removed; any other is left, and Pulumi says so itself.
"""

import json
import platform
import sys
from pathlib import Path

import psutil


def remove_stale(backend: Path) -> list[Path]:
    """Remove the locks of dead processes under `backend`; those removed."""
    removed = []
    for lock in sorted((backend / ".pulumi" / "locks").rglob("*.json")):
        try:
            holder = json.loads(lock.read_text())
            stale = holder["hostname"] == platform.node() and not is_alive(int(holder["pid"]))
        except (OSError, ValueError, KeyError):
            continue  # being written just now, or not ours to judge
        if stale:
            lock.unlink(missing_ok=True)
            print(f"==> removed the lock of an interrupted pulumi (pid {holder['pid']})", file=sys.stderr)
            removed.append(lock)
    return removed


def is_alive(pid: int) -> bool:
    """Whether `pid` is a Pulumi that runs. A number can come back as another program."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and "pulumi" in process.name()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
