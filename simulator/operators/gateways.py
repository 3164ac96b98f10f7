"""Gateway API as Envoy Gateway reports it: verdicts in conditions, no traffic.

From the source of v1.9.0 (`internal/gatewayapi`): a wrong reference is no refusal. The object is taken, and its status
says what is wrong: a listener without its certificate (`InvalidCertificateRef`; the Gateway itself stays Accepted and
Programmed), a route that no listener admits (`NoMatchingParent`, `NotAllowedByListeners`), a Service that is not there
(`BackendNotFound`), parameters that are not there (`InvalidParameters`). Of a Gateway whose class does not exist, of
routes that name no Gateway, and of policies without a target it says nothing. Other controllers are taken for Envoy's.
"""

from simulator.api import Object
from simulator.operators.load_balancers import ADDRESS
from simulator.operators.rounds import NAMESPACES, SERVICES, Round, condition

CLASSES = "/apis/gateway.networking.k8s.io/v1/gatewayclasses"
GATEWAYS = "/apis/gateway.networking.k8s.io/v1/gateways"
ROUTES = "/apis/gateway.networking.k8s.io/v1/httproutes"
PROXIES = "/apis/gateway.envoyproxy.io/v1alpha1/envoyproxies"
POLICIES = "/apis/gateway.envoyproxy.io/v1alpha1/backendtrafficpolicies"
CONTROLLER = "gateway.envoyproxy.io/gatewayclass-controller"
GROUP = "gateway.networking.k8s.io"
INVALID = "Listener is invalid, see other Conditions for details."
SERVED = [{"group": GROUP, "kind": "HTTPRoute"}, {"group": GROUP, "kind": "GRPCRoute"}]


def gateway_class(_seen: Round, _made: Object) -> Object:
    """Accepted at once."""
    return {"conditions": [condition("Accepted")]}


def gateway(seen: Round, made: Object) -> Object | None:
    """Programmed with an address, and a verdict for each listener."""
    namespace, spec = made["metadata"]["namespace"], made["spec"]
    if ("", spec["gatewayClassName"]) not in seen.collection(CLASSES):
        return None
    parameters = spec.get("infrastructure", {}).get("parametersRef")
    by_envoy = parameters and parameters["kind"] == "EnvoyProxy"
    if by_envoy and (namespace, parameters["name"]) not in seen.collection(PROXIES):
        message = f"failed to find envoyproxy {namespace}/{parameters['name']}"
        refused = condition("Accepted", False, reason="InvalidParameters", message=message)
        return {"conditions": [refused, condition("Programmed", False, reason="Invalid")]}
    return {
        "conditions": [condition("Accepted"), condition("Programmed")],
        "addresses": [{"type": "IPAddress", "value": ADDRESS}],
        "listeners": [listener(seen, made, one) for one in spec["listeners"]],
    }


def listener(seen: Round, made: Object, one: Object) -> Object:
    """Return the status of a listener."""
    namespace = made["metadata"]["namespace"]
    secrets = [(one_of.get("namespace", namespace), one_of["name"]) for one_of in certificates_of(one)]
    missing = [f"{where}/{name}" for where, name in secrets if (where, name) not in seen.secrets]
    verdicts = [condition("Accepted"), condition("ResolvedRefs", reason="ResolvedRefs"), condition("Programmed")]
    if missing:
        message = f"Secret {missing[0]} does not exist."
        verdicts[1:] = [
            condition("ResolvedRefs", False, reason="InvalidCertificateRef", message=message),
            condition("Programmed", False, reason="Invalid", message=INVALID),
        ]
    attached = sum(
        any(one["name"] in names_of(listeners) for listeners in admitted(seen, route, made))
        for route in seen.collection(ROUTES).values()
    )
    return {"name": one["name"], "attachedRoutes": attached, "supportedKinds": SERVED, "conditions": verdicts}


def certificates_of(one: Object) -> list[Object]:
    """Return the references of a listener to Secrets."""
    references: list[Object] = one.get("tls", {}).get("certificateRefs", [])
    return references


def names_of(listeners: list[Object]) -> set[str]:
    return {one["name"] for one in listeners}


def admitted(seen: Round, route: Object, made: Object) -> list[list[Object]]:
    """Return the listeners of a Gateway that admit a route, for each of its references to that Gateway."""
    return [
        [one for one in selected if admits(seen, made, one, route["metadata"]["namespace"])]
        for selected in (selected_by(reference, made) for reference in references_to(route, made))
    ]


