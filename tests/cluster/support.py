"""The whole program as a stack on the simulated cluster, alone or shared by several tests."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from nemostack.clone import ROOT
from simulator import inventory
from simulator.api import DEFINITIONS, Object
from simulator.control_plane import ControlPlane
from simulator.pulumi_stack import NAME, PulumiStack, Update

KEY = "nvapi-only-for-tests"
LLAMA = "llama3-2-3b-instruct"
NIM = {
    "name": LLAMA,
    "model": "meta/llama-3.2-3b-instruct",
    "image": "nvcr.io/nim/meta/llama-3.2-3b-instruct",
    "tag": "1.8.3",
}


class NemoStack(PulumiStack):
    """The program of this repository, with settings that a test can change."""

    settings: dict[str, Any]
    previewed: Update
    made: Update

    def configure(self, **settings: Any) -> None:
        """Write the stack file: what is said here over what was said before. Secrets stay."""
        self.settings = {**self.settings, **settings}
        file = self.folder / f"Pulumi.{NAME}.yaml"
        before = yaml.safe_load(file.read_text()) if file.is_file() else {}
        plain = {f"nemostack:{key}": value for key, value in self.settings.items()}
        secret = {key: value for key, value in before.get("config", {}).items() if "secure" in value}
        file.write_text(yaml.safe_dump({**before, "config": {**plain, **secret}}))


def create_stack(plane: ControlPlane, charts: Path, folder: Path, **settings: Any) -> NemoStack:
    """Create a stack of target `existing` with the stand-in charts, not yet up. Whoever calls it takes it down."""
    stack = NemoStack(folder / "program", plane.kubeconfig, thrifty=True)
    stack.settings = {"target": "existing", "charts": {"source": str(charts)}, **settings}
    stack.settings.setdefault("storage", {"rwx_class_name": "shared"})
    stack.program((ROOT / "__main__.py").read_text(), name="nemostack")
    stack.init()
    stack.configure()
    stack.run("config", "set", "--secret", "nemostack:ngc_api_key", KEY, "--stack", NAME)
    return stack


class Shared:
    """A stack in the layout of the guide that is up for several tests: brought up for the first that asks.

    A test that fails, or takes it down, costs the next one another `up`, so that tests run alone and in any order.
    """

    def __init__(self, start: Callable[..., NemoStack], plane: ControlPlane, shared_objects: set[str]) -> None:
        self._start, self._plane, self._objects = start, plane, shared_objects
        self._stack: NemoStack | None = None

    def up(self) -> NemoStack:
        """Return the stack, up."""
        if self._stack and not self._stack.resources():
            self.forget()
        if not self._stack:
            before = inventory.contents(self._plane.api)
            self._stack = stack = self._start(layout="per-service")
            try:
                stack.previewed = stack.preview()
                stack.made = stack.up()
            except BaseException:
                self.down()
                raise
            self._objects |= inventory.contents(self._plane.api) - before
        return self._stack

    def down(self) -> None:
        """Destroy the stack, if it is up."""
        try:
            if self._stack and self._stack.resources():
                self._stack.destroy()
            inventory.remove(self._plane.api, {path for path in self._objects if self._plane.api.exists(path)})
        finally:
            self.forget()

    def forget(self) -> None:
        """Let the next test bring up another one."""
        self._stack = None
        self._objects.clear()


def forget_definitions(plane: ControlPlane) -> None:
    """Remove the kinds that stacks keep on purpose when they go."""
    inventory.remove(plane.api, {f"{DEFINITIONS}/{it['metadata']['name']}" for it in plane.api.items(DEFINITIONS)})


def namespaces(control_plane: ControlPlane) -> set[str]:
    """Return the names of all namespaces."""
    return {thing["metadata"]["name"] for thing in control_plane.api.items("/api/v1/namespaces")}


def values(control_plane: ControlPlane, namespace: str, release: str) -> Any:
    """What a stand-in chart got."""
    shown = control_plane.api.get(f"/api/v1/namespaces/{namespace}/configmaps/{release}-values")
    return yaml.safe_load(shown["data"]["values.yaml"])


def pods(control_plane: ControlPlane, namespace: str | None = None) -> list[Object]:
    """Return all pods, or those of a namespace."""
    found = control_plane.api.items("/api/v1/pods")
    return [pod for pod in found if namespace in (None, pod["metadata"]["namespace"])]


def missing_secrets(control_plane: ControlPlane) -> set[str]:
    """Secrets, or keys in them, that running pods read and that are not there: no kubelet would start these."""
    there = {
        (secret["metadata"]["namespace"], secret["metadata"]["name"]): set(secret.get("data") or {})
        for secret in control_plane.api.items("/api/v1/secrets")
    }
    missing = set()
    for pod in pods(control_plane):
        namespace, spec = pod["metadata"]["namespace"], pod["spec"]
        for pull in spec.get("imagePullSecrets") or []:
            if (namespace, pull["name"]) not in there:
                missing.add(f"{namespace}/{pull['name']}")
        for variable in (variable for container in spec["containers"] for variable in container.get("env") or []):
            wanted = (variable.get("valueFrom") or {}).get("secretKeyRef")
            if wanted and wanted["key"] not in there.get((namespace, wanted["name"]), set()):
                missing.add(f"{namespace}/{wanted['name']}:{wanted['key']}")
    return missing


def dead_urls(control_plane: ControlPlane, least: int = 6) -> set[str]:
    """In-cluster URLs in the values of any release that lead to no Service, or to a port that it does not have.

    There must be `least` of them, or the search finds nothing.
    """
    services = {
        (service["metadata"]["name"], service["metadata"]["namespace"]): {
            port["port"] for port in service["spec"]["ports"]
        }
        for service in control_plane.api.items("/api/v1/services")
    }
    found, dead = 0, set()
    for shown in control_plane.api.items("/api/v1/configmaps"):
        if "nemostack.dev/stand-in" not in (shown["metadata"].get("labels") or {}):
            continue
        for text in shown["data"]["values.yaml"].replace('"', " ").split():
            if text.startswith("http://") and ".svc" in text:
                found += 1
                host, _, port = text.removeprefix("http://").split("/")[0].partition(":")
                name, namespace = host.split(".")[:2]
                if int(port or 80) not in services.get((name, namespace), set()):
                    dead.add(text)
    assert found >= least, "the values hold URLs"
    return dead


def assert_healthy(control_plane: ControlPlane, least_urls: int = 6) -> None:
    """Every pod runs on a node, every claim has a volume, what pods read is there, URLs lead somewhere."""
    phases = Counter(pod["status"]["phase"] for pod in pods(control_plane))
    assert phases["Running"] > 10
    assert phases.keys() <= {"Running", "Succeeded"}, phases
    claims = control_plane.api.items("/api/v1/persistentvolumeclaims")
    assert {claim["status"]["phase"] for claim in claims} == {"Bound"}
    assert missing_secrets(control_plane) == set()
    assert dead_urls(control_plane, least_urls) == set()
