"""Supervisord of one stack: starting it, stopping it, and the programs it holds, over XML-RPC on a private socket.

It restarts nothing (`autorestart=false`): what is down stays down until Pulumi is asked.
"""

import json
import os
import pwd
import shlex
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from infra.local import processes
from infra.local.folders import StackFolder, private
from nemostack import proxies
from nemostack.errors import LocalServiceError
from nemostack.files import locked, write_atomically

START_TIMEOUT_S = 20.0
STOP_WAIT_S = 15
RUNNING = ("STARTING", "RUNNING")
LAUNCH = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class Daemon:
    """Supervisord of the stack in `folder`."""

    folder: StackFolder

    @property
    def session_record(self) -> Path:
        """Remembers supervisord as the leader of the session that all services belong to."""
        return self.folder.supervisor / "session.json"

    def record_of(self, service: str) -> Path:
        """Remembers a service as the leader of its process group."""
        return self.folder.programs / f"{service}.pid.json"

    def _answer_of(self, service: str) -> Path:
        return self.folder.programs / f"{service}.answered"

    def note_answer(self, service: str) -> None:
        """Remember that a service has answered since it was started."""
        self._answer_of(service).touch(mode=0o600)

    def has_answered(self, service: str) -> bool:
        """Whether a service has ever answered since it was started."""
        return self._answer_of(service).exists()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Held while the set of programs changes: Pulumi creates several services at once."""
        with locked(self.folder.supervisor / ".lock", mode=0o600):
            yield

    def call(self, method: str, *arguments: Any) -> Any:
        """Call supervisord. Raises OSError if it is not there, xmlrpc.client.Fault if it refuses."""
        transport = SupervisorTransport(None, None, f"unix://{self.folder.socket}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as server:
            return getattr(server.supervisor, method)(*arguments)

    def is_running(self) -> bool:
        """Whether supervisord answers."""
        try:
            return bool(self.call("getState")["statename"] == "RUNNING")
        except (OSError, xmlrpc.client.Error):
            return False

    def start(self) -> None:
        """Start supervisord unless it runs. Ends what a killed one left behind: nobody else would."""
        self.folder.create()
        if self.is_running():
            return
        processes.end(processes.session(self.session_record))
        self.folder.socket.unlink(missing_ok=True)
        config = self.folder.supervisor / "supervisord.conf"
        write_atomically(config, self.config_text(), mode=0o600)
        environment = dict(os.environ)  # what services inherit, less what launch.py keeps from them
        proxies.prepare(environment)
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "--configuration", str(config)],
            cwd=self.folder.path,
            env=environment,
            umask=0o077,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while done.returncode == 0 and time.monotonic() < deadline:
            if self.is_running():
                processes.record(self.session_record, int(self.call("getPID")))
                return
            time.sleep(0.05)
        reason = (done.stdout + done.stderr).strip() or f"see {self.folder.logs / 'supervisord.log'}"
        raise LocalServiceError(f"supervisord did not start in {self.folder.path}: {reason}")

    def config_text(self) -> str:
        """supervisord.conf."""
        lines = [
            "[supervisord]",
            f"logfile={quote(self.folder.logs / 'supervisord.log')}",
            "logfile_maxbytes=1MB",
            "logfile_backups=1",
            f"pidfile={quote(self.folder.supervisor / 'supervisord.pid')}",
            f"directory={quote(self.folder.path)}",
            "umask=077",
            # It warns when root has not said so himself.
            *([f"user={pwd.getpwuid(0).pw_name}"] if os.getuid() == 0 else []),
            "[unix_http_server]",
            f"file={quote(self.folder.socket)}",
            "chmod=0700",
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
            "[include]",
            "files=programs/*.conf",
        ]
        return "\n".join(lines) + "\n"

    def stop(self) -> None:
        """Stop all services and supervisord, and wait until no process of the stack is left."""
        alive = processes.session(self.session_record)
        try:
            self.call("shutdown")
        except (OSError, xmlrpc.client.Error):
            processes.end(alive)
            return
        deadline = time.monotonic() + STOP_WAIT_S + 5
        while time.monotonic() < deadline and any(processes.is_alive(process) for process in alive):
            time.sleep(0.05)
        processes.end(alive)

    def state(self, service: str) -> str:
        """Supervisord's word for a service: RUNNING, EXITED, ...; ABSENT when it holds no such service."""
        try:
            return str(self.call("getProcessInfo", service)["statename"])
        except (OSError, xmlrpc.client.Error):
            return "ABSENT"

    def start_service(self, service: str, spec: dict[str, Any]) -> None:
        """Write a service's files and start it. `spec` is what launch.py reads, and the service's `settings`."""
        private(self.folder.data / service)
        write_atomically(self.folder.config / f"{service}.json", spec["settings"] + "\n", mode=0o600)
        launch = self.folder.programs / f"{service}.json"
        text = json.dumps(spec | {"record": str(self.record_of(service))}, indent=2) + "\n"
        write_atomically(launch, text, mode=0o600)
        with self.lock():
            write_atomically(self.folder.programs / f"{service}.conf", self.program_text(service, launch), mode=0o600)
            self.call("reloadConfig")
            self.call("addProcessGroup", service)
        self.call("startProcess", service, False)

    def program_text(self, service: str, launch: Path) -> str:
        """Write the text of one program's file."""
        command = shlex.join([sys.executable, "-I", str(LAUNCH), str(launch)])
        lines = [
            f"[program:{service}]",
            f"command={quote(command)}",
            "autostart=false",
            "autorestart=false",
            "startsecs=0",
            "startretries=0",
            f"stopwaitsecs={STOP_WAIT_S}",
            "stopasgroup=false",  # the service tells its workers itself
            "killasgroup=true",
            "redirect_stderr=true",
            f"stdout_logfile={quote(self.folder.log(service))}",
            "stdout_logfile_maxbytes=10MB",
            "stdout_logfile_backups=3",
        ]
        return "\n".join(lines) + "\n"

    def launched(self, service: str) -> dict[str, Any] | None:
        """Return the spec a service was started with; None if there is none."""
        try:
            spec = json.loads((self.folder.programs / f"{service}.json").read_text())
        except (OSError, ValueError):
            return None
        spec.pop("record", None)
        return dict(spec)

    def remove_service(self, service: str) -> None:
        """Stop a service with all it started, and forget it. Nothing happens if it is not there."""
        left = processes.group(self.record_of(service))
        for method in ("stopProcess", "removeProcessGroup"):
            try:
                self.call(method, service)
            except (OSError, xmlrpc.client.Error):
                continue
        processes.end(left)
        for path in (*self.folder.programs.glob(f"{service}.*"), self.folder.config / f"{service}.json"):
            path.unlink(missing_ok=True)


def quote(value: object) -> str:
    """Quote a value for supervisord's configuration, which expands percent signs."""
    return str(value).replace("%", "%%")
