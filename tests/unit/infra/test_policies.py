"""NetworkPolicies, judged as a cluster would: what a pod may reach follows from the objects alone.

`allowed` reads the objects by the rules of Kubernetes (a connection needs an egress and an ingress rule where the ends
are closed). What must be allowed comes from the URLs in the charts' values and from a list written by hand.
"""

import ipaddress
import re
from collections.abc import Iterator
from itertools import product
from typing import Any
from urllib.parse import urlsplit

import pulumi
import pytest

from infra import names
from infra.nemo.nim_values import chart_values
from infra.nemo.values import Surroundings
from infra.nemo.wiring import wiring
from infra.platform.credentials import CredentialNames
from infra.topology import resolve_topology
from infra.topology.connections import Edge, destination, private_parts
from tests.unit.infra.cluster_support import TARGETS, cluster, config_for, namespaces, of_type, run
from tests.unit.infra.from_settings import make_policies, mlflow_values, policies, release_values

Policies = dict[tuple[str, str], dict[str, Any]]
ALL = {"guardrails": True, "deployment_management": True, "nim_proxy": True}
SECOND_NIM = {
    "name": "judge",
    "model": "meta/llama-3.3-70b-instruct",
    "image": "nvcr.io/nim/meta/llama-3.3-70b-instruct",
    "tag": "1.8.3",
    "lora": None,
}
FIRST_NIM = {
    "name": "llama3-2-3b-instruct",
    "model": "meta/llama-3.2-3b-instruct",
    "tag": "1.8.3",
    "image": "nvcr.io/nim/meta/llama-3.2-3b-instruct",
}
AROUND = Surroundings(
    credentials=CredentialNames(ngc="ngc-api", pull="nvcrimagepullsecret", hf=None),
    storage_class="fast",
    rwx_storage_class="shared",
)
POD_PORTS = {"mlflow-tracking": 5000}  # the only Service whose pods listen on another port than it says


def full(layout: str = "per-service", **sections: Any) -> Any:
    """Everything that can run, with routes and Prometheus."""
    return config_for(
        "existing",
        layout=layout,
        **{
            "services": ALL,
            "prerequisites": {"nim_operator": "install"},
            "nims": [FIRST_NIM, SECOND_NIM],
            "routes": {"kind": "gateway", "domain": "ai.example.com"},
            "observability": {"prometheus": "install"},
            **sections,
        },
    )


def matches(selectors: list[dict[str, Any]], here: str, end: str) -> bool:
    """Whether an end, a namespace or an address, is meant by the selectors of a policy in namespace `here`."""
    for selector in selectors:
        if block := selector.get("ipBlock"):
            if end[0].isdigit() and lies_in(end, [block["cidr"]]) and not lies_in(end, block.get("except", [])):
                return True
        elif named := selector.get("namespaceSelector"):
            if named["matchLabels"] == {"kubernetes.io/metadata.name": end}:
                return True
        elif selector == {"podSelector": {}} and end == here:
            return True
    return False


def lies_in(address: str, cidrs: list[str]) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(cidr) for cidr in cidrs)


def side(found: Policies, here: str, other: str, port: int, direction: str, *, protocol: str = "TCP") -> bool:
    """Whether the policies of one namespace let a connection pass; without any that select it, they do."""
    key, who = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    selecting = [spec for (where, _), spec in found.items() if where == here and direction in spec["policyTypes"]]
    if not selecting:
        return True
    for spec in selecting:
        assert spec["podSelector"] == {}
        for rule in spec.get(key, []):
            said = [(one["protocol"], one["port"]) for one in rule.get("ports", [])]
            if matches(rule[who], here, other) and (not said or (protocol, port) in said):
                return True
    return False


def allowed(found: Policies, consumer: str, provider: str, port: int, protocol: str = "TCP") -> bool:
    return side(found, consumer, provider, port, "Egress", protocol=protocol) and side(
        found, provider, consumer, port, "Ingress", protocol=protocol
    )


def edges(config: Any) -> tuple[Edge, ...]:
    return resolve_topology(config).connections.edges


def policed(config: Any) -> tuple[str, ...]:
    return resolve_topology(config).connections.closed


def owners(config: Any) -> dict[str, str]:
    """Alias in the chart -> namespace."""
    addresses = resolve_topology(config).addresses
    return {service.alias: addresses.namespace(service) for service in addresses.running}


