"""Aliases on a real API server with real kubectl: AIGatewayRoutes by their definition, and the choice of a way.

Nothing routes here: the definitions are written after those of Envoy AI Gateway and Envoy Gateway
(simulator/charts/schemas.yaml says which versions), and no gateway runs. That requests follow the weights was seen with
the real ones, by hand (docs/promotion.md).
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from infra.platform.routing import ai_gateway
from infra.topology import resolve_topology
from nemostack.aliases import Alias, Route
from nemostack.clients.cluster_aliases import ClusterAliases
from nemostack.clients.gateway_routes import GatewayRoutes
from nemostack.clients.model_rewrites import GROUPS, ModelRewrites
from nemostack.errors import Conflict, NotFound, ServiceError
from nemostack.kubectl.client import Kubectl
from nemostack.kubectl.process import Access
from simulator.api import STRICT, Object, wait
from simulator.control_plane import ControlPlane
from tests.simulator.support import custom_kinds, refusal
from tests.unit.infra.cluster_support import config_for

pytestmark = pytest.mark.slow
STABLE, CANARY = "default/x-lora@cust-1", "default/x-lora@cust-2"
AI, ENVOY = "aigateway.envoyproxy.io/v1beta1", "gateway.envoyproxy.io/v1alpha1"
POOLS = ("inference.networking.k8s.io/v1", "InferencePool")
PLURALS = {"Backend": "backends", "AIServiceBackend": "aiservicebackends", "AIGatewayRoute": "aigatewayroutes"}


class Nim:
    def models(self) -> list[str]:
        return [STABLE, CANARY]


@pytest.fixture(scope="module")
def kinds(control_plane: ControlPlane) -> Iterator[None]:
    """Define what both ways need."""
    ours = [(AI, "AIGatewayRoute"), (AI, "AIServiceBackend"), (ENVOY, "Backend")]
    with custom_kinds(control_plane, [*ours, POOLS, (f"{GROUPS[0]}/v1alpha2", "InferenceModelRewrite")]):
        yield


@pytest.fixture
def aliases(control_plane: ControlPlane, kinds: None, namespace: str) -> ClusterAliases:
    """Of a NIM that the stack's own objects lead to by models."""
    assert kinds is None
    settings = config_for(
        "existing", routes={"kind": "gateway", "domain": "example.com", "gateway": {"model_aliases": True}}
    )
    to_nim = next(route for route in resolve_topology(settings).routing.routes if route.by_model)
    for made in ai_gateway.route_objects(settings.routes, replace(to_nim, namespace=namespace, service="llama")):
        if made["kind"] in PLURALS:
            create(control_plane, made)
    spec = {"selector": {"app": "llama"}, "ports": [{"port": 8000}]}
    services = f"/api/v1/namespaces/{namespace}/services"
    control_plane.api.create(services, {"metadata": {"name": "llama"}, "spec": spec})
    kubectl = Kubectl(Access(kubeconfig=control_plane.kubeconfig))
    return ClusterAliases(kubectl, f"{namespace}/llama:8000", Nim())  # type: ignore[arg-type]


def create(plane: ControlPlane, made: Object) -> None:
    path = f"/apis/{made['apiVersion']}/namespaces/{made['metadata']['namespace']}/{PLURALS[made['kind']]}"
    plane.api.create(f"{path}{STRICT}", made)  # a dry run
    plane.api.create(path, made)


def leads_to(*routes: tuple[str, float]) -> Alias:
    return Alias(routes=tuple(Route(model=model, weight=weight) for model, weight in routes))


def test_an_alias_is_written_changed_and_taken_back(
    control_plane: ControlPlane, aliases: ClusterAliases, namespace: str
) -> None:
    assert isinstance(aliases.router, GatewayRoutes)
    for alias in (leads_to((STABLE, 100)), leads_to((STABLE, 95), (CANARY, 5)), leads_to((CANARY, 100))):
        aliases.set_alias("prod", alias)
        assert {name: state.alias for name, state in aliases.aliases().items()} == {"prod": alias}
    path = f"/apis/{AI}/namespaces/{namespace}/aigatewayroutes/nemostack-prod"
    assert control_plane.api.get(path)["spec"]["hostnames"] == ["nim.example.com"]

    def refused(**backend: object) -> str:
        rules = [{"backendRefs": [{"name": "host-nim-models", **backend}]}]
        return refusal(control_plane, "PATCH", path, {"spec": {"rules": rules}})

    assert "greater than or equal to 0" in refused(weight=-1)
    assert refused(modelNameOverride=STABLE, weight=1_000_000) == ""
    with pytest.raises(Conflict, match="somebody else has changed these fields"):
        aliases.set_alias("prod", leads_to((STABLE, 1)))  # their patch is not written over
    aliases.remove_alias("prod")
    assert aliases.aliases() == {}
    with pytest.raises(NotFound):
        aliases.remove_alias("prod")


def test_aliases_go_with_the_route_that_they_joined(
    control_plane: ControlPlane, aliases: ClusterAliases, namespace: str
) -> None:
    aliases.set_alias("prod", leads_to((STABLE, 100)))
    routes = f"/apis/{AI}/namespaces/{namespace}/aigatewayroutes"
    control_plane.api.delete(f"{routes}/host-nim-models")
    wait("the alias goes too", lambda: control_plane.api.exists(f"{routes}/nemostack-prod"), lambda there: not there)
    with pytest.raises(ServiceError, match="leads all names to NIM's Service llama"):
        aliases.set_alias("prod", leads_to((STABLE, 100)))


def test_a_name_that_somebody_else_routes_is_refused(
    control_plane: ControlPlane, aliases: ClusterAliases, namespace: str
) -> None:
    match = {"headers": [{"name": "x-ai-eg-model", "value": "prod"}]}
    spec = {"rules": [{"matches": [match], "backendRefs": [{"name": "theirs"}]}]}
    metadata = {"name": "theirs", "namespace": namespace}
    create(control_plane, {"apiVersion": AI, "kind": "AIGatewayRoute", "metadata": metadata, "spec": spec})
    with pytest.raises(Conflict, match=f"AIGatewayRoute theirs in {namespace} leads prod elsewhere already"):
        aliases.set_alias("prod", leads_to((STABLE, 1)))
    aliases.set_alias("canary", leads_to((STABLE, 1)))


def test_a_pool_over_nims_pods_is_preferred(
    control_plane: ControlPlane, aliases: ClusterAliases, namespace: str
) -> None:
    spec = {"selector": {"matchLabels": {"app": "llama"}}, "targetPorts": [{"number": 8000}]}
    body = {"apiVersion": POOLS[0], "kind": POOLS[1], "metadata": {"name": "llama"}, "spec": spec}
    control_plane.api.create(f"/apis/{POOLS[0]}/namespaces/{namespace}/inferencepools", body)
    aliases.set_alias("prod", leads_to((STABLE, 1)))
    assert isinstance(aliases.router, ModelRewrites)


def test_without_either_way_one_error_names_both(control_plane: ControlPlane, kinds: None, namespace: str) -> None:
    assert kinds is None
    kubectl = Kubectl(Access(kubeconfig=control_plane.kubeconfig))
    bare = ClusterAliases(kubectl, f"{namespace}/llama:8000", Nim())  # type: ignore[arg-type]
    with pytest.raises(ServiceError, match=r"no InferencePool in .* no AIGatewayRoute in .*llm-d.*model_aliases: true"):
        bare.set_alias("prod", leads_to((STABLE, 1)))
