"""One reader's session: a Python namespace, a folder, and the variables that a shell exports.

Run as a script by the platform's interpreter it executes the blocks of Python; nothing but the standard library is
imported here.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

BLOCK_S = 180
_ERROR_CHARS = 600


class TooLongError(Exception):
    """A block did not end in time."""


class Session:
    """Runs blocks; a failure does not end it."""

    def __init__(self, folder: Path, python: "subprocess.Popen[str]", variables: dict[str, str]) -> None:
        self._folder, self._python, self._variables = folder, python, variables

    def run(self, language: str, text: str) -> str:
        """Run a block. Returns the end of its errors, nothing if it worked."""
        if language == "bash":
            return _run_shell(text, self._folder, self._variables)
        assert self._python.stdin
        assert self._python.stdout
        self._python.stdin.write(json.dumps(text) + "\n")
        self._python.stdin.flush()
        return str(json.loads(self._python.stdout.readline() or '"the session ended"'))


@contextmanager
def opened(interpreter: Path, variables: dict[str, str]) -> Iterator[Session]:
    """Begin a session in an empty folder, which is also its home, with this Python and these variables."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **variables, "HOME": folder, "XDG_CONFIG_HOME": f"{folder}/.config"}
        python = subprocess.Popen(
            [interpreter, "-P", __file__],  # -P: tests/platform would hide the module platform
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with python:
            yield Session(Path(folder), python, environment)
            assert python.stdin
            python.stdin.close()


def _run_shell(text: str, folder: Path, variables: dict[str, str]) -> str:
    """Run a block of the shell, and keep what it exports for the next one."""
    kept = folder / ".exported"
    with subprocess.Popen(
        ["bash", "-c", f"set -eo pipefail\n{text}\nenv -0 > {kept}\n"],
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            out, err = shell.communicate(timeout=BLOCK_S)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)  # also what the block has started
            return f"did not end within {BLOCK_S} s"
    if shell.returncode:
        return (err or out).strip()[-_ERROR_CHARS:] or f"exit code {shell.returncode}"
    variables |= dict(line.split("=", 1) for line in kept.read_text().split("\0") if "=" in line)
    return ""


def serve() -> None:
    """Execute blocks of Python, one JSON text a line on stdin, in one namespace; answer each with its error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what examples print is no answer
    namespace: dict[str, Any] = {"__name__": "__main__"}

    def stop(*_arguments: object) -> NoReturn:
        raise TooLongError(f"did not end within {BLOCK_S} s")

    signal.signal(signal.SIGALRM, stop)
    for line in sys.stdin:
        signal.alarm(BLOCK_S)
        error = ""
        try:
            exec(compile(json.loads(line), "example", "exec"), namespace)  # noqa: S102 - the documentation's own
        except BaseException as failure:  # noqa: BLE001 - also SystemExit: it is the example's result
            error = "".join(traceback.format_exception_only(failure)).strip()[-_ERROR_CHARS:]
        signal.alarm(0)
        answers.write(json.dumps(error) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
