"""Exit codes and signals of a command are those of the command."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli import main
from nemostack.clone import ROOT
from nemostack.errors import BadInput, ToolchainError
from operations.stacks import commands, environment, stack
from tests.unit.command_line import run_command


@pytest.fixture(autouse=True)
def no_toolchain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "variables", lambda: {"PATH": os.environ["PATH"], "MARK": "set"})


def test_exit_code_and_environment() -> None:
    code, output = commands.run([sys.executable, "-c", "import os; print(os.environ['MARK']); exit(7)"], capture=True)
    assert (code, output) == (7, "set\n")


def test_killed_by_a_signal_as_a_shell_says_it() -> None:
    assert commands.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])[0] == 137


def test_unknown_program() -> None:
    with pytest.raises(ToolchainError, match="no-such-thing: no such program on PATH"):
        commands.run(["no-such-thing"])


def test_ctrl_c_is_the_commands_to_handle(tmp_path: Path) -> None:
    # Both get SIGINT from the terminal; the command takes its time to finish, and its exit code counts.
    ready = tmp_path / "ready"
    child = (
        "import signal, sys, time, pathlib\n"
        "def finish(*_): time.sleep(0.3); print('state saved', flush=True); sys.exit(3)\n"
        f"signal.signal(signal.SIGINT, finish); pathlib.Path({str(ready)!r}).touch(); time.sleep(30)"
    )
    program = (
        "import sys; from operations.stacks import commands, environment; import os;"
        "environment.variables = lambda: {'PATH': os.environ['PATH']};"
        f"sys.exit(commands.run([sys.executable, '-c', {child!r}])[0])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], start_new_session=True, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as wrapper:
        while not ready.exists():
            assert wrapper.poll() is None
            time.sleep(0.02)
        os.killpg(wrapper.pid, signal.SIGINT)
        output, _ = wrapper.communicate(timeout=60)
    assert (wrapper.returncode, output) == (3, "state saved\n")


def test_errors_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("toolchain", "run") == 2
    assert capsys.readouterr().err.startswith("error: toolchain run: which command?")
    with pytest.raises(BadInput):
        main.main(["--debug", "toolchain", "run"])


def test_unknown_arguments_are_refused() -> None:
    assert run_command("env", "--fish") == 2


def test_settings_need_a_value() -> None:
    assert stack.qualified("local.base_port=1") == "nemostack:local.base_port=1"
    assert stack.qualified("aws:region=x") == "aws:region=x"
    with pytest.raises(ToolchainError, match=r"expected key=value, e\.g\. local\.base_port=19080"):
        stack.qualified("local.base_port")