def inside(url: str) -> tuple[str, int] | None:
    """Namespace and pod port of a URL in the cluster."""
    parts = urlsplit(url)
    labels = (parts.hostname or "").split(".")
    if labels[2:] != ["svc", "cluster", "local"]:
        return None
    return labels[1], POD_PORTS.get(labels[0], parts.port or 80)


@pytest.mark.parametrize("layout", ["per-service", "single"])
@pytest.mark.parametrize("proxy", [True, False])
def test_every_address_in_the_values_can_be_reached(layout: str, proxy: bool) -> None:
    config = full(layout, services=ALL | {"nim_proxy": proxy})
    found, topology = policies(config), resolve_topology(config)
    checked = 0
    for path, url in wiring(topology).items():
        if (end := inside(url)) is None:
            continue
        consumer = owners(config)[path.split(".")[0]]
        assert allowed(found, consumer, *end), f"{path}: {consumer} cannot reach {url}"
        checked += 1
    assert checked >= 14
    for database in topology.databases.values():
        end = inside(f"postgresql://{database.host}:{database.port}")
        assert end is not None
        for consumer in database.readers:
            assert allowed(found, consumer, *end)
    assert topology.bucket is not None
    bucket = inside(str(topology.bucket.endpoint))
    assert bucket is not None
    for consumer in topology.bucket.readers:
        assert allowed(found, consumer, *bucket)
    peft = inside(topology.addresses.url(names.ENTITY_STORE))
    assert peft is not None
    assert allowed(found, topology.addresses.namespace(config.nims[0]), *peft)


ADDRESS = re.compile(r"([a-z0-9-]+)\.([a-z0-9-]+)\.svc\.cluster\.local(?::(\d+))?")
USUAL_PORTS = {"nemo-postgres-rw": 5432, "mlflow-tracking": 80}  # said apart from the host, or not at all


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("layout", ["per-service", "single"])
@pytest.mark.parametrize("proxy", [True, False])
def test_every_address_in_any_value_of_any_release_can_be_reached(layout: str, proxy: bool) -> None:
    config = full(layout, services=ALL | {"nim_proxy": proxy}, routes={"kind": "none"})
    topology = resolve_topology(config)
    given: list[tuple[str, Any]] = [*release_values(config, AROUND).items()]
    given += [(topology.addresses.namespace(nim), chart_values(topology, nim, AROUND)) for nim in config.nims]
    given.append(("mlflow", mlflow_values(config) | {"serverAllowedHosts": []}))
    found, seen = policies(config), set()
    for consumer, said in given:
        for service, namespace, port in (hit for text in texts(said) for hit in ADDRESS.findall(text)):
            if namespace == consumer:
                continue
            number = POD_PORTS.get(service, int(port or USUAL_PORTS[service]))
            assert allowed(found, consumer, namespace, number), f"{consumer} cannot reach {service}.{namespace}:{port}"
            seen.add((consumer, namespace))
    if layout == "per-service":
        assert len(seen) >= 20
    assert ("nemo" if layout == "single" else "nemo-customizer", "mlflow") in seen
    assert ("mlflow", "object-store") in seen


# Consumer -> providers, by the contract's table of wiring, written down here a second time by hand.
BETWEEN_OURS = {
    "nemo-datastore": {("postgres", 5432), ("object-store", 8333)},
    "nemo-entity-store": {("postgres", 5432), ("nemo-datastore", 3000), ("llama3-2-3b-instruct", 8000)},
    "nemo-customizer": {
        ("postgres", 5432),
        ("nemo-datastore", 3000),
        ("nemo-entity-store", 8000),
        ("mlflow", 5000),
        ("mlflow", 80),
    },
    "nemo-evaluator": {
        ("postgres", 5432),
        ("nemo-datastore", 3000),
        ("nemo-entity-store", 8000),
        ("mlflow", 5000),
        ("mlflow", 80),
        ("llama3-2-3b-instruct", 8000),
    },
    "llama3-2-3b-instruct": {("nemo-entity-store", 8000), ("nemo-datastore", 3000)},
    "mlflow": {("postgres", 5432), ("object-store", 8333)},
    "postgres": set(),
    "object-store": set(),
}
PORTS = (22, 53, 80, 443, 3000, 4317, 5000, 5432, 7331, 7332, 8000, 8001, 8080, 8333, 8443, 8888, 9009, 9187, 9333)


