"""The definitions of custom resources refuse what the originals refuse: fields, types, limits and rules (dry runs)."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from simulator.api import STRICT, ApiError, Object
from simulator.control_plane import ControlPlane
from tests.simulator.support import custom_kinds

pytestmark = pytest.mark.slow
CERT_MANAGER, CNPG, GATEWAY = "cert-manager.io/v1", "postgresql.cnpg.io/v1", "gateway.networking.k8s.io/v1"
ENVOY, AI = "gateway.envoyproxy.io/v1alpha1", "aigateway.envoyproxy.io/v1beta1"
# kind -> group and version, how generate.definition is told of it, plural, a spec that every original takes
KINDS: dict[str, tuple[str, str, str, Object]] = {
    "Certificate": (CERT_MANAGER, "Certificate", "certificates", {"secretName": "s", "issuerRef": {"name": "i"}}),
    "ClusterIssuer": (CERT_MANAGER, "ClusterIssuer!", "clusterissuers", {"ca": {"secretName": "s"}}),
    "Cluster": (CNPG, "Cluster", "clusters", {"instances": 2, "storage": {"size": "1Gi"}}),
    "Database": (CNPG, "Database", "databases", {"name": "d", "owner": "o", "cluster": {"name": "c"}}),
    "GatewayClass": (
        GATEWAY,
        "GatewayClass! (gatewayclasses)",
        "gatewayclasses",
        {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
    ),
    "Gateway": (
        GATEWAY,
        "Gateway",
        "gateways",
        {"gatewayClassName": "c", "listeners": [{"name": "http", "protocol": "HTTP", "port": 80}]},
    ),
    "HTTPRoute": (GATEWAY, "HTTPRoute", "httproutes", {"rules": [{"backendRefs": [{"name": "s", "port": 80}]}]}),
    "EnvoyProxy": (ENVOY, "EnvoyProxy (envoyproxies)", "envoyproxies", {"provider": {"type": "Kubernetes"}}),
    "BackendTrafficPolicy": (
        ENVOY,
        "BackendTrafficPolicy (backendtrafficpolicies)",
        "backendtrafficpolicies",
        {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "r"}]},
    ),
    "ClientTrafficPolicy": (
        ENVOY,
        "ClientTrafficPolicy (clienttrafficpolicies)",
        "clienttrafficpolicies",
        {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g"}]},
    ),
    "Backend": (ENVOY, "Backend", "backends", {"endpoints": [{"fqdn": {"hostname": "nim.svc", "port": 8000}}]}),
    "AIGatewayRoute": (AI, "AIGatewayRoute", "aigatewayroutes", {"rules": [{"backendRefs": [{"name": "b"}]}]}),
    "AIServiceBackend": (
        AI,
        "AIServiceBackend",
        "aiservicebackends",
        {
            "schema": {"name": "OpenAI"},
            "backendRef": {"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "b"},
        },
    ),
}
HTTPS = {"name": "https", "protocol": "HTTPS", "port": 443}
REFUSED: list[tuple[str, Object, str]] = [
    ("Certificate", {"dnsName": ["a"]}, 'unknown field "spec.dnsName"'),
    ("Certificate", {"secretName": None}, "spec.secretName: Required value"),
    ("Certificate", {"issuerRef": {"kind": "ClusterIssuer"}}, "spec.issuerRef.name: Required value"),
    ("Certificate", {"privateKey": {"algorithm": "DSA"}}, "spec.privateKey.algorithm: Unsupported value"),
    ("ClusterIssuer", {"ca": {}}, "spec.ca.secretName: Required value"),
    ("ClusterIssuer", {"acme": {"server": "s"}}, "spec.acme.privateKeySecretRef: Required value"),
    ("Cluster", {"instances": "two"}, "spec.instances: Invalid value"),
    ("Cluster", {"enablePdb": False}, 'unknown field "spec.enablePdb"'),
    ("Cluster", {"postgresql": {"parameters": {"max_connections": 200}}}, "parameters.max_connections: Invalid value"),
    ("Cluster", {"managed": {"roles": [{"name": "r", "ensure": "gone"}]}}, "ensure: Unsupported value"),
    ("Database", {"name": "postgres"}, "the name postgres is reserved"),
    ("Database", {"owner": None}, "spec.owner: Required value"),
    ("Database", {"databaseReclaimPolicy": "keep"}, "spec.databaseReclaimPolicy: Unsupported value"),
    ("GatewayClass", {"controllerName": "envoy"}, "spec.controllerName: Invalid value"),
    (
        "Gateway",
        {"listeners": [HTTPS | {"tls": {"mode": "Terminate"}}]},
        "certificateRefs or options must be specified",
    ),
    (
        "Gateway",
        {"listeners": [HTTPS | {"protocol": "HTTP", "tls": {"certificateRefs": [{"name": "s"}]}}]},
        "tls must not be specified for protocols",
    ),
    ("Gateway", {"listeners": [HTTPS, HTTPS | {"name": "again"}]}, "Combination of port, protocol and hostname"),
    ("Gateway", {"listeners": [HTTPS, HTTPS]}, "Duplicate value"),
    ("HTTPRoute", {"hostnames": ["Not A Host"]}, "spec.hostnames[0]: Invalid value"),
    ("HTTPRoute", {"rules": [{"backendRefs": [{"name": "s"}]}]}, "Must have port for Service reference"),
    ("HTTPRoute", {"rules": [{"matches": [{"path": {"value": "v1"}}]}]}, "must be an absolute path"),
    ("HTTPRoute", {"rules": [{"timeouts": {"request": "5 minutes"}}]}, "timeouts.request: Invalid value"),
    (
        "HTTPRoute",
        {"rules": [{"timeouts": {"request": "1s", "backendRequest": "1m"}}]},
        "backendRequest timeout cannot be longer than request timeout",
    ),
    (
        "HTTPRoute",
        {
            "rules": [
                {
                    "filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https"}}],
                    "backendRefs": [{"name": "s", "port": 80}],
                }
            ]
        },
        "RequestRedirect filter must not be used together with backendRefs",
    ),
    ("EnvoyProxy", {"provider": {"type": "Kubernetes", "kubernetes": {"envoyPDB": {}}}}, "only one of minAvailable"),
    ("BackendTrafficPolicy", {"timeout": {"http": {"requestTimeout": "never"}}}, "requestTimeout: Invalid value"),
    (
        "BackendTrafficPolicy",
        {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Service", "name": "s"}]},
        "this policy can only have a targetRefs[*].kind of",
    ),
    ("BackendTrafficPolicy", {"targetRefs": None}, "either targetRef or targetRefs must be used"),
    ("BackendTrafficPolicy", {"retry": {"numRetries": -1}}, "should be greater than or equal to 0"),
    ("BackendTrafficPolicy", {"retry": {"retryOn": {"httpStatusCodes": [99]}}}, "should be from 100 to 599"),
    ("BackendTrafficPolicy", {"retry": {"retryOn": {"triggers": ["4xx"]}}}, "triggers[0]: Unsupported value"),
    ("ClientTrafficPolicy", {"connection": {"bufferLimit": "50 MB"}}, "should match the pattern of a quantity"),
    (
        "ClientTrafficPolicy",
        {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "r"}]},
        "this policy can only have a targetRefs[*].kind of Gateway or ListenerSet",
    ),
    ("Backend", {"endpoints": [{}]}, "one of fqdn, ip or unix must be specified"),
    ("Backend", {"endpoints": [{"fqdn": {"hostname": "nim"}}]}, "fqdn.port: Required value"),
    ("AIGatewayRoute", {"parentRefs": [{"kind": "Service", "name": "s"}]}, "only Gateway is supported"),
    ("AIGatewayRoute", {"rules": [{"backendRefs": [{"name": "b"}]}] * 16}, "must have at most 15 items"),
    ("AIGatewayRoute", {"rules": [{"name": "route-not-found"}]}, "rule name route-not-found is reserved"),
    ("AIGatewayRoute", {"rules": [{"backendRefs": [{"name": "b", "weight": -1}]}]}, "greater than or equal to 0"),
    ("AIGatewayRoute", {"rules": [{"matches": [{"headers": [{"name": "n"}]}]}]}, "headers[0].value: Required value"),
    ("AIGatewayRoute", {"rules": [{"matches": [{"path": {"value": "/"}}]}]}, "unknown field"),
    (
        "AIGatewayRoute",
        {"rules": [{"backendRefs": [{"group": "", "kind": "Service", "name": "s"}]}]},
        "only InferencePool from inference.networking.k8s.io group is supported",
    ),
    (
        "AIServiceBackend",
        {"backendRef": {"name": "nim", "port": 8000}},
        "BackendRef must be a Backend resource of Envoy Gateway",
    ),
    ("AIServiceBackend", {"schema": {"name": "NIM"}}, "schema.name: Unsupported value"),
]


@pytest.fixture(scope="module")
def defined(control_plane: ControlPlane) -> Iterator[None]:
    """Define all kinds; they go after the last test."""
    with custom_kinds(control_plane, [(api, notation) for api, notation, _, _ in KINDS.values()]):
        yield


def collection(kind: str) -> str:
    api, notation, plural, _ = KINDS[kind]
    return f"/apis/{api}/{plural}" if "!" in notation else f"/apis/{api}/namespaces/default/{plural}"


def create(plane: ControlPlane, kind: str, changes: Object, name: str = "x") -> Object:
    """Create an object with changes to the spec that all take; a change to None takes a field away."""
    api, _, _, spec = KINDS[kind]
    changed = {key: value for key, value in (deepcopy(spec) | changes).items() if value is not None}
    return plane.api.create(
        f"{collection(kind)}{STRICT}", {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": changed}
    )


@pytest.mark.usefixtures("defined")
@pytest.mark.parametrize(("kind", "changes", "says"), REFUSED, ids=[f"{kind}: {says}" for kind, _, says in REFUSED])
def test_what_the_original_refuses_is_refused(
    control_plane: ControlPlane, kind: str, changes: Object, says: str
) -> None:
    with pytest.raises(ApiError) as refused:
        create(control_plane, kind, changes)
    assert says in str(refused.value)


@pytest.mark.usefixtures("defined")
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_original_takes_is_taken(control_plane: ControlPlane, kind: str) -> None:
    create(control_plane, kind, {})


@pytest.mark.usefixtures("defined")
def test_defaults_are_those_of_the_original(control_plane: ControlPlane) -> None:
    made: dict[str, Any] = create(control_plane, "Cluster", {})["spec"]
    assert (made["enablePDB"], made["enableSuperuserAccess"]) == (True, False)
    assert create(control_plane, "Database", {})["spec"]["databaseReclaimPolicy"] == "retain"
    route = create(control_plane, "HTTPRoute", {"parentRefs": [{"name": "g"}]})["spec"]
    assert route["parentRefs"] == [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g"}]
