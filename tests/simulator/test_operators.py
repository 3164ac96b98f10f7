"""What the simulated operators make of custom resources follows from what is free and ready in the cluster."""

from pathlib import Path
from typing import Any

import pytest

from simulator.api import Object, wait
from simulator.control_plane import ControlPlane
from simulator.operators.certificates import CERTIFICATES, ISSUERS
from simulator.operators.gateways import CONTROLLER, GATEWAYS, ROUTES
from simulator.operators.load_balancers import ADDRESS
from simulator.operators.postgres import DATABASES, POSTGRES
from simulator.operators.rounds import at
from tests.simulator.support import admission, claims, create_resource, refusal

pytestmark = pytest.mark.slow


PG: Object = {"instances": 2, "imageName": "none.invalid/pg:17.6", "storage": {"size": "20Gi"}}


def status_of(plane: ControlPlane, path: str) -> Any:
    """Return the status of an object, None if it has none."""
    return plane.api.get(path).get("status")


def login(name: str) -> Object:
    """Return a Secret with a login, as a managed role needs one."""
    return {"metadata": {"name": f"{name}-login"}, "stringData": {"username": name, "password": "simulated"}}


def test_postgres(control_plane: ControlPlane, namespace: str, define: Any) -> None:
    define("postgresql.cnpg.io/v1", "Cluster", "Database")
    cluster = create_resource(control_plane, at(POSTGRES, namespace), "Cluster", "pg", PG)
    spec: Object = {"cluster": {"name": "pg"}, "name": "d", "owner": "app"}
    database = create_resource(control_plane, at(DATABASES, namespace), "Database", "d", spec)
    wait("not applied", lambda: status_of(control_plane, database), lambda seen: seen == {"applied": False})
    control_plane.add_nodes(1)
    wait("applied", lambda: status_of(control_plane, database), lambda seen: seen == {"applied": True})
    assert status_of(control_plane, cluster)["readyInstances"] == 2
    assert claims(control_plane.api, namespace) == {"pgdata-pg-0": "Bound", "pgdata-pg-1": "Bound"}

    def names_of(plural: str) -> set[str]:
        found = control_plane.api.items(f"/api/v1/namespaces/{namespace}/{plural}")
        return {one["metadata"]["name"] for one in found}

    assert names_of("services") == {"pg-rw", "pg-ro", "pg-r"}
    assert names_of("secrets") == {"pg-app", "pg-ca", "pg-replication", "pg-server"}


def test_a_database_needs_a_role_and_a_role_its_own_login(
    control_plane: ControlPlane, namespace: str, define: Any
) -> None:
    define("postgresql.cnpg.io/v1", "Cluster", "Database")
    control_plane.add_nodes(1)
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    control_plane.api.create(secrets, login("someone-else"))
    roles = [{"name": "store", "login": True, "passwordSecret": {"name": "someone-else-login"}}]
    cluster = create_resource(
        control_plane, at(POSTGRES, namespace), "Cluster", "pg", PG | {"managed": {"roles": roles}}
    )
    spec: Object = {"cluster": {"name": "pg"}, "name": "d", "owner": "store"}
    database = create_resource(control_plane, at(DATABASES, namespace), "Database", "d", spec)
    refused = wait("refused", lambda: status_of(control_plane, database), lambda seen: (seen or {}).get("message"))
    assert refused["applied"] is False
    assert 'role "store" does not exist' in refused["message"]
    by_status = status_of(control_plane, cluster)["managedRolesStatus"]["byStatus"]
    assert by_status == {"reconciled": [], "pending-reconciliation": ["store"]}, "the login is of another"

    control_plane.api.create(secrets, login("store"))
    roles[0]["passwordSecret"] = {"name": "store-login"}
    control_plane.api.patch(cluster, {"spec": {"managed": {"roles": roles}}})
    wait("applied", lambda: status_of(control_plane, database), lambda seen: seen == {"applied": True, "message": ""})