def test_nothing_else_is_allowed_between_namespaces() -> None:
    config = config_for("existing")
    found = policies(config)
    assert set(policed(config)) == set(BETWEEN_OURS)
    for consumer, provider in product(BETWEEN_OURS, BETWEEN_OURS):
        if consumer == provider:
            continue
        can = {(provider, port) for port in PORTS if allowed(found, consumer, provider, port)}
        assert can == {end for end in BETWEEN_OURS[consumer] if end[0] == provider}, consumer


def test_strangers_are_kept_out_and_nobody_gets_to_them() -> None:
    found = policies(full())
    for namespace, port in product(policed(full()), PORTS):
        assert not allowed(found, "default", namespace, port)
        assert not allowed(found, namespace, "default", port)
    for namespace in policed(full()):
        assert not allowed(found, namespace, "kube-system", 443)


def test_names_can_be_resolved() -> None:
    found = policies(full())
    for namespace, protocol in product(policed(full()), ("UDP", "TCP")):
        assert allowed(found, namespace, "kube-system", 53, protocol)
        assert not allowed(found, namespace, "169.254.20.10", 53, protocol)
    local = policies(full(security={"node_local_dns": True}))
    assert allowed(local, "nemo-customizer", "169.254.20.10", 53, protocol="UDP")


def test_dns_and_mlflow_are_in_one_policy_of_those_who_log_runs() -> None:
    found = policies(full())
    assert {namespace for namespace, name in found if name == "allow-dns-mlflow"} == {
        "nemo-customizer",
        "nemo-evaluator",
    }
    spec = found["nemo-customizer", "allow-dns-mlflow"]
    alone = {("nemo-customizer", "allow-dns-mlflow"): spec}
    assert side(alone, "nemo-customizer", "kube-system", 53, "Egress", protocol="UDP")
    for port in (5000, 80):  # of the pods and of the Service: EKS looks at a packet before its Service was resolved
        assert side(alone, "nemo-customizer", "mlflow", port, "Egress")
    assert not side(alone, "nemo-customizer", "nemo-datastore", 3000, "Egress")


def test_jobs_speak_to_their_service() -> None:
    found = policies(full())
    assert allowed(found, "nemo-customizer", "nemo-customizer", 9009)
    assert allowed(found, "nemo-evaluator", "nemo-evaluator", 7332)
    assert not allowed(found, "nemo-evaluator", "nemo-customizer", 9009)


@pytest.mark.parametrize(
    ("namespace", "internet"),
    [
        ("llama3-2-3b-instruct", True),
        ("judge", True),
        ("nemo-customizer", True),
        ("nemo-evaluator", True),
        ("nemo-deployment-management", True),
        ("nemo-entity-store", False),
        ("nemo-datastore", False),
        ("mlflow", False),
        ("object-store", False),
        ("nemo-guardrails", False),
    ],
)
def test_downloads(namespace: str, internet: bool) -> None:
    config = full(security={"api_server_cidrs": ["10.96.0.1/32"]}, routes={"kind": "none"})
    found = policies(config)
    assert side(found, namespace, "52.1.2.3", 443, "Egress") == internet
    assert not side(found, namespace, "52.1.2.3", 80, "Egress")
    for inner in ("10.1.2.3", "169.254.169.254", "192.168.1.1", "172.20.0.1", "100.64.1.1"):
        assert not side(found, namespace, inner, 443, "Egress")


def test_google_s_metadata_server_is_mlflow_s_alone_and_only_for_the_bucket() -> None:
    keys = {"object_store_access_key": "a", "object_store_secret_key": "b"}
    said: dict[str, Any] = {"security": {"api_server_cidrs": []}, "secrets": {"ngc_api_key": "x", **keys}}
    bucket = policies(config_for("gke", object_store={"kind": "gcs", "bucket": "mine"}, **said))
    plain = policies(config_for("gke", **said))
    for address, port in (("169.254.169.254", 80), ("169.254.169.252", 988)):
        assert side(bucket, "mlflow", address, port, "Egress")
        assert not side(plain, "mlflow", address, port, "Egress")
        assert not side(bucket, "nemo-datastore", address, port, "Egress")
        assert not side(bucket, "llama3-2-3b-instruct", address, port, "Egress")


