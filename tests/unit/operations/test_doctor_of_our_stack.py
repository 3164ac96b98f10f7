"""The doctor has nothing to say against what the Kubernetes program itself makes: policies, routes, outputs.

The objects are those of infra/, so a change there that the doctor would call wrong fails here.
"""

import copy
from typing import Any

import pytest

from infra.cluster import outputs
from infra.config import ClusterStackConfig
from infra.topology import resolve_topology
from operations.cluster_snapshot import Snapshot
from operations.doctor import network
from operations.doctor.check import Evidence
from operations.port_forward.session import KEYS, plan
from tests.unit.infra.cluster_support import SECRETS, config_for
from tests.unit.infra.from_settings import gateway_objects, ingress_objects, policies
from tests.unit.operations import healthy_cluster as h

LAYOUTS = ("per-service", "single")
ROUTES: list[dict[str, Any]] = [
    {"kind": "gateway", "gateway": {"controller": "envoy"}},
    {"kind": "ingress", "ingress": {"controller": "nginx"}},
    {"kind": "ingress", "ingress": {"controller": "nginx-f5"}},
    {"kind": "ingress", "ingress": {"controller": "alb"}, "load_balancer_cidrs": ["10.1.0.0/16"]},
]


def snapshot(config: ClusterStackConfig, *more: dict[str, Any]) -> Snapshot:
    """The namespaces, Services and policies of a stack."""
    topology = resolve_topology(config)
    stack_outputs = outputs.outputs(config, topology, SECRETS, None, None)
    found = [h.thing("Namespace", name) for name in topology.namespaces]
    for entry in outputs.list_entries(topology.addresses).values():
        ports = [{"port": entry.port, "targetPort": entry.port if entry.service != "mlflow-tracking" else 5000}]
        spec = {"clusterIP": "10.96.0.9", "ports": ports}
        found.append(h.thing("Service", entry.service, entry.namespace, spec=spec))
    for (namespace, name), spec in policies(config).items():
        found.append(h.thing("NetworkPolicy", name, namespace, spec=spec))
    return h.snapshot([*found, *copy.deepcopy(more)], outputs=stack_outputs, tails=())


def seen(found: Snapshot, name: str) -> list[Evidence]:
    return list(next(check for check in network.CHECKS if check.name == name).look(found))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("target", ["existing", "gke"])
def test_policies(target: str, layout: str) -> None:
    found = snapshot(config_for(target, layout=layout))
    assert len(found.all("NetworkPolicy")) > 8
    assert seen(found, "DNS policy") == []
    assert seen(found, "MLflow policy") == []


def test_policies_are_really_judged() -> None:
    """Without the rules for DNS and MLflow the same stack is found wanting."""
    found = snapshot(config_for("existing", layout="per-service"))
    kept = [one for one in found.objects if not one["metadata"]["name"].startswith("allow-dns")]
    broken = h.snapshot(kept, outputs=found.outputs, tails=())
    assert len(seen(broken, "DNS policy")) > 5
    assert any("no way out to MLflow" in one.what for one in seen(broken, "MLflow policy"))


@pytest.mark.parametrize("said", ROUTES, ids=lambda said: said[said["kind"]]["controller"])
def test_routes(said: dict[str, Any]) -> None:
    config = config_for("existing", routes={"domain": "ai.example.com", **said})
    made = gateway_objects(config) if said["kind"] == "gateway" else ingress_objects(config)
    found = snapshot(config, *made)
    assert seen(found, "route limits") == []
    kind = "HTTPRoute" if said["kind"] == "gateway" else "Ingress"
    assert len(found.ours(kind)) > 2
    # ... and without its settings it is
    for one in (*found.ours("Ingress"), *found.ours("HTTPRoute")):
        one["metadata"]["annotations"] = {}
        for rule in one["spec"].get("rules") or []:
            rule.pop("timeouts", None)
    found.all("BackendTrafficPolicy").clear()
    assert seen(found, "route limits")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_outputs_can_be_forwarded(layout: str) -> None:
    config = config_for("existing", layout=layout)
    planned = plan(outputs.outputs(config, resolve_topology(config), SECRETS, None, None))
    assert {forward.name for forward in planned.forwards} >= {
        "data_store",
        "nim",
        "mlflow",
        "entity_store",
        "evaluator",
    }
    ports = {forward.name: forward.local_port for forward in planned.forwards if forward.name in KEYS}
    assert planned.front_port == 18080
    assert ports == {"data_store": 18081, "nim": 18082, "mlflow": 18083}
    assert "/v1/customization" in planned.routes