REFUSED_CLUSTERS: list[tuple[Object, str]] = [
    ({"storage": {}}, "Size not configured"),
    ({"imageName": "none.invalid/pg:latest"}, "invalid version tag"),
    ({"imageName": "none.invalid/pg"}, "invalid version tag"),
    ({"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}}, "Memory request is greater"),
    (
        {"resources": {"requests": {"memory": "128Mi"}}, "postgresql": {"parameters": {"shared_buffers": "256MB"}}},
        "lower than PostgreSQL `shared_buffers`",
    ),
    ({"managed": {"roles": [{"name": "postgres"}]}}, "This role is reserved for operator use"),
    ({"managed": {"roles": [{"name": "pg_read"}]}}, "This role is reserved for operator use"),
    ({"managed": {"roles": [{"name": "a"}, {"name": "a"}]}}, "Role name is duplicate of another"),
]


def test_the_webhook_of_postgres_refuses_what_the_original_refuses(
    control_plane: ControlPlane, namespace: str, define: Any, charts: Path
) -> None:
    define("postgresql.cnpg.io/v1", "Cluster")
    control_plane.add_nodes(1)
    collection = at(POSTGRES, namespace)
    path = create_resource(control_plane, collection, "Cluster", "pg", PG)

    def create(changes: Object, name: str = "new") -> str:
        body = {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": {"name": name}}
        return refusal(control_plane, "POST", f"{collection}?dryRun=All", body | {"spec": PG | changes})

    def change(spec: Object) -> str:
        return refusal(control_plane, "PATCH", f"{path}?dryRun=All", {"spec": spec})

    with admission(control_plane, charts, "cloudnative-pg"):
        wait("the policy is in force", lambda: create({"storage": {}}), lambda text: "Size not configured" in text)
        fits = {"resources": {"requests": {"memory": "1Gi"}}, "postgresql": {"parameters": {"shared_buffers": "256MB"}}}
        assert create(fits) == ""
        for changes, says in REFUSED_CLUSTERS:
            assert says in create(changes), changes
        assert "the maximum length of a cluster name is 50" in create({}, "n" * 51)
        assert "must be a valid DNS label" in create({}, "with.dots")
        wait("its version is known", lambda: (status_of(control_plane, path) or {}).get("pgDataImageInfo"))
        assert "can't shrink existing storage" in change({"storage": {"size": "10Gi"}})
        assert "can't downgrade" in change({"imageName": "none.invalid/pg:16.9"})
        assert change({"storage": {"size": "30Gi"}, "imageName": "none.invalid/pg:18.0"}) == ""


def conditions(plane: ControlPlane, path: str) -> dict[str, tuple[str, str]]:
    """Return status and reason of each condition of an object."""
    found = (status_of(plane, path) or {}).get("conditions", [])
    return {one["type"]: (one["status"], one["reason"]) for one in found}


def test_a_certificate_needs_an_issuer_that_is_ready(control_plane: ControlPlane, namespace: str, define: Any) -> None:
    define("cert-manager.io/v1", "Certificate", "Issuer")
    certificates = at(CERTIFICATES, namespace)
    spec: Object = {"secretName": "s", "dnsNames": ["a.example.com"], "issuerRef": {"name": "authority"}}
    path = create_resource(control_plane, certificates, "Certificate", "c", spec)
    wait("waits", lambda: conditions(control_plane, path), lambda seen: seen == {"Ready": ("False", "DoesNotExist")})
    issuer = create_resource(
        control_plane, at(ISSUERS, namespace), "Issuer", "authority", {"ca": {"secretName": "key"}}
    )
    wait(
        "no key", lambda: conditions(control_plane, issuer), lambda seen: seen == {"Ready": ("False", "ErrGetKeyPair")}
    )
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    assert not control_plane.api.exists(f"{secrets}/s")
    own: Object = {"secretName": "key", "commonName": "us", "isCA": True, "issuerRef": {"name": "bootstrap"}}
    create_resource(control_plane, at(ISSUERS, namespace), "Issuer", "bootstrap", {"selfSigned": {}})
    create_resource(control_plane, certificates, "Certificate", "authority", own)
    wait("ready", lambda: conditions(control_plane, path), lambda seen: seen == {"Ready": ("True", "Ready")})
    assert control_plane.api.get(f"{secrets}/s")["type"] == "kubernetes.io/tls"
    control_plane.api.delete(path)
    assert control_plane.api.exists(f"{secrets}/s"), "the Secret outlives its Certificate"


REFUSED_CERTIFICATES: list[tuple[Object, str]] = [
    ({"dnsNames": []}, "at least one of commonName"),
    ({"commonName": "c" * 65}, "spec.commonName: Too long"),
    ({"issuerRef": {"name": "i", "kind": "ClusterIsuer"}}, "must be one of Issuer or ClusterIssuer"),
    ({"privateKey": {"algorithm": "ECDSA", "size": 2048}}, "supported values: 256, 384, 521"),
    ({"privateKey": {"algorithm": "RSA", "size": 1024}}, "must be between 2048 and 8192"),
]


def test_the_webhook_of_cert_manager_refuses_what_the_original_refuses(
    control_plane: ControlPlane, namespace: str, define: Any, charts: Path
) -> None:
    define("cert-manager.io/v1", "Certificate")
    collection = at(CERTIFICATES, namespace)
    spec: Object = {"secretName": "s", "dnsNames": ["a.example.com"], "issuerRef": {"name": "i"}}
    create_resource(control_plane, collection, "Certificate", "c", spec)  # the kind is served

    def create(changes: Object) -> str:
        body = {"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": {"name": "n"}}
        return refusal(control_plane, "POST", f"{collection}?dryRun=All", body | {"spec": spec | changes})

    with admission(control_plane, charts, "cert-manager"):
        wait("the policy is in force", lambda: create({"dnsNames": []}), lambda text: "at least one of" in text)
        assert create({"privateKey": {"algorithm": "ECDSA", "size": 256}}) == ""
        for changes, says in REFUSED_CERTIFICATES:
            assert says in create(changes), changes


def test_gateways_report_wrong_references_in_their_status(
    control_plane: ControlPlane, namespace: str, define: Any
) -> None:
    define("gateway.networking.k8s.io/v1", "GatewayClass! (gatewayclasses)", "Gateway", "HTTPRoute")
    listeners = [
        {"name": "http", "protocol": "HTTP", "port": 80, "allowedRoutes": {"namespaces": {"from": "Same"}}},
        {"name": "https", "protocol": "HTTPS", "port": 443, "tls": {"certificateRefs": [{"name": "certificate"}]}},
    ]
    spec: Object = {"gatewayClassName": "envoy", "listeners": listeners}
    made = create_resource(control_plane, at(GATEWAYS, namespace), "Gateway", "g", spec)

    def route(name: str, section: str = "http", service: str = "web", port: int = 80) -> str:
        """Create a route; its path."""
        rules = [{"backendRefs": [{"name": service, "port": port}]}]
        parents = [{"name": "g", "sectionName": section}]
        spec = {"parentRefs": parents, "rules": rules}
        return create_resource(control_plane, at(ROUTES, namespace), "HTTPRoute", name, spec)

    def verdicts(path: str) -> dict[str, tuple[str, str]]:
        parents = (status_of(control_plane, path) or {}).get("parents", [])
        return {one["type"]: (one["status"], one["reason"]) for parent in parents for one in parent["conditions"]}

    good = route("good")
    assert conditions(control_plane, made) == {}, "nobody takes a Gateway whose class is not there"
    classes = "/apis/gateway.networking.k8s.io/v1/gatewayclasses"
    named = create_resource(control_plane, classes, "GatewayClass", "envoy", {"controllerName": CONTROLLER})
    try:
        services = f"/api/v1/namespaces/{namespace}/services"
        wait(
            "no backend", lambda: verdicts(good).get("ResolvedRefs"), lambda seen: seen == ("False", "BackendNotFound")
        )
        control_plane.api.create(services, {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}})
        fine = {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs")}
        wait("all is well", lambda: verdicts(good), lambda seen: seen == fine)
        nowhere, closed = route("nowhere", "htpp"), route("closed", port=81)
        wait(
            "no listener", lambda: verdicts(nowhere).get("Accepted"), lambda seen: seen == ("False", "NoMatchingParent")
        )
        wait("no port", lambda: verdicts(closed).get("ResolvedRefs"), lambda seen: seen == ("False", "PortNotFound"))
        assert conditions(control_plane, made).keys() == {"Accepted", "Programmed"}

        def listener_states() -> dict[str, tuple[str, str]]:
            found = (status_of(control_plane, made) or {}).get("listeners", [])
            (https,) = [one for one in found if one["name"] == "https"]
            return {one["type"]: (one["status"], one["reason"]) for one in https["conditions"]}

        assert listener_states()["ResolvedRefs"] == ("False", "InvalidCertificateRef")
        assert listener_states()["Programmed"] == ("False", "Invalid")
        secret = {"metadata": {"name": "certificate"}, "stringData": {"tls.crt": "simulated", "tls.key": "simulated"}}
        control_plane.api.create(f"/api/v1/namespaces/{namespace}/secrets", secret)
        wait("programmed", lambda: listener_states()["Programmed"][0], lambda seen: seen == "True")
    finally:
        control_plane.api.delete(named)


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
