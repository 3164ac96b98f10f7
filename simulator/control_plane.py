"""A Kubernetes control plane on loopback, in a folder, ready in seconds: see the package for what is real in it.

Everything is TLS with certificates of its own authority, RBAC is on, and the administrator's kubeconfig is private.
Whatever happens - an error or Ctrl-C while it starts, the death of the tests - no process stays. Logs stay in
`FOLDER/logs`; the data does not. Refuses a folder that is not empty. A component that fails is named in one line, with
the end of its log.
"""

import base64
import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import httpx

from operations.toolchain import kubernetes, programs
from simulator import components, nodes, ports
from simulator.api import Api, ApiError, Object, wait
from simulator.autoscaler import Autoscaler, Pool
from simulator.certificates import Authority, write_key, write_private, write_public
from simulator.loops import Loop
from simulator.operators import Operators
from simulator.processes import Process, tail
from simulator.volumes import Provisioner

START_S = 120.0
NODES_S = 120.0
POLL_S = 0.05
PROBE_S = 5.0
"""How long to wait for one sign of life: who has taken the port may accept connections and say nothing."""
START_TRIES = 5
PORT_TAKEN = "address already in use"


class ControlPlaneError(Exception):
    """The control plane did not start."""


class PortTakenError(ControlPlaneError):
    """Somebody who is no test took a port between choice and use."""


