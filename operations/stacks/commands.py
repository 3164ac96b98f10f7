"""Runs commands in the environment of `operations.stacks.environment`."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from nemostack.errors import ToolchainError
from operations.stacks import environment, locks


def run(command: list[str], variables: Mapping[str, str] | None = None, *, capture: bool = False) -> tuple[int, str]:
    """Run `command` until it ends; its exit code, and its stdout if captured.

    Ctrl-C is the command's to handle: Pulumi wants to save its state first.
    """
    env = os.environ | (environment.variables() if variables is None else variables)
    program = shutil.which(command[0], path=env["PATH"])
    if program is None:
        raise ToolchainError(f"{command[0]}: no such program on PATH")
    if env.get("PULUMI_BACKEND_URL") == environment.own_backend().as_uri():
        locks.remove_stale(environment.own_backend())
    child = subprocess.Popen([program, *command[1:]], env=env, stdout=subprocess.PIPE if capture else None, text=True)
    with signals_go_to(child):
        output, _ = child.communicate()
    # As a shell says it: killed by signal N is 128 + N.
    return (child.returncode if child.returncode >= 0 else 128 - child.returncode), output or ""


@contextmanager
def signals_go_to(child: subprocess.Popen[str]) -> Iterator[None]:
    """Pass on SIGTERM and SIGHUP; leave SIGINT to the child, to which the terminal sends it as well."""

    def forward(number: int, _frame: FrameType | None) -> None:
        if child.poll() is None:
            child.send_signal(number)

    handlers = {
        signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),
        signal.SIGTERM: signal.signal(signal.SIGTERM, forward),
        signal.SIGHUP: signal.signal(signal.SIGHUP, forward),
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
