"""The two kinds of resource of a local stack, and what Pulumi does with them.

`LocalSupervisor` is the daemon, `LocalService` one service. Creating is safe to repeat: what an interrupted `up`
left running is adopted if it is what is wanted and answers, and replaced if not. A preview starts nothing.
This module is imported by Pulumi's plugin process, which finds the classes by name; the state holds no code.
"""

import os
import select
import sys
import threading
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pulumi
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    ConfigureRequest,
    CreateResult,
    DiffResult,
    ReadResult,
    ResourceProvider,
    UpdateResult,
)
from pulumi.dynamic import Resource as DynamicResource

from infra.local import health, ports, processes
from infra.local.daemon import RUNNING, Daemon
from infra.local.folders import StackFolder
from nemostack.errors import LocalServiceError

Props = dict[str, Any]
P = ParamSpec("P")
R = TypeVar("R")

SERVICE_INPUTS = (
    "folder",
    "name",
    "command",
    "settings",
    "environment",
    "inherits",
    "directory",
    "health_url",
    "timeout_s",
    "code",
)
SUPERVISOR_INPUTS = ("folder", "ports", "programs")
SETTLE_S = 3.0  # a busy service may miss one health check; a dead one misses all
HUNG_S = 15.0  # a service that has answered and runs, but does not answer for so long, hangs


def without_traceback(method: Callable[P, R]) -> Callable[P, R]:
    """Show a LocalServiceError as its message: Pulumi prints the traceback of whatever a provider raises."""

    @wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except LocalServiceError:
            if not os.environ.get("NEMOSTACK_DEBUG"):
                sys.tracebacklimit = 0
            raise

    return guarded


def end_with_engine() -> None:
    """End this plugin process when the engine is gone (killed, or Ctrl-C twice): nobody else would."""

    def watch() -> None:
        pipe = select.poll()
        pipe.register(sys.stdout.fileno(), 0)  # errors are always reported: the reader's end is the engine's
        pipe.poll()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def report(message: str) -> None:
    """Print a progress line; the engine shows what its plugins print."""
    print(message, flush=True)


def changed(olds: Props, news: Props, inputs: tuple[str, ...]) -> bool:
    """Whether any of `inputs` differs. Pulumi's own keys (the pickled provider) do not count."""
    return any(olds.get(key) != news.get(key) for key in inputs)


def kept(props: Props, inputs: tuple[str, ...]) -> Props:
    """Keep the part of `props` that is ours."""
    return {key: props[key] for key in inputs if key in props}


class SupervisorProvider(ResourceProvider):
    """Supervisord of a stack; checks ports and programs before anything starts, takes everything along when it goes."""

    serialize_as_secret_always = False  # it holds nothing

    def configure(self, _req: ConfigureRequest) -> None:
        """Watch the engine; called once in the plugin process."""
        end_with_engine()

    def check(self, _olds: Props, news: Props) -> CheckResult:
        """Refuse ports that others hold and programs that are not there: in the preview already."""
        failures = [
            CheckFailure("", f"{program} is missing: {remedy}")
            for program, remedy in news["programs"].items()
            if not os.access(program, os.X_OK)
        ]
        daemon = Daemon(StackFolder(Path(news["folder"])))
        own = {process.pid for process in processes.session(daemon.session_record)}
        port_of_service = {service: int(port) for service, port in news["ports"].items()}
        failures += [CheckFailure("", line) for line in ports.conflicts(port_of_service, own)]
        return CheckResult(news, failures)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Another folder is another daemon; a dead daemon needs a start."""
        moved = ["folder"] if olds["folder"] != news["folder"] else []
        running = Daemon(StackFolder(Path(news["folder"]))).is_running()
        return DiffResult(changes=bool(moved) or not running, replaces=moved, delete_before_replace=True)

    @without_traceback
    def create(self, props: Props) -> CreateResult:
        Daemon(StackFolder(Path(props["folder"]))).start()
        return CreateResult(props["folder"], kept(props, SUPERVISOR_INPUTS))

    @without_traceback
    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        Daemon(StackFolder(Path(news["folder"]))).start()
        return UpdateResult(kept(news, SUPERVISOR_INPUTS))

    def read(self, id_: str, props: Props) -> ReadResult:
        """Gone if it does not answer."""
        if not Daemon(StackFolder(Path(props["folder"]))).is_running():
            return ReadResult("", {})
        return ReadResult(id_, props)

    @without_traceback
    def delete(self, _id: str, props: Props) -> None:
        """Stop it with all its services; logs and data stay."""
        daemon = Daemon(StackFolder(Path(props["folder"])))
        daemon.stop()
        daemon.folder.remove_runtime()


class ServiceProvider(ResourceProvider):
    """One service under supervisord."""

    serialize_as_secret_always = False  # it holds nothing

    def configure(self, _req: ConfigureRequest) -> None:
        """Watch the engine; called once in the plugin process."""
        end_with_engine()

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Any changed input, or a process that died, means a restart; another folder or name another service."""
        moved = [key for key in ("folder", "name") if olds[key] != news[key]]
        alive = Daemon(StackFolder(Path(olds["folder"]))).state(olds["name"]) in RUNNING
        if not alive and not moved:
            report(f"{news['name']} is not running: it will be started")
        changes = bool(moved) or changed(olds, news, SERVICE_INPUTS) or not alive
        return DiffResult(changes=changes, replaces=moved, delete_before_replace=True)

    @without_traceback
    def create(self, props: Props) -> CreateResult:
        """Start it and wait until it answers, or adopt it if an interrupted `up` started just this."""
        daemon = Daemon(StackFolder(Path(props["folder"])))
        if not adopts(daemon, props):
            start(daemon, props)
        return CreateResult(f"{props['folder']}:{props['name']}", kept(props, SERVICE_INPUTS))

    @without_traceback
    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        """Restart it with what is wanted now."""
        daemon = Daemon(StackFolder(Path(news["folder"])))
        start(daemon, news)
        return UpdateResult(kept(news, SERVICE_INPUTS))

    def read(self, id_: str, props: Props) -> ReadResult:
        """Gone if it does not run or does not answer: `pulumi up` then starts it."""
        daemon = Daemon(StackFolder(Path(props["folder"])))
        deadline = time.monotonic() + SETTLE_S
        while daemon.state(props["name"]) in RUNNING:
            if health.is_healthy(props["health_url"]):
                return ReadResult(id_, props)
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        return ReadResult("", {})

    @without_traceback
    def delete(self, _id: str, props: Props) -> None:
        """Stop it and remove its configuration. Fine if it is gone already."""
        Daemon(StackFolder(Path(props["folder"]))).remove_service(props["name"])


