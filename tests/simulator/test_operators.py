"""What the simulated operators make of custom resources follows from what is free and ready in the cluster."""

from typing import Any

import pytest

from simulator import operators
from simulator.api import DEFINITIONS, ApiError, Object, wait
from simulator.charts import generate
from simulator.control_plane import ControlPlane
from tests.simulator.support import TOLERATES_GPU, claims, phases

pytestmark = pytest.mark.slow

RESOURCES = {"requests": {"nvidia.com/gpu": "2"}, "limits": {"nvidia.com/gpu": "2"}}
NIM_SERVICE = {
    "image": {"repository": "none.invalid/nim", "tag": "1.8.3"},
    "storage": {"nimCache": {"name": "n"}},
    "resources": RESOURCES,
    "tolerations": TOLERATES_GPU,
    "replicas": 2,
}


@pytest.fixture
def define(control_plane: ControlPlane) -> Any:
    made = []

    def define(group_version: str, *kinds: str) -> None:
        for kind in kinds:
            crd = control_plane.api.create(DEFINITIONS, generate.definition(group_version, kind))
            made.append(f"{DEFINITIONS}/{crd['metadata']['name']}")

    yield define
    for path in made:
        control_plane.api.delete(path)


def make(control_plane: ControlPlane, collection: str, kind: str, name: str, spec: Object) -> str:
    """Make a custom resource in a collection of a namespace; its path."""
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
    return control_plane.api.get(path).get("status", {}).get("state")


def test_nim_needs_its_cache_and_its_gpus(control_plane: ControlPlane, namespace: str, define: Any) -> None:
    define("apps.nvidia.com/v1alpha1", "NIMCache", "NIMService")
    service = make(control_plane, operators.at(operators.NIM_SERVICES, namespace), "NIMService", "n", NIM_SERVICE)
    wait("it waits for its cache", lambda: state(control_plane, service), lambda seen: seen == "Pending")
    cache_spec = {
        "source": {"ngc": {"modelPuller": "none.invalid/nim:1.8.3"}},
        "storage": {"pvc": {"create": True, "size": "50Gi", "volumeAccessMode": "ReadWriteOnce"}},
    }
    cache = make(control_plane, operators.at(operators.NIM_CACHES, namespace), "NIMCache", "n", cache_spec)
    wait("it waits for a node", lambda: state(control_plane, cache), lambda seen: seen == "InProgress")
    control_plane.add_nodes(1)
    wait("it is filled", lambda: state(control_plane, cache), lambda seen: seen == "Ready")
    assert claims(control_plane.api, namespace) == {"n-pvc": "Bound"}
    control_plane.add_gpu_nodes(1, gpus=3)
    wait(
        "one of two replicas runs",
        lambda: phases(control_plane.api, namespace),
        lambda seen: seen == ["Pending", "Running", "Succeeded"],
    )
    assert state(control_plane, service) == "NotReady"
    control_plane.add_gpu_nodes(1, gpus=2)
    wait("it is ready", lambda: state(control_plane, service), lambda seen: seen == "Ready")
    assert control_plane.api.exists(f"/api/v1/namespaces/{namespace}/services/n")


def test_nim_follows_its_spec_and_its_owner(control_plane: ControlPlane, namespace: str, define: Any) -> None:
    define("apps.nvidia.com/v1alpha1", "NIMCache", "NIMService")
    control_plane.add_gpu_nodes(1, gpus=8)  # an update needs room for one replica more
    spec: Object = NIM_SERVICE | {"storage": {}, "replicas": 1}
    service = make(control_plane, operators.at(operators.NIM_SERVICES, namespace), "NIMService", "n", spec)
    wait("it is ready", lambda: state(control_plane, service), lambda seen: seen == "Ready")
    control_plane.api.patch(service, {"spec": {"replicas": 2, "image": {"tag": "1.8.4"}}})
    deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/n"
    wait(
        "both run the new image",
        lambda: [
            (pod["spec"]["containers"][0]["image"], pod["status"]["phase"])
            for pod in control_plane.api.items(f"/api/v1/namespaces/{namespace}/pods")
        ],
        lambda seen: seen == [("none.invalid/nim:1.8.4", "Running")] * 2,
    )
    control_plane.api.delete(service)
    # the garbage collector looks for new kinds of owners every 30 s
    wait("all goes with it", lambda: control_plane.api.exists(deployment), lambda there: not there)


def test_postgres(control_plane: ControlPlane, namespace: str, define: Any) -> None:
    define("postgresql.cnpg.io/v1", "Cluster", "Database")
    spec: Object = {"instances": 2, "imageName": "none.invalid/pg", "storage": {"size": "20Gi"}}
    cluster = make(control_plane, operators.at(operators.POSTGRES, namespace), "Cluster", "pg", spec)
    database = make(
        control_plane,
        operators.at(operators.DATABASES, namespace),
        "Database",
        "d",
        {"cluster": {"name": "pg"}, "name": "d"},
    )
    wait("not applied", lambda: control_plane.api.get(database).get("status"), lambda seen: seen == {"applied": False})
    control_plane.add_nodes(1)
    wait("applied", lambda: control_plane.api.get(database).get("status"), lambda seen: seen == {"applied": True})
    assert control_plane.api.get(cluster)["status"]["readyInstances"] == 2
    assert claims(control_plane.api, namespace) == {"pgdata-pg-0": "Bound", "pgdata-pg-1": "Bound"}
    made = {
        service["metadata"]["name"] for service in control_plane.api.items(f"/api/v1/namespaces/{namespace}/services")
    }
    assert made == {"pg-rw", "pg-ro", "pg-r"}


def test_certificate_becomes_ready(control_plane: ControlPlane, namespace: str, define: Any) -> None:
    define("cert-manager.io/v1", "Certificate")
    path = make(
        control_plane,
        operators.at("/apis/cert-manager.io/v1/certificates", namespace),
        "Certificate",
        "c",
        {"secretName": "s"},
    )
    wait("ready", lambda: control_plane.api.get(path).get("status", {}).get("conditions"), bool)
    assert control_plane.api.get(f"/api/v1/namespaces/{namespace}/secrets/s")["type"] == "kubernetes.io/tls"


def test_load_balancers_get_an_address(control_plane: ControlPlane, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    for kind in ("LoadBalancer", "ClusterIP"):
        body = {"metadata": {"name": kind.lower()}, "spec": {"type": kind, "ports": [{"port": 80}]}}
        control_plane.api.create(path, body)

    def addresses() -> dict[str, Any]:
        found = control_plane.api.items(path)
        return {one["metadata"]["name"]: one["status"]["loadBalancer"].get("ingress") for one in found}

    wait("an address", addresses, lambda seen: bool(seen["loadbalancer"]))
    assert addresses() == {"loadbalancer": [{"ip": operators.ADDRESS, "ipMode": "VIP"}], "clusterip": None}
