"""Orphans are found by session and process group, and nothing else is touched."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.local import processes

SLEEPER = "import subprocess,sys,time; {child}; print('ready', flush=True); time.sleep(60)"
WITH_CHILD = SLEEPER.format(child="c=subprocess.Popen([sys.executable,'-c','import time; time.sleep(60)'])")
ALONE = SLEEPER.format(child="0")


@pytest.fixture
def start() -> Iterator[Any]:
    started = []

    def run(program: str) -> Any:
        child = subprocess.Popen([sys.executable, "-c", program], start_new_session=True, stdout=subprocess.PIPE)
        assert child.stdout
        child.stdout.readline()
        started.append(child)
        return child

    yield run
    for child in started:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, 9)
        child.wait()
        assert child.stdout
        child.stdout.close()


def test_orphans_are_found_and_ended(start: Any, tmp_path: Path) -> None:
    leader, bystander = start(WITH_CHILD), start(ALONE)
    record = tmp_path / "leader.json"
    processes.record(record, leader.pid)
    leader.kill()
    leader.wait()
    (orphan,) = processes.session(record)
    assert orphan.ppid() != leader.pid
    assert processes.group(record) == [orphan]
    processes.end(processes.session(record))
    assert processes.session(record) == []
    assert bystander.poll() is None


def test_another_process_with_the_number_is_not_ours(start: Any, tmp_path: Path) -> None:
    stranger = start(ALONE)
    record = tmp_path / "leader.json"
    record.write_text(json.dumps({"pid": stranger.pid, "started": time.time() - 3600}))
    assert processes.session(record) == []


def test_record_of_an_earlier_boot_is_void(start: Any, tmp_path: Path) -> None:
    survivor = start(ALONE)
    record = tmp_path / "leader.json"
    record.write_text(json.dumps({"pid": survivor.pid, "started": psutil.boot_time() - 1000}))
    assert processes.session(record) == []


@pytest.mark.parametrize("text", ["", "{", "{}", '{"pid": "x", "started": 1}'])
def test_unreadable_record_means_nothing_to_end(tmp_path: Path, text: str) -> None:
    (tmp_path / "leader.json").write_text(text)
    assert processes.session(tmp_path / "leader.json") == []


def test_a_process_that_ignores_sigterm_is_killed(start: Any) -> None:
    stubborn = start(
        "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready',flush=True); time.sleep(60)"
    )
    processes.end([psutil.Process(stubborn.pid)], patience_s=0.3)
    assert stubborn.wait(5) == -9
