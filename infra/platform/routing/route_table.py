"""The table of routes: from host and path to Service, and the URLs that follow, for every kind of route. Pure.

Refuses nothing: that hosts are there and do not collide was checked with the settings. Metrics and management paths of
NIMs are in no route.
"""

from dataclasses import dataclass

from infra import names
from infra.config import addresses
from infra.config.network import HOSTS
from infra.config.stack import ClusterStackConfig

EVERYTHING = ("/",)
STREAMS = ("customizer", "evaluator", "core", "guardrails", "nim_proxy")
"""Services whose answers may take long: event streams, logs, live evaluations."""


@dataclass(frozen=True, kw_only=True)
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

    @property
    def long(self) -> bool:
        """Whether the default timeouts of controllers are too short for it."""
        return self.streams or self.uploads


def route_table(config: ClusterStackConfig) -> tuple[Route, ...]:
    """Return the routes of a stack; none where `routes.kind` is none."""
    route_settings = config.routes
    nemo, nim, data_store, mlflow = (route_settings.host(key) for key in HOSTS)
    if route_settings.kind == "none" or nemo is None or nim is None or data_store is None or mlflow is None:
        return ()
    on = addresses.services(config)
    routes = [of_service(config, service, service.name, nemo, service.prefixes) for service in on if service.prefixes]
    if names.NIM_PROXY in on:
        routes.append(of_service(config, names.NIM_PROXY, "host-nim", nim, names.NIM_PREFIXES))
    else:
        routes.append(of_nim(config, 0, "host-nim", nim))
    if names.DATA_STORE in on:
        routes.append(of_service(config, names.DATA_STORE, "host-data-store", data_store, EVERYTHING))
    if config.mlflow.mode == "install":
        routes.append(
            Route(
                name="host-mlflow",
                host=mlflow,
                prefixes=EVERYTHING,
                namespace=names.MLFLOW_NAMESPACE,
                service=names.MLFLOW_SERVICE,
                port=names.MLFLOW_PORT,
                pod_port=names.MLFLOW_POD_PORT,
                health=names.MLFLOW_HEALTH,
                uploads=True,
            )
        )
    if route_settings.domain:
        routes += [
            of_nim(config, index, f"nim-{nim.name}", f"{nim.name}.{route_settings.domain}")
            for index, nim in enumerate(config.nims)
        ]
    return tuple(routes)


def of_service(
    config: ClusterStackConfig, service: names.Service, name: str, host: str, prefixes: tuple[str, ...]
) -> Route:
    """Route to a service of the platform. Its pods listen on the port of the Service."""
    return Route(
        name=name,
        host=host,
        prefixes=prefixes,
        namespace=addresses.namespace(config, service),
        service=service.name,
        port=service.port,
        pod_port=service.port,
        health=service.health,
        streams=service.key in STREAMS,
        uploads=service.key == "data_store",
    )


def of_nim(config: ClusterStackConfig, index: int, name: str, host: str) -> Route:
    """Route to a NIM."""
    nim = config.nims[index]
    return Route(
        name=name,
        host=host,
        prefixes=names.NIM_PREFIXES,
        namespace=addresses.namespace(config, nim),
        service=nim.name,
        port=names.NIM_PORT,
        pod_port=names.NIM_PORT,
        health=names.NIM_HEALTH,
        streams=True,
    )


def backends(config: ClusterStackConfig) -> tuple[Route, ...]:
    """One route for each Service that is routed to, whatever the number of its hosts."""
    by_service = {(route.namespace, route.service): route for route in reversed(route_table(config))}
    return tuple(reversed(by_service.values()))


def hosts(config: ClusterStackConfig, namespace: str | None = None) -> list[str]:
    """Hosts of the routes, of those into a namespace, each once."""
    routes = [route for route in route_table(config) if namespace in (None, route.namespace)]
    return list(dict.fromkeys(route.host for route in routes))


def scheme(config: ClusterStackConfig) -> str:
    """`https` with a certificate, else `http`."""
    return "http" if config.routes.tls.kind == "none" else "https"


def public_urls(config: ClusterStackConfig) -> dict[str, str]:
    """The URLs of a stack as its users reach it, without trailing slash; empty for what the stack does not have.

    Keys: nemo_url, nim_url, data_store_url, mlflow_url. Without routes they are those of `nemostack port-forward`;
    an MLflow that was there before the stack keeps its own.
    """
    route_settings, urls = config.routes, {}
    for key in HOSTS:
        local = f"http://127.0.0.1:{names.LOCAL_PORTS[key]}"
        urls[f"{key}_url"] = (
            local if route_settings.kind == "none" else f"{scheme(config)}://{route_settings.host(key)}"
        )
    if not config.services.data_store:
        urls["data_store_url"] = ""
    if config.mlflow.mode != "install":
        urls["mlflow_url"] = (config.mlflow.url or "").rstrip("/")
    return urls
