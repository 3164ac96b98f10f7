"""Routes: the table against the contract's prefixes, objects of each controller, certificates, URLs."""

import json
from itertools import pairwise
from typing import Any

import pulumi
import pytest

from infra.config import SettingsError
from infra.platform.routing.component import Routes, RoutesArgs
from infra.topology import resolve_topology
from infra.topology.routing import Route
from tests.unit.infra.cluster_support import (
    TARGETS,
    chart_store,
    cluster,
    comes_after,
    config_for,
    every,
    namespaces,
    of_type,
    run,
)
from tests.unit.infra.from_settings import certificate_objects, gateway_objects, ingress_objects

ALL = {"guardrails": True, "deployment_management": True, "nim_proxy": True}
WITH_OPERATOR = {"nim_operator": "install"}
LB = ["10.9.0.0/24"]


def routed(target: str = "existing", **routes: Any) -> Any:
    """Settings with routes below ai.example.com."""
    services = routes.pop("services", {})
    prerequisites = WITH_OPERATOR if services.get("deployment_management") else {}
    said = {"kind": "gateway", "domain": "ai.example.com", "load_balancer_cidrs": LB} | routes
    return config_for(target, routes=said, services=services, prerequisites=prerequisites)


def route_table(config: Any) -> tuple[Route, ...]:
    return resolve_topology(config).routing.routes


def by_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"]: found for found in objects if found["kind"] == kind}


# What NVIDIA's chart routes on its default host, read from the values of 25.12; /v1/hf and /v1/datastore are added.
DEFAULT_HOST = {
    "/v1/namespaces": ("nemo-entity-store", 8000),
    "/v1/projects": ("nemo-entity-store", 8000),
    "/v1/datasets": ("nemo-entity-store", 8000),
    "/v1/repos": ("nemo-entity-store", 8000),
    "/v1/models": ("nemo-entity-store", 8000),
    "/v1/customization": ("nemo-customizer", 8000),
    "/v1/evaluation": ("nemo-evaluator", 7331),
    "/v2/evaluation": ("nemo-evaluator", 7331),
    "/v1/guardrail": ("nemo-guardrails", 7331),
    "/v1/deployment": ("nemo-deployment-management", 8000),
    "/v1/jobs": ("nemo-core-api", 8000),
    "/v2/inference": ("nemo-core-api", 8000),
    "/v2/models": ("nemo-core-api", 8000),
    "/v1/hf": ("nemo-data-store", 3000),
    "/v1/datastore": ("nemo-data-store", 3000),
}
NIM_PATHS = {"/v1/completions", "/v1/chat", "/v1/embeddings", "/v1/classify", "/v1/models", "/v1/health"}


def paths(config: Any, host: str) -> dict[str, tuple[str, int]]:
    found = [
        (prefix, (route.service, route.port))
        for route in route_table(config)
        if route.host == host
        for prefix in route.prefixes
    ]
    assert len(dict(found)) == len(found), f"a path of {host} leads to two services"
    return dict(found)


@pytest.mark.parametrize("kind", ["gateway", "ingress"])
def test_shared_host_has_the_paths_of_the_chart(kind: str) -> None:
    assert paths(routed(kind=kind, services=ALL), "nemo.ai.example.com") == DEFAULT_HOST


def test_other_hosts() -> None:
    config = routed()
    assert paths(config, "data-store.ai.example.com") == {"/": ("nemo-data-store", 3000)}
    assert paths(config, "mlflow.ai.example.com") == {"/": ("mlflow-tracking", 80)}
    first = dict.fromkeys(NIM_PATHS, ("llama3-2-3b-instruct", 8000))
    assert paths(config, "nim.ai.example.com") == first
    assert paths(config, "llama3-2-3b-instruct.ai.example.com") == first


def test_nim_host_is_the_proxy_if_it_runs() -> None:
    config = routed(services=ALL)
    assert paths(config, "nim.ai.example.com") == dict.fromkeys(NIM_PATHS, ("nemo-nim-proxy", 8000))


def test_metrics_are_not_routed() -> None:
    assert not [route for route in route_table(routed(services=ALL)) if "metrics" in " ".join(route.prefixes)]


def test_what_does_not_run_is_not_routed() -> None:
    config = routed()
    assert "nemo-guardrails" not in {route.service for route in route_table(config)}
    assert len({route.name for route in route_table(config)}) == len(route_table(config))
    assert len(resolve_topology(config).routing.backends) == len(
        {(route.namespace, route.service) for route in route_table(config)}
    )


