"""A stand-in for kubelets that runs the pods of one namespace as processes, each with a network and a /tmp of its own.

The pods are never scheduled: there is no node, and kwok does not see them. What the API server, its admission and its
controllers do with them is real. Names of Services are told to them by a file of hosts; images are not looked at, but
for those that cannot be pulled. `execute` takes the place of `kubectl exec`. Takes root, and `ip`, `unshare` and
`nsenter`.
"""

import base64
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

from nemostack.clone import ROOT
from nemostack.kubectl.process import Access, CompletedCall
from simulator.api import Api, ApiError, Object
from simulator.loops import Loop
from tests.deadlines import Deadline

NEEDED = ("ip", "unshare", "nsenter")
WHY_NOT = "network and mount namespaces take root, ip, unshare and nsenter"
END_S = 5.0
COMPONENT = "app.kubernetes.io/component"
MOUNTED = b"mounted"
INDEX = "batch.kubernetes.io/job-completion-index"


def usable() -> bool:
    """Whether this machine has what it takes."""
    return os.getuid() == 0 and all(shutil.which(program) for program in NEEDED)


@dataclass
class Running:
    """A pod's process."""

    pod: Object
    process: "subprocess.Popen[bytes]"
    network: str
    address: str
    environment: dict[str, str] = field(default_factory=dict)
    ended: bool = False


