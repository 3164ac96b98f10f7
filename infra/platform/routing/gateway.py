"""Objects of Gateway API for each controller: class, Gateway, routes, and the controller's own timeout policies. Pure.

Routes are in the namespaces of the services they lead to, so that no grant across namespaces is needed; the Gateway
admits routes from the stack's namespaces only. With `routes.gateway.existing` only routes and policies are made.
No request is buffered, but those that ai_gateway.py reads: nothing here limits a body, and nothing must, for uploads
are of any size.
"""

from dataclasses import dataclass

from infra import names
from infra.config.network import Gateway, Routes
from infra.platform.routing import ai_gateway
from infra.platform.routing.load_balancers import annotations
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

CERTIFICATE = "nemo-routes"
"""Secret with the certificate of all hosts, in the namespace of the Gateway, unless the user names one."""
ALB_IDLE_S = 4000
"""The longest idle timeout that an ALB takes, seconds."""


@dataclass(frozen=True, kw_only=True)
class Controller:
    """What is usual for a controller of Gateway API."""

    internal_class: str
    external_class: str
    made_by: str | None = None
    """controllerName of the GatewayClass, where the stack makes it."""
    known_by: str | None = None
    """CustomResourceDefinition that comes with the controller, unless the cloud installs it or it is unknown."""
    http: int = 80
    https: int = 443


CONTROLLERS = {
    "envoy": Controller(
        internal_class="nemo-envoy",
        external_class="nemo-envoy",
        made_by="gateway.envoyproxy.io/gatewayclass-controller",
        known_by="envoyproxies.gateway.envoyproxy.io",
    ),
    "gke": Controller(internal_class="gke-l7-rilb", external_class="gke-l7-global-external-managed"),
    "istio": Controller(internal_class="istio", external_class="istio", known_by="virtualservices.networking.istio.io"),
    # its listeners must have the ports of the entry points, which its chart puts behind 80 and 443
    "traefik": Controller(
        internal_class="traefik", external_class="traefik", known_by="middlewares.traefik.io", http=8000, https=8443
    ),
    "aws-lbc": Controller(
        internal_class="nemo-alb",
        external_class="nemo-alb",
        made_by="gateway.k8s.aws/alb",
        known_by="loadbalancerconfigurations.gateway.k8s.aws",
    ),
    "other": Controller(internal_class="", external_class=""),
}


def class_name(settings: Routes) -> str:
    """GatewayClass of our Gateway."""
    gateway_settings, usual = settings.gateway, CONTROLLERS[settings.gateway.controller]
    if gateway_settings.class_name:
        return gateway_settings.class_name
    if gateway_settings.controller == "envoy" and not gateway_settings.install:
        return "eg"  # what Envoy Gateway's own quickstart calls it
    return usual.internal_class if settings.internal else usual.external_class


def makes_class(said: Gateway) -> bool:
    """Whether the GatewayClass is ours: of Envoy Gateway where we install it, of AWS unless one is named."""
    if CONTROLLERS[said.controller].made_by is None:
        return False
    return said.install if said.controller == "envoy" else said.class_name is None


def gateway_objects(settings: Routes, routing: Routing, target: str) -> list[Object]:
    """Everything of Gateway API, in an order in which it can be made."""
    own = [] if settings.gateway.existing else gateway(settings, routing, target)
    routes = [http_route(settings, route) for route in routing.routes]
    return [*own, *routes, *policies(settings, routing), *ai_gateway.objects(settings, routing)]


def gateway(settings: Routes, routing: Routing, target: str) -> list[Object]:
    """GatewayClass, the controller's parameters, the Gateway, and the redirect to https."""
    gateway_settings, controller = settings.gateway, CONTROLLERS[settings.gateway.controller]
    objects: list[Object] = []
    if makes_class(gateway_settings):
        objects.append(
            build_object(
                f"{GROUP}/v1", "GatewayClass", class_name(settings), None, {"controllerName": controller.made_by}
            )
        )
    infrastructure: Object = {"annotations": annotations(target, internal=settings.internal)}
    if parameters := controller_parameters(settings, target):
        objects.append(parameters)
        group = parameters["apiVersion"].split("/")[0]
        reference = {"group": group, "kind": parameters["kind"], "name": names.GATEWAY}
        infrastructure = {"parametersRef": reference}
    spec: Object = {"gatewayClassName": class_name(settings), "listeners": listeners(settings, routing, controller)}
    if gateway_settings.controller not in ("gke", "traefik") and any(infrastructure.values()):
        spec["infrastructure"] = infrastructure  # GKE's class says it all, Traefik's Service is not ours
    objects.append(build_object(f"{GROUP}/v1", "Gateway", names.GATEWAY, names.GATEWAY_NAMESPACE, spec))
    if settings.tls.kind != "none":
        objects.append(redirect())
    return objects


