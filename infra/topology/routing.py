"""The table of routes: from host and path to Service, and the URLs that follow, for every kind of route. Pure.

Refuses nothing: that hosts are there and do not collide was checked with the settings. Metrics and management paths of
NIMs are in no route.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from infra import names
from infra.config.network import HOSTS, Routes
from infra.topology.addresses import Address, Addresses

EVERYTHING = ("/",)
STREAMS = ("customizer", "evaluator", "core", "guardrails", "nim_proxy", "platform")
"""Services whose answers may take long: event streams, logs, live evaluations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Paths of a host that lead to a Service. `name` is unique in the stack."""

    name: str
    host: str
    prefixes: tuple[str, ...]
    namespace: str
    service: str
    port: int
    """Of the Service."""
    pod_port: int
    health: str
    streams: bool = False
    """An answer may take as long as `routes.stream_timeout_s`."""
    uploads: bool = False
    """A request may be of any size."""
    by_model: tuple[str, ...] = ()
    """Those of the prefixes whose requests are routed by the model that they name."""

    @property
    def long(self) -> bool:
        """Whether the default timeouts of controllers are too short for it."""
        return self.streams or self.uploads


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """The ways in."""

    routes: tuple[Route, ...]
    """None where `routes.kind` is none."""
    certificate_namespaces: tuple[str, ...]
    """Namespaces that need the certificate: the Gateway's, or with Ingress each that is routed to."""
    public_urls: Mapping[str, str]
    """URLs of the stack as its users reach it, without trailing slash; empty for what the stack does not have.

    Keys: nemo_url, nim_url, data_store_url, mlflow_url. Without routes they are those of `nemostack port-forward`;
    an MLflow that was there before the stack keeps its own.
    """
    platform_nim_url: str
    """URL of the NeMo Platform's NIM, which is another than nim_url's where the microservices have one of their own
    and there is a domain."""

    @property
    def backends(self) -> tuple[Route, ...]:
        """One route for each Service that is routed to, whatever the number of its hosts."""
        by_service = {(route.namespace, route.service): route for route in reversed(self.routes)}
        return tuple(reversed(by_service.values()))

    @property
    def namespaces(self) -> list[str]:
        """Namespaces that are routed to, each once, by name."""
        return sorted({route.namespace for route in self.routes})

    def hosts(self, namespace: str | None = None) -> list[str]:
        """Hosts of the routes, of those into a namespace, each once."""
        routes = [route for route in self.routes if namespace in (None, route.namespace)]
        return list(dict.fromkeys(route.host for route in routes))


def resolve_routing(settings: Routes, addresses: Addresses) -> Routing:
    """Return the ways into a stack."""
    routes = tuple(resolve_routes(settings, addresses))
    urls = public_urls(settings, addresses)
    return Routing(
        routes=routes,
        certificate_namespaces=tuple(certificate_namespaces(settings, routes)),
        public_urls=urls,
        platform_nim_url=platform_nim_url(settings, addresses, urls["nim_url"]),
    )


def platform_nim_url(settings: Routes, addresses: Addresses, nim_url: str) -> str:
    """Return the URL of the platform's NIM: a host of its own, unless it is the one that nim_url leads to."""
    nim = addresses.platform_nim
    if settings.kind == "none" or not settings.domain or nim == addresses.nim_entry:
        return nim_url
    return f"{settings.scheme}://{nim.service}.{settings.domain}"


def resolve_routes(settings: Routes, addresses: Addresses) -> list[Route]:
    """Return the routes of a stack; none where `routes.kind` is none."""
    nemo, nim, data_store, mlflow = (settings.host(key) for key in HOSTS)
    if settings.kind == "none" or nemo is None or nim is None or data_store is None or mlflow is None:
        return []
    routes = [
        route_to_service(addresses, service, service.name, nemo, service.prefixes)
        for service in addresses.running
        if service.prefixes
    ]
    if addresses.runs(names.NIM_PROXY):
        to_nim = route_to_service(addresses, names.NIM_PROXY, "host-nim", nim, names.NIM_PREFIXES)
    else:
        to_nim = route_to_nim(addresses.nim_entry, "host-nim", nim)
    by_model = names.NIM_MODEL_PREFIXES if settings.gateway.model_aliases else ()
    routes.append(replace(to_nim, by_model=by_model))
    if addresses.runs(names.DATA_STORE):
        routes.append(route_to_service(addresses, names.DATA_STORE, "host-data-store", data_store, EVERYTHING))
    if addresses.mlflow:
        routes.append(
            Route(
                name="host-mlflow",
                host=mlflow,
                prefixes=EVERYTHING,
                namespace=addresses.mlflow.namespace,
                service=addresses.mlflow.service,
                port=addresses.mlflow.port,
                pod_port=names.MLFLOW_POD_PORT,
                health=names.MLFLOW_HEALTH,
                uploads=True,
            )
        )
    if settings.domain:
        routes += [
            route_to_nim(address, f"nim-{name}", f"{name}.{settings.domain}")
            for name, address in addresses.nims.items()
        ]
    return routes


def route_to_service(
    addresses: Addresses, service: names.Service, name: str, host: str, prefixes: tuple[str, ...]
) -> Route:
    """Route to a service of the platform. Its pods listen on the port of the Service."""
    return Route(
        name=name,
        host=host,
        prefixes=prefixes,
        namespace=addresses.namespace(service),
        service=addresses.find(service).service,
        port=service.port,
        pod_port=service.port,
        health=service.health,
        streams=service.key in STREAMS,
        uploads=service in (names.DATA_STORE, names.NEMO_PLATFORM),
    )


def route_to_nim(nim: Address, name: str, host: str) -> Route:
    """Route to a NIM."""
    return Route(
        name=name,
        host=host,
        prefixes=names.NIM_PREFIXES,
        namespace=nim.namespace,
        service=nim.service,
        port=nim.port,
        pod_port=nim.port,
        health=names.NIM_HEALTH,
        streams=True,
    )


def certificate_namespaces(settings: Routes, routes: Iterable[Route]) -> list[str]:
    """Return the namespaces that need the certificate."""
    if settings.kind == "gateway":
        return [] if settings.gateway.existing else [names.GATEWAY_NAMESPACE]
    if settings.merges_by_master:
        return [names.GATEWAY_NAMESPACE]
    return sorted({route.namespace for route in routes})


def public_urls(settings: Routes, addresses: Addresses) -> dict[str, str]:
    """Return the URLs of a stack as its users reach it."""
    urls = {}
    for key in HOSTS:
        local = f"http://127.0.0.1:{names.LOCAL_PORTS[key]}"
        urls[f"{key}_url"] = local if settings.kind == "none" else f"{settings.scheme}://{settings.host(key)}"
    if not addresses.runs(names.DATA_STORE):
        urls["data_store_url"] = ""
    if addresses.mlflow is None:
        urls["mlflow_url"] = (addresses.mlflow_url or "").rstrip("/")
    return urls
