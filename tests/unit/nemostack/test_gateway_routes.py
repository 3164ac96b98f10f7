"""Aliases as AIGatewayRoutes, on a kubectl that keeps what it is given, and which of a cluster's two ways is taken."""

from pathlib import Path
from typing import Any

import pytest

from nemostack.aliases import Alias, Route, Shadow
from nemostack.clients.cluster_aliases import ClusterAliases
from nemostack.clients.gateway_routes import GatewayRoutes, shares_of
from nemostack.clients.model_rewrites import ModelRewrites
from nemostack.errors import BadInput, Conflict, Forbidden, NotFound, ServiceError, Unreachable
from nemostack.kubectl.client import Kubectl
from nemostack.kubectl.process import Access
from tests.unit import inference_pool
from tests.unit.ai_gateway import ENTRY, KINDS, PARENT, REST, TO_NIM, backend, kubectl_of, route, routes, rule_for
from tests.unit.fake_kubectl import FakeKubectl

STABLE, CANARY = "default/x-lora@cust-1", "default/x-lora@cust-2"


class Nim:
    """Serves two adapters."""

    away = False

    def models(self) -> list[str]:
        if self.away:
            raise Unreachable("no answer")
        return ["base", STABLE, CANARY]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    made = kubectl_of(tmp_path / "kubectl")
    monkeypatch.setattr("nemostack.kubectl.process.program", lambda: str(made.path))
    return made


@pytest.fixture
def router(fake: FakeKubectl) -> GatewayRoutes:
    assert fake.path
    return GatewayRoutes(Kubectl(Access()), "llama/llama:8000", Nim())  # type: ignore[arg-type]


def leads_to(*shares: tuple[str, float]) -> Alias:
    return Alias(routes=tuple(Route(model=model, weight=weight) for model, weight in shares))


def shares(fake: FakeKubectl) -> dict[str, int]:
    own = routes(fake)["nemostack-prod"]["spec"]["rules"][0]
    return {
        one["modelNameOverride"]: one["weight"] for one in own["backendRefs"] if one["priority"] == 0 and one["weight"]
    }


def test_an_alias_comes_back_as_it_was_set(router: GatewayRoutes, fake: FakeKubectl) -> None:
    assert router.aliases() == {}
    for alias in (leads_to((STABLE, 95), (CANARY, 5)), leads_to((CANARY, 100))):
        router.set_alias("prod", alias)
        assert {name: state.alias for name, state in router.aliases().items()} == {"prod": alias}
        assert shares(fake) == {one.model: one.weight for one in alias.routes}
    router.remove_alias("prod")
    assert router.aliases() == {}
    with pytest.raises(NotFound):
        router.remove_alias("prod")


def test_an_alias_joins_the_route_to_nim_and_goes_with_it(router: GatewayRoutes, fake: FakeKubectl) -> None:
    router.set_alias("prod", leads_to((STABLE, 1)))
    made = routes(fake)["nemostack-prod"]
    assert made["metadata"]["namespace"] == "llama"
    assert made["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "nemostack", "nemostack/alias": "prod"}
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["name"], owner["uid"]) == ("host-nim-models", ENTRY["metadata"]["uid"])
    assert "blockOwnerDeletion" not in owner, "deletion in the foreground hangs on the controller's finalizers"
    assert (made["spec"]["parentRefs"], made["spec"]["hostnames"]) == ([PARENT], ["nim.example.com"])
    own, rest = made["spec"]["rules"]
    assert own["matches"] == [{"headers": [{"type": "Exact", "name": "x-ai-eg-model", "value": "prod"}]}]
    assert own["timeouts"] == REST["timeouts"]
    assert rest == REST, "a plain name reaches NIM whichever of the routes is asked first"


def places(fake: FakeKubectl) -> list[tuple[str, int, int]]:
    backends = routes(fake)["nemostack-prod"]["spec"]["rules"][0]["backendRefs"]
    return [(one["modelNameOverride"], one["weight"], one["priority"]) for one in backends]


def test_users_see_no_failure_of_a_canary(router: GatewayRoutes, fake: FakeKubectl) -> None:
    """The gateway asks by second rank when the first fails, and knows the place of a canary before there is one."""
    router.set_alias("prod", leads_to((STABLE, 100)))
    assert places(fake) == [(STABLE, 100, 0), (STABLE, 1, 1), (STABLE, 0, 0)]
    router.set_alias("prod", leads_to((STABLE, 95), (CANARY, 5)))
    assert places(fake) == [(STABLE, 95, 0), (STABLE, 1, 1), (CANARY, 5, 0), (STABLE, 0, 0)]
    router.set_alias("prod", leads_to((CANARY, 100)))
    assert places(fake) == [(CANARY, 100, 0), (CANARY, 1, 1), (CANARY, 0, 0)]


def test_an_alias_has_as_many_backends_as_an_http_route_takes() -> None:
    many = [(str(number), 1.0) for number in range(16)]
    assert len(shares_of(leads_to(*many))) == 16