def listeners(settings: Routes, routing: Routing, controller: Controller) -> list[Object]:
    """One for http, and one for https where there is a certificate. Each admits the stack's namespaces."""
    allowed = sorted({*routing.namespaces, names.GATEWAY_NAMESPACE})
    from_ours = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": allowed}
    routes = {"namespaces": {"from": "Selector", "selector": {"matchExpressions": [from_ours]}}}
    listeners: list[Object] = [{"name": "http", "protocol": "HTTP", "port": controller.http, "allowedRoutes": routes}]
    tls = settings.tls
    if tls.kind != "none":
        https: Object = {"name": "https", "protocol": "HTTPS", "port": controller.https, "allowedRoutes": routes}
        if tls.kind != "acm":  # the load balancer of AWS finds its certificate by itself, by the hosts of the routes
            secret = tls.name if tls.kind == "secret" else CERTIFICATE
            https["tls"] = {"mode": "Terminate", "certificateRefs": [{"kind": "Secret", "name": secret}]}
        listeners.append(https)
    return listeners


def controller_parameters(settings: Routes, target: str) -> Object | None:
    """What Envoy Gateway and AWS want said outside of the Gateway."""
    where = names.GATEWAY_NAMESPACE
    if settings.gateway.controller == "envoy":
        replicas = 1 if target == "minikube" else 2
        kubernetes: Object = {"envoyDeployment": {"replicas": replicas}}
        if cloud_settings := annotations(target, internal=settings.internal):
            kubernetes["envoyService"] = {"annotations": cloud_settings}
        if replicas > 1:
            kubernetes["envoyPDB"] = {"minAvailable": 1}
        spec: Object = {"provider": {"type": "Kubernetes", "kubernetes": kubernetes}}
        return build_object(ENVOY_API, "EnvoyProxy", names.GATEWAY, where, spec)
    if settings.gateway.controller == "aws-lbc":
        idle = min(settings.stream_timeout_s, ALB_IDLE_S)
        spec = {
            "scheme": "internal" if settings.internal else "internet-facing",
            "loadBalancerAttributes": [{"key": "idle_timeout.timeout_seconds", "value": str(idle)}],
        }
        return build_object("gateway.k8s.aws/v1beta1", "LoadBalancerConfiguration", names.GATEWAY, where, spec)
    return None


def redirect() -> Object:
    """From http to https, for every host of the Gateway."""
    spec = {
        "parentRefs": [{"name": names.GATEWAY, "sectionName": "http"}],
        "rules": [
            {"filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}]}
        ],
    }
    return build_object(f"{GROUP}/v1", "HTTPRoute", "to-https", names.GATEWAY_NAMESPACE, spec)


def http_route(settings: Routes, route: Route) -> Object:
    """One HTTPRoute. Several of one host are merged by the controller, the longest prefix wins."""
    rule: Object = {
        "matches": [
            {"path": {"type": "PathPrefix", "value": prefix}}
            for prefix in route.prefixes
            if prefix not in route.by_model  # a longer prefix would win over the routes by models, which have none
        ],
        "backendRefs": [{"name": route.service, "port": route.port}],
    }
    if route.long and settings.gateway.controller in ("istio", "other"):
        bound = f"{settings.stream_timeout_s}s"
        rule["timeouts"] = {"request": bound, "backendRequest": bound}
    spec = {"parentRefs": [parent(settings)], "hostnames": [route.host], "rules": [rule]}
    return build_object(f"{GROUP}/v1", "HTTPRoute", route.name, route.namespace, spec)


def policies(settings: Routes, routing: Routing) -> list[Object]:
    """Timeouts and health checks that Gateway API has no words for, in each controller's own."""
    controller, seconds = settings.gateway.controller, settings.stream_timeout_s
    if controller == "envoy":
        return [
            envoy_policy(route.name, route.namespace, http_route_target(route.name), seconds)
            for route in routing.routes
            if route.long
        ]
    if controller == "gke":
        return [policy for route in routing.backends for policy in gke_policies(route, seconds)]
    if controller == "aws-lbc":
        return [aws_targets(route) for route in routing.backends]
    return []


def gke_policies(route: Route, seconds: int) -> list[Object]:
    """The load balancer's health check (which asks for `/` else), and its timeout of 30 s where that is too short."""
    target = {"group": "", "kind": "Service", "name": route.service}
    check = {"type": "HTTP", "httpHealthCheck": {"portSpecification": "USE_SERVING_PORT", "requestPath": route.health}}
    api, name, where = "networking.gke.io/v1", route.service, route.namespace
    objects = [build_object(api, "HealthCheckPolicy", name, where, {"default": {"config": check}, "targetRef": target})]
    if route.long:
        spec = {"default": {"timeoutSec": seconds}, "targetRef": target}
        objects.append(build_object(api, "GCPBackendPolicy", name, where, spec))
    return objects


def aws_targets(route: Route) -> Object:
    """Pods as targets, checked at the service's own health path."""
    spec = {
        "targetReference": {"name": route.service},
        "defaultConfiguration": {
            "targetType": "ip",
            "healthCheckConfig": {"healthCheckProtocol": "HTTP", "healthCheckPath": route.health},
        },
    }
    return build_object("gateway.k8s.aws/v1beta1", "TargetGroupConfiguration", route.service, route.namespace, spec)
