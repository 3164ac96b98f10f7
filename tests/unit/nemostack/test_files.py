"""Files are replaced as a whole; locks end with their process."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nemostack.clone import ROOT
from nemostack.files import locked, replaced_file, write_atomically


def test_content_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "Grüße\n")
    assert path.read_bytes() == "Grüße\n".encode()
    assert path.stat().st_mode & 0o777 == 0o644
    write_atomically(path, b"\x00\xff", mode=0o600)
    assert path.read_bytes() == b"\x00\xff"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def fail_half_way() -> None:
        with replaced_file(path) as file:
            file.write(b"half of the n")
            assert path.read_text() == "old"
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_content_and_name_are_on_the_disk_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def record_fsync(handle: int) -> None:
        target = Path(f"/proc/self/fd/{handle}").readlink()
        steps.append("folder" if target.is_dir() else f"content {target.read_text()}")
        fsync(handle)

    def record_replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_replace)
    write_atomically(tmp_path / "file", "new")
    assert steps == ["content new", "rename", "folder"]


def test_the_unfinished_file_may_be_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    with replaced_file(tmp_path / "file", temporary=tmp_path / "tmp") as file:
        file.write(b"x")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["tmp"]
    assert (tmp_path / "file").read_bytes() == b"x"


def test_a_lock_excludes_threads_and_can_be_waited_for(tmp_path: Path) -> None:
    lock, order = tmp_path / ".lock", []
    holding = threading.Event()

    def hold() -> None:
        with locked(lock):
            holding.set()
            order.append("first")
            released.wait(60)
            order.append("first is done")

    released = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(60)
    with pytest.raises(TimeoutError), locked(lock, wait_s=0):
        order.append("never")
    released.set()
    with locked(lock):
        order.append("second")
    thread.join()
    assert order == ["first", "first is done", "second"]
    assert lock.exists()


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    code = (
        "import sys, time, pathlib; from nemostack.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(lock)], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(TimeoutError), locked(lock, wait_s=0):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with locked(lock, wait_s=0):
        pass
