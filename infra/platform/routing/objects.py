"""What routes of every controller of Gateway API are made of. Pure."""

from typing import Any

from infra import names
from infra.config.network import Routes

GROUP = "gateway.networking.k8s.io"
ENVOY_API = "gateway.envoyproxy.io/v1alpha1"

Object = dict[str, Any]


def build_object(api: str, kind: str, name: str, namespace: str | None, spec: Object) -> Object:
    """Return an object, in a namespace or in none."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}


def parent(settings: Routes) -> Object:
    """Return the reference of a route to the Gateway: that which exists, or a listener of ours."""
    if existing := settings.gateway.existing:
        return dict(zip(("namespace", "name"), existing.split("/"), strict=True))
    return {"namespace": names.GATEWAY_NAMESPACE, "name": names.GATEWAY, "sectionName": settings.scheme}


def envoy_policy(name: str, namespace: str, targets: Object, seconds: int, **more: Any) -> Object:
    """Return a policy with the time limits of routes of Envoy Gateway.

    Envoy's 15 s for a whole answer are taken off; a stream ends by its length or by silence.
    """
    bound = f"{seconds}s"
    http = {"requestTimeout": "0s", "maxStreamDuration": bound, "streamIdleTimeout": bound}
    spec = {**targets, "timeout": {"http": http}, **more}
    return build_object(ENVOY_API, "BackendTrafficPolicy", name, namespace, spec)


def http_route_target(name: str) -> Object:
    """Return the targets of a policy for one HTTPRoute."""
    return {"targetRefs": [{"group": GROUP, "kind": "HTTPRoute", "name": name}]}
