"""The simulated controller of Envoy AI Gateway: HTTPRoutes of AIGatewayRoutes, and deletion that waits for it."""

from functools import partial
from typing import Any

import pytest

from simulator.api import Object, wait
from simulator.control_plane import ControlPlane
from simulator.operators.ai_gateway import AI_BACKENDS, AI_ROUTES, CONTROLLER
from simulator.operators.gateways import ROUTES
from simulator.operators.rounds import DEPLOYMENTS, at
from tests.simulator.support import create_resource

pytestmark = pytest.mark.slow


def test_routes_are_made_of_routes_and_deletion_waits_for_the_controller(
    control_plane: ControlPlane, namespace: str, define: Any
) -> None:
    define("aigateway.envoyproxy.io/v1beta1", "AIGatewayRoute", "AIServiceBackend")
    define("gateway.networking.k8s.io/v1", "HTTPRoute")
    api, labels = control_plane.api, {"app": CONTROLLER}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "none.invalid/none"}]}}
    spec: Object = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    api.create(at(DEPLOYMENTS, namespace), {"metadata": {"name": CONTROLLER}, "spec": spec})
    reference = {"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "nim"}
    backend = {"schema": {"name": "OpenAI"}, "backendRef": reference}
    service = create_resource(control_plane, at(AI_BACKENDS, namespace), "AIServiceBackend", "nim", backend)
    unused = create_resource(control_plane, at(AI_BACKENDS, namespace), "AIServiceBackend", "unused", backend)

    def route(name: str, to: str) -> str:
        rules = {"rules": [{"backendRefs": [{"name": to}]}]}
        return create_resource(control_plane, at(AI_ROUTES, namespace), "AIGatewayRoute", name, rules)

    def verdict(path: str) -> Any:
        return [one["type"] for one in api.get(path).get("status", {}).get("conditions", [])]

    good, lost, kept = route("good", "nim"), route("lost", "gone"), route("kept", "nim")
    wait("it is accepted", partial(verdict, good), lambda seen: seen == ["Accepted"])
    wait("it is not", partial(verdict, lost), lambda seen: seen == ["NotAccepted"])
    rules = api.get(f"{at(ROUTES, namespace)}/good")["spec"]["rules"]
    assert [rule.get("timeouts") for rule in rules] == [{"request": "60s"}, None]
    wait("it is accepted", partial(verdict, unused), lambda seen: seen == ["Accepted"])
    for path in (good, unused):
        api.delete(path)  # in the background
        wait("it is gone", partial(api.exists, path), lambda there: not there)
    wait("it is accepted", partial(verdict, kept), lambda seen: seen == ["Accepted"])
    api.delete(f"{at(DEPLOYMENTS, namespace)}/{CONTROLLER}")
    wait("no controller", lambda: api.exists(f"{at(DEPLOYMENTS, namespace)}/{CONTROLLER}"), lambda there: not there)
    for path in (kept, service):
        api.delete(path)
        assert "deletionTimestamp" in api.get(path)["metadata"]
        api.patch(path, {"metadata": {"finalizers": []}})  # by hand, for there is nobody else
