"""Finds and ends the processes of a local stack, also those that nobody holds any more.

Supervisord is the leader of a session, each service the leader of a process group in it. Both outlive their leader,
and neither can be taken over by a stranger while a member lives: that is how orphans are told from other processes.
(Command lines and environments will not do: vLLM's workers overwrite both.)
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from nemostack.files import write_atomically

CLOCK_SLACK_S = 5.0


def record(path: Path, pid: int) -> None:
    """Remember a leader by its pid and start time."""
    write_atomically(path, json.dumps({"pid": pid, "started": psutil.Process(pid).create_time()}), mode=0o600)


def members(path: Path, group_of: Callable[[int], int]) -> list[psutil.Process]:
    """Living processes led by the recorded leader; `group_of` is os.getsid or os.getpgid. Empty without a record."""
    try:
        leader = json.loads(path.read_text())
        pid, started = int(leader["pid"]), float(leader["started"])
    except (OSError, ValueError, KeyError):
        return []
    if started < psutil.boot_time() - CLOCK_SLACK_S or not same_process_or_gone(pid, started):
        return []
    members = []
    for process in psutil.process_iter():
        try:
            if group_of(process.pid) == pid and process.create_time() >= started - CLOCK_SLACK_S and is_alive(process):
                members.append(process)
        except (psutil.Error, OSError):
            continue
    return members


def same_process_or_gone(pid: int, started: float) -> bool:
    """Return False when another process has got the number since."""
    try:
        return abs(psutil.Process(pid).create_time() - started) < CLOCK_SLACK_S
    except psutil.Error:
        return True


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def end(processes: list[psutil.Process], patience_s: float = 10.0) -> None:
    """Ask processes to stop, kill those that do not in time, and return when all are gone."""
    for kill in (False, True):
        for process in processes:
            try:
                process.kill() if kill else process.terminate()
            except psutil.Error:
                continue
        deadline = time.monotonic() + patience_s
        while (processes := [process for process in processes if is_alive(process)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not processes:
            return


def describe(pid: int) -> str:
    """Name a process for people: pid and command line."""
    try:
        command = " ".join(psutil.Process(pid).cmdline()) or psutil.Process(pid).name()
    except psutil.Error:
        return f"pid {pid}"
    return f"pid {pid} ({command[:200]})"


def session(path: Path) -> list[psutil.Process]:
    """Members of the recorded session leader's session."""
    return members(path, os.getsid)


def group(path: Path) -> list[psutil.Process]:
    """Members of the recorded group leader's process group."""
    return members(path, os.getpgid)