def test_streams_and_uploads_are_marked() -> None:
    marked = {route.name: (route.streams, route.uploads) for route in route_table(routed(services=ALL))}
    assert marked["nemo-customizer"] == marked["host-nim"] == marked["nim-llama3-2-3b-instruct"] == (True, False)
    assert marked["host-data-store"] == marked["nemo-data-store"] == marked["host-mlflow"] == (False, True)
    assert marked["nemo-entity-store"] == (False, False)


@pytest.mark.parametrize(
    ("sections", "urls"),
    [
        (
            {},
            {
                "nemo_url": "http://127.0.0.1:18080",
                "data_store_url": "http://127.0.0.1:18081",
                "nim_url": "http://127.0.0.1:18082",
                "mlflow_url": "http://127.0.0.1:18083",
            },
        ),
        (
            {"routes": {"kind": "gateway", "domain": "a.b", "hosts": {"mlflow": "track.c.d"}}},
            {
                "nemo_url": "http://nemo.a.b",
                "data_store_url": "http://data-store.a.b",
                "nim_url": "http://nim.a.b",
                "mlflow_url": "http://track.c.d",
            },
        ),
        (
            {
                "routes": {"kind": "ingress", "domain": "a.b", "tls": {"kind": "self-signed"}},
                "mlflow": {"mode": "skip"},
            },
            {
                "nemo_url": "https://nemo.a.b",
                "data_store_url": "https://data-store.a.b",
                "nim_url": "https://nim.a.b",
                "mlflow_url": "",
            },
        ),
        (
            {"mlflow": {"mode": "adopt", "url": "https://track.example.com/"}},
            {
                "nemo_url": "http://127.0.0.1:18080",
                "data_store_url": "http://127.0.0.1:18081",
                "nim_url": "http://127.0.0.1:18082",
                "mlflow_url": "https://track.example.com",
            },
        ),
    ],
)
def test_public_urls(sections: dict[str, Any], urls: dict[str, str]) -> None:
    assert resolve_topology(config_for("existing", **sections)).routing.public_urls == urls


# --- Gateway API ---


def test_routes_are_where_their_services_are_and_the_gateway_admits_no_others() -> None:
    config = routed(services=ALL)
    objects = gateway_objects(config)
    routes = by_kind(objects, "HTTPRoute")
    assert {found["metadata"]["namespace"] for found in routes.values()} == set(
        resolve_topology(config).addresses.namespaces
    )
    (listener,) = by_kind(objects, "Gateway")["nemo"]["spec"]["listeners"]
    (admitted,) = listener["allowedRoutes"]["namespaces"]["selector"]["matchExpressions"]
    assert set(admitted["values"]) == set(resolve_topology(config).addresses.namespaces) | {"nemo-gateway"}
    one = routes["nemo-evaluator"]
    assert one["metadata"]["namespace"] == "nemo-evaluator"
    assert one["spec"]["parentRefs"] == [{"namespace": "nemo-gateway", "name": "nemo", "sectionName": "http"}]
    assert one["spec"]["hostnames"] == ["nemo.ai.example.com"]
    (rule,) = one["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": "nemo-evaluator", "port": 7331}]
    assert [match["path"] for match in rule["matches"]] == [
        {"type": "PathPrefix", "value": "/v1/evaluation"},
        {"type": "PathPrefix", "value": "/v2/evaluation"},
    ]


