"""The allowed connections between namespaces and to the outside, as data. Pure.

An edge is from namespace to namespace, on ports of pods: most network plugins look at a packet after its Service was
resolved. The one of EKS looks before, so MLflow's edges, whose Service has a port of its own, carry both.

Inside a namespace everything may speak: the labels of the pods of jobs are made up by the services at run time and are
written down nowhere, so a rule by label could cut a job off. Operators' own namespaces are left as their charts make
them.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from infra import names
from infra.config import addresses
from infra.config.clusters import EksSettings
from infra.config.stack import ClusterStackConfig
from infra.platform import endpoints, identities
from infra.platform.routing.certificates import SOLVER_PORT, certificate_namespaces
from infra.platform.routing.route_table import backends

PRIVATE = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
)
"""Not the internet: other pods, nodes, metadata servers of clouds."""
ANYWHERE = ("0.0.0.0/0",)
HTTPS = 443
API_SERVER_PORTS = (443, 6443, 8443)
"""On which API servers listen: of clouds, of kubeadm and K3s, of minikube."""
POSTGRES_PORT, INSTANCE_PORT, POSTGRES_METRICS = 5432, 8000, 9187
NIM_PROXY_METRICS = 8001
GOOGLE_METADATA = (("169.254.169.254/32", 80), ("169.254.169.252/32", 988))
"""Address and port of GKE's metadata server as policies see it: with Dataplane V2, and with Calico."""
EKS_AGENT = "169.254.170.23/32"
GOOGLE_HEALTH_CHECKS = ("35.191.0.0/16", "130.211.0.0/22")

CALLS: dict[str, tuple[str, ...]] = {
    "entity_store": ("data_store", "nim_entry"),
    "customizer": ("data_store", "entity_store", "mlflow"),
    "evaluator": ("data_store", "entity_store", "core", "mlflow", "nim_entry", "nims"),
    "core": ("data_store", "entity_store", "nim_entry", "nims"),
    "guardrails": ("entity_store", "nim_entry"),
    # NIMs that it starts are in its namespace, and fetch adapters from there
    "deployment_management": ("data_store", "entity_store"),
    "nim_proxy": ("nims", "deployment_management"),
}
"""Service -> what it calls. nim_entry: the NIM proxy, or the first NIM without one."""
DOWNLOADERS = ("customizer", "evaluator", "deployment_management")
"""Besides the NIMs: checkpoints, datasets and judges from the internet, images of models."""
CONTROLLERS = ("customizer", "evaluator", "core", "deployment_management", "nim_proxy")
"""Services that ask the API server for jobs, pods or Services."""


@dataclass(frozen=True, kw_only=True, order=True)
class Peer:
    """One end: a namespace, or networks less some."""

    namespace: str = ""
    cidrs: tuple[str, ...] = ()
    less: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As the table in the documentation names it."""
        return self.namespace or ", ".join(self.cidrs) + (" except private ranges" if self.less else "")


@dataclass(frozen=True, kw_only=True, order=True)
class Edge:
    """`consumer` may open connections to `provider`. No ports: any, because the pods' ports are not ours to know."""

    consumer: Peer
    provider: Peer
    ports: tuple[int, ...]
    why: str


def policed(config: ClusterStackConfig) -> tuple[str, ...]:
    """Namespaces that are closed: services, NIMs, MLflow, databases, object store."""
    namespaces = list(addresses.namespaces(config))
    namespaces += [names.POSTGRES_NAMESPACE] if config.postgres.kind == "cloudnative-pg" else []
    namespaces += [names.OBJECT_STORE_NAMESPACE] if config.object_store.kind == "in-cluster" else []
    return tuple(namespaces)


def edges(config: ClusterStackConfig) -> tuple[Edge, ...]:
    """Every way between two ends once, ports and reasons joined; none inside a namespace."""
    joined: dict[tuple[Peer, Peer], Edge] = {}
    for edge in all_edges(config):
        if edge.consumer == edge.provider:
            continue
        key = edge.consumer, edge.provider
        if known := joined.get(key):
            ports = tuple(sorted({*known.ports, *edge.ports})) if known.ports and edge.ports else ()
            why = known.why if edge.why in known.why.split("; ") else f"{known.why}; {edge.why}"
            joined[key] = Edge(consumer=edge.consumer, provider=edge.provider, ports=ports, why=why)
        else:
            joined[key] = edge
    return tuple(sorted(joined.values()))


