"""Aliases on a real API server with real kubectl: InferenceModelRewrites as their definition takes them.

Nothing routes here: the definitions are written after those of the Gateway API Inference Extension and of llm-d's
router (simulator/charts/schemas.yaml says which versions), and no router runs. That requests follow the weights was
shown by hand, with the original definitions, llm-d's endpoint picker and Envoy (docs/promotion.md).
"""

from collections.abc import Iterator

import pytest

from nemostack.aliases import Alias, Route
from nemostack.clients.model_rewrites import GROUPS, ModelRewrites
from nemostack.errors import Conflict, NotFound, ServiceError
from nemostack.kubectl.client import Kubectl
from nemostack.kubectl.process import Access
from simulator.api import STRICT, Object
from simulator.control_plane import ControlPlane
from tests.simulator.support import custom_kinds, refusal

pytestmark = pytest.mark.slow
STABLE, CANARY = "default/x-lora@cust-1", "default/x-lora@cust-2"
POOLS = ("inference.networking.k8s.io/v1", "InferencePool")


class Nim:
    def models(self) -> list[str]:
        return [STABLE, CANARY]


@pytest.fixture(params=GROUPS)
def group(control_plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[str]:
    """Define the kinds, with the rewrite in one of its groups."""
    with custom_kinds(control_plane, [POOLS, (f"{request.param}/v1alpha2", "InferenceModelRewrite")]):
        yield request.param


@pytest.fixture
def rewrites(control_plane: ControlPlane, group: str, namespace: str) -> ModelRewrites:
    assert group
    api = control_plane.api
    spec = {"selector": {"app": "llama"}, "ports": [{"port": 8000}]}
    api.create(f"/api/v1/namespaces/{namespace}/services", {"metadata": {"name": "llama"}, "spec": spec})
    body = {
        "apiVersion": POOLS[0],
        "kind": POOLS[1],
        "metadata": {"name": "llama"},
        "spec": {  # what the chart of llm-d's router sets
            "selector": {"matchLabels": {"app": "llama"}},
            "targetPorts": [{"number": 8000}],
            "appProtocol": "http",
            "endpointPickerRef": {"name": "llama-epp", "port": {"number": 9002}, "failureMode": "FailOpen"},
        },
    }
    api.create(f"/apis/{POOLS[0]}/namespaces/{namespace}/inferencepools", body)
    kubectl = Kubectl(Access(kubeconfig=control_plane.kubeconfig))
    return ModelRewrites(kubectl, f"{namespace}/llama:8000", Nim())  # type: ignore[arg-type]


def leads_to(*routes: tuple[str, float]) -> Alias:
    return Alias(routes=tuple(Route(model=model, weight=weight) for model, weight in routes))


def test_an_alias_is_written_changed_and_taken_back(
    control_plane: ControlPlane, rewrites: ModelRewrites, group: str, namespace: str
) -> None:
    for alias in (leads_to((STABLE, 100)), leads_to((STABLE, 95), (CANARY, 5)), leads_to((CANARY, 100))):
        rewrites.set_alias("prod", alias)
        assert {name: state.alias for name, state in rewrites.aliases().items()} == {"prod": alias}
    collection = f"/apis/{group}/v1alpha2/namespaces/{namespace}/inferencemodelrewrites"
    made: Object = control_plane.api.get(f"{collection}/nemostack-prod")
    assert made["spec"]["poolRef"]["name"] == "llama"

    def refused(**target: object) -> str:
        return refusal(
            control_plane, "PATCH", f"{collection}/nemostack-prod", {"spec": {"rules": [{"targets": [target]}]}}
        )

    assert "from 1 to 1000000" in refused(modelRewrite=STABLE, weight=0)  # so a share of 0 is left out
    assert "modelRewrite: Required value" in refused(weight=1)
    assert refused(modelRewrite=STABLE, weight=1_000_000) == ""
    with pytest.raises(Conflict, match="somebody else has changed these fields"):
        rewrites.set_alias("prod", leads_to((STABLE, 1)))  # their patch is not written over
    rewrites.remove_alias("prod")
    assert rewrites.aliases() == {}
    with pytest.raises(NotFound):
        rewrites.remove_alias("prod")


def test_a_rewrite_in_the_way_is_one_that_names_the_pool_in_its_group(
    control_plane: ControlPlane, rewrites: ModelRewrites, group: str, namespace: str
) -> None:
    collection = f"/apis/{group}/v1alpha2/namespaces/{namespace}/inferencemodelrewrites"
    rule = {"matches": [{"model": {"value": "prod"}}], "targets": [{"modelRewrite": "theirs"}]}

    def made(name: str, **reference: str) -> None:
        spec = {"poolRef": {"name": "llama", **reference}, "rules": [rule]}
        body = {"apiVersion": f"{group}/v1alpha2", "kind": "InferenceModelRewrite", "metadata": {"name": name}}
        control_plane.api.create(collection, body | {"spec": spec})

    made("not-read", group="inference.networking.x-k8s.io")
    rewrites.set_alias("prod", leads_to((STABLE, 1)))
    made("read")  # the API server fills the group in
    with pytest.raises(Conflict, match=r"InferenceModelRewrite read in .* leads prod elsewhere already"):
        rewrites.set_alias("prod", leads_to((CANARY, 1)))


def test_the_definition_of_a_pool_refuses_what_the_original_refuses(
    control_plane: ControlPlane, namespace: str
) -> None:
    sound: Object = {"selector": {"matchLabels": {"app": "llama"}}, "targetPorts": [{"number": 8000}]}
    body = {"apiVersion": POOLS[0], "kind": POOLS[1], "metadata": {"name": "llama"}}
    path = f"/apis/{POOLS[0]}/namespaces/{namespace}/inferencepools{STRICT}"
    with custom_kinds(control_plane, [POOLS]):

        def refused(**change: object) -> str:
            return refusal(control_plane, "POST", path, body | {"spec": sound | change})

        assert refused() == ""
        assert "from 1 to 8 items" in refused(targetPorts=[])
        assert "from 1 to 65535" in refused(targetPorts=[{"number": 0}])
        assert "at least 1 properties" in refused(selector={"matchLabels": {}})
        assert 'Unsupported value: "grpc"' in refused(appProtocol="grpc")
        assert "port is required when kind is 'Service'" in refused(endpointPickerRef={"name": "llama-epp"})


def test_a_cluster_without_the_extension_refuses_with_the_reason(control_plane: ControlPlane, namespace: str) -> None:
    kubectl = Kubectl(Access(kubeconfig=control_plane.kubeconfig))
    bare = ModelRewrites(kubectl, f"{namespace}/llama:8000", Nim())  # type: ignore[arg-type]
    with pytest.raises(ServiceError, match=r"has no InferenceModelRewrite.*an InferencePool over NIM's pods"):
        bare.set_alias("prod", leads_to((STABLE, 1)))
