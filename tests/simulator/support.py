"""Pods that the tests of the simulated cluster create, and short forms of what they look at."""

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from operations.toolchain import programs
from simulator import inventory
from simulator.api import DEFINITIONS, Api, ApiError, Object, wait
from simulator.charts import generate
from simulator.control_plane import ControlPlane

IMPORTS = "import pulumi\nimport pulumi_kubernetes as k8s\nfrom pathlib import Path\n"
TOLERATES_GPU = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def pod_spec(*, gpus: int = 0, tolerations: Any = (), **more: Any) -> Object:
    """Return the spec of a pod with one container that never runs and asks for `gpus` GPUs."""
    limits = {"nvidia.com/gpu": str(gpus)} if gpus else {}
    container = {"name": "main", "image": "none.invalid/none", "resources": {"limits": limits}}
    return {"containers": [container], "tolerations": list(tolerations), **more}


def make_pod(api: Api, namespace: str, name: str, **spec: Any) -> None:
    """Create a pod; `spec` as `pod_spec` takes it."""
    api.create(f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": name}, "spec": pod_spec(**spec)})


def phases(api: Api, namespace: str) -> list[str]:
    """Return the phases of all pods of a namespace, sorted."""
    return sorted(pod["status"]["phase"] for pod in api.items(f"/api/v1/namespaces/{namespace}/pods"))


def claims(api: Api, namespace: str) -> dict[str, str]:
    """Return the phase of each PersistentVolumeClaim of a namespace."""
    items = api.items(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims")
    return {claim["metadata"]["name"]: claim["status"]["phase"] for claim in items}


def config_map(api: Api, namespace: str, name: str = "settings") -> Object:
    """Return a ConfigMap."""
    return api.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")


def create_resource(control_plane: ControlPlane, collection: str, kind: str, name: str, spec: Object) -> str:
    """Create a custom resource in a collection of a namespace, as soon as its kind is served; return its path."""
    path = collection
    version = "/".join(collection.split("/")[2:4])
    body = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}

    def created() -> bool:
        try:
            control_plane.api.create(path, body)
        except ApiError as error:
            if error.code == 404:  # a new kind is not served at once
                return False
            raise
        return True

    wait(f"{kind} is made", created)
    return f"{path}/{name}"


def state(control_plane: ControlPlane, path: str) -> Any:
    """Return `status.state` of the resource at `path`."""
    return control_plane.api.get(path).get("status", {}).get("state")


POLICIES = {
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}


@contextmanager
def admission(plane: ControlPlane, charts: Path, chart: str, *values: str) -> Iterator[None]:
    """Put in force what stands in for an operator's webhook, as its stand-in chart renders it."""
    helm = programs.ensure(["helm"])["helm"]
    command = [helm, "template", "rel", str(charts / chart), *(word for value in values for word in ("--set", value))]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    paths = []
    try:
        for thing in yaml.safe_load_all(rendered):
            if thing and thing["kind"] in POLICIES:
                path = f"/apis/admissionregistration.k8s.io/v1/{POLICIES[thing['kind']]}"
                plane.api.create(path, thing)
                paths.append(f"{path}/{thing['metadata']['name']}")
        assert paths, f"{chart} has no policy"
        yield
    finally:
        for path in paths:
            plane.api.delete(path)


def refusal(plane: ControlPlane, method: str, path: str, body: Object) -> str:
    """Return why the API server refuses to create or change an object, empty if it does not."""
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    try:
        plane.api.request(method, path, body, kind)
    except ApiError as error:
        return str(error)
    return ""


@contextmanager
def custom_kinds(plane: ControlPlane, notations: Iterable[tuple[str, str]]) -> Iterator[dict[str, str]]:
    """Define kinds, each by its API and its notation for `generate.definition`, and take them back at the end.

    Yields kind -> collection of its objects in namespace `default`, or in none.
    """
    definitions, collections = set(), {}
    for api, notation in notations:
        made = plane.api.create(DEFINITIONS, generate.definition(api, notation))
        definitions.add(f"{DEFINITIONS}/{made['metadata']['name']}")
        where = "" if made["spec"]["scope"] == "Cluster" else "/namespaces/default"
        named = made["spec"]["names"]
        collections[named["kind"]] = f"/apis/{api}{where}/{named['plural']}"
    for path in collections.values():
        wait(f"{path} is served", partial(plane.api.serves, path))
    try:
        yield collections
    finally:
        inventory.remove(plane.api, definitions)
