"""Only locks of dead processes of this machine are removed."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from operations.stacks.locks import remove_stale


def write(backend: Path, name: str, text: str) -> Any:
    folder = backend / ".pulumi" / "locks" / "organization" / "nemostack" / "local"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    return gone.pid


def test_dead(tmp_path: Path) -> None:
    lock = write(tmp_path, "a.json", json.dumps({"pid": dead_pid(), "hostname": platform.node()}))
    assert remove_stale(tmp_path) == [lock]
    assert not lock.exists()


def test_number_that_came_back_as_another_program(tmp_path: Path) -> None:
    lock = write(tmp_path, "a.json", json.dumps({"pid": os.getpid(), "hostname": platform.node()}))
    assert remove_stale(tmp_path) == [lock]


def test_alive(tmp_path: Path) -> None:
    pulumi = tmp_path / "pulumi"
    pulumi.symlink_to("/bin/sleep")
    with subprocess.Popen([str(pulumi), "60"]) as running:
        lock = write(tmp_path, "a.json", json.dumps({"pid": running.pid, "hostname": platform.node()}))
        removed = remove_stale(tmp_path)
        running.kill()
    assert removed == []
    assert lock.exists()


def test_other_machines_and_half_written_locks_stay(tmp_path: Path) -> None:
    write(tmp_path, "a.json", json.dumps({"pid": dead_pid(), "hostname": "elsewhere"}))
    write(tmp_path, "b.json", "{")
    write(tmp_path, "c.json", "{}")
    assert remove_stale(tmp_path) == []


def test_no_backend_yet(tmp_path: Path) -> None:
    assert remove_stale(tmp_path / "absent") == []