def test_eks_s_agent_is_mlflow_s_alone_and_only_for_the_bucket() -> None:
    store = {"kind": "s3", "bucket": "mine", "region": "us-east-1", "secret": "keys"}
    said: dict[str, Any] = {"security": {"api_server_cidrs": []}}
    bucket = policies(config_for("eks", object_store=store, **said))
    assert side(bucket, "mlflow", "169.254.170.23", 80, "Egress")
    assert not side(bucket, "nemo-datastore", "169.254.170.23", 80, "Egress")
    for other in (config_for("eks", **said), config_for("gke", object_store=store, **said)):
        assert not side(policies(other), "mlflow", "169.254.170.23", 80, "Egress")


def test_nowhere_to_download_from() -> None:
    found = policies(config_for("existing", security={"internet_cidrs": []}))
    assert not side(found, "llama3-2-3b-instruct", "52.1.2.3", 443, "Egress")


def test_a_mirror_in_a_private_network_can_be_named() -> None:
    found = policies(config_for("existing", security={"internet_cidrs": ["10.8.0.0/16"]}))
    assert side(found, "llama3-2-3b-instruct", "10.8.1.1", 443, "Egress")
    assert not side(found, "llama3-2-3b-instruct", "10.9.1.1", 443, "Egress")


def test_private_parts_lie_within() -> None:
    assert private_parts("10.0.0.0/8") == ()
    assert private_parts("172.0.0.0/8") == ("172.16.0.0/12",)
    assert private_parts("::/0") == ("fc00::/7", "fe80::/10")


@pytest.mark.parametrize(
    ("namespace", "asks"),
    [
        ("nemo-customizer", True),
        ("nemo-evaluator", True),
        ("nemo-deployment-management", True),
        ("nemo-nim-proxy", True),
        ("postgres", True),
        ("nemo-datastore", False),
        ("nemo-entity-store", False),
        ("llama3-2-3b-instruct", False),
        ("mlflow", False),
        ("object-store", False),
        ("nemo-guardrails", False),
    ],
)
def test_api_server(namespace: str, asks: bool) -> None:
    config = full(security={"internet_cidrs": [], "api_server_cidrs": ["10.0.0.1/32"]}, routes={"kind": "none"})
    found = policies(config)
    for port in (443, 6443, 8443):
        assert side(found, namespace, "10.0.0.1", port, "Egress") == asks


def test_databases_are_looked_after() -> None:
    found = policies(full())
    for port in (5432, 8000):
        assert allowed(found, "cnpg-system", "postgres", port)
        assert allowed(found, "postgres", "postgres", port)
    assert not allowed(found, "cnpg-system", "postgres", 9187)
    assert allowed(found, "monitoring", "postgres", 9187)


@pytest.mark.parametrize(
    ("routes", "proxies"),
    [
        ({"kind": "gateway"}, "envoy-gateway-system"),
        ({"kind": "gateway", "gateway": {"controller": "istio"}}, "nemo-gateway"),
        ({"kind": "gateway", "gateway": {"controller": "istio", "existing": "infra/shared"}}, "infra"),
        ({"kind": "gateway", "gateway": {"controller": "traefik"}}, "traefik"),
        ({"kind": "ingress", "ingress": {"controller": "nginx"}}, "ingress-nginx"),
        ({"kind": "ingress", "proxy_namespace": "kube-system"}, "kube-system"),
    ],
)
def test_proxies_reach_what_is_routed_and_pods_follow_public_links(routes: dict[str, Any], proxies: str) -> None:
    config = full(routes={"domain": "ai.example.com", **routes})
    found = policies(config)
    for namespace, port in (
        ("nemo-datastore", 3000),
        ("nemo-evaluator", 7331),
        ("nemo-evaluator", 8000),
        ("mlflow", 5000),
        ("judge", 8000),
        ("nemo-guardrails", 7331),
        ("nemo-nim-proxy", 8000),
    ):
        assert allowed(found, proxies, namespace, port)
    assert not allowed(found, proxies, "postgres", 5432)
    assert not allowed(found, proxies, "object-store", 8333)
    assert not allowed(found, proxies, "nemo-customizer", 9009)
    assert side(found, "nemo-customizer", proxies, 10080, "Egress")
    assert not side(found, "mlflow", proxies, 10080, "Egress")


