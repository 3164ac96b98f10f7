"""The promises of the local stack under the real engine: start, repeat, repair, change, refuse, interrupt, destroy."""

import json
import os
import shutil
import signal
import socket
import stat
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from nemostack.outputs import StackOutputs
from tests.deadlines import Deadline
from tests.local.conftest import SECOND_STACK, TIMEOUT_S, Clone

pytestmark = pytest.mark.slow

SERVICES = {"gateway", "data_store", "nim", "mlflow", "judge", "entity_store", "customizer", "evaluator"}
# the stack, its component, the supervisor, and for each service a component and a process
RESOURCES = 3 + 2 * len(SERVICES)
ALL_UNCHANGED = f"{RESOURCES} unchanged"


def wait_until_written(record: Path, run: Any, output: Path) -> None:
    """Wait until the started `run` has written `record`; if it ends before, or takes too long, tell what it said."""
    deadline = Deadline(TIMEOUT_S)
    while not record.exists():
        assert run.poll() is None, f"ended with {run.returncode} before {record.name}:\n{output.read_text()}"
        assert not deadline.passed, f"no {record.name} within {TIMEOUT_S} s:\n{output.read_text()}"
        time.sleep(0.05)


def wait_until_said(words: str, run: Any, output: Path) -> None:
    """Wait until the started `run` has said `words`."""
    deadline = Deadline(TIMEOUT_S)
    while words not in output.read_text():
        assert run.poll() is None, f"ended with {run.returncode} before saying {words!r}:\n{output.read_text()}"
        assert not deadline.passed, f"no {words!r} within {TIMEOUT_S} s:\n{output.read_text()}"
        time.sleep(0.05)


def wait_until_gone(clone: Clone) -> None:
    """Wait for the last processes of an interrupted run, which end on their own."""
    deadline = Deadline(TIMEOUT_S)
    while left := clone.processes():
        assert not deadline.passed, f"still there after {TIMEOUT_S} s: {left}"
        time.sleep(0.05)


def resources(output: str) -> list[str]:
    """The lines that say what happened, e.g. `~ 1 updated`."""
    return [
        line.strip()
        for line in output.split("Resources:")[1].split("Duration", maxsplit=1)[0].splitlines()
        if line.strip()
    ]


def assert_nothing_left(clone: Clone) -> None:
    assert clone.processes() == []
    assert clone.listening() == []
    assert sorted(path.name for path in clone.stack.iterdir()) == ["data", "logs"]


def test_life(clone: Clone) -> None:
    preview = clone.nemostack("toolchain", "run", "--", "true")
    assert preview == ""
    assert f"+ {RESOURCES} created" in clone.up()
    assert len(clone.listening()) == len(SERVICES)
    assert set(clone.pids()) == SERVICES
    assert "127.0.0.1" in psutil.Process(clone.pid("nim")).environ()["no_proxy"].split(",")

    # secrets are nobody else's business, and git sees none of it
    open_to_others = [path for path in clone.stack.rglob("*") if stat.S_IMODE(path.lstat().st_mode) & 0o077]
    assert not open_to_others
    clone.git("update-index", "--refresh")
    assert "Pulumi" not in clone.git("status", "--porcelain")

    outputs = json.loads(
        clone.nemostack("toolchain", "run", "--", "pulumi", "stack", "output", "--json", "-s", "local")
    )
    assert StackOutputs.model_validate(outputs).nim_url == f"http://127.0.0.1:{clone.base_port + 2}"

    before = clone.pids()
    assert resources(clone.up()) == [ALL_UNCHANGED]
    assert clone.pids() == before

    clone.setting("# max_loras: null", "max_loras: 3")
    assert "~settings" in clone.pulumi("preview")
    assert clone.pids() == before
    assert resources(clone.up()) == ["~ 1 updated", f"{RESOURCES - 1} unchanged"]
    assert [name for name in SERVICES if clone.pids()[name] != before[name]] == ["nim"]
    assert json.loads((clone.stack / "config" / "nim.json").read_text())["max_loras"] == 3

    (clone.stack / "data" / "mlflow" / "history").write_text("kept")
    clone.down()
    assert_nothing_left(clone)
    assert (clone.stack / "data" / "mlflow" / "history").read_text() == "kept"
    assert clone.git("diff", "--stat") == ""


def test_preview_starts_nothing(clone: Clone) -> None:
    clone.pulumi("stack", "init", "--no-select")
    output = clone.pulumi("preview")
    assert f"+ {RESOURCES} to create" in output
    assert clone.listening() == []
    assert not (clone.stack / "supervisor").exists()


def test_killed_service(clone: Clone) -> None:
    clone.order("nim.worker")
    clone.up()
    os.kill(clone.pid("nim"), signal.SIGKILL)
    clone.countermand()
    assert "nim deleted" in clone.pulumi("refresh", "--yes", "--skip-preview")
    assert "+ 1 created" in clone.up()
    assert len(clone.listening()) == len(SERVICES)

    # ... and up alone repairs as well
    os.kill(clone.pid("judge"), signal.SIGKILL)
    assert "judge is not running: it will be started" in clone.pulumi("preview")
    assert "~ 1 updated" in clone.up()
    clone.down()
    assert_nothing_left(clone)  # the killed service's worker too


