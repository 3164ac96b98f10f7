"""A real API server takes the policies and Ingresses that the program makes, unknown fields counting as errors.

Nothing is kept: every request is a dry run. Whether a network plugin or an Ingress controller acts on them is another
matter, and there is none here.
"""

from typing import Any

import pytest

from simulator.api import STRICT, ApiError
from simulator.control_plane import ControlPlane
from tests.unit.infra.cluster_support import config_for
from tests.unit.infra.from_settings import ingress_objects, policies

pytestmark = pytest.mark.slow

GROUP = "/apis/networking.k8s.io/v1/namespaces/default"
ALL = {"guardrails": True, "deployment_management": True, "nim_proxy": True}


def take(plane: ControlPlane, collection: str, made: dict[str, Any]) -> None:
    """Let the API server judge an object, in a namespace that is there."""
    there = made | {"metadata": made["metadata"] | {"namespace": "default"}}
    plane.api.create(f"{GROUP}/{collection}{STRICT}", there)


@pytest.mark.parametrize("layout", ["per-service", "single"])
@pytest.mark.parametrize(
    "routes",
    [
        {"kind": "gateway", "domain": "ai.example.com"},
        {"kind": "gateway", "domain": "a.b", "gateway": {"controller": "gke"}, "load_balancer_cidrs": ["10.7.0.0/23"]},
    ],
    ids=["namespaces", "networks"],
)
def test_policies(control_plane: ControlPlane, layout: str, routes: dict[str, Any]) -> None:
    config = config_for(
        "gke",
        layout=layout,
        routes=routes,
        services=ALL,
        prerequisites={"nim_operator": "install"},
        observability={"prometheus": "install"},
        security={"node_local_dns": True, "clients": ["notebooks"], "internet_cidrs": ["0.0.0.0/0", "::/0"]},
    )
    found = policies(config)
    assert len(found) > 12
    for (_, name), spec in found.items():
        take(control_plane, "networkpolicies", {"metadata": {"name": name}, "spec": spec})


@pytest.mark.parametrize("controller", ["traefik", "alb", "nginx-f5", "nginx", "other"])
@pytest.mark.parametrize("tls", ["none", "self-signed"])
def test_ingresses(control_plane: ControlPlane, controller: str, tls: str) -> None:
    kind = "acm" if (controller, tls) == ("alb", "self-signed") else tls
    said = {"controller": controller} | ({"class_name": "theirs"} if controller == "other" else {})
    config = config_for("eks", routes={"kind": "ingress", "domain": "a.b", "ingress": said, "tls": {"kind": kind}})
    found = [made for made in ingress_objects(config) if made["kind"] == "Ingress"]
    assert len(found) > 7
    for made in found:
        take(control_plane, "ingresses", made)


def test_it_would_refuse_what_is_wrong(control_plane: ControlPlane) -> None:
    spec: dict[str, Any] = {"podSelector": {}, "egress": [{"too": []}]}
    with pytest.raises(ApiError, match="unknown field"):
        take(control_plane, "networkpolicies", {"metadata": {"name": "wrong"}, "spec": spec})