@pytest.mark.parametrize(
    ("controller", "internal", "elsewhere"), [("envoy", True, False), ("envoy", False, True), ("gke", True, True)]
)
def test_public_links_lead_to_the_load_balancer(controller: str, internal: bool, elsewhere: bool) -> None:
    said = {
        "kind": "gateway",
        "domain": "a.b",
        "internal": internal,
        "load_balancer_cidrs": ["10.7.0.0/23"],
        "gateway": {"controller": controller},
    }
    found = policies(config_for("gke", routes=said, security={"api_server_cidrs": []}))
    assert side(found, "nemo-customizer", "10.7.0.9", 80, "Egress")
    assert side(found, "nemo-customizer", "10.9.0.9", 80, "Egress") == elsewhere
    assert not side(found, "mlflow", "10.7.0.9", 80, "Egress")


def test_load_balancers_that_reach_pods_directly() -> None:
    said = {
        "kind": "gateway",
        "domain": "a.b",
        "gateway": {"controller": "gke"},
        "load_balancer_cidrs": ["10.7.0.0/23"],
    }
    found = policies(config_for("gke", routes=said))
    for address in ("10.7.1.9", "35.191.4.4", "130.211.1.1"):
        assert side(found, "nemo-datastore", address, 3000, "Ingress")
    assert not side(found, "nemo-datastore", "10.8.0.1", 3000, "Ingress")
    assert not side(found, "postgres", "10.7.1.9", 5432, "Ingress")


def test_vpc_of_ours_lets_its_load_balancer_in() -> None:
    said = {"kind": "ingress", "domain": "a.b", "ingress": {"controller": "alb"}}
    found = policies(config_for("eks", routes=said))
    assert side(found, "nemo-datastore", "10.40.3.4", 3000, "Ingress")
    assert not side(found, "nemo-datastore", "10.41.3.4", 3000, "Ingress")


def test_lets_encrypt_can_ask_ingresses() -> None:
    tls = {"kind": "letsencrypt", "email": "ops@example.com"}
    said = {"kind": "ingress", "domain": "a.b", "internal": False, "tls": tls}
    found = policies(config_for("existing", routes=said))
    assert allowed(found, "traefik", "mlflow", 8089)


def test_further_clients() -> None:
    found = policies(full(security={"clients": ["notebooks"]}))
    for namespace, port in (("nemo-datastore", 3000), ("mlflow", 5000), ("judge", 8000), ("nemo-evaluator", 7331)):
        assert allowed(found, "notebooks", namespace, port)
    assert not allowed(found, "notebooks", "postgres", 5432)


def test_prometheus_reads_metrics_only_where_it_runs() -> None:
    found = policies(full())
    ends = {("judge", 8000), ("mlflow", 5000), ("nemo-nim-proxy", 8001), ("postgres", 9187), ("nemo-datastore", 3000)}
    assert all(allowed(found, "monitoring", *end) for end in ends)
    assert not allowed(found, "monitoring", "nemo-customizer", 8000)
    without = policies(full(observability={"prometheus": "skip"}))
    assert not any(allowed(without, "monitoring", *end) for end in ends)


def test_operators_of_others_are_let_in_where_they_are() -> None:
    adopted = full(
        nims=[FIRST_NIM | {"deploy": "operator"}],
        prerequisites={"nim_operator": "adopt", "nim_operator_namespace": "nvidia-nim"},
        postgres={"operator": "adopt", "operator_namespace": "openshift-operators"},
    )
    found = policies(adopted)
    assert allowed(found, "openshift-operators", "postgres", 8000)
    assert not allowed(found, "cnpg-system", "postgres", 8000)
    assert allowed(found, "nvidia-nim", "llama3-2-3b-instruct", 8000)
    assert not allowed(found, "nim-operator", "llama3-2-3b-instruct", 8000)


def test_guardrails_reach_models_that_nvidia_hosts_only_with_a_key() -> None:
    def internet(**sections: Any) -> list[Edge]:
        return [
            edge
            for edge in edges(full(**sections))
            if edge.consumer.namespace == "nemo-guardrails" and "0.0.0.0/0" in edge.provider.cidrs
        ]

    assert internet() == []
    (way,) = internet(guardrails={"nvidia_api_secret": "nvidia-api"})
    assert way.ports == (443,)
    assert "10.0.0.0/8" in way.provider.less


