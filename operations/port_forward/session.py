"""All services of a cluster stack on loopback, at the ports that its URLs say, for as long as somebody wants.

nemo_url is one address for several services: a proxy with the stack's prefixes, behind it a forward for each service.
URLs that are not on loopback are routes and left alone. Refuses ports that are taken (and says by whom) and stacks
whose URLs all are routes.
"""

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from infra.local.ports import holder
from infra.local.processes import describe
from nemostack.errors import BadInput, DeadlineExceeded, TargetError
from nemostack.kubectl.client import Kubectl
from nemostack.outputs import StackOutputs
from nemostack.ports import free_ports, is_free
from operations.cluster_snapshot import parse_address, service_key
from operations.port_forward.forwarder import HOST, Forward, Forwarder
from operations.port_forward.merged_host import MergedHost

FRONT = "nemo"
KEYS = (FRONT, "data_store", "nim", "mlflow")
LOOPBACK = {"127.0.0.1", "localhost"}
_POLL_S = 0.2
_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Plan:
    """What is forwarded: single services, and what the proxy at `front_port` (None: no proxy) leads to."""

    forwards: tuple[Forward, ...]
    front_port: int | None
    routes: dict[str, str]
    left_alone: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """What is where, for people."""
        if self.front_port is not None:
            yield f"{FRONT}: http://{HOST}:{self.front_port} -> {', '.join(sorted(self.routes))}"
        yield from (forward.line for forward in self.forwards if forward.name in KEYS)
        yield from self.left_alone


def plan(outputs: StackOutputs) -> Plan:
    """Read ports off the URLs. Raises TargetError, BadInput."""
    cluster = outputs.cluster
    if cluster is None:
        raise TargetError(f"target {outputs.target} has no cluster: its services are reached at their URLs already")
    services = {service_key(name): parse_address(address) for name, address in cluster.services.items()}
    ports: dict[str, int] = {}
    left: list[str] = []
    for key in KEYS:
        parts = urlsplit(getattr(outputs, f"{key}_url"))
        if not parts.netloc:
            continue  # the stack does not have it
        if parts.hostname not in LOOPBACK:
            left.append(f"{key}: {parts.geturl()} is a route, not forwarded")
            continue
        if parts.port is None:
            raise TargetError(f"{key}_url={parts.geturl()} of the stack's outputs names no port")
        if parts.port in ports.values():
            raise TargetError(f"{key}_url={parts.geturl()} of the stack's outputs shares its port with another service")
        ports[key] = parts.port
    if not ports:
        raise BadInput(
            "nothing to forward: all URLs of this stack are routes (routes.kind of its settings is not none)"
        )
    behind = dict.fromkeys(service_key(key) for key in cluster.prefixes.values()) if FRONT in ports else {}
    missing = [key for key in (*behind, *(key for key in ports if key != FRONT)) if key not in services]
    if missing:
        raise TargetError(f"cluster.services of the stack's outputs names no {', '.join(missing)}")
    inner = dict(zip(behind, free_ports(len(behind)), strict=True))
    forwards = [
        Forward(name=key, local_port=port, namespace=services[key][0], service=services[key][1], port=services[key][2])
        for key, port in {**inner, **{k: p for k, p in ports.items() if k != FRONT}}.items()
    ]
    routes = {p: f"http://{HOST}:{inner[service_key(k)]}" for p, k in cluster.prefixes.items()} if inner else {}
    return Plan(tuple(forwards), ports.get(FRONT), routes, tuple(left))


def check_ports(wanted: dict[str, int]) -> None:
    """Raise BadInput naming who holds a port."""
    taken = []
    for name, port in wanted.items():
        if not is_free(port):
            pid = holder(port)
            who = describe(pid) if pid else "a process of another user"
            taken.append(f"port {port} ({name}) is held by {who}")
    if taken:
        raise BadInput(f"{'; '.join(taken)}: stop it, or set other ports in the stack's settings")


@contextlib.contextmanager
def forwarding(kubectl: Kubectl, wanted: Plan, say: Callable[[str], None]) -> Iterator[list[Forwarder]]:
    """Forward while the block runs."""
    front_port = {FRONT: wanted.front_port} if wanted.front_port is not None else {}
    check_ports({**front_port, **{forward.name: forward.local_port for forward in wanted.forwards}})
    forwarders = [Forwarder(kubectl, forward, say) for forward in wanted.forwards]
    front = None
    try:
        if wanted.front_port is not None:
            front = MergedHost(wanted.front_port, wanted.routes)
            front.start()
        for forwarder in forwarders:
            forwarder.start()
        yield forwarders
    finally:
        if front is not None:
            front.stop()
        stopping = [threading.Thread(target=forwarder.stop) for forwarder in forwarders]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()


def wait_ready(forwarders: Sequence[Forwarder], timeout_s: float) -> None:
    """Wait for all of them. Raises ServiceError for one that never will be, DeadlineExceeded."""
    deadline = time.monotonic() + timeout_s
    while True:
        check_failed(forwarders)
        waiting = [one for one in forwarders if not one.ready.is_set()]
        if not waiting:
            return
        if time.monotonic() > deadline:
            why = "; ".join(f"{one.forward.name}: {one.why_not}" for one in waiting)
            raise DeadlineExceeded(
                f"not forwarded within {timeout_s:g} s: {why}; `nemostack doctor` says what is wrong"
            )
        time.sleep(_POLL_S)


def check_failed(forwarders: Sequence[Forwarder]) -> None:
    """Raise the ServiceError of a forward that cannot work."""
    for one in forwarders:
        if one.failed is not None:
            hint = one.failed.hint or "`nemostack doctor` says more"
            raise type(one.failed)(f"{one.forward.line}: {one.failed.args[0]}", hint=hint)


def until_interrupted(forwarders: Sequence[Forwarder]) -> None:
    """Wait for Ctrl-C. Raises ServiceError for a forward that cannot work."""
    while True:
        check_failed(forwarders)
        time.sleep(_POLL_S)


def run_command(argv: Sequence[str]) -> int:
    """Run a command to its end; its exit code, as a shell would say it. Ctrl-C is the command's to handle."""
    from operations.stacks.commands import signals_go_to

    try:
        child = subprocess.Popen(list(argv), text=True)
    except OSError as error:
        raise BadInput(f"cannot run {argv[0]}: {error}") from error
    with signals_go_to(child):
        code = child.wait()
    return code if code >= 0 else 128 - code


def serve(outputs: StackOutputs, command: Sequence[str], timeout_s: float, say: Callable[[str], None]) -> int:
    """Forward everything while `command` runs (its exit code), or until Ctrl-C (0)."""
    forwards = plan(outputs)
    interrupted = False
    with Kubectl.opened(outputs) as kubectl, forwarding(kubectl, forwards, say) as forwarders:
        for line in forwards.lines():
            say(line)
        try:
            if command:
                wait_ready(forwarders, timeout_s)
                return run_command(command)
            with contextlib.suppress(DeadlineExceeded):
                wait_ready(forwarders, _PATIENCE_S)
            say("Forwarding until Ctrl-C.")
            until_interrupted(forwarders)
        except KeyboardInterrupt:
            interrupted = True
            say("Stopping.")
    return 130 if command and interrupted else 0