def references_to(route: Object, made: Object) -> list[Object]:
    """Return the references of a route to a Gateway."""
    here = route["metadata"]["namespace"]
    wanted = (made["metadata"]["namespace"], made["metadata"]["name"])
    parents = route["spec"].get("parentRefs", [])
    return [one for one in parents if (one.get("namespace", here), one["name"]) == wanted]


def selected_by(reference: Object, made: Object) -> list[Object]:
    """Return the listeners that a reference means: that of its section, or all."""
    section = reference.get("sectionName")
    return [one for one in made["spec"]["listeners"] if section in (None, one["name"])]


def admits(seen: Round, made: Object, one: Object, namespace: str) -> bool:
    """Whether a listener admits routes from a namespace."""
    allowed = one.get("allowedRoutes", {}).get("namespaces", {})
    if allowed.get("from", "Same") == "All":
        return True
    if allowed.get("from", "Same") == "Same":
        return bool(namespace == made["metadata"]["namespace"])
    labels = seen.collection(NAMESPACES).get(("", namespace), {}).get("metadata", {}).get("labels", {})
    selector = allowed.get("selector", {})
    by_label = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    # the program says `In`; other operators would be taken for it
    return by_label and all(labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", []))


def http_route(seen: Round, route: Object) -> Object | None:
    """A verdict for each reference to a Gateway that is there."""
    parents = []
    for made in seen.collection(GATEWAYS).values():
        if ("", made["spec"]["gatewayClassName"]) not in seen.collection(CLASSES):
            continue
        for reference in references_to(route, made):
            selected = selected_by(reference, made)
            allowed = [one for one in selected if admits(seen, made, one, route["metadata"]["namespace"])]
            verdict = condition("Accepted", reason="Accepted", message="Route is accepted")
            if not selected:
                message = "No listeners match this parent ref"
                verdict = condition("Accepted", False, reason="NoMatchingParent", message=message)
            elif not allowed:
                message = "No listeners included by this parent ref allowed this attachment."
                verdict = condition("Accepted", False, reason="NotAllowedByListeners", message=message)
            verdicts = [verdict, resolved(seen, route)]
            parents.append({"parentRef": reference, "controllerName": CONTROLLER, "conditions": verdicts})
    return {"parents": parents} if parents or route.get("status", {}).get("parents") else None


def resolved(seen: Round, route: Object) -> Object:
    """Return the condition that says whether the Services of a route, and their ports, are there."""
    here = route["metadata"]["namespace"]
    for number, rule in enumerate(route["spec"].get("rules", [])):
        for index, backend in enumerate(rule.get("backendRefs", [])):
            if backend.get("kind", "Service") != "Service":  # a Backend, whose addresses nobody resolves here
                continue
            where = (backend.get("namespace", here), backend["name"])
            service = seen.collection(SERVICES).get(where)
            start = f"Failed to process route rule {number} backendRef {index}:"
            if service is None:
                message = f"{start} service {'/'.join(where)} not found."
                return condition("ResolvedRefs", False, reason="BackendNotFound", message=message)
            if backend.get("port") not in {port["port"] for port in service["spec"].get("ports", [])}:
                message = f"{start} TCP Port {backend.get('port')} not found on Service {'/'.join(where)}."
                return condition("ResolvedRefs", False, reason="PortNotFound", message=message)
    message = "Resolved all the Object references for the Route"
    return condition("ResolvedRefs", reason="ResolvedRefs", message=message)


def traffic_policy(seen: Round, policy: Object) -> Object | None:
    """Accepted for each route that is there; without one nothing is said."""
    namespace = policy["metadata"]["namespace"]
    targets = [
        one
        for one in policy["spec"].get("targetRefs", [])
        if one["kind"] == "HTTPRoute" and (namespace, one["name"]) in seen.collection(ROUTES)
    ]
    ancestors = [
        {"ancestorRef": reference, "controllerName": CONTROLLER, "conditions": [condition("Accepted")]}
        for one in targets
        for reference in seen.collection(ROUTES)[namespace, one["name"]]["spec"].get("parentRefs", [])
    ]
    return {"ancestors": ancestors} if ancestors or policy.get("status", {}).get("ancestors") else None