def test_nim_operator_asks_its_nims_only() -> None:
    found = policies(full(nims=[FIRST_NIM | {"deploy": "operator"}, SECOND_NIM]))
    assert allowed(found, "nim-operator", "llama3-2-3b-instruct", 8000)
    assert allowed(found, "nim-operator", "nemo-deployment-management", 8000)
    assert not allowed(found, "nim-operator", "judge", 8000)


def test_what_others_run() -> None:
    config = full(
        postgres={"kind": "external", "external": {"host": "10.20.0.5", "port": 6432}},
        mlflow={"mode": "adopt", "url": "http://tracking.ml.svc:5000"},
        object_store={"kind": "s3", "endpoint": "https://s3.example.com:9000", "secret": "keys"},
        judge={"url": "https://api.example.com", "model": "big"},
        security={"internet_cidrs": [], "api_server_cidrs": []},
        routes={"kind": "none"},
    )
    found = policies(config)
    assert "postgres" not in policed(config)
    assert side(found, "nemo-customizer", "10.20.0.5", 6432, "Egress")
    assert not side(found, "nemo-customizer", "10.20.0.6", 6432, "Egress")
    assert side(found, "nemo-customizer", "ml", 5000, "Egress")
    assert side(found, "nemo-datastore", "52.0.0.1", 9000, "Egress")
    assert not side(found, "nemo-datastore", "52.0.0.1", 443, "Egress")
    assert side(found, "nemo-evaluator", "52.0.0.1", 443, "Egress")


@pytest.mark.parametrize(
    ("url", "namespace", "cidrs", "ports"),
    [
        ("http://mlflow.tracking.svc.cluster.local:5000", "tracking", (), ()),
        ("http://mlflow.tracking.svc:80", "tracking", (), ()),
        ("https://mlflow.example.com", "", ("0.0.0.0/0",), (443,)),
        ("http://10.1.2.3:8080", "", ("10.1.2.3/32",), (8080,)),
    ],
)
def test_destination(url: str, namespace: str, cidrs: tuple[str, ...], ports: tuple[int, ...]) -> None:
    peer, found = destination(url)
    assert (peer.namespace, peer.cidrs, found) == (namespace, cidrs, ports)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("layout", ["per-service", "single"])
def test_component(target: str, layout: str) -> None:
    config = config_for(target, layout=layout)

    def make() -> None:
        opts = pulumi.ResourceOptions(provider=cluster().provider)
        there = namespaces(config, opts)
        make_policies(config, there, opts)

    made = of_type(run(make), ":NetworkPolicy")
    assert len(made) == 4 * len(policed(config))
    assert made["mlflow/default-deny"].inputs["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert all(one.parent == "policies" for one in made.values())


def test_none_where_none_are_wanted() -> None:
    config = config_for("existing", security={"network_policies": False})

    def make() -> None:
        opts = pulumi.ResourceOptions(provider=cluster().provider)
        there = namespaces(config, opts)
        make_policies(config, there, opts)

    assert not of_type(run(make), ":NetworkPolicy")


def test_an_edge_has_a_reason_and_is_there_once() -> None:
    found = edges(full())
    assert len({(edge.consumer, edge.provider) for edge in found}) == len(found)
    assert all(edge.why for edge in found)


def made_for(**security: Any) -> Any:
    config = config_for("existing", security=security)

    def make() -> None:
        opts = pulumi.ResourceOptions(provider=cluster().provider)
        of = namespaces(config, opts)
        make_policies(config, of, opts)

    return of_type(run(make), ":CiliumNetworkPolicy")


def test_cilium_lets_controllers_reach_the_api_server() -> None:
    """Cilium matches no node by address, so databases and jobs would never reach an API server that is a node."""
    found = made_for(cilium=True)
    where = {one.inputs["metadata"]["namespace"] for one in found.values()}
    assert where == {"nemo-customizer", "nemo-evaluator", "postgres"}
    for one in found.values():
        assert one.inputs["spec"]["endpointSelector"] == {}
        (rule,) = one.inputs["spec"]["egress"]
        assert rule["toEntities"] == ["kube-apiserver"]
        ports = {port["port"] for group in rule["toPorts"] for port in group["ports"]}
        assert {"443", "6443"} <= ports
    assert not made_for()
    assert not made_for(cilium=True, network_policies=False)