def all_edges(config: ClusterStackConfig) -> Iterator[Edge]:
    """Every need by itself, as often as it occurs."""
    yield from between_services(config)
    yield from of_nims(config)
    yield from to_stores(config)
    yield from to_the_outside(config)
    yield from to_identities(config)
    yield from of_operators(config)
    yield from from_clients(config)


def edge(consumer: str | Peer, provider: str | Peer, ports: tuple[int, ...], why: str) -> Edge:
    """Make an edge; a str is a namespace."""
    ends = [Peer(namespace=end) if isinstance(end, str) else end for end in (consumer, provider)]
    return Edge(consumer=ends[0], provider=ends[1], ports=ports, why=why)


def between_services(config: ClusterStackConfig) -> Iterator[Edge]:
    """Calls by the wiring."""
    running = {service.key: service for service in addresses.services(config)}
    for key, called in CALLS.items():
        if key not in running:
            continue
        consumer = addresses.namespace(config, running[key])
        for other in called:
            if other == "nims" or (other == "nim_entry" and "nim_proxy" not in running):
                for nim in config.nims if other == "nims" else config.nims[:1]:
                    yield edge(consumer, addresses.namespace(config, nim), (names.NIM_PORT,), "models")
            elif other == "mlflow":
                yield from to_mlflow(config, consumer)
            elif provider := running.get("nim_proxy" if other == "nim_entry" else other):
                yield edge(consumer, addresses.namespace(config, provider), (provider.port,), f"{provider.alias} API")


def to_mlflow(config: ClusterStackConfig, consumer: str) -> Iterator[Edge]:
    """Runs and metrics."""
    if config.mlflow.mode == "install":
        yield edge(consumer, names.MLFLOW_NAMESPACE, (names.MLFLOW_PORT, names.MLFLOW_POD_PORT), "MLflow")
    elif config.mlflow.url:
        yield edge(consumer, *destination(config.mlflow.url), "MLflow")


def of_nims(config: ClusterStackConfig) -> Iterator[Edge]:
    """Adapters: the list from the Entity Store, the files from the Data Store or through it (UNVERIFIED which)."""
    running = addresses.services(config)
    for nim in config.nims:
        namespace, source = addresses.namespace(config, nim), nim.lora.peft_source if nim.lora else "/"
        if source == "entity-store":
            for provider in (names.ENTITY_STORE, names.DATA_STORE):
                if provider in running:
                    yield edge(namespace, addresses.namespace(config, provider), (provider.port,), "adapters")
        elif not source.startswith("/"):
            yield edge(namespace, *destination(source), "adapters")


def to_stores(config: ClusterStackConfig) -> Iterator[Edge]:
    """Databases and buckets."""
    for database in endpoints.databases(config).values():
        for consumer in endpoints.readers(config, database):
            if config.postgres.kind == "cloudnative-pg":
                yield edge(consumer, names.POSTGRES_NAMESPACE, (POSTGRES_PORT,), "database")
            else:
                yield edge(consumer, *destination(f"postgresql://{database.host}:{database.port}"), "database")
    bucket = endpoints.bucket(config)
    for consumer in endpoints.bucket_readers(config) if bucket else ():
        if config.object_store.kind == "in-cluster":
            yield edge(consumer, names.OBJECT_STORE_NAMESPACE, (names.OBJECT_STORE_PORT,), "files")
        elif bucket:
            yield edge(consumer, *destination(bucket.endpoint or "https://cloud"), "files")