@pytest.mark.parametrize(
    ("objects", "says"),
    [
        ([ENTRY], "no AIGatewayRoute in llama leads all names to NIM's Service llama; .*model_aliases"),
        ([ENTRY, *backend("to-llama", "llama2.llama.svc.cluster.local")], "no AIGatewayRoute in llama leads all names"),
        ([route("theirs", rule_for("gpt")), *TO_NIM], "no AIGatewayRoute in llama leads all names"),
        ([ENTRY, route("again", REST), *TO_NIM], r"several AIGatewayRoutes .*\(again, host-nim-models\)"),
    ],
)
def test_a_route_that_would_change_nothing_is_not_made(
    router: GatewayRoutes, fake: FakeKubectl, objects: Any, says: str
) -> None:
    fake.write("objects.json", objects)
    with pytest.raises(ServiceError, match=says):
        router.set_alias("prod", leads_to((STABLE, 1)))
    assert not any(call["argv"][0] == "apply" for call in fake.calls)


def test_a_name_that_somebody_else_leads_elsewhere_is_refused(router: GatewayRoutes, fake: FakeKubectl) -> None:
    others = [route("pattern", rule_for("prod", type="RegularExpression")), route("different", rule_for("canary"))]
    fake.write("objects.json", [ENTRY, *TO_NIM, *others])
    router.set_alias("prod", leads_to((STABLE, 1)))
    router.remove_alias("prod")
    fake.write("objects.json", [ENTRY, *TO_NIM, route("theirs", rule_for("canary"), rule_for("prod"))])
    with pytest.raises(Conflict, match=r"AIGatewayRoute theirs in llama leads prod elsewhere already"):
        router.set_alias("prod", leads_to((STABLE, 1)))
    assert router.aliases() == {}


@pytest.mark.parametrize(
    ("name", "alias", "says"),
    [
        ("base", leads_to((STABLE, 1)), "is the name of a model"),
        ("prod", leads_to((STABLE, 1), ("gone", 1)), "cannot lead to gone: no such model is served"),
        (
            "prod",
            Alias(routes=leads_to((STABLE, 1)).routes, shadow=Shadow(model=CANARY)),
            "can have no shadow here: Envoy AI Gateway does not count",
        ),
    ],
)
def test_what_cannot_be_is_refused(router: GatewayRoutes, name: str, alias: Alias, says: str) -> None:
    with pytest.raises((BadInput, Conflict), match=says):
        router.set_alias(name, alias)
    assert router.aliases() == {}


def test_the_way_back_needs_no_nim(fake: FakeKubectl) -> None:
    nim = Nim()
    router = GatewayRoutes(Kubectl(Access()), "llama/llama:8000", nim)  # type: ignore[arg-type]
    router.set_alias("prod", leads_to((STABLE, 95), (CANARY, 5)))
    nim.away = True
    router.set_alias("prod", leads_to((STABLE, 100)))
    assert shares(fake) == {STABLE: 100}
    with pytest.raises(Unreachable):
        router.set_alias("prod", leads_to((CANARY, 100)))


def test_what_may_not_be_read_is_no_reason_to_look_elsewhere(fake: FakeKubectl) -> None:
    fake.fail("get aigatewayroutes", "Error from server (Forbidden): no", stdout='{"kind":"List","items":[]}')
    with pytest.raises(Forbidden, match="ask for the right to read them"):
        chosen().aliases()


# --- Which of the two ways ---


def chosen() -> ClusterAliases:
    return ClusterAliases(Kubectl(Access()), "llama/llama:8000", Nim())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pools", "expected"),
    [
        ([inference_pool.pool("llama-pool", app="llama")], ModelRewrites),
        ([inference_pool.pool("other", app="other")], GatewayRoutes),
        ([], GatewayRoutes),
    ],
)
def test_a_pool_over_nims_pods_is_preferred(fake: FakeKubectl, pools: Any, expected: type) -> None:
    fake.write("kinds.json", {**KINDS, **inference_pool.KINDS})
    fake.write("api-resources.txt", "\n".join({**KINDS, **inference_pool.KINDS}))
    fake.write("objects.json", [ENTRY, *TO_NIM, inference_pool.SERVICE, *pools])
    aliases = chosen()
    assert not fake.calls, "nobody has asked yet"
    assert aliases.aliases() == {}
    assert type(aliases.router) is expected
    assert aliases.limits == aliases.router.limits


def test_one_error_names_what_both_ways_lack_and_how_both_come(fake: FakeKubectl) -> None:
    fake.write("objects.json", [])
    with pytest.raises(ServiceError) as caught:
        chosen().aliases()
    assert caught.value.status == 404
    for part in ("has no InferenceModelRewrite", "no AIGatewayRoute in llama leads", "llm-d's router", "model_aliases"):
        assert part in str(caught.value)
