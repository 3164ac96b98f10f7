"""Combinations of routes that cannot work: hosts that collide, controllers and certificates that do not fit.

Rules as in rules.py: each yields problems, `path: what is wrong: what to do`.
"""

from collections.abc import Iterator

from infra.config.clusters import EksSettings
from infra.config.network import HOSTS
from infra.config.section import repeated
from infra.config.stack import ClusterStackConfig


def route_rules(config: ClusterStackConfig) -> Iterator[str]:
    """All rules about routes; none where nothing is routed."""
    if config.routes.kind != "none":
        for rule in (hosts, controllers, model_aliases, nim_hosts, certificates, load_balancers):
            yield from rule(config)


def hosts(config: ClusterStackConfig) -> Iterator[str]:
    """Hosts that collide or are missing."""
    routes = config.routes
    for key in HOSTS:
        if routes.host(key) is None:
            yield f"routes.hosts.{key}: missing: set routes.domain, or the host"
    if routes.host("nemo") and routes.host("nemo") == routes.host("nim"):
        yield (
            "routes.hosts.nim: the same host as nemo, but /v1/models is the Entity Store's on one and NIM's on the "
            "other: give NIM its own host"
        )
    taken = {key: routes.host(key) for key in HOSTS}
    if taken["nim"] == taken["nemo"]:
        del taken["nim"]
    for host in repeated([host for host in taken.values() if host]):
        yield f"routes.hosts: {host!r} is used twice, but each service needs all paths: give each its own host"


def controllers(config: ClusterStackConfig) -> Iterator[str]:
    """Controllers that are not of this cloud, or that need a name."""
    routes = config.routes
    own = {"gke": "gke", "aws-lbc": "eks"}
    if routes.kind == "gateway":
        needed = own.get(routes.gateway.controller)
        if needed and config.target not in (needed, "existing"):
            yield f"routes.gateway.controller: {routes.gateway.controller} works only on {needed}: envoy works anywhere"
        if routes.gateway.controller == "other" and not (routes.gateway.class_name or routes.gateway.existing):
            yield "routes.gateway.class_name: controller: other needs it, or routes.gateway.existing"
    if routes.kind == "ingress":
        if routes.ingress.controller == "alb" and config.target not in ("eks", "existing"):
            yield "routes.ingress.controller: alb works only on eks: traefik works everywhere"
        if routes.ingress.controller == "other" and not routes.ingress.class_name:
            yield "routes.ingress.class_name: controller: other needs it"


def model_aliases(config: ClusterStackConfig) -> Iterator[str]:
    """Only one controller routes by what a body says, and the platform does not need one."""
    routes = config.routes
    if not routes.gateway.model_aliases:
        return
    if routes.kind != "gateway":
        yield "routes.gateway.model_aliases: an Ingress does not route by models: routes.kind: gateway, or false"
    elif routes.gateway.controller != "envoy":
        yield (
            f"routes.gateway.model_aliases: {routes.gateway.controller} routes by no models: controller: envoy, or "
            "false"
        )
    elif config.product == "platform":
        yield "routes.gateway.model_aliases: the NeMo Platform's own gateway has aliases: false"


def nim_hosts(config: ClusterStackConfig) -> Iterator[str]:
    """Each NIM has a host of its own below the domain."""
    routes = config.routes
    taken = {routes.host(key): key for key in HOSTS}
    for index, nim in enumerate(config.nims):
        host = f"{nim.name}.{routes.domain}"
        if routes.domain and host in taken:
            yield f"nims.{index}.name: its host {host} is already routes.hosts.{taken[host]}: another name or host"


def certificates(config: ClusterStackConfig) -> Iterator[str]:
    """Certificates that the load balancer cannot use, or that nobody would issue."""
    routes, controller = config.routes, config.routes.controller
    kind = routes.tls.kind
    on_aws = controller in ("alb", "aws-lbc")
    if kind == "acm" and not on_aws:
        yield f"routes.tls.kind: acm works only with alb and aws-lbc, not {controller}: another kind"
    if kind not in ("none", "acm") and on_aws:
        yield f"routes.tls.kind: {controller} supports only certificates of ACM, not {kind}: acm, or another controller"
    if kind == "letsencrypt" and routes.internal:
        yield (
            "routes.tls.kind: Let's Encrypt cannot reach an internal load balancer: routes.internal: false, or an "
            "issuer that proves ownership by DNS"
        )
    if routes.kind == "gateway" and routes.gateway.existing and kind not in ("none", "secret"):
        yield (
            f"routes.tls.kind: the Gateway {routes.gateway.existing} has its own certificate, so {kind} has no use: "
            "secret if it serves https, else none"
        )


def load_balancers(config: ClusterStackConfig) -> Iterator[str]:
    """Policies must let load balancers in that reach pods directly, and only the user knows their networks."""
    routes, controller = config.routes, config.routes.controller
    made_vpc = isinstance(config.cluster, EksSettings) and config.cluster.create and config.cluster.vpc_id is None
    if not config.security.network_policies or routes.load_balancer_cidrs:
        return
    # Google's global load balancers reach pods from the addresses of its health checks, which are let in anyway
    regional = routes.internal or routes.gateway.class_name not in (
        None,
        "gke-l7-global-external-managed",
        "gke-l7-gxlb",
    )
    if (controller == "gke" and regional) or (controller in ("alb", "aws-lbc") and not made_vpc):
        where = "the proxy-only subnet" if controller == "gke" else "the subnets of the load balancer"
        yield (
            f"routes.load_balancer_cidrs: missing: {controller} reaches pods from {where}, which policies must allow: "
            "set it, or security.network_policies: false"
        )