def to_the_outside(config: ClusterStackConfig) -> Iterator[Edge]:
    """Downloads, the judge, and the Data Store's public links, which lead through the gateway."""
    running = {service.key: addresses.namespace(config, service) for service in addresses.services(config)}
    downloaders = [addresses.namespace(config, nim) for nim in config.nims]
    downloaders += [running[key] for key in DOWNLOADERS if key in running]
    why = [(consumer, "downloads") for consumer in downloaders]
    if config.guardrails.nvidia_api_secret and "guardrails" in running:
        why.append((running["guardrails"], "models that NVIDIA hosts"))
    for consumer, reason in why:
        for cidr in config.security.internet_cidrs:
            yield edge(consumer, Peer(cidrs=(cidr,), less=private_parts(cidr)), (HTTPS,), reason)
    if config.judge.url and "evaluator" in running:
        yield edge(running["evaluator"], *destination(config.judge.url), "judge")
    if config.routes.kind == "none" or "data_store" not in running:
        return
    port = 80 if config.routes.tls.kind == "none" else HTTPS
    for consumer in downloaders:
        for proxies in proxy_peers(config):
            if proxies.namespace:
                yield edge(consumer, proxies, (), "public links of the Data Store")
        balancer = Peer(cidrs=addresses_of_balancer(config))
        yield edge(consumer, balancer, (port,), "public links of the Data Store")


def addresses_of_balancer(config: ClusterStackConfig) -> tuple[str, ...]:
    """Where the public hosts may resolve to: known only for a private load balancer that is in networks we were told.

    GKE's has its address elsewhere than in the subnet from which it reaches pods.
    """
    routes = config.routes
    on_gke = routes.kind == "gateway" and routes.gateway.controller == "gke"
    return routes.load_balancer_cidrs if routes.internal and not on_gke and routes.load_balancer_cidrs else ANYWHERE


def to_identities(config: ClusterStackConfig) -> Iterator[Edge]:
    """Workload identity: what hands MLflow a token for the bucket, GKE's metadata server or EKS's agent on the node."""
    if config.target == "gke" and config.object_store.kind == "gcs" and config.mlflow.mode == "install":
        for address, port in GOOGLE_METADATA:
            yield edge(names.MLFLOW_NAMESPACE, Peer(cidrs=(address,)), (port,), "identity of pods")
    if identities.eks_pod_identity(config):
        yield edge(names.MLFLOW_NAMESPACE, Peer(cidrs=(EKS_AGENT,)), (80,), "identity of pods")


def controller_namespaces(config: ClusterStackConfig) -> list[str]:
    """Return the namespaces whose pods ask the API server, each once."""
    services = [addresses.namespace(config, one) for one in addresses.services(config) if one.key in CONTROLLERS]
    databases = [names.POSTGRES_NAMESPACE] if config.postgres.kind == "cloudnative-pg" else []
    return list(dict.fromkeys([*services, *databases]))


def of_operators(config: ClusterStackConfig) -> Iterator[Edge]:
    """Controllers ask the API server; operators look after pods in namespaces of ours."""
    api = Peer(cidrs=config.security.api_server_cidrs)
    for namespace in controller_namespaces(config):
        yield edge(namespace, api, API_SERVER_PORTS, "API server")
    if config.postgres.kind == "cloudnative-pg":
        ports = (POSTGRES_PORT, INSTANCE_PORT)
        operator = config.postgres.operator_namespace or names.POSTGRES_OPERATOR_NAMESPACE
        yield edge(operator, names.POSTGRES_NAMESPACE, ports, "server status")
    if config.prerequisites.nim_operator != "skip":
        watched = [addresses.namespace(config, nim) for nim in config.nims if nim.deploy == "operator"]
        if config.services.deployment_management:
            watched.append(addresses.namespace(config, names.DEPLOYMENT_MANAGEMENT))
        operator = config.prerequisites.nim_operator_namespace or names.NIM_OPERATOR_NAMESPACE
        for namespace in watched:
            yield edge(operator, namespace, (names.NIM_PORT,), "models of a NIM")