class ControlPlane:
    """A control plane that runs. Make one with `start`; end it with `stop`, or by leaving its `with` block."""

    def __init__(self, folder: Path) -> None:
        """Prepare files; `start` is what callers want."""
        self.folder = folder
        self.logs = folder / "logs"
        self._home = folder / "home"
        for part in (self.logs, self._home):
            part.mkdir()
        self._held = contextlib.ExitStack()
        self._port, etcd_port, peer_port = self._held.enter_context(ports.hold())[:3]
        self.url = f"https://127.0.0.1:{self._port}"
        self._etcd_url, self._peer_url = (f"https://127.0.0.1:{port}" for port in (etcd_port, peer_port))
        self._authority = Authority(folder / "certificates")
        for server in ("etcd", "kube-apiserver"):
            self._authority.server(server)
        write_public(self._authority.folder / "service-accounts.pub", write_key(self._path("service-accounts.key")))
        self._files = components.Files(certificates=self._authority.folder, data=folder / "etcd")
        self.kubeconfig = self.user("admin", group="system:masters")
        self.api = self.api_as("admin")
        self._processes: list[Process] = []
        self._provisioner = Provisioner(self.api)
        self.autoscaler = Autoscaler(self.api)
        self._loops = [
            Loop("volume provisioner", self._provisioner.once),
            Loop("operators", Operators(self.api).once),
            Loop("autoscaler", self.autoscaler.once),
        ]
        self._made_nodes = 0

    @classmethod
    def start(cls, folder: Path) -> Self:
        """Start one in `folder` (made if need be) and wait until it serves.

        Raises ControlPlaneError, ToolchainError.
        """
        paths = programs.ensure(["kubernetes", "etcd", "kwok"])
        stages = kubernetes.stages()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ControlPlaneError(f"{folder} is not empty: give the control plane a folder of its own")
        for attempt in range(1, START_TRIES + 1):
            plane = cls(folder.resolve())
            try:
                plane._launch(paths, stages)
            except PortTakenError:
                plane.stop()
                if attempt == START_TRIES:
                    raise
                for path in folder.iterdir():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            except BaseException:
                plane.stop()
                raise
            else:
                return plane
        raise AssertionError("unreachable")

    def _launch(self, paths: dict[str, str], stages: list[Path]) -> None:
        """Start the components in order and wait for each that others need."""

        def run(name: str, arguments: list[str]) -> None:
            process = Process(name, paths[name], arguments, folder=self.logs, home=self._home)
            self._processes.append(process)

        run("etcd", components.etcd(self._files, url=self._etcd_url, peer_url=self._peer_url))
        run("kube-apiserver", components.api_server(self._files, port=self._port, etcd_url=self._etcd_url))
        self._until("the API server is ready", self._is_ready)
        # Their names are those for which Kubernetes itself makes RBAC roles. kwok acts as every kubelet.
        manager = self.user("kube-controller-manager", user="system:kube-controller-manager")
        run("kube-controller-manager", components.controller_manager(self._files, kubeconfig=manager))
        run(
            "kube-scheduler", components.scheduler(kubeconfig=self.user("kube-scheduler", user="system:kube-scheduler"))
        )
        run("kwok", components.kwok(kubeconfig=self.user("kwok", group="system:masters"), stages=stages))
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self._until("the controllers work", lambda: self.api.exists(account))
        self._provisioner.create_classes()
        for loop in self._loops:
            loop.start()

    def _is_ready(self) -> bool:
        return self.api.request("GET", "/readyz", timeout_s=PROBE_S).text == "ok"

    def _until(self, what: str, reached: Callable[[], bool]) -> None:
        """Wait until `reached`; an answer that is an error is `not yet`, a component that ended is the end."""
        deadline = time.monotonic() + START_S
        last = "no answer"
        while True:
            try:
                if reached():
                    return
            except (ApiError, httpx.HTTPError) as error:
                last = str(error)
            self.check()
            if time.monotonic() > deadline:
                raise ControlPlaneError(f"not within {START_S:g} s: {what} ({last})\n{self.log_tails()}")
            time.sleep(POLL_S)

    def check(self) -> None:
        """Raise ControlPlaneError if a component has ended, with the end of its log."""
        for process in self._processes:
            if process.exit_code is not None:
                end = tail(process.log)
                kind = PortTakenError if PORT_TAKEN in process.log.read_text(errors="replace") else ControlPlaneError
                raise kind(f"{process.name} ended with {process.exit_code}, see {process.log}:\n{end}")

    def stop(self) -> None:
        """End everything, in the order in which nothing waits for what is gone. Twice does no harm."""
        for loop in self._loops:
            loop.stop()
        self.api.close()
        for process in reversed(self._processes):
            process.stop()
        self._processes.clear()
        self._held.close()
        shutil.rmtree(self._files.data, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pids(self) -> dict[str, int]:
        """Process id of each component."""
        return {process.name: process.pid for process in self._processes}

    def log_tails(self) -> str:
        """Return the end of every component's log, and what the simulated operators stumble over."""
        tails = [f"--- {path}\n{tail(path)}" for path in sorted(self.logs.glob("*.log"))]
        return "\n".join([*tails, *(f"--- {loop.name}\n{loop.trouble}" for loop in self._loops if loop.trouble)])

    # --- users ----------------------------------------------------------------------------------------------------

    def _path(self, name: str) -> Path:
        return self._authority.folder / name

    def user(self, name: str, *, user: str | None = None, group: str | None = None) -> Path:
        """Make a user with a certificate, called `user` (default `name`) in RBAC; path of the kubeconfig (0600)."""
        certificate, key = self._authority.client(name, user or name, group)
        encoded = {
            field: base64.b64encode(path.read_bytes()).decode()
            for field, path in (
                ("certificate-authority-data", self._authority.certificate),
                ("client-certificate-data", certificate),
                ("client-key-data", key),
            )
        }
        authority = encoded.pop("certificate-authority-data")
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "simulated", "cluster": {"server": self.url, "certificate-authority-data": authority}}
            ],
            "users": [{"name": name, "user": encoded}],
            "contexts": [{"name": "simulated", "context": {"cluster": "simulated", "user": name}}],
            "current-context": "simulated",
        }
        path = self.folder / f"{name}.kubeconfig"
        write_private(path, json.dumps(config).encode())
        return path

    def api_as(self, name: str) -> Api:
        """Return a client for a user that was made before."""
        return Api(
            self.url,
            authority=self._authority.certificate,
            certificate=self._path(f"{name}.crt"),
            key=self._path(f"{name}.key"),
        )

    # --- nodes ----------------------------------------------------------------------------------------------------

    def add_gpu_nodes(
        self, count: int, gpus: int = 4, product: str = nodes.PRODUCT, memory_mib: int = nodes.MEMORY_MIB
    ) -> list[str]:
        """Add simulated nodes with `gpus` GPUs of `memory_mib` MiB each, tainted nvidia.com/gpu; names, all ready."""
        return self._add(
            [
                nodes.gpu_node(name, gpus=gpus, product=product, memory_mib=memory_mib)
                for name in self._names("gpu", count)
            ]
        )

    def add_nodes(self, count: int) -> list[str]:
        """Add simulated nodes without GPUs; their names, all ready."""
        return self._add([nodes.cpu_node(name) for name in self._names("cpu", count)])

    @contextlib.contextmanager
    def gpu_pool(self, name: str, *, maximum: int, gpus: int = 1, memory_mib: int = nodes.MEMORY_MIB) -> Iterator[Pool]:
        """A pool at zero with up to `maximum` nodes of `gpus` GPUs each, for the autoscaler; its nodes go with it."""

        def make(node: str) -> Object:
            return nodes.gpu_node(node, gpus=gpus, product=nodes.PRODUCT, memory_mib=memory_mib)

        pool = Pool(name, make, maximum)
        self.autoscaler.pools.append(pool)
        try:
            yield pool
        finally:
            self.autoscaler.pools.remove(pool)
            self.remove_nodes(pool.created)

    def remove_nodes(self, names: list[str]) -> None:
        """Remove nodes and the pods on them, at once: without its node nobody would confirm that a pod has ended."""
        for name in names:
            self.api.delete(f"/api/v1/nodes/{name}")
        gone = set(names)
        for pod in self.api.items("/api/v1/pods") if gone else []:
            if pod["spec"].get("nodeName") in gone:
                metadata = pod["metadata"]
                self.api.delete(f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}", grace_s=0)

    def _names(self, kind: str, count: int) -> list[str]:
        first = self._made_nodes
        self._made_nodes += count
        return [f"{kind}-{number}" for number in range(first, first + count)]

    def _add(self, made: list[Object]) -> list[str]:
        self.api.create_all("/api/v1/nodes", made)
        names = {node["metadata"]["name"] for node in made}

        def waiting() -> set[str]:
            ready = {node["metadata"]["name"] for node in self.api.items("/api/v1/nodes") if nodes.is_ready(node)}
            return names - ready

        wait("simulated nodes ready", waiting, lambda left: not left, timeout_s=NODES_S)
        return sorted(names)
