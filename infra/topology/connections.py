"""The allowed connections between namespaces and to the outside, as data. Pure.

An edge is from namespace to namespace, on ports of pods: most network plugins look at a packet after its Service was
resolved. The one of EKS looks before, so MLflow's edges, whose Service has a port of its own, carry both.

Inside a namespace everything may speak: the labels of the pods of jobs are made up by the services at run time and are
written down nowhere, so a rule by label could cut a job off. Operators' own namespaces are left as their charts make
them.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from infra import names
from infra.config.clusters import ClusterSettings, EksSettings
from infra.config.nemo import Nim
from infra.config.network import Observability, Routes, Security
from infra.config.stack import ClusterStackConfig
from infra.topology.addresses import Addresses
from infra.topology.bucket import OWN_STORE, Bucket, IdentityOf
from infra.topology.databases import OWN_SERVER, Database
from infra.topology.routing import Routing

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
INSTANCE_PORT, POSTGRES_METRICS = 8000, 9187
NIM_PROXY_METRICS = 8001
SOLVER_PORT = 8089
"""On which cert-manager's pod listens that answers Let's Encrypt's question."""
IDENTITY_SERVERS: dict[IdentityOf, tuple[tuple[str, int], ...]] = {
    "gke": (("169.254.169.254/32", 80), ("169.254.169.252/32", 988)),
    "eks": (("169.254.170.23/32", 80),),
    "aks": (),
}
"""Address and port of what hands a pod its identity: GKE's metadata server as policies see it with Dataplane V2 and
with Calico, EKS's agent on the node. A pod on AKS has its token in a file."""
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
    "platform": ("nims", "mlflow"),
}
"""Service -> what it calls. nim_entry: the NIM proxy, or the first NIM without one."""
DOWNLOADERS = ("customizer", "evaluator", "deployment_management", "platform")
"""Besides the NIMs: checkpoints, datasets and judges from the internet, images of models."""
CONTROLLERS = ("customizer", "evaluator", "core", "deployment_management", "nim_proxy", "platform")
"""Services that ask the API server for jobs, pods or Services."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Peer:
    """One end: a namespace, or networks less some."""

    namespace: str = ""
    cidrs: tuple[str, ...] = ()
    less: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As the table in the documentation names it."""
        return self.namespace or ", ".join(self.cidrs) + (" except private ranges" if self.less else "")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Edge:
    """`consumer` may open connections to `provider`. No ports: any, because the pods' ports are not ours to know."""

    consumer: Peer
    provider: Peer
    ports: tuple[int, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """Which namespaces are closed, and what they are opened for."""

    closed: tuple[str, ...]
    """Services, NIMs, MLflow, databases, object store."""
    edges: tuple[Edge, ...]
    """Every way between two ends once, ports and reasons joined; none inside a namespace."""
    controllers: tuple[str, ...]
    """Namespaces whose pods ask the API server."""


def resolve_connections(
    config: ClusterStackConfig,
    addresses: Addresses,
    databases: Mapping[str, Database],
    bucket: Bucket | None,
    routing: Routing,
) -> Connections:
    """Return the connections of a stack."""
    own_postgres = config.postgres.kind == "cloudnative-pg"
    stores = [OWN_SERVER.namespace] if own_postgres else []
    callers = [addresses.namespace(one) for one in addresses.running if one.key in CONTROLLERS]
    controllers = tuple(dict.fromkeys([*callers, *stores]))
    stores += [OWN_STORE.namespace] if config.object_store.kind == "in-cluster" else []
    proxies = proxy_peers(config.routes, config.cluster)
    downloaders = [addresses.namespace(nim) for nim in config.nims]
    downloaders += [addresses.namespace(one) for one in addresses.running if one.key in DOWNLOADERS]
    needs = [
        *between_services(addresses),
        *to_adapters(addresses, config.nims),
        *to_databases(databases.values()),
        *(to_bucket(bucket) if bucket else ()),
        *to_internet(downloaders, "downloads", config.security),
        *to_hosted_models(config, addresses),
        *to_identity_provider(config, addresses),
        *(to_public_links(downloaders, config.routes, proxies) if addresses.runs(names.DATA_STORE) else ()),
        *to_api_server(controllers, config.security),
        *of_operators(config, addresses),
        *by_routes(config.routes, routing, proxies),
        *by_clients(config.security, addresses),
        *by_prometheus(config.observability, addresses, own_postgres=own_postgres),
    ]
    return Connections(closed=(*addresses.namespaces, *stores), edges=join(needs), controllers=controllers)


def join(needs: Iterable[Edge]) -> tuple[Edge, ...]:
    """Join needs between the same two ends; what is inside a namespace needs no edge."""
    joined: dict[tuple[Peer, Peer], Edge] = {}
    for need in needs:
        if need.consumer == need.provider:
            continue
        key = need.consumer, need.provider
        if known := joined.get(key):
            ports = tuple(sorted({*known.ports, *need.ports})) if known.ports and need.ports else ()
            why = known.why if need.why in known.why.split("; ") else f"{known.why}; {need.why}"
            joined[key] = Edge(consumer=need.consumer, provider=need.provider, ports=ports, why=why)
        else:
            joined[key] = need
    return tuple(sorted(joined.values()))


def edge(consumer: str | Peer, provider: str | Peer, ports: tuple[int, ...], why: str) -> Edge:
    """Make an edge; a str is a namespace."""
    ends = [Peer(namespace=end) if isinstance(end, str) else end for end in (consumer, provider)]
    return Edge(consumer=ends[0], provider=ends[1], ports=ports, why=why)


def between_services(addresses: Addresses) -> Iterator[Edge]:
    """Calls by the wiring."""
    running = {service.key: service for service in addresses.running}
    for key, called in CALLS.items():
        if key not in running:
            continue
        consumer = addresses.namespace(running[key])
        for other in called:
            if other == "nims" or (other == "nim_entry" and "nim_proxy" not in running):
                nims = addresses.nims.values() if other == "nims" else [addresses.nim_entry]
                for nim in nims:
                    yield edge(consumer, nim.namespace, (nim.port,), "models")
            elif other == "mlflow":
                yield from to_mlflow(addresses, consumer)
            elif provider := running.get("nim_proxy" if other == "nim_entry" else other):
                yield edge(consumer, addresses.namespace(provider), (provider.port,), f"{provider.alias} API")


def to_mlflow(addresses: Addresses, consumer: str) -> Iterator[Edge]:
    """Runs and metrics."""
    if mlflow := addresses.mlflow:
        yield edge(consumer, mlflow.namespace, (mlflow.port, names.MLFLOW_POD_PORT), "MLflow")
    elif addresses.mlflow_url:
        yield edge(consumer, *destination(addresses.mlflow_url), "MLflow")


def to_adapters(addresses: Addresses, nims: Iterable[Nim]) -> Iterator[Edge]:
    """Adapters: the list from the Entity Store, the files from the Data Store or through it (UNVERIFIED which)."""
    for nim in nims:
        if nim.deploy == "platform":
            continue  # its sidecar fetches them, within the namespace
        namespace, source = addresses.namespace(nim), nim.lora.peft_source if nim.lora else "/"
        if source == "entity-store":
            for provider in (names.ENTITY_STORE, names.DATA_STORE):
                if addresses.runs(provider):
                    yield edge(namespace, addresses.namespace(provider), (provider.port,), "adapters")
        elif not source.startswith("/"):
            yield edge(namespace, *destination(source), "adapters")


def to_databases(databases: Iterable[Database]) -> Iterator[Edge]:
    """Whoever reads the Secret of a database speaks to its server."""
    for database in databases:
        for consumer in database.readers:
            if database.server_namespace:
                yield edge(consumer, database.server_namespace, (database.port,), "database")
            else:
                yield edge(consumer, *destination(f"postgresql://{database.host}:{database.port}"), "database")


def to_bucket(bucket: Bucket) -> Iterator[Edge]:
    """Files, and what hands MLflow its identity."""
    for consumer in bucket.readers:
        if bucket.kind == "in-cluster":
            yield edge(consumer, OWN_STORE.namespace, (OWN_STORE.port,), "files")
        else:
            yield edge(consumer, *destination(bucket.endpoint or "https://cloud"), "files")
    for address, port in IDENTITY_SERVERS[bucket.pod_identity] if bucket.pod_identity else ():
        yield edge(names.MLFLOW_NAMESPACE, Peer(cidrs=(address,)), (port,), "identity of pods")


def to_internet(consumers: Iterable[str], why: str, security: Security) -> Iterator[Edge]:
    """The networks that the settings allow, less what is private in them."""
    for consumer in consumers:
        for cidr in security.internet_cidrs:
            yield edge(consumer, Peer(cidrs=(cidr,), less=private_parts(cidr)), (HTTPS,), why)


def to_hosted_models(config: ClusterStackConfig, addresses: Addresses) -> Iterator[Edge]:
    """Models that are elsewhere: those that NVIDIA hosts, and the judge."""
    if config.guardrails.nvidia_api_secret and addresses.runs(names.GUARDRAILS):
        yield from to_internet([addresses.namespace(names.GUARDRAILS)], "models that NVIDIA hosts", config.security)
    if config.judge.url and addresses.runs(names.EVALUATOR):
        yield edge(addresses.namespace(names.EVALUATOR), *destination(config.judge.url), "judge")


def to_identity_provider(config: ClusterStackConfig, addresses: Addresses) -> Iterator[Edge]:
    """The platform asks the issuer for its keys."""
    if config.platform.oidc and addresses.runs(names.NEMO_PLATFORM):
        issuer = destination(config.platform.oidc.issuer)
        yield edge(addresses.namespace(names.NEMO_PLATFORM), *issuer, "identity provider")


def to_public_links(consumers: Iterable[str], routes: Routes, proxies: Iterable[Peer]) -> Iterator[Edge]:
    """The Data Store's public links, which lead through the gateway."""
    if routes.kind == "none":
        return
    port = 80 if routes.scheme == "http" else HTTPS
    for consumer in consumers:
        for peer in proxies:
            if peer.namespace:
                yield edge(consumer, peer, (), "public links of the Data Store")
        yield edge(consumer, Peer(cidrs=balancer_cidrs(routes)), (port,), "public links of the Data Store")


def balancer_cidrs(routes: Routes) -> tuple[str, ...]:
    """Where the public hosts may resolve to: known only for a private load balancer that is in networks we were told.

    GKE's has its address elsewhere than in the subnet from which it reaches pods.
    """
    on_gke = routes.kind == "gateway" and routes.controller == "gke"
    return routes.load_balancer_cidrs if routes.internal and not on_gke and routes.load_balancer_cidrs else ANYWHERE


def to_api_server(consumers: Iterable[str], security: Security) -> Iterator[Edge]:
    """Controllers ask the API server."""
    for namespace in consumers:
        yield edge(namespace, Peer(cidrs=security.api_server_cidrs), API_SERVER_PORTS, "API server")


def of_operators(config: ClusterStackConfig, addresses: Addresses) -> Iterator[Edge]:
    """Operators look after pods in namespaces of ours."""
    if config.postgres.kind == "cloudnative-pg":
        operator = config.postgres.operator_namespace or names.POSTGRES_OPERATOR_NAMESPACE
        yield edge(operator, OWN_SERVER.namespace, (OWN_SERVER.port, INSTANCE_PORT), "server status")
    if config.prerequisites.nim_operator != "skip":
        watched = [addresses.namespace(nim) for nim in config.nims if nim.deploy == "operator"]
        if addresses.runs(names.DEPLOYMENT_MANAGEMENT):
            watched.append(addresses.namespace(names.DEPLOYMENT_MANAGEMENT))
        operator = config.prerequisites.nim_operator_namespace or names.NIM_OPERATOR_NAMESPACE
        for namespace in watched:
            yield edge(operator, namespace, (names.NIM_PORT,), "models of a NIM")


def by_routes(routes: Routes, routing: Routing, proxies: Iterable[Peer]) -> Iterator[Edge]:
    """The way in: proxies and load balancers."""
    for peer in proxies:
        for route in routing.backends:
            yield edge(peer, route.namespace, (route.pod_port,), "routes")
        if routes.kind == "ingress" and routes.tls.kind == "letsencrypt":
            for namespace in routing.certificate_namespaces:
                yield edge(peer, namespace, (SOLVER_PORT,), "ACME challenges")


def by_clients(security: Security, addresses: Addresses) -> Iterator[Edge]:
    """Further namespaces that may call whatever serves an API."""
    ports = [(addresses.namespace(service), service.port) for service in addresses.running]
    ports += [(nim.namespace, nim.port) for nim in addresses.nims.values()]
    ports += [(addresses.mlflow.namespace, names.MLFLOW_POD_PORT)] if addresses.mlflow else []
    for client in security.clients:
        for namespace, port in ports:
            yield edge(client, namespace, (port,), "your clients")


def by_prometheus(observability: Observability, addresses: Addresses, *, own_postgres: bool) -> Iterator[Edge]:
    """Prometheus collects metrics."""
    if observability.prometheus == "skip":
        return
    metrics = [(nim.namespace, nim.port) for nim in addresses.nims.values()]
    metrics += [(addresses.mlflow.namespace, names.MLFLOW_POD_PORT)] if addresses.mlflow else []
    metrics += [(OWN_SERVER.namespace, POSTGRES_METRICS)] if own_postgres else []
    own = {service.key: service.port for service in (names.DATA_STORE, names.NEMO_PLATFORM)}
    own[names.NIM_PROXY.key] = NIM_PROXY_METRICS
    metrics += [(addresses.namespace(one), own[one.key]) for one in addresses.running if one.key in own]
    for namespace, port in metrics:
        yield edge(observability.namespace, namespace, (port,), "metrics")


def proxy_peers(routes: Routes, cluster: ClusterSettings) -> list[Peer]:
    """Where requests of users come from: the namespace of the proxies, or the networks of the load balancer."""
    if routes.kind == "none":
        return []
    controller = routes.controller
    if controller in ("gke", "alb", "aws-lbc"):
        cidrs = routes.load_balancer_cidrs
        if not cidrs and isinstance(cluster, EksSettings):
            cidrs = (cluster.vpc_cidr,)  # the network that we make; the rules ask for any other
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