def from_clients(config: ClusterStackConfig) -> Iterator[Edge]:
    """The way in: proxies, load balancers, further namespaces; and Prometheus."""
    routed = backends(config)
    for proxies in proxy_peers(config):
        for route in routed:
            yield edge(proxies, route.namespace, (route.pod_port,), "routes")
        if config.routes.kind == "ingress" and config.routes.tls.kind == "letsencrypt":
            for namespace in certificate_namespaces(config):
                yield edge(proxies, namespace, (SOLVER_PORT,), "ACME challenges")
    for client in config.security.clients:
        for namespace, port in public_ports(config):
            yield edge(client, namespace, (port,), "your clients")
    if config.observability.prometheus == "skip":
        return
    metrics = [(addresses.namespace(config, nim), names.NIM_PORT) for nim in config.nims]
    metrics += [(names.MLFLOW_NAMESPACE, names.MLFLOW_POD_PORT)] if config.mlflow.mode == "install" else []
    metrics += [(names.POSTGRES_NAMESPACE, POSTGRES_METRICS)] if config.postgres.kind == "cloudnative-pg" else []
    own = {"data_store": names.DATA_STORE.port, "nim_proxy": NIM_PROXY_METRICS}
    metrics += [
        (addresses.namespace(config, one), own[one.key]) for one in addresses.services(config) if one.key in own
    ]
    for namespace, port in metrics:
        yield edge(config.observability.namespace, namespace, (port,), "metrics")


def public_ports(config: ClusterStackConfig) -> list[tuple[str, int]]:
    """Namespace and pod port of everything that clients may call."""
    endpoints_of_stack = [
        (addresses.namespace(config, service), service.port) for service in addresses.services(config)
    ]
    endpoints_of_stack += [(addresses.namespace(config, nim), names.NIM_PORT) for nim in config.nims]
    endpoints_of_stack += [(names.MLFLOW_NAMESPACE, names.MLFLOW_POD_PORT)] if config.mlflow.mode == "install" else []
    return endpoints_of_stack


def proxy_peers(config: ClusterStackConfig) -> list[Peer]:
    """Where requests of users come from: the namespace of the proxies, or the networks of the load balancer."""
    routes = config.routes
    if routes.kind == "none":
        return []
    controller = routes.gateway.controller if routes.kind == "gateway" else routes.ingress.controller
    if controller in ("gke", "alb", "aws-lbc"):
        cidrs = routes.load_balancer_cidrs
        if not cidrs and isinstance(config.cluster, EksSettings):
            cidrs = (config.cluster.vpc_cidr,)  # the network that we make; rules.py asks for any other
        return [Peer(cidrs=(*cidrs, *(GOOGLE_HEALTH_CHECKS if controller == "gke" else ())))]
    if routes.proxy_namespace:
        return [Peer(namespace=routes.proxy_namespace)]
    if controller == "envoy":
        return [Peer(namespace=names.ENVOY_NAMESPACE)]
    existing = routes.gateway.existing if routes.kind == "gateway" else None
    beside = existing.split("/")[0] if existing else names.GATEWAY_NAMESPACE
    return [Peer(namespace=names.PROXY_NAMESPACES.get(controller, beside))]


def destination(url: str) -> tuple[Peer, tuple[int, ...]]:
    """Where a URL that is not of the stack leads, and to which ports.

    A Service of somebody else: its namespace, any port. An address: itself. A name outside of the cluster can have any
    address, which policies cannot follow, so only the port is held to.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (80 if parts.scheme == "http" else HTTPS)
    labels = host.removesuffix(".cluster.local").split(".")
    if len(labels) == 3 and labels[2] == "svc":
        return Peer(namespace=labels[1]), ()
    try:
        return Peer(cidrs=(str(ipaddress.ip_network(host)),)), (port,)
    except ValueError:
        return Peer(cidrs=ANYWHERE), (port,)


def private_parts(cidr: str) -> tuple[str, ...]:
    """Private ranges inside a network; none if the network itself lies in one, for then it is meant."""
    network = ipaddress.ip_network(cidr)
    ranges = [ipaddress.ip_network(one) for one in PRIVATE]
    return tuple(
        str(one)
        for one in ranges
        if one.version == network.version and one != network and one.subnet_of(network)  # type: ignore[arg-type]
    )
