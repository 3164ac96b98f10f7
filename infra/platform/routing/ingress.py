"""Ingresses for each controller, for clusters without Gateway API. Pure.

An Ingress leads into its own namespace only, so a host whose paths belong to several services has an Ingress in each
of their namespaces: Traefik and ingress-nginx merge them by host, ALB by group name, F5's NGINX by a master Ingress.
"""

import json

from infra import names
from infra.config.network import Routes
from infra.platform.routing.gateway import ALB_IDLE_S, CERTIFICATE
from infra.platform.routing.objects import Object, build_object
from infra.topology.routing import Route, Routing

API = "networking.k8s.io/v1"
CLASSES = {"traefik": "traefik", "alb": "alb", "nginx-f5": "nginx", "nginx": "nginx"}
TO_HTTPS = "to-https"
MERGEABLE = "nginx.org/mergeable-ingress-type"
"""Annotation of F5's controller: the part of an Ingress in a host that several share, master or minion."""


def class_name(settings: Routes) -> str:
    """IngressClass of our Ingresses."""
    ingress_settings = settings.ingress
    return ingress_settings.class_name or CLASSES[ingress_settings.controller]


def ingress_objects(settings: Routes, routing: Routing) -> list[Object]:
    """All Ingresses, and what their controller needs besides, in an order in which it can be made."""
    controller, routes = settings.ingress.controller, routing.routes
    objects: list[Object] = []
    if controller == "nginx-f5":
        objects += [master(settings, host) for host in routing.hosts()]
    objects += [ingress(settings, route) for route in routes]
    if controller == "traefik" and settings.tls.kind != "none":
        spec = {"redirectScheme": {"scheme": "https", "permanent": True}}
        objects += [
            build_object("traefik.io/v1alpha1", "Middleware", TO_HTTPS, namespace, spec)
            for namespace in routing.namespaces
        ]
        objects += [traefik_redirect(settings, route) for route in routes]
    return objects


def ingress(settings: Routes, route: Route) -> Object:
    """The Ingress of one route."""
    controller, tls = settings.ingress.controller, settings.tls.kind != "none"
    manifest = build_object(API, "Ingress", route.name, route.namespace, rules(settings, route))
    manifest["metadata"]["annotations"] = annotations(settings, route)
    if tls and controller != "nginx-f5":
        manifest["spec"]["tls"] = [secured(settings, route.host)]
    return manifest


def rules(settings: Routes, route: Route) -> Object:
    """Class and paths."""
    backend = {"service": {"name": route.service, "port": {"number": route.port}}}
    paths = [{"path": prefix, "pathType": "Prefix", "backend": backend} for prefix in route.prefixes]
    return {"ingressClassName": class_name(settings), "rules": [{"host": route.host, "http": {"paths": paths}}]}


def secured(settings: Routes, host: str) -> Object:
    """TLS of a host; without a Secret where AWS finds the certificate by the host."""
    tls = settings.tls
    if tls.kind == "acm":
        return {"hosts": [host]}
    return {"hosts": [host], "secretName": tls.name if tls.kind == "secret" else CERTIFICATE}


def annotations(settings: Routes, route: Route) -> dict[str, str]:
    """Timeouts for long answers, sizes for uploads, health checks: as the controller calls them."""
    notes = {
        "traefik": traefik(settings),
        "alb": alb(settings, route),
        "nginx-f5": nginx_f5(route, settings.stream_timeout_s),
        "nginx": nginx(route, settings.stream_timeout_s),
    }.get(settings.ingress.controller, {})
    # an Ingress gets an address late or, with some controllers, never: that is the doctor's business
    return {"pulumi.com/skipAwait": "true"} | notes


def traefik(settings: Routes) -> dict[str, str]:
    """Its timeouts and sizes are those of the entry points, which its own release sets; nothing buffers by default."""
    prefix = "traefik.ingress.kubernetes.io"
    if settings.tls.kind == "none":
        return {f"{prefix}/router.entrypoints": "web"}
    return {f"{prefix}/router.entrypoints": "websecure", f"{prefix}/router.tls": "true"}


def traefik_redirect(settings: Routes, route: Route) -> Object:
    """A second Ingress for http: with TLS a router answers https only."""
    prefix = "traefik.ingress.kubernetes.io"
    manifest = build_object(API, "Ingress", f"{route.name}-http", route.namespace, rules(settings, route))
    manifest["metadata"]["annotations"] = {
        "pulumi.com/skipAwait": "true",
        f"{prefix}/router.entrypoints": "web",
        f"{prefix}/router.middlewares": f"{route.namespace}-{TO_HTTPS}@kubernetescrd",
    }
    return manifest


def alb(settings: Routes, route: Route) -> dict[str, str]:
    """One load balancer for the whole group. What is exclusive in a group is said alike by every member."""
    prefix = "alb.ingress.kubernetes.io"
    idle = min(settings.stream_timeout_s, ALB_IDLE_S)
    notes = {
        f"{prefix}/group.name": names.GATEWAY_NAMESPACE,
        f"{prefix}/scheme": "internal" if settings.internal else "internet-facing",
        f"{prefix}/target-type": "ip",
        f"{prefix}/healthcheck-path": route.health,
        f"{prefix}/load-balancer-attributes": f"idle_timeout.timeout_seconds={idle}",
    }
    if settings.tls.kind != "none":
        notes[f"{prefix}/listen-ports"] = json.dumps([{"HTTP": 80}, {"HTTPS": 443}])
        notes[f"{prefix}/ssl-redirect"] = "443"
    return notes


def nginx_f5(route: Route, seconds: int) -> dict[str, str]:
    """F5's NGINX Ingress Controller, as a minion below the master of its host."""
    prefix = "nginx.org"
    notes = {MERGEABLE: "minion"}
    if route.long:
        notes |= {f"{prefix}/proxy-read-timeout": f"{seconds}s", f"{prefix}/proxy-send-timeout": f"{seconds}s"}
    if route.streams:
        notes[f"{prefix}/proxy-buffering"] = "false"
    if route.uploads:
        notes[f"{prefix}/client-max-body-size"] = "0"
    return notes


def master(settings: Routes, host: str) -> Object:
    """The Ingress that owns a host, its certificate and the redirect to https."""
    name = f"host-{host}".replace(".", "-")
    spec: Object = {"ingressClassName": class_name(settings), "rules": [{"host": host}]}
    notes = {"pulumi.com/skipAwait": "true", MERGEABLE: "master"}
    if settings.tls.kind != "none":
        spec["tls"] = [secured(settings, host)]
        notes["nginx.org/redirect-to-https"] = "true"
    manifest = build_object(API, "Ingress", name, names.GATEWAY_NAMESPACE, spec)
    manifest["metadata"]["annotations"] = notes
    return manifest


def nginx(route: Route, seconds: int) -> dict[str, str]:
    """The retired ingress-nginx. It redirects to https by itself where there is a certificate."""
    prefix = "nginx.ingress.kubernetes.io"
    notes: dict[str, str] = {}
    if route.long:
        notes |= {f"{prefix}/proxy-read-timeout": str(seconds), f"{prefix}/proxy-send-timeout": str(seconds)}
    if route.streams:
        notes[f"{prefix}/proxy-buffering"] = "off"
    if route.uploads:
        notes |= {f"{prefix}/proxy-body-size": "0", f"{prefix}/proxy-request-buffering": "off"}
    return notes
