"""Custom resources of routes and databases as the program makes them, judged by their definitions: dry runs, strict.

A field that cert-manager, CloudNativePG, Gateway API, Envoy Gateway or Envoy AI Gateway does not know, or a value that
it refuses, fails here for every combination of settings that changes these objects, without a stack.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from infra import names
from infra.config.stack import ClusterStackConfig
from infra.platform.postgres import cluster_spec, database_owners, database_spec
from infra.topology import resolve_topology
from simulator.api import STRICT, ApiError, Object
from simulator.control_plane import ControlPlane
from tests.simulator.support import custom_kinds
from tests.unit.infra.cluster_support import config_for
from tests.unit.infra.from_settings import certificate_objects, gateway_objects

pytestmark = pytest.mark.slow
DOMAIN = {"domain": "nemo.example.com"}
CERTIFICATES: list[Object] = [
    {"kind": "none"},
    {"kind": "self-signed"},
    {"kind": "letsencrypt", "email": "ops@example.com"},
    {"kind": "issuer", "name": "corporate"},
    {"kind": "secret", "name": "ours"},
]
NOTATIONS = {
    "cert-manager.io/v1": ["Certificate", "ClusterIssuer!"],
    "postgresql.cnpg.io/v1": ["Cluster", "Database"],
    "gateway.networking.k8s.io/v1": ["GatewayClass! (gatewayclasses)", "Gateway", "HTTPRoute"],
    "networking.gke.io/v1": ["GCPBackendPolicy (gcpbackendpolicies)", "HealthCheckPolicy (healthcheckpolicies)"],
    "gateway.envoyproxy.io/v1alpha1": [
        "EnvoyProxy (envoyproxies)",
        "BackendTrafficPolicy (backendtrafficpolicies)",
        "ClientTrafficPolicy (clienttrafficpolicies)",
        "Backend",
    ],
    "aigateway.envoyproxy.io/v1beta1": ["AIGatewayRoute", "AIServiceBackend"],
}


@pytest.fixture(scope="module")
def collections(control_plane: ControlPlane) -> Iterator[dict[str, str]]:
    """Define the kinds; kind -> collection of its objects in namespace `default`, or in none."""
    definitions = [(api, notation) for api, notations in NOTATIONS.items() for notation in notations]
    with custom_kinds(control_plane, definitions) as by_kind:
        yield by_kind


def take(plane: ControlPlane, collections: dict[str, str], objects: list[Object]) -> set[str]:
    """Let the API server judge the objects that it has a definition of; their kinds."""
    seen = set()
    for made in objects:
        if made["kind"] in collections:
            body = {**made, "metadata": {key: value for key, value in made["metadata"].items() if key != "namespace"}}
            plane.api.create(collections[made["kind"]] + STRICT, body)
            seen.add(made["kind"])
    return seen


@pytest.mark.parametrize("tls", CERTIFICATES, ids=lambda tls: tls["kind"])
@pytest.mark.parametrize("controller", ["envoy", "istio", "traefik", "other"])
def test_routes_by_gateways(
    control_plane: ControlPlane, collections: dict[str, str], controller: str, tls: dict[str, Any]
) -> None:
    gateway: Object = {"controller": controller} | ({"class_name": "theirs"} if controller == "other" else {})
    for more in ({"internal": False}, {"internal": tls["kind"] != "letsencrypt", "stream_timeout_s": 7200}):
        config = config_for("existing", routes={"kind": "gateway", **DOMAIN, "gateway": gateway, "tls": tls, **more})
        objects = [*certificate_objects(config, None), *gateway_objects(config)]
        seen = take(control_plane, collections, objects)
        assert {"Gateway", "HTTPRoute"} <= seen
        assert ("BackendTrafficPolicy" in seen) == (controller == "envoy")
        assert ("Certificate" in seen) == (tls["kind"] not in ("none", "secret"))


@pytest.mark.parametrize("existing", [None, "infra/shared"])
def test_routes_by_models(control_plane: ControlPlane, collections: dict[str, str], existing: str | None) -> None:
    gateway = {"model_aliases": True, "existing": existing}
    config = config_for("existing", routes={"kind": "gateway", **DOMAIN, "gateway": gateway, "stream_timeout_s": 7200})
    seen = take(control_plane, collections, gateway_objects(config))
    assert {"AIGatewayRoute", "AIServiceBackend", "Backend", "BackendTrafficPolicy"} <= seen
    assert ("ClientTrafficPolicy" in seen) == (existing is None)


@pytest.mark.parametrize("internal", [True, False])
def test_policies_of_gke(control_plane: ControlPlane, collections: dict[str, str], internal: bool) -> None:
    routes = {"kind": "gateway", **DOMAIN, "internal": internal, "gateway": {"controller": "gke"}}
    if internal:
        routes["load_balancer_cidrs"] = ["10.60.0.0/23"]
    objects = gateway_objects(config_for("gke", routes=routes))
    assert {"GCPBackendPolicy", "HealthCheckPolicy"} <= take(control_plane, collections, objects)
    check = next(made for made in objects if made["kind"] == "HealthCheckPolicy")
    check["metadata"]["name"] = "without-a-path"
    del check["spec"]["default"]["config"]["httpHealthCheck"]
    with pytest.raises(ApiError, match="httpHealthCheck must be specified for type HTTP"):
        take(control_plane, collections, [check])


@pytest.mark.parametrize("controller", ["traefik", "nginx-f5"])
@pytest.mark.parametrize("tls", CERTIFICATES[1:4], ids=lambda tls: tls["kind"])
def test_certificates_of_ingresses(
    control_plane: ControlPlane, collections: dict[str, str], controller: str, tls: dict[str, Any]
) -> None:
    routes = {"kind": "ingress", **DOMAIN, "internal": False, "ingress": {"controller": controller}, "tls": tls}
    objects = certificate_objects(config_for("existing", routes=routes), "theirs")
    assert "Certificate" in take(control_plane, collections, objects)


def postgres_objects(config: ClusterStackConfig) -> list[Object]:
    api, metadata = "postgresql.cnpg.io/v1", {"name": names.POSTGRES_CLUSTER}
    databases = resolve_topology(config).databases
    spec = cluster_spec(config.postgres, list(databases.values()), "standard")
    made = [{"apiVersion": api, "kind": "Cluster", "metadata": metadata, "spec": spec}]
    return made + [
        {"apiVersion": api, "kind": "Database", "metadata": {"name": name}, "spec": database_spec(name, owner)}
        for name, owner in database_owners(databases, mlflow_logins=config.mlflow.basic_auth).items()
    ]


@pytest.mark.parametrize("settings", [{}, {"postgres": {"instances": 1}}, {"mlflow": {"basic_auth": True}}])
def test_databases(control_plane: ControlPlane, collections: dict[str, str], settings: dict[str, Any]) -> None:
    objects = postgres_objects(config_for("existing", **settings))
    assert take(control_plane, collections, objects) == {"Cluster", "Database"}
