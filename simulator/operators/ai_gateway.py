"""Envoy AI Gateway: an HTTPRoute for each AIGatewayRoute, and finalizers that only its controller takes off.

From the source of v1.1.0 (`ai_gateway_route.go`, `ai_service_backend.go` and `controller.go` of `internal/controller`).
The HTTPRoute has the name and the parents of its owner; each rule has its headers and time limit, and the Backends of
its AIServiceBackends; a last one would answer 404. A route whose AIServiceBackend is not there is NotAccepted and
changes nothing. Deletion of both kinds waits for the controller, so that without one such objects, and the namespace
that they are in, stay for good.
Reduced: no filters, no proxies, no container beside them; and the real one tries to take its finalizer off once, and
may lose that race with the garbage collector when somebody deletes in the foreground.
"""

from simulator.api import Object
from simulator.operators.gateways import ROUTES
from simulator.operators.rounds import DEPLOYMENTS, Round, condition

AI_ROUTES = "/apis/aigateway.envoyproxy.io/v1beta1/aigatewayroutes"
AI_BACKENDS = "/apis/aigateway.envoyproxy.io/v1beta1/aiservicebackends"
CONTROLLER = "ai-gateway-controller"
HELD = (AI_BACKENDS, AI_ROUTES)
"""Kinds whose deletion waits for the controller."""
FINALIZER = "aigateway.envoyproxy.io/finalizer"
ROOT = {"type": "PathPrefix", "value": "/"}


def runs(seen: Round) -> bool:
    """Whether there is a controller."""
    return any(name == CONTROLLER for _, name in seen.collection(DEPLOYMENTS))


def ai_service_backend(seen: Round, made: Object) -> Object | None:
    """Accepted; what it leads to is not looked at."""
    if not runs(seen):
        return None
    hold(seen, AI_BACKENDS, made)
    message = "AIServiceBackend reconciled successfully"
    return {"conditions": [condition("Accepted", reason="ReconciliationSucceeded", message=message)]}


def ai_gateway_route(seen: Round, made: Object) -> Object | None:
    """Accepted, once its HTTPRoute is made."""
    if not runs(seen):
        return None
    metadata, namespace = made["metadata"], made["metadata"]["namespace"]
    hold(seen, AI_ROUTES, made)
    backends = seen.collection(AI_BACKENDS)
    for rule in made["spec"]["rules"]:
        for reference in rule.get("backendRefs", []):
            if (namespace, reference["name"]) not in backends:
                message = f"AIServiceBackend {reference['name']}.{namespace} not found"
                return {"conditions": [condition("NotAccepted", reason="ReconciliationFailed", message=message)]}
    rules = [rule_of(rule, namespace, backends) for rule in made["spec"]["rules"]]
    spec = {key: made["spec"][key] for key in ("parentRefs", "hostnames") if key in made["spec"]}
    last = {"name": "route-not-found", "matches": [{"path": ROOT}]}
    seen.child(made, ROUTES, "HTTPRoute", metadata["name"], {"spec": {**spec, "rules": [*rules, last]}})
    return {"conditions": [condition("Accepted", reason="ReconciliationSucceeded")]}


def rule_of(rule: Object, namespace: str, backends: dict[tuple[str, str], Object]) -> Object:
    """Return the rule of the HTTPRoute."""
    matches = [{"path": ROOT, "headers": match.get("headers", [])} for match in rule.get("matches", [])]
    references = [
        {**backends[namespace, one["name"]]["spec"]["backendRef"], "weight": one["weight"]}
        for one in rule.get("backendRefs", [])
    ]
    timeouts = {"request": "60s", **rule.get("timeouts", {})}
    return {"matches": matches or [{"path": ROOT}], "backendRefs": references, "timeouts": timeouts}


def hold(seen: Round, path: str, made: Object) -> None:
    """Give an object the controller's finalizer."""
    finalizers = made["metadata"].get("finalizers", [])
    if FINALIZER not in finalizers:
        seen.change(path, made, {"metadata": {"finalizers": [*finalizers, FINALIZER]}})


def release(seen: Round, path: str, gone: Object) -> None:
    """Let an object go that is to be deleted."""
    finalizers = gone["metadata"].get("finalizers", [])
    if FINALIZER in finalizers and runs(seen):
        seen.change(path, gone, {"metadata": {"finalizers": [one for one in finalizers if one != FINALIZER]}})