def launch_spec(props: Props) -> dict[str, Any]:
    """Make what the launcher is told, which also tells a running service from the one that is wanted."""
    return {key: props[key] for key in ("command", "settings", "environment", "inherits", "directory", "code")}


def adopts(daemon: Daemon, props: Props) -> bool:
    """Whether just this service runs already, and answers. One that hangs is not worth keeping."""
    name = props["name"]
    if daemon.launched(name) != launch_spec(props) or daemon.state(name) not in RUNNING:
        return False
    # It has all its time to start, but not to start a second time.
    patience_s = HUNG_S if daemon.has_answered(name) else props["timeout_s"]
    try:
        await_health(daemon, props, patience_s)
    except LocalServiceError:
        report(f"{name} runs but does not answer: it will be restarted")
        return False
    return True


def start(daemon: Daemon, props: Props) -> None:
    """Start a service under a daemon that runs, after a last look at its port; take it away if it never answers."""
    if not daemon.is_running():
        raise LocalServiceError(
            f"{props['name']}: supervisord of {daemon.folder.path} is gone; run `pulumi up` again, which starts it"
        )
    daemon.remove_service(props["name"])
    own = {process.pid for process in processes.session(daemon.session_record)}
    if lines := ports.conflicts({props["name"]: port_of(props["health_url"])}, own):
        raise LocalServiceError("\n".join(lines))
    daemon.start_service(props["name"], launch_spec(props))
    try:
        await_health(daemon, props, props["timeout_s"])
    except LocalServiceError:
        daemon.remove_service(props["name"])
        raise


def port_of(url: str) -> int:
    """Return the port in a service's health URL."""
    return int(url.split("/")[2].rpartition(":")[2])


def await_health(daemon: Daemon, props: Props, timeout_s: float) -> None:
    """Wait until a service answers, and remember that it did."""
    name = props["name"]
    health.wait(
        name,
        props["health_url"],
        timeout_s=timeout_s,
        is_running=lambda: daemon.state(name) in RUNNING,
        log=daemon.folder.log(name),
        report=report,
    )
    daemon.note_answer(name)


class LocalSupervisor(DynamicResource, module="nemostack", name="LocalSupervisor"):
    """Supervisord of a local stack."""

    folder: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        folder: Path,
        ports: dict[str, int],
        programs: dict[str, str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {"folder": str(folder), "ports": ports, "programs": programs}
        super().__init__(SupervisorProvider(), name, props, opts)


class LocalService(DynamicResource, module="nemostack", name="LocalService"):
    """A process of a local stack that answers HTTP."""

    health_url: pulumi.Output[str]

    def __init__(self, name: str, props: Props, opts: pulumi.ResourceOptions | None = None) -> None:
        missing = set(SERVICE_INPUTS) - set(props)
        assert not missing, missing
        super().__init__(ServiceProvider(), name, dict(props), opts)
