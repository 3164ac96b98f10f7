"""One process of a control plane: started with a log of its own, watched, ended - also when its parent dies.

The kernel kills it with the thread that started it, so start it from a thread that lives as long as it should.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

STOP_S = 10.0
RARE_COLLECTION = {"GOGC": "400", "GOMEMLIMIT": "1GiB"}
"""Programs in Go collect garbage when the heap is five times what was in use, or nears the limit, and not at twice.

Measured with a stack's life: a tenth of a control plane's processor time, for 0.3 GiB of memory.
"""
TAIL_LINES = 15
# Becomes the program after asking the kernel for its end with the parent's. A plain preexec_fn forks, which Python
# warns of in a process with threads. The parent may have died before the kernel was asked.
DIES_WITH_PARENT = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL):
    sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class Process:
    """A running program. Its log is `folder`/NAME.log."""

    def __init__(self, name: str, program: str, arguments: list[str], *, folder: Path, home: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        # Nothing of the caller's: a proxy, a kubeconfig or a kwok.yaml of his would change what is tested.
        environment = {"PATH": os.defpath, "HOME": str(home), "TMPDIR": str(home), **RARE_COLLECTION}
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C in the terminal is for the tests, which then stop it in order.
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", DIES_WITH_PARENT, str(os.getpid()), program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=home,
                env=environment,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id, the program's own."""
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._child.poll()

    def ask_to_stop(self) -> None:
        """Send SIGTERM, if it still runs."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)

    def stop(self, within_s: float = STOP_S) -> None:
        """End it, by force if it does not go by itself."""
        self.ask_to_stop()
        try:
            self._child.wait(within_s)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
