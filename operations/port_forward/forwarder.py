"""One `kubectl port-forward` that is kept alive: started again, with growing pauses, whenever it ends.

kubectl notices that its pod is gone only when somebody connects; so we do, every PROBE_EVERY_S. It runs in a session of
its own, because Ctrl-C is for us: we stop it. What kubectl says before the first success and cannot get better by
waiting (no such Service, not allowed, port taken) ends in `failed`.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from nemostack.errors import Forbidden, NotFound, ServiceError
from nemostack.kubectl.client import Kubectl, failure, spoken

HOST = "127.0.0.1"
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
STEADY_S = 30.0  # who ran this long starts again with the first pause
PROBE_EVERY_S = 10.0
_STOP_S = 5.0
_TAKEN = re.compile(r"unable to listen on|address already in use", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Forward:
    """A port of loopback that leads to a Service."""

    name: str
    local_port: int
    namespace: str
    service: str
    port: int

    @property
    def line(self) -> str:
        return f"{self.name}: http://{HOST}:{self.local_port} -> {self.namespace}/{self.service}:{self.port}"


class Forwarder:
    """Keeps one forward. `ready` is set while it works; `failed` says why it never will."""

    def __init__(self, kubectl: Kubectl, forward: Forward, say: Callable[[str], None]) -> None:
        self.forward = forward
        self.ready = threading.Event()
        self.failed: ServiceError | None = None
        self.last = ""
        self._kubectl, self._say = kubectl, say
        self._stopping = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=target, name=f"{name} {forward.name}", daemon=True)
            for name, target in (("forward", self._keep), ("probe", self._probe))
        ]

    @property
    def why_not(self) -> str:
        """What keeps it from being ready."""
        return self.last or f"no pod of {self.forward.namespace}/{self.forward.service} runs yet"

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End kubectl and the threads. Twice does no harm."""
        self._stopping.set()
        with self._lock:
            process = self._process
        if process is not None:
            _end(process)
        for thread in self._threads:
            thread.join(_STOP_S)

    def _keep(self) -> None:
        ever, failures = False, 0
        while not self._stopping.is_set():
            started = time.monotonic()
            code = self._once(again=ever)
            worked = self.ready.is_set()
            self.ready.clear()
            if self._stopping.is_set():
                return
            ever = ever or worked
            if not ever and self._is_final(code):
                return
            failures = 0 if worked and time.monotonic() - started > STEADY_S else failures
            pause = PAUSES_S[min(failures, len(PAUSES_S) - 1)]
            failures += 1
            self._say(f"{self.forward.name}: {self.last}; trying again in {pause:g} s")
            self._stopping.wait(pause)

    def _once(self, *, again: bool) -> int:
        """Run kubectl until it ends; its exit code."""
        it = self.forward
        arguments = [
            *("port-forward", f"--namespace={it.namespace}", f"--address={HOST}"),
            *(f"service/{it.service}", f"{it.local_port}:{it.port}"),
        ]
        with self._lock:
            if self._stopping.is_set():
                return 0
            self._process = process = subprocess.Popen(
                self._kubectl.argv(*arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self._arguments = arguments
        assert process.stdout is not None
        reported = False
        for line in process.stdout:
            text = line.strip()
            if text.startswith(f"Forwarding from {HOST}:"):
                self.ready.set()
                if again:
                    self._say(f"{it.name}: forwarded again")
            elif text and not text.startswith(("Handling connection", "Forwarding from")):
                self.last, reported = text, True
        process.stdout.close()
        code = process.wait()
        if not reported:  # not the words of an earlier attempt
            self.last = f"`{spoken(arguments)}` ended with {code}"
        return code

    def _is_final(self, code: int) -> bool:
        error = failure(self._arguments, code, self.last)
        if isinstance(error, NotFound | Forbidden) or _TAKEN.search(self.last):
            self.failed = error
        return self.failed is not None

    def _probe(self) -> None:
        while not self._stopping.wait(PROBE_EVERY_S):
            if self.ready.is_set():
                with contextlib.suppress(OSError), socket.create_connection((HOST, self.forward.local_port), 2):
                    pass


def _end(process: subprocess.Popen[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
            return