def test_killed_supervisor(clone: Clone) -> None:
    clone.up()
    before = clone.pids()
    os.kill(int((clone.stack / "supervisor" / "supervisord.pid").read_text()), signal.SIGKILL)
    assert len(clone.listening()) == len(SERVICES)  # orphans
    assert f"~ {1 + len(SERVICES)} updated" in clone.up()
    assert not set(before.values()) & {process.pid for process in clone.processes()}
    os.kill(int((clone.stack / "supervisor" / "supervisord.pid").read_text()), signal.SIGKILL)
    clone.down()
    assert_nothing_left(clone)


def test_held_port(clone: Clone) -> None:
    with socket.create_server(("127.0.0.1", clone.base_port + 3)):
        output = clone.up(code=1)
    assert f"port {clone.base_port + 3} (mlflow) is held by pid {os.getpid()} (" in output
    assert "stop it, or set another nemostack:local.base_port" in output
    assert "Traceback" not in output
    assert clone.processes() == []
    clone.up()
    clone.down()


def test_service_that_does_not_start(clone: Clone) -> None:
    clone.order("entity_store.fail")
    output = clone.up(code=1)
    assert "entity_store ended while it started" in output
    assert "entity_store was told to fail" in output
    assert "Traceback" not in output
    clone.countermand()
    clone.up()
    assert len(clone.listening()) == len(SERVICES)


def test_missing_environment(clone: Clone) -> None:
    """Plain `pulumi up` installs nothing; it says what does."""
    clone.pulumi("stack", "init", "--no-select")
    shutil.rmtree(clone.path / ".venv-embedded")
    output = clone.pulumi("up", "--yes", "--skip-preview", code=1)
    assert "run `nemostack up`" in output
    assert "Traceback" not in output
    assert not (clone.stack / "supervisor").exists()


def test_wrong_setting(clone: Clone) -> None:
    clone.setting("base_port:", "base_prot:")
    output = clone.up(code=1)
    assert "nemostack:local.base_prot: unknown key (did you mean base_port?)" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("how", ["ctrl-c", "ctrl-c twice", "kill"])
def test_interrupted_up(clone: Clone, how: str, tmp_path: Path) -> None:
    clone.order("nim.slow")
    record, said = clone.stack / "supervisor" / "programs" / "nim.pid.json", tmp_path / "output"
    with (
        said.open("w") as output,
        clone.popen("up", "--color", "never", stdout=output, stderr=output) as run,
    ):
        wait_until_written(record, run, said)
        if how == "kill":
            clone.kill_engine()
        else:
            os.killpg(run.pid, signal.SIGINT)
            wait_until_said("^C received; cancelling", run, said)
            if how == "ctrl-c twice":
                os.killpg(run.pid, signal.SIGINT)
            else:
                clone.countermand()  # nim, which is waited for
        assert run.wait(TIMEOUT_S) != 0
    assert "Traceback" not in said.read_text()
    clone.countermand()
    clone.up()
    assert len(clone.listening()) == len(SERVICES)
    assert resources(clone.up()) == [ALL_UNCHANGED]
    clone.down()
    wait_until_gone(clone)
    assert_nothing_left(clone)


def test_destroy_after_an_interruption(clone: Clone, tmp_path: Path) -> None:
    clone.order("data_store.slow")
    record, said = clone.stack / "supervisor" / "programs" / "data_store.pid.json", tmp_path / "output"
    with said.open("w") as output, clone.popen("up", stdout=output, stderr=output) as run:
        wait_until_written(record, run, said)
        clone.kill_engine()
        run.wait(TIMEOUT_S)
    clone.down()
    wait_until_gone(clone)
    assert_nothing_left(clone)


def test_second_stack_beside_the_first(clone: Clone) -> None:
    clone.up()
    second = clone.base_port + SECOND_STACK
    clone.up("--stack", "test", "--config", f"local.base_port={second}")
    outputs = json.loads(clone.nemostack("toolchain", "run", "--", "pulumi", "stack", "output", "--json", "-s", "test"))
    assert outputs["nemo_url"] == f"http://127.0.0.1:{second}"
    first = clone.pids()
    assert resources(clone.up("--stack", "test")) == [ALL_UNCHANGED]  # its port was kept
    clone.nemostack("down", "--stack", "test", "--purge")
    assert not (clone.path / ".nemostack" / "test").exists()
    assert clone.pids() == first
    assert resources(clone.up()) == [ALL_UNCHANGED]
    # a stack that wants the same ports is told who has them
    output = clone.up("--stack", "test", "--config", f"local.base_port={clone.base_port}", code=1)
    assert "embedded.serve nim" in output
    clone.git("update-index", "--refresh")
    assert "Pulumi" not in clone.git("status", "--porcelain")