def test_envoy_lets_streams_and_uploads_run() -> None:
    config = routed(stream_timeout_s=7200)
    objects = gateway_objects(config)
    policies = by_kind(objects, "BackendTrafficPolicy")
    assert "nemo-entity-store" not in policies
    assert {"host-nim", "nemo-customizer", "nemo-evaluator", "host-data-store", "host-mlflow"} <= set(policies)
    for name, policy in policies.items():
        route = by_kind(objects, "HTTPRoute")[name]
        assert policy["metadata"]["namespace"] == route["metadata"]["namespace"]
        assert policy["spec"]["targetRefs"] == [
            {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": name}
        ]
        assert policy["spec"]["timeout"]["http"] == {
            "requestTimeout": "0s",
            "maxStreamDuration": "7200s",
            "streamIdleTimeout": "7200s",
        }
        assert "requestBuffer" not in policy["spec"]


@pytest.mark.parametrize(
    ("target", "internal", "wanted"),
    [
        ("gke", True, {"networking.gke.io/load-balancer-type": "Internal"}),
        ("gke", False, {}),
        (
            "eks",
            True,
            {
                "service.beta.kubernetes.io/aws-load-balancer-type": "nlb",
                "service.beta.kubernetes.io/aws-load-balancer-internal": "true",
                "service.beta.kubernetes.io/aws-load-balancer-scheme": "internal",
            },
        ),
        (
            "aks",
            True,
            {
                "service.beta.kubernetes.io/azure-load-balancer-internal": "true",
                "service.beta.kubernetes.io/azure-load-balancer-tcp-idle-timeout": "30",
            },
        ),
        ("minikube", True, {}),
    ],
)
def test_load_balancer_is_internal_in_the_words_of_the_cloud(target: str, internal: bool, wanted: Any) -> None:
    objects = gateway_objects(routed(target, internal=internal))
    proxy = by_kind(objects, "EnvoyProxy")["nemo"]["spec"]["provider"]["kubernetes"]
    # without annotations the field is absent: Pulumi shows an empty map as a change in every preview
    assert proxy.get("envoyService") == ({"annotations": wanted} if wanted else None)
    assert proxy["envoyDeployment"]["replicas"] == (1 if target == "minikube" else 2)


def test_cluster_of_unknown_cloud_says_it_to_all() -> None:
    objects = gateway_objects(routed("existing", gateway={"controller": "istio"}))
    infrastructure = by_kind(objects, "Gateway")["nemo"]["spec"]["infrastructure"]["annotations"]
    assert infrastructure["networking.gke.io/load-balancer-type"] == "Internal"
    assert infrastructure["service.beta.kubernetes.io/azure-load-balancer-internal"] == "true"
    assert infrastructure["service.beta.kubernetes.io/aws-load-balancer-internal"] == "true"


@pytest.mark.parametrize(
    ("said", "target", "name", "made_by"),
    [
        ({}, "existing", "nemo-envoy", "gateway.envoyproxy.io/gatewayclass-controller"),
        ({"install": False}, "existing", "eg", None),
        ({"controller": "gke"}, "gke", "gke-l7-rilb", None),
        ({"controller": "istio"}, "existing", "istio", None),
        ({"controller": "traefik"}, "existing", "traefik", None),
        ({"controller": "aws-lbc"}, "eks", "nemo-alb", "gateway.k8s.aws/alb"),
        ({"controller": "aws-lbc", "class_name": "theirs"}, "eks", "theirs", None),
        ({"controller": "other", "class_name": "kong"}, "existing", "kong", None),
    ],
)
def test_gateway_class(said: dict[str, Any], target: str, name: str, made_by: str | None) -> None:
    objects = gateway_objects(routed(target, gateway=said))
    assert by_kind(objects, "Gateway")["nemo"]["spec"]["gatewayClassName"] == name
    classes = {found: made["spec"]["controllerName"] for found, made in by_kind(objects, "GatewayClass").items()}
    assert classes == ({name: made_by} if made_by else {})


def test_gke_checks_health_and_waits_long_enough() -> None:
    objects = gateway_objects(routed("gke", gateway={"controller": "gke"}, internal=False))
    assert by_kind(objects, "Gateway")["nemo"]["spec"]["gatewayClassName"] == "gke-l7-global-external-managed"
    checks = {
        name: made["spec"]["default"]["config"]["httpHealthCheck"]["requestPath"]
        for name, made in by_kind(objects, "HealthCheckPolicy").items()
    }
    assert checks == {
        "nemo-data-store": "/v1/health",
        "nemo-entity-store": "/health",
        "nemo-customizer": "/v1/health/ready",
        "nemo-evaluator": "/health",
        "nemo-core-api": "/health",
        "llama3-2-3b-instruct": "/v1/health/ready",
        "mlflow-tracking": "/health",
    }
    timeouts = by_kind(objects, "GCPBackendPolicy")
    assert set(checks) - set(timeouts) == {"nemo-entity-store"}
    assert {made["spec"]["default"]["timeoutSec"] for made in timeouts.values()} == {3600}
    for made in [*timeouts.values(), *by_kind(objects, "HealthCheckPolicy").values()]:
        assert made["spec"]["targetRef"] == {"group": "", "kind": "Service", "name": made["metadata"]["name"]}


def test_aws_gateway() -> None:
    objects = gateway_objects(routed("eks", gateway={"controller": "aws-lbc"}, stream_timeout_s=7200))
    assert by_kind(objects, "LoadBalancerConfiguration")["nemo"]["spec"] == {
        "scheme": "internal",
        "loadBalancerAttributes": [{"key": "idle_timeout.timeout_seconds", "value": "4000"}],
    }
    reference = by_kind(objects, "Gateway")["nemo"]["spec"]["infrastructure"]["parametersRef"]
    assert reference == {"group": "gateway.k8s.aws", "kind": "LoadBalancerConfiguration", "name": "nemo"}
    targets = by_kind(objects, "TargetGroupConfiguration")
    assert targets["nemo-data-store"]["spec"]["defaultConfiguration"] == {
        "targetType": "ip",
        "healthCheckConfig": {"healthCheckProtocol": "HTTP", "healthCheckPath": "/v1/health"},
    }


@pytest.mark.parametrize(("controller", "timeouts"), [("istio", True), ("other", True), ("traefik", False)])
def test_portable_timeouts_where_they_are_known(controller: str, timeouts: bool) -> None:
    objects = gateway_objects(routed(gateway={"controller": controller, "class_name": "theirs"}))
    rule = by_kind(objects, "HTTPRoute")["host-nim"]["spec"]["rules"][0]
    assert rule.get("timeouts") == ({"request": "3600s", "backendRequest": "3600s"} if timeouts else None)
    short = by_kind(objects, "HTTPRoute")["nemo-entity-store"]["spec"]["rules"][0]
    assert "timeouts" not in short


def test_existing_gateway_gets_routes_only() -> None:
    config = routed(gateway={"existing": "infra/shared"})
    objects = gateway_objects(config)
    assert {made["kind"] for made in objects} == {"HTTPRoute", "BackendTrafficPolicy"}
    for route in by_kind(objects, "HTTPRoute").values():
        assert route["spec"]["parentRefs"] == [{"namespace": "infra", "name": "shared"}]
    assert not {"nemo-gateway", "envoy-gateway-system"} & set(resolve_topology(config).foundation)


def test_https_and_the_redirect_to_it() -> None:
    config = routed(tls={"kind": "self-signed"}, gateway={"controller": "traefik"})
    objects = gateway_objects(config)
    http, https = by_kind(objects, "Gateway")["nemo"]["spec"]["listeners"]
    assert (http["protocol"], http["port"], https["protocol"], https["port"]) == ("HTTP", 8000, "HTTPS", 8443)
    assert https["tls"]["certificateRefs"] == [{"kind": "Secret", "name": "nemo-routes"}]
    redirect = by_kind(objects, "HTTPRoute").pop("to-https")
    assert redirect["spec"]["parentRefs"] == [{"name": "nemo", "sectionName": "http"}]
    others = [made for name, made in by_kind(objects, "HTTPRoute").items() if name != "to-https"]
    assert {made["spec"]["parentRefs"][0]["sectionName"] for made in others} == {"https"}


def test_own_secret_is_used() -> None:
    objects = gateway_objects(routed(tls={"kind": "secret", "name": "wildcard"}))
    https = by_kind(objects, "Gateway")["nemo"]["spec"]["listeners"][1]
    assert https["tls"]["certificateRefs"] == [{"kind": "Secret", "name": "wildcard"}]


# --- Ingress ---


def ingresses(controller: str, target: str = "existing", **routes: Any) -> dict[str, dict[str, Any]]:
    config = routed(target, kind="ingress", ingress={"controller": controller}, **routes)
    return by_kind(ingress_objects(config), "Ingress")


def notes(made: dict[str, Any], prefix: str) -> dict[str, str]:
    return {
        key.removeprefix(prefix): value
        for key, value in made["metadata"]["annotations"].items()
        if key.startswith(prefix)
    }


def test_traefik() -> None:
    found = ingresses("traefik")
    assert found["nemo-evaluator"]["spec"] == {
        "ingressClassName": "traefik",
        "rules": [
            {
                "host": "nemo.ai.example.com",
                "http": {
                    "paths": [
                        {
                            "path": path,
                            "pathType": "Prefix",
                            "backend": {"service": {"name": "nemo-evaluator", "port": {"number": 7331}}},
                        }
                        for path in ("/v1/evaluation", "/v2/evaluation")
                    ]
                },
            }
        ],
    }
    assert notes(found["nemo-evaluator"], "traefik.ingress.kubernetes.io/") == {"router.entrypoints": "web"}


def test_traefik_redirects() -> None:
    config = routed(kind="ingress", tls={"kind": "self-signed"})
    objects = ingress_objects(config)
    prefix = "traefik.ingress.kubernetes.io/"
    found = by_kind(objects, "Ingress")
    assert notes(found["host-nim"], prefix) == {"router.entrypoints": "websecure", "router.tls": "true"}
    assert found["host-nim"]["spec"]["tls"] == [{"hosts": ["nim.ai.example.com"], "secretName": "nemo-routes"}]
    plain = found["host-nim-http"]
    assert notes(plain, prefix) == {
        "router.entrypoints": "web",
        "router.middlewares": "llama3-2-3b-instruct-to-https@kubernetescrd",
    }
    assert "tls" not in plain["spec"]
    middlewares = [made for made in objects if made["kind"] == "Middleware"]
    assert {made["metadata"]["namespace"] for made in middlewares} == set(resolve_topology(config).addresses.namespaces)


def test_alb() -> None:
    found = ingresses("alb", "eks", tls={"kind": "acm"}, stream_timeout_s=1800)
    said = notes(found["nemo-customizer"], "alb.ingress.kubernetes.io/")
    assert json.loads(said.pop("listen-ports")) == [{"HTTP": 80}, {"HTTPS": 443}]
    assert said == {
        "group.name": "nemo-gateway",
        "scheme": "internal",
        "target-type": "ip",
        "healthcheck-path": "/v1/health/ready",
        "load-balancer-attributes": "idle_timeout.timeout_seconds=1800",
        "ssl-redirect": "443",
    }
    assert found["nemo-customizer"]["spec"]["tls"] == [{"hosts": ["nemo.ai.example.com"]}]


def test_alb_group_agrees_on_what_is_exclusive() -> None:
    said = [notes(made, "alb.ingress.kubernetes.io/") for made in ingresses("alb", "eks").values()]
    for key in ("group.name", "scheme", "load-balancer-attributes"):
        assert len({one[key] for one in said}) == 1


def test_nginx_of_f5() -> None:
    found = ingresses("nginx-f5", tls={"kind": "self-signed"})
    masters = {name: made for name, made in found.items() if made["metadata"]["namespace"] == "nemo-gateway"}
    assert {made["spec"]["rules"][0]["host"] for made in masters.values()} == {
        "nemo.ai.example.com",
        "nim.ai.example.com",
        "data-store.ai.example.com",
        "mlflow.ai.example.com",
        "llama3-2-3b-instruct.ai.example.com",
    }
    assert all("http" not in made["spec"]["rules"][0] and made["spec"]["tls"] for made in masters.values())
    assert notes(found["host-data-store"], "nginx.org/") == {
        "mergeable-ingress-type": "minion",
        "proxy-read-timeout": "3600s",
        "proxy-send-timeout": "3600s",
        "client-max-body-size": "0",
    }
    assert notes(found["host-nim"], "nginx.org/")["proxy-buffering"] == "false"
    assert "tls" not in found["host-nim"]["spec"]


def test_retired_nginx() -> None:
    found = ingresses("nginx")
    prefix = "nginx.ingress.kubernetes.io/"
    assert notes(found["host-nim"], prefix) == {
        "proxy-read-timeout": "3600",
        "proxy-send-timeout": "3600",
        "proxy-buffering": "off",
    }
    assert notes(found["nemo-data-store"], prefix) == {
        "proxy-read-timeout": "3600",
        "proxy-send-timeout": "3600",
        "proxy-body-size": "0",
        "proxy-request-buffering": "off",
    }
    assert notes(found["nemo-entity-store"], prefix) == {}


def test_other_class_is_used_as_it_is_called() -> None:
    config = routed(kind="ingress", ingress={"controller": "other", "class_name": "haproxy"})
    for made in by_kind(ingress_objects(config), "Ingress").values():
        assert made["spec"]["ingressClassName"] == "haproxy"
        assert set(made["metadata"]["annotations"]) == {"pulumi.com/skipAwait"}


# --- Certificates ---


def test_own_authority_signs_all_hosts() -> None:
    config = routed(tls={"kind": "self-signed"})
    objects = certificate_objects(config, None)
    certificate = by_kind(objects, "Certificate")["nemo-routes"]
    assert certificate["metadata"]["namespace"] == "nemo-gateway"
    assert set(certificate["spec"]["dnsNames"]) == {route.host for route in route_table(config)}
    assert certificate["spec"]["issuerRef"]["name"] == "nemo-routes-ca"
    assert by_kind(objects, "ClusterIssuer")["nemo-routes-ca"]["spec"] == {"ca": {"secretName": "nemo-routes-ca"}}
    authority = by_kind(objects, "Certificate")["nemo-routes-ca"]
    assert authority["spec"]["isCA"] is True
    assert authority["metadata"]["namespace"] == "cert-manager"


def test_ingress_has_a_certificate_in_each_namespace() -> None:
    config = routed(kind="ingress", tls={"kind": "issuer", "name": "corporate"})
    certificates = [made for made in certificate_objects(config, "traefik") if made["kind"] == "Certificate"]
    assert {made["metadata"]["namespace"] for made in certificates} == set(
        resolve_topology(config).addresses.namespaces
    )
    assert {made["spec"]["issuerRef"]["name"] for made in certificates} == {"corporate"}
    of_mlflow = next(made for made in certificates if made["metadata"]["namespace"] == "mlflow")
    assert of_mlflow["spec"]["dnsNames"] == ["mlflow.ai.example.com"]
    used = {
        (made["metadata"]["namespace"], made["spec"]["tls"][0]["secretName"])
        for made in ingress_objects(config)
        if "tls" in made["spec"]
    }
    assert used == {(made["metadata"]["namespace"], made["spec"]["secretName"]) for made in certificates}


@pytest.mark.parametrize("kind", ["gateway", "ingress"])
def test_lets_encrypt_is_answered_by_what_is_there(kind: str) -> None:
    config = routed(kind=kind, internal=False, tls={"kind": "letsencrypt", "email": "ops@example.com"})
    (issuer,) = by_kind(certificate_objects(config, "traefik" if kind == "ingress" else None), "ClusterIssuer").values()
    (solver,) = issuer["spec"]["acme"]["solvers"]
    assert issuer["spec"]["acme"]["email"] == "ops@example.com"
    if kind == "ingress":
        assert solver["http01"] == {"ingress": {"ingressClassName": "traefik"}}
    else:
        assert solver["http01"]["gatewayHTTPRoute"]["parentRefs"][0]["name"] == "nemo"


def test_lets_encrypt_gets_through_to_f5s_controller() -> None:
    """The host belongs to its master Ingress, which redirects to https even while there is no certificate."""
    config = routed(
        kind="ingress",
        internal=False,
        ingress={"controller": "nginx-f5"},
        tls={"kind": "letsencrypt", "email": "ops@example.com"},
    )
    objects = certificate_objects(config, "nginx")
    (issuer,) = by_kind(objects, "ClusterIssuer").values()
    solver = issuer["spec"]["acme"]["solvers"][0]["http01"]["ingress"]
    assert solver["ingressClassName"] == "nginx"
    assert solver["ingressTemplate"]["metadata"]["annotations"] == {"nginx.org/mergeable-ingress-type": "minion"}
    (certificate,) = by_kind(objects, "Certificate").values()
    assert certificate["metadata"]["annotations"] == {"cert-manager.io/issue-temporary-certificate": "true"}


@pytest.mark.parametrize("kind", ["none", "secret", "acm"])
def test_no_certificate_is_made_where_none_is_wanted(kind: str) -> None:
    tls = {"kind": kind, "name": "wildcard"} if kind == "secret" else {"kind": kind}
    said = {"controller": "aws-lbc"} if kind == "acm" else {}
    assert certificate_objects(routed("eks", tls=tls, gateway=said), None) == []


# --- Settings that cannot work ---


@pytest.mark.parametrize(
    ("target", "routes", "message"),
    [
        ("gke", {"gateway": {"controller": "gke"}, "load_balancer_cidrs": []}, "routes.load_balancer_cidrs: missing"),
        ("eks", {"gateway": {"controller": "aws-lbc"}, "tls": {"kind": "self-signed"}}, "routes.tls.kind: aws-lbc"),
        ("gke", {"tls": {"kind": "acm"}}, "routes.tls.kind: acm"),
        ("gke", {"tls": {"kind": "letsencrypt", "email": "a@b.c"}}, "routes.internal: false"),
        ("gke", {"gateway": {"existing": "a/b"}, "tls": {"kind": "self-signed"}}, "has its own certificate"),
        ("gke", {"hosts": {"nim": "llama3-2-3b-instruct.ai.example.com"}}, "nims.0.name: its host"),
        ("gke", {"load_balancer_cidrs": ["10.0.0.1/8"]}, "routes.load_balancer_cidrs.0"),
    ],
)
def test_refused(target: str, routes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message.replace(".", r"\.")):
        routed(target, **routes)


def test_vpc_of_ours_is_known() -> None:
    routed("eks", gateway={"controller": "aws-lbc"}, load_balancer_cidrs=[])


# --- Aliases of models, by Envoy AI Gateway ---


def by_models(**routes: Any) -> list[dict[str, Any]]:
    gateway = {"model_aliases": True, **routes.pop("gateway", {})}
    return gateway_objects(routed(gateway=gateway, **routes))


def prefixes_of(route: dict[str, Any]) -> set[str]:
    return {match["path"]["value"] for rule in route["spec"]["rules"] for match in rule["matches"]}


def test_only_paths_that_name_a_model_are_routed_by_it() -> None:
    """A longer prefix wins over the paths of an AIGatewayRoute, which match everything; NIM lists its models itself."""
    routes = by_kind(by_models(), "HTTPRoute")
    assert prefixes_of(routes["host-nim"]) == {"/v1/classify", "/v1/models", "/v1/health"}
    assert prefixes_of(routes["nim-llama3-2-3b-instruct"]) == NIM_PATHS, "of its own host nothing changes"
    plain = by_kind(gateway_objects(routed()), "HTTPRoute")
    assert {name: one for name, one in routes.items() if name != "host-nim"} == {
        name: one for name, one in plain.items() if name != "host-nim"
    }


@pytest.mark.parametrize("services", [{}, ALL], ids=["nim", "proxy"])
def test_any_name_reaches_nim_at_the_same_host(services: dict[str, bool]) -> None:
    config = routed(gateway={"model_aliases": True}, services=services, stream_timeout_s=7200)
    objects = gateway_objects(config)
    entry = resolve_topology(config).addresses.nim_entry
    (made,) = by_kind(objects, "AIGatewayRoute").values()
    assert (made["metadata"]["name"], made["metadata"]["namespace"]) == ("host-nim-models", entry.namespace)
    for one in (made, *by_kind(objects, "AIServiceBackend").values()):  # both have finalizers of the controller
        assert one["metadata"]["annotations"] == {"pulumi.com/deletionPropagationPolicy": "background"}
    assert made["metadata"]["name"] not in by_kind(objects, "HTTPRoute"), "the controller makes one of this name"
    assert made["spec"]["hostnames"] == ["nim.ai.example.com"]
    (rule,) = made["spec"]["rules"]
    assert "matches" not in rule
    assert rule["timeouts"] == {"request": "7200s"}, "its own default is 60 s"
    (reference,) = rule["backendRefs"]
    service = by_kind(objects, "AIServiceBackend")[reference["name"]]["spec"]
    assert service["schema"] == {"name": "OpenAI"}
    backend = by_kind(objects, "Backend")[service["backendRef"]["name"]]
    assert backend["spec"]["endpoints"] == [{"fqdn": {"hostname": entry.host, "port": entry.port}}]


def test_aliases_have_the_time_of_streams_and_a_second_answer() -> None:
    policies = by_kind(by_models(), "BackendTrafficPolicy")
    own, aliases = (policies[name]["spec"] for name in ("host-nim-models", "host-nim-aliases"))
    assert own["timeout"] == aliases["timeout"] == policies["host-nim"]["spec"]["timeout"]
    assert aliases["targetSelectors"][0]["matchLabels"] == {"app.kubernetes.io/managed-by": "nemostack"}
    assert aliases["retry"]["numAttemptsPerPriority"] == 1
    assert "retry" not in own, "a plain model is asked once"


def test_bodies_may_be_large_where_they_are_read() -> None:
    policy = by_kind(by_models(), "ClientTrafficPolicy")["nemo"]
    assert policy["metadata"]["namespace"] == "nemo-gateway"
    assert policy["spec"]["connection"] == {"bufferLimit": "50Mi"}
    assert not by_kind(by_models(gateway={"existing": "infra/shared"}), "ClientTrafficPolicy"), "not ours to change"
    assert not by_kind(gateway_objects(routed()), "ClientTrafficPolicy")


# --- The component ---


def args(config: Any, there: Any) -> RoutesArgs:
    return RoutesArgs(
        cert_manager=True,
        settings=config.routes,
        target=config.target,
        topology=resolve_topology(config),
        charts=chart_store(),
        namespaces=there,
    )


def made_by(config: Any) -> Any:
    def make() -> None:
        opts = cluster_options()
        there = namespaces(config, opts)
        Routes("routes", args(config, there), opts)

    return run(make)


def cluster_options() -> Any:
    return pulumi.ResourceOptions(provider=cluster().provider)


@pytest.mark.parametrize("target", TARGETS)
def test_none_makes_nothing(target: str) -> None:
    assert not [name for (_, name), made in made_by(config_for(target)).items() if made.parent == "routes"]


def test_envoy_is_released_first() -> None:
    found = made_by(routed("gke", tls={"kind": "self-signed"}))
    release = of_type(found, ":Release")["envoy-gateway"]
    assert release.inputs["namespace"] == "envoy-gateway-system"
    assert release.inputs["chart"] == "oci://docker.io/envoyproxy/gateway-helm"
    assert release.inputs["version"]
    route = of_type(found, ":HTTPRoute")["nemo-customizer/nemo-customizer"]
    assert "envoy-gateway" in route.dependencies
    assert route.parent == "routes"
    assert {"nemo-gateway/nemo"} == set(of_type(found, ":Gateway"))
    assert set(of_type(found, ":ClusterIssuer")) == {"nemo-routes-ca", "nemo-routes-ca-bootstrap"}


ENTRY = "llama3-2-3b-instruct/host-nim-models"


def test_envoy_ai_gateway_comes_before_the_proxies_that_it_joins() -> None:
    found = made_by(routed("gke", gateway={"model_aliases": True}))
    releases = of_type(found, ":Release")
    assert set(releases) == {"ai-gateway", "envoy-gateway"}
    assert "ai-gateway" in releases["envoy-gateway"].dependencies
    for kind, name in ((":AIGatewayRoute", ENTRY), (":Gateway", "nemo-gateway/nemo")):
        made = of_type(found, kind)[name]
        assert {"ai-gateway", "envoy-gateway"} <= made.dependencies, "who clears up after it goes last"
    order = [":AIServiceBackend", ":Backend", ":AIGatewayRoute", ":BackendTrafficPolicy"]
    for first, then in pairwise(order):
        before = comes_after(found, of_type(found, then)[ENTRY])
        assert (of_type(found, first)[ENTRY].type, ENTRY) in before, f"{then} goes before {first}"
    values = releases["envoy-gateway"].inputs["values"]["config"]["envoyGateway"]
    assert values["extensionApis"] == {"enableBackend": True}
    service = values["extensionManager"]["service"]["fqdn"]
    assert service == {"hostname": "ai-gateway-controller.envoy-gateway-system.svc.cluster.local", "port": 1063}
    assert releases["ai-gateway"].inputs["values"]["envoyGateway"] == {"namespace": "envoy-gateway-system"}


@pytest.mark.parametrize("said", [{"install": False}, {"controller": "istio"}, {"existing": "infra/shared"}], ids=str)
def test_what_is_there_is_not_released(said: dict[str, Any]) -> None:
    found = made_by(routed(gateway=said))
    assert not of_type(found, ":Release")
    assert of_type(found, ":HTTPRoute")


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ({}, {}),
        ({"install": False}, {"routes.gateway.controller": "envoyproxies.gateway.envoyproxy.io"}),
        ({"model_aliases": True}, {}),
        (
            {"install": False, "model_aliases": True},
            {
                "routes.gateway.controller": "envoyproxies.gateway.envoyproxy.io",
                "routes.gateway.model_aliases": "aigatewayroutes.aigateway.envoyproxy.io",
            },
        ),
        ({"controller": "istio"}, {"routes.gateway.controller": "virtualservices.networking.istio.io"}),
        ({"controller": "traefik"}, {"routes.gateway.controller": "middlewares.traefik.io"}),
        ({"controller": "aws-lbc"}, {"routes.gateway.controller": "loadbalancerconfigurations.gateway.k8s.aws"}),
        ({"controller": "gke"}, {}),  # Google's comes with the cluster, some minutes later
        ({"controller": "other", "existing": "infra/shared"}, {"routes.gateway.existing": "infra/shared"}),
    ],
    ids=str,
)
def test_a_controller_of_others_is_verified_before_any_route(said: dict[str, Any], read: dict[str, str]) -> None:
    found = made_by(routed(gateway=said))
    reads = {name: made for (_, name), made in found.items() if name.startswith("routes.")}
    assert {name: made.inputs["id"] for name, made in reads.items()} == read
    for route in every(found, ":HTTPRoute"):
        assert set(read) <= route.dependencies
    for made in reads.values():
        assert not made.dependencies  # nothing of the stack is needed to know


@pytest.mark.parametrize(("said", "name"), [({}, "traefik"), ({"controller": "other", "class_name": "mine"}, "mine")])
def test_the_class_of_ingresses_is_verified_before_any_ingress(said: dict[str, Any], name: str) -> None:
    found = made_by(routed(kind="ingress", ingress=said))
    (read,) = of_type(found, ":IngressClass").values()
    assert (read.name, read.inputs["id"]) == ("routes.ingress.controller", name)
    made = of_type(found, "networking.k8s.io/v1:Ingress")
    assert made
    assert all(read.name in ingress.dependencies for ingress in made.values())


@pytest.mark.parametrize(("controller", "warned"), [("nginx", True), ("traefik", False)])
def test_ingress_component(monkeypatch: pytest.MonkeyPatch, controller: str, warned: bool) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", lambda message, resource: said.append(message))
    found = made_by(routed(kind="ingress", ingress={"controller": controller}))
    assert "nemo-datastore/host-data-store" in of_type(found, "networking.k8s.io/v1:Ingress")
    assert not of_type(found, ":Release")
    assert bool(said) == warned