class ProcessPods:
    """The pods of a namespace, as processes. `gateway`: address of this machine as they see it."""

    def __init__(self, api: Api, namespace: str, folder: Path) -> None:
        self._api, self._namespace, self._folder = api, namespace, folder
        self._tag = uuid.uuid4().hex[:6]
        self._prefix = f"10.213.{int(self._tag, 16) % 250}"
        self.gateway = f"{self._prefix}.1"
        self.hosts: dict[str, str] = {}
        self.unpullable: set[str] = set()
        self.running: dict[str, Running] = {}
        self.seen: list[Object] = []
        self._loop = Loop("processes of pods", self.once)

    def __enter__(self) -> Self:
        _ip("link", "add", f"br{self._tag}", "type", "bridge")
        _ip("addr", "add", f"{self.gateway}/24", "dev", f"br{self._tag}")
        _ip("link", "set", f"br{self._tag}", "up")
        self._loop.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.stop()
        for one in self.running.values():
            self._end(one)
        _ip("link", "del", f"br{self._tag}")

    def once(self) -> bool:
        """Start new pods, tell what became of the others, and end those that are gone."""
        pods = {pod["metadata"]["name"]: pod for pod in self._api.items(f"/api/v1/namespaces/{self._namespace}/pods")}
        for name, pod in pods.items():
            if name not in self.running and pod["status"].get("phase") == "Pending":
                self.seen.append(pod)
                if pod["spec"]["containers"][0]["image"] in self.unpullable:
                    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
                    self._tell(pod, "Pending", {"waiting": waiting})
                else:
                    self.running[name] = self._start(pod)
                    self._tell(pod, "Running", {"running": {}})
        for name, one in self.running.items():
            if one.ended:
                continue
            code = one.process.poll()
            if code is None and pods.get(name, {}).get("status", {}).get("phase") == "Pending":
                self._tell(one.pod, "Running", {"running": {}})  # somebody else wrote at the same time
            if name not in pods or "deletionTimestamp" in pods[name]["metadata"]:
                self._end(one)
            elif code is not None:
                self._end(one)
                exit_code = code if code >= 0 else 128 - code
                reason = "Completed" if code == 0 else "OOMKilled" if code == -signal.SIGKILL else "Error"
                terminated = {"exitCode": exit_code, "reason": reason}
                self._tell(one.pod, "Failed" if code else "Succeeded", {"terminated": terminated})
        return True

    def find(self, component: str) -> list[Running]:
        """Return the processes of a component, in the order of their indexes."""
        found = [one for one in self.running.values() if one.pod["metadata"]["labels"][COMPONENT] == component]
        return sorted(found, key=lambda one: int(one.pod["metadata"].get("annotations", {}).get(INDEX, 0)))

    def kill(self, one: Running) -> None:
        """End everything in a pod, as the kernel does that runs out of memory."""
        os.killpg(one.process.pid, signal.SIGKILL)

    def execute(
        self, access: Access, arguments: Sequence[str], given: bytes, into: BinaryIO, *, within_s: float
    ) -> CompletedCall:
        """Do what `kubectl exec` would."""
        del access
        at = list(arguments).index("--")
        one = self.running[arguments[at - 1]]
        command = ["nsenter", "--mount", "--net", "-t", str(one.process.pid), *_program(arguments[at + 1 :])]
        done = subprocess.run(
            command,
            input=given,
            stdout=into,
            stderr=subprocess.PIPE,
            env=one.environment,
            timeout=within_s,
            check=False,
        )
        return CompletedCall(code=done.returncode, out="", err=done.stderr.decode())

    def _start(self, pod: Object) -> Running:
        number = len(self.running) + 2
        network, address = f"pod{self._tag}-{number}", f"{self._prefix}.{number}"
        _ip("netns", "add", network)
        _ip("link", "add", f"v{self._tag}{number}", "type", "veth", "peer", "name", "eth0", "netns", network)
        _ip("link", "set", f"v{self._tag}{number}", "master", f"br{self._tag}", "up")
        _ip("-n", network, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", network, "link", "set", "eth0", "up")
        _ip("-n", network, "link", "set", "lo", "up")
        container = pod["spec"]["containers"][0]
        if pod["metadata"]["labels"][COMPONENT] == "master":
            service = pod["metadata"]["labels"]["app.kubernetes.io/instance"] + "-master"
            self.hosts[f"{service}.{self._namespace}.svc"] = address
        hosts = self._folder / f"{network}.hosts"
        names = "".join(f"{to} {name}\n" for name, to in self.hosts.items())
        hosts.write_text(f"127.0.0.1 localhost\n{names}")
        setup = f"mount --bind {hosts} /etc/hosts && mount -t tmpfs none /tmp && cd /tmp"
        for path, content in self._files(pod).items():
            setup += f' && mkdir -p {path.parent} && printf %s "{_quoted(content)}" > {path}'
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **self._environment(pod)}
        command = ["ip", "netns", "exec", network, "unshare", "--mount", "--propagation", "private", "sh", "-c"]
        command += [f'{setup} && echo {MOUNTED.decode()} && exec "$@"', "pod", *_program(container["command"])]
        path = self._folder / f"{network}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        deadline = Deadline(60)  # before it has its own /tmp, what is executed in it would write into this machine's
        while not path.read_bytes().startswith(MOUNTED) and process.poll() is None and not deadline.passed:
            time.sleep(0.02)
        return Running(pod, process, network, address, environment)

    def _environment(self, pod: Object) -> dict[str, str]:
        found = {}
        for variable in pod["spec"]["containers"][0]["env"]:
            match variable:
                case {"valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}:
                    found[variable["name"]] = _decoded(self._get(f"secrets/{secret}")["data"][key])
                case {"valueFrom": _}:  # the index of a Job's pod
                    found[variable["name"]] = pod["metadata"]["annotations"][INDEX]
                case _:
                    found[variable["name"]] = variable["value"]
        return found

    def _files(self, pod: Object) -> dict[Path, str]:
        mounts = {one["name"]: Path(one["mountPath"]) for one in pod["spec"]["containers"][0]["volumeMounts"]}
        maps = [one for one in pod["spec"]["volumes"] if "configMap" in one]
        return {
            mounts[one["name"]] / name: text
            for one in maps
            for name, text in self._get(f"configmaps/{one['configMap']['name']}")["data"].items()
        }

    def _get(self, path: str) -> Object:
        """Return what a pod needs, which may come a moment after it."""
        deadline = Deadline(END_S)
        while True:
            try:
                return self._api.get(f"/api/v1/namespaces/{self._namespace}/{path}")
            except ApiError:
                if deadline.passed:
                    raise
                time.sleep(0.1)

    def _tell(self, pod: Object, phase: str, state: Object) -> None:
        container = pod["spec"]["containers"][0]
        status = {"name": container["name"], "image": container["image"], "imageID": "", "restartCount": 0}
        body = {
            "status": {"phase": phase, "containerStatuses": [{**status, "ready": phase == "Running", "state": state}]}
        }
        path = f"/api/v1/namespaces/{self._namespace}/pods/{pod['metadata']['name']}/status"
        self._api.request("PATCH", path, body, "application/merge-patch+json")

    def _end(self, one: Running) -> None:
        if one.ended:
            return
        one.ended = True
        if one.process.poll() is None:
            one.process.terminate()
            try:
                one.process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.kill(one)
                one.process.wait()
        with contextlib.suppress(ProcessLookupError):
            self.kill(one)  # nothing of a container outlives its first process
        _ip("netns", "del", one.network)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _program(command: Sequence[str]) -> list[str]:
    """A container's command with the Python that runs the tests."""
    return [sys.executable if command[0] == "python" else command[0], *command[1:]]


def _quoted(text: str) -> str:
    return "".join(f"\\{c}" if c in '"$`\\' else c for c in text)


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()
