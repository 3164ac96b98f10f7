"""Envoy AI Gateway in front of the NIM host, so that aliases of models are known there. Pure.

It reads a request's model in the body, and routes by it: an alias by the AIGatewayRoute that `nemostack promote` makes
(nemostack/clients/gateway_routes.py), any other name by the one that is made here, which leads to NIM as it is. Only
the paths that name a model go this way; NIM's list of models is NIM's own answer, for the gateway would answer with the
aliases alone. Bodies on this way are held in memory, requests and answers that are no streams, up to `BUFFER`.
"""

from infra import names
from infra.config.network import Routes
from infra.platform.routing.objects import (
    ENVOY_API,
    GROUP,
    Object,
    build_object,
    envoy_policy,
    http_route_target,
    parent,
)
from infra.topology.routing import Route, Routing
from nemostack.aliases import MANAGED

API = "aigateway.envoyproxy.io/v1beta1"
KNOWN_BY = "aigatewayroutes.aigateway.envoyproxy.io"
"""CustomResourceDefinition by which Envoy AI Gateway is known."""
CONTROLLER = "ai-gateway-controller"
CONTROLLER_PORT = 1063
PROPAGATION = "pulumi.com/deletionPropagationPolicy"
BUFFER = "50Mi"
"""Of a connection, in place of Envoy Gateway's 32 KiB: the greatest body of a request that names a model."""
FALLBACK = {
    "numRetries": 1,
    "numAttemptsPerPriority": 1,
    "retryOn": {
        "triggers": ["connect-failure", "refused-stream", "reset", "retriable-status-codes"],
        "httpStatusCodes": [404, 500, 502, 503, 504],
    },
}
"""A model that fails, or is not there, before the first byte: once more, with what an alias has of second rank."""


def controller_values(*, cert_manager: bool) -> Object:
    """Return the values of the controller's chart.

    Without cert-manager the chart makes a certificate of its webhook that nobody renews after its year.
    """
    webhook = {"certManager": {"enable": cert_manager}}
    return {
        "controller": {"fullnameOverride": CONTROLLER, "mutatingWebhook": webhook},
        "envoyGateway": {"namespace": names.ENVOY_NAMESPACE},
    }


def extension_values() -> Object:
    """Return what Envoy Gateway has to know of it, for the values of its chart."""
    everything = {"includeAll": True}
    translation = dict.fromkeys(("listener", "route", "cluster", "secret"), everything)
    host = f"{CONTROLLER}.{names.ENVOY_NAMESPACE}.svc.cluster.local"
    manager = {
        "hooks": {"xdsTranslator": {"translation": translation, "post": ["Translation", "Cluster", "Route"]}},
        "service": {"fqdn": {"hostname": host, "port": CONTROLLER_PORT}},
    }
    return {"config": {"envoyGateway": {"extensionApis": {"enableBackend": True}, "extensionManager": manager}}}


def objects(settings: Routes, routing: Routing) -> list[Object]:
    """Return all objects, in an order in which they can be made; none where no route is by models."""
    routes = [route for route in routing.routes if route.by_model]
    made = [one for route in routes for one in route_objects(settings, route)]
    return [*([] if settings.gateway.existing or not made else [buffer()]), *made]


def route_objects(settings: Routes, route: Route) -> list[Object]:
    """Return the route for all names that are no alias, what it leads to, and the time limits of aliases too.

    The first three have one name, so each waits for the one before it, and goes before it. When the route has gone,
    Kubernetes' garbage collector deletes the aliases that it owns. It also has to see the Backend off, and the
    controller the AIServiceBackend: only after these does the controller go, without which an alias stays for good.
    """
    name, where, seconds = f"{route.name}-models", route.namespace, settings.stream_timeout_s
    host = f"{route.service}.{where}.svc.cluster.local"
    backend = {"endpoints": [{"fqdn": {"hostname": host, "port": route.port}}]}
    reference = {"group": ENVOY_API.split("/")[0], "kind": "Backend", "name": name}
    rule = {"backendRefs": [{"name": name}], "timeouts": {"request": f"{seconds}s"}}
    spec = {
        "parentRefs": [{"group": GROUP, "kind": "Gateway", **parent(settings)}],
        "hostnames": [route.host],
        "rules": [rule],
    }
    of_aliases = {"targetSelectors": [{"group": GROUP, "kind": "HTTPRoute", "matchLabels": MANAGED}]}
    service = {"schema": {"name": "OpenAI"}, "backendRef": reference}
    return [
        in_background(build_object(API, "AIServiceBackend", name, where, service)),
        build_object(ENVOY_API, "Backend", name, where, backend),
        in_background(build_object(API, "AIGatewayRoute", name, where, spec)),
        envoy_policy(name, where, http_route_target(name), seconds),  # its HTTPRoute has its name
        envoy_policy(f"{route.name}-aliases", where, of_aliases, seconds, retry=FALLBACK),
    ]


def in_background(made: Object) -> Object:
    """Let Pulumi delete an object without its children.

    Deletion in the foreground, its default, takes off a finalizer of its own while the controller takes off its own,
    which the controller tries once and never again: the object would stay for good (seen with v1.1.0).
    """
    return made | {"metadata": {**made["metadata"], "annotations": {PROPAGATION: "background"}}}


def buffer() -> Object:
    """Return the limit of what Envoy holds of a connection of our Gateway."""
    target = {"group": GROUP, "kind": "Gateway", "name": names.GATEWAY}
    spec = {"targetRefs": [target], "connection": {"bufferLimit": BUFFER}}
    return build_object(ENVOY_API, "ClientTrafficPolicy", names.GATEWAY, names.GATEWAY_NAMESPACE, spec)
