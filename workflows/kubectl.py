"""kubectl, as the stack's outputs say: their kubeconfig and context, JSON in, dicts out, and a limit on every wait.

The program is the one installed beside Python, so that its version is pinned. A kubeconfig that is a secret output is
written to a private file (0600 in a folder 0700) for as long as the `with` block lasts. Failures become the errors of
workflows/errors.py: not reachable, not allowed, not found, anything else. Never prints an object it was given.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from infra.outputs import StackOutputs
from workflows.errors import Forbidden, NotFound, ServiceError, TargetError, Unreachable
from workflows.redact import redact

Object = dict[str, Any]
TIMEOUT_S = 60.0
_KILL_AFTER_S = 15.0  # kubectl has its own limit for each request; this is for plugins that fetch credentials

# What kubectl and client-go say, and what it means. The first that matches.
_MEANINGS: tuple[tuple[re.Pattern[str], type[ServiceError], str], ...] = (
    (
        re.compile(r"executable \S+ (?:not found|failed)|getting credentials", re.IGNORECASE),
        Forbidden,
        "install or log in with the cloud's command line, whose plugin the kubeconfig names",
    ),
    (re.compile(r"\(NotFound\)|doesn't have a resource type"), NotFound, ""),
    (
        re.compile(r"\(Unauthorized\)|must be logged in|provide credentials|\bUnauthorized\b"),
        Forbidden,
        "the credentials of the kubeconfig are expired or wrong: log in again",
    ),
    (re.compile(r"\(Forbidden\)|is forbidden"), Forbidden, "ask for this right, or use another context"),
    (
        re.compile(r"x509:|certificate signed by unknown"),
        Unreachable,
        "the kubeconfig belongs to another cluster, or to an earlier one at this address: fetch it again",
    ),
    (
        re.compile(
            r"unable to connect to the server|connection to the server .* was refused|connection refused|i/o timeout|"
            r"no such host|context deadline exceeded|handshake timeout|dial tcp|network is unreachable|"
            r"request canceled|connection reset|\bEOF\b|the server is currently unable",
            re.IGNORECASE,
        ),
        Unreachable,
        "is the cluster up, and reachable from here (VPN, authorized networks)?",
    ),
)
_NOISE = re.compile(r"^[EWI]\d{4} ")


def program() -> str:
    """Path of kubectl. Raises TargetError when it is not installed."""
    found = Path(sys.executable).with_name("kubectl")
    if not found.exists():
        raise TargetError(f"{found} is missing: `make env` installs it")
    return str(found)


class Kubectl:
    """kubectl on one cluster. Make one with `opened`."""

    def __init__(self, kubeconfig: Path | None, context: str | None) -> None:
        self._program = program()
        self.kubeconfig, self.context = kubeconfig, context

    @classmethod
    @contextmanager
    def opened(cls, outputs: StackOutputs) -> Iterator[Self]:
        """Use the cluster of a stack. Raises TargetError for a stack without one, or a kubeconfig that is missing."""
        if outputs.cluster is None:
            raise TargetError(f"target {outputs.target} has no cluster: its outputs name none")
        context = outputs.cluster.context
        if outputs.cluster.kubeconfig:
            path = Path(outputs.cluster.kubeconfig).expanduser()
            if not path.is_file():
                raise TargetError(f"the kubeconfig of the stack's outputs, {path}, is not there")
            yield cls(path, context)
        elif outputs.kubeconfig:
            with tempfile.TemporaryDirectory(prefix="nemostack-") as folder:
                path = Path(folder) / "kubeconfig"
                with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                    file.write(outputs.kubeconfig)
                yield cls(path, context)
        else:
            yield cls(None, context)

    def argv(self, *arguments: str) -> list[str]:
        """Return the whole command."""
        where = ["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig else []
        where += ["--context", self.context] if self.context else []
        return [self._program, *where, *arguments]

    def run(self, *arguments: str, stdin: str | None = None, timeout_s: float = TIMEOUT_S) -> str:
        """Return what kubectl prints. Raises ServiceError and its kinds when it fails or does not end."""
        code, out, err = self._call(arguments, stdin, timeout_s)
        if code:
            raise failure(arguments, code, err or out)
        return out

    def objects(self, resources: Sequence[str], *flags: str, timeout_s: float = TIMEOUT_S) -> tuple[list[Object], str]:
        """Objects of all `resources`, and what was refused (empty: nothing): the rest of them is still an answer.

        Raises ServiceError when there is no answer at all.
        """
        arguments = ("get", ",".join(resources), "-o", "json", *flags)
        code, out, err = self._call(arguments, None, timeout_s)
        try:
            answer = json.loads(out)
        except ValueError:
            raise failure(arguments, code, err or out) from None
        found = answer["items"] if answer.get("kind", "").endswith("List") else [answer]
        return found, _gist(err) if code else ""

    def _call(self, arguments: Sequence[str], stdin: str | None, timeout_s: float) -> tuple[int, str, str]:
        argv = self.argv(*arguments, f"--request-timeout={timeout_s:g}s")
        try:
            done = subprocess.run(
                argv,
                input=stdin if stdin is not None else "",
                capture_output=True,
                text=True,
                timeout=timeout_s + _KILL_AFTER_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            said = f"`{spoken(arguments)}` did not end within {error.timeout:g} s"
            raise Unreachable(said, hint="is the cluster reachable from here?") from error
        return done.returncode, done.stdout, done.stderr


@contextmanager
def log_command(outputs: StackOutputs, command: Sequence[str]) -> Iterator[list[str]]:
    """A log command of the outputs, ready to run: our `kubectl`, with the kubeconfig if that is a secret output."""
    if outputs.cluster is None or not command or command[0] != "kubectl":
        yield list(command)
        return
    with Kubectl.opened(outputs) as kubectl:
        known = {"--kubeconfig", "--context"}.intersection(command)
        yield [program(), *command[1:]] if known else kubectl.argv(*command[1:])


def failure(arguments: Sequence[str], code: int, said: str) -> ServiceError:
    """Return the error that kubectl's exit code and words mean."""
    gist = _gist(said) or "no message"
    message = f"`{spoken(arguments)}` failed (exit {code}): {gist}"
    for pattern, kind, hint in _MEANINGS:
        if pattern.search(said):
            return kind(message, hint=hint)
    return ServiceError(message)


def spoken(arguments: Sequence[str]) -> str:
    """Return the command as someone would type it: without paths of this machine."""
    return redact(shlex.join(["kubectl", *arguments]))


def _gist(said: str) -> str:
    """What kubectl said, without the log lines of its libraries, in one line."""
    lines = [line.strip() for line in said.strip().splitlines() if line.strip()]
    lines = [line for line in lines if not _NOISE.match(line)] or lines[-1:]
    return redact("; ".join(dict.fromkeys(lines)))[:600]
