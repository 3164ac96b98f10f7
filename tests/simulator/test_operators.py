"""What the simulated operators make of custom resources follows from what is free and ready in the cluster."""

from typing import Any

import pytest

from simulator.api import Object, wait
from simulator.control_plane import ControlPlane
from simulator.operators.postgres import DATABASES, POSTGRES
from simulator.operators.rounds import at
from simulator.operators.routes import ADDRESS
from tests.simulator.support import claims, create_resource

pytestmark = pytest.mark.slow


def test_postgres(control_plane: ControlPlane, namespace: str, define: Any) -> None:
    define("postgresql.cnpg.io/v1", "Cluster", "Database")
    spec: Object = {"instances": 2, "imageName": "none.invalid/pg", "storage": {"size": "20Gi"}}
    cluster = create_resource(control_plane, at(POSTGRES, namespace), "Cluster", "pg", spec)
    database = create_resource(
        control_plane,
        at(DATABASES, namespace),
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
    path = create_resource(
        control_plane,
        at("/apis/cert-manager.io/v1/certificates", namespace),
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
    assert addresses() == {"loadbalancer": [{"ip": ADDRESS, "ipMode": "VIP"}], "clusterip": None}
