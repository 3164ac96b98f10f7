"""kubectl, as the stack's outputs say: their kubeconfig and context, JSON in, dicts out.

A kubeconfig that is a secret output is written to a private file (0600 in a folder 0700) for as long as the `with`
block lasts. Failures become the errors of nemostack/errors.py: not reachable, not allowed, not found, anything else.
Never prints an object it was given.
"""

import json
import os
import re
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self

from nemostack.errors import Conflict, Forbidden, NotFound, ServiceError, TargetError, Unreachable
from nemostack.kubectl.process import Access, CompletedCall, NoAnswer, NotInstalled, call, summarize_stderr, transfer
from nemostack.outputs import StackOutputs
from nemostack.redact import redact

Object = dict[str, Any]
TIMEOUT_S = 60.0
MANAGER = "nemostack"  # whose fields those are that are applied here
KILL_AFTER_S = 15.0  # kubectl has its own limit for each request; this is for plugins that fetch credentials

# What kubectl and client-go say, and what it means. The first that matches.
_MEANINGS: tuple[tuple[re.Pattern[str], type[ServiceError], str], ...] = (
    (
        re.compile(r"executable \S+ (?:not found|failed)|getting credentials", re.IGNORECASE),
        Forbidden,
        "install or log in with the cloud's command line, whose plugin the kubeconfig names",
    ),
    (re.compile(r"\(NotFound\)|doesn't have a resource type"), NotFound, ""),
    (
        re.compile(r"Apply failed with \d+ conflict"),
        Conflict,
        "somebody else has changed these fields: look at the object, and remove it if it is not needed",
    ),
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


class Kubectl:
    """kubectl on one cluster. Make one with `opened`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    @property
    def place(self) -> str:
        """Which cluster this is, for messages."""
        return self._access.place

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
            yield cls(Access(kubeconfig=path, context=context))
        elif outputs.kubeconfig:
            with tempfile.TemporaryDirectory(prefix="nemostack-") as folder:
                path = Path(folder) / "kubeconfig"
                with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                    file.write(outputs.kubeconfig)
                yield cls(Access(kubeconfig=path, context=context))
        else:
            yield cls(Access(context=context))

    def argv(self, *arguments: str) -> list[str]:
        """Return the whole command. Raises TargetError when kubectl is not installed."""
        try:
            return self._access.argv(*arguments)
        except NotInstalled as error:
            raise TargetError(str(error)) from error

    def run(self, *arguments: str, timeout_s: float = TIMEOUT_S) -> str:
        """Return what kubectl prints. Raises ServiceError and its kinds when it fails or does not end."""
        answer = self._call(arguments, timeout_s)
        if answer.code:
            raise failure(arguments, answer.code, answer.err or answer.out)
        return answer.out

    def objects(self, resources: Sequence[str], *flags: str, timeout_s: float = TIMEOUT_S) -> tuple[list[Object], str]:
        """Objects of all `resources`, and what was refused (empty: nothing): the rest of them is still an answer.

        Raises ServiceError when there is no answer at all.
        """
        arguments = ("get", ",".join(resources), "-o", "json", *flags)
        answer = self._call(arguments, timeout_s)
        try:
            shown = json.loads(answer.out)
        except ValueError:
            raise failure(arguments, answer.code, answer.err or answer.out) from None
        items = shown["items"] if shown.get("kind", "").endswith("List") else [shown]
        return items, redact(summarize_stderr(answer.err)) if answer.code else ""

    def apply(self, manifest: Object, *, timeout_s: float = TIMEOUT_S) -> None:
        """Create an object, or change it to what is given. Conflict where somebody else has set one of its fields."""
        arguments = ("apply", "--server-side", f"--field-manager={MANAGER}", "-f", "-")
        answer = self._call(arguments, timeout_s, json.dumps(manifest))
        if answer.code:
            raise failure(arguments, answer.code, answer.err or answer.out)

    def create(self, made: Object) -> Object:
        """Create an object; returns what became of it."""
        arguments = ("create", "-o", "json", "-f", "-")
        answer = self._call(arguments, TIMEOUT_S, given=json.dumps(made))
        if answer.code:
            raise failure((*arguments, f"({made['kind']} {made['metadata']['name']})"), answer.code, answer.err)
        created: Object = json.loads(answer.out)
        return created

    def execute(
        self,
        namespace: str,
        pod: str,
        command: Sequence[str],
        *,
        given: bytes = b"",
        into: BinaryIO | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> bytes:
        """Run a command in a pod with `given` as its input; what it prints is returned, or written to `into`."""
        arguments = ("exec", *(["-i"] if given else []), "-n", namespace, pod, "--", *command)
        with tempfile.TemporaryFile() as file, _told(arguments):
            answer = transfer(self._access, arguments, given, into or file, within_s=timeout_s)
            if answer.code:
                raise failure(arguments, answer.code, answer.err)
            file.seek(0)
            return b"" if into else file.read()

    def _call(self, arguments: Sequence[str], timeout_s: float, given: str = "") -> CompletedCall:
        with _told(arguments):
            return call(self._access, arguments, request_s=timeout_s, within_s=timeout_s + KILL_AFTER_S, given=given)


@contextmanager
def _told(arguments: Sequence[str]) -> Iterator[None]:
    """Raise TargetError where there is no kubectl, Unreachable where it does not end."""
    try:
        yield
    except NotInstalled as error:
        raise TargetError(str(error)) from error
    except NoAnswer as error:
        message = f"`{spoken(arguments)}` did not end within {error.seconds:g} s"
        raise Unreachable(message, hint="is the cluster reachable from here?") from error


@contextmanager
def log_command(outputs: StackOutputs, command: Sequence[str]) -> Iterator[list[str]]:
    """A log command of the outputs, ready to run: our `kubectl`, with the kubeconfig if that is a secret output."""
    if outputs.cluster is None or not command or command[0] != "kubectl":
        yield list(command)
        return
    with Kubectl.opened(outputs) as kubectl:
        known = {"--kubeconfig", "--context"}.intersection(command)
        yield (Kubectl(Access()) if known else kubectl).argv(*command[1:])


def failure(arguments: Sequence[str], code: int, said: str) -> ServiceError:
    """Return the error that kubectl's exit code and words mean."""
    message = f"`{spoken(arguments)}` failed (exit {code}): {redact(summarize_stderr(said)) or 'no message'}"
    for pattern, kind, hint in _MEANINGS:
        if pattern.search(said):
            return kind(message, hint=hint)
    return ServiceError(message)


def spoken(arguments: Sequence[str]) -> str:
    """Return the command as someone would type it: without paths of this machine."""
    return redact(shlex.join(["kubectl", *arguments]))
