"""Aliases as InferenceModelRewrites, on a kubectl that keeps what it is given and a NIM that serves three models."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nemostack.aliases import Alias, Route, Shadow
from nemostack.clients import Clients
from nemostack.clients.alias_objects import whole_weights
from nemostack.clients.cluster_aliases import ClusterAliases
from nemostack.clients.model_rewrites import ModelRewrites
from nemostack.errors import BadInput, Conflict, Forbidden, NotFound, ServiceError, Unreachable
from nemostack.kubectl.client import Kubectl
from nemostack.kubectl.process import Access
from tests.unit.fake_kubectl import FakeKubectl
from tests.unit.inference_pool import LEGACY, NEW, SERVICE, kubectl_of, pool
from tests.unit.inference_pool import rewrites as applied_rewrites
from tests.unit.operations import healthy_cluster as h

STABLE, CANARY = "default/x-lora@cust-1", "default/x-lora@cust-2"


class Nim:
    """Serves two adapters."""

    away = False

    def models(self) -> list[str]:
        if self.away:
            raise Unreachable("no answer")
        return ["base", STABLE, CANARY]


def rewrite(name: str, alias: str, of_pool: str = "llama-pool") -> Any:
    rule = {"matches": [{"model": {"value": alias}}], "targets": [{"modelRewrite": "theirs"}]}
    return h.thing(
        "InferenceModelRewrite",
        name,
        "llama",
        apiVersion=f"{NEW}/v1alpha2",
        spec={"poolRef": {"name": of_pool}, "rules": [{"targets": []}, rule]},
    )


POD = h.thing("Pod", "llama-0", "llama", metadata={"labels": {"app": "llama", "tier": "gpu"}})


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    made = kubectl_of(tmp_path / "kubectl")
    monkeypatch.setattr("nemostack.kubectl.process.program", lambda: str(made.path))
    made.write("objects.json", [SERVICE, POD, pool("llama-pool", app="llama", tier="gpu"), pool("other", app="other")])
    return made


@pytest.fixture
def rewrites(fake: FakeKubectl) -> ModelRewrites:
    assert fake.path
    return ModelRewrites(Kubectl(Access()), "llama/llama:8000", Nim())  # type: ignore[arg-type]


def leads_to(*routes: tuple[str, float]) -> Alias:
    return Alias(routes=tuple(Route(model=model, weight=weight) for model, weight in routes))


def applied(fake: FakeKubectl, group: str = NEW) -> Any:
    return next(
        one
        for one in applied_rewrites(fake)
        if (one["metadata"]["name"], one["apiVersion"]) == ("nemostack-prod", f"{group}/v1alpha2")
    )


def test_an_alias_comes_back_as_it_was_set(rewrites: ModelRewrites, fake: FakeKubectl) -> None:
    assert rewrites.aliases() == {}
    for alias in (leads_to((STABLE, 95), (CANARY, 5)), leads_to((CANARY, 100))):
        rewrites.set_alias("prod", alias)
        assert {name: state.alias for name, state in rewrites.aliases().items()} == {"prod": alias}
    made = applied(fake)
    assert made["spec"] == applied(fake, LEGACY)["spec"], "which of the two the router reads, nobody knows"
    assert made["metadata"]["namespace"] == "llama"
    assert made["spec"]["poolRef"]["name"] == "llama-pool"
    assert made["spec"]["rules"] == [
        {
            "matches": [{"model": {"type": "Exact", "value": "prod"}}],
            "targets": [{"modelRewrite": CANARY, "weight": 100}],
        }
    ]
    rewrites.remove_alias("prod")
    assert rewrites.aliases() == {}
    with pytest.raises(NotFound):
        rewrites.remove_alias("prod")


def test_the_older_definition_is_used_where_there_is_no_newer_one(rewrites: ModelRewrites, fake: FakeKubectl) -> None:
    fake.write("api-resources.txt", f"pods\nservices\ninferencemodelrewrites.{LEGACY}\n")
    rewrites.set_alias("prod", leads_to((STABLE, 1)))
    assert [one["apiVersion"] for one in applied_rewrites(fake)] == [f"{LEGACY}/v1alpha2"]


def test_an_alias_from_before_the_newer_definition_is_known_after_it(
    rewrites: ModelRewrites, fake: FakeKubectl
) -> None:
    newer = f"inferencemodelrewrites.{NEW}\n"
    served = (fake.folder / "api-resources.txt").read_text()
    fake.write("api-resources.txt", served.replace(newer, ""))
    rewrites.set_alias("prod", leads_to((STABLE, 1)))
    fake.write("api-resources.txt", served)
    after = ModelRewrites(Kubectl(Access()), "llama/llama:8000", Nim())  # type: ignore[arg-type]
    assert after.aliases()["prod"].alias == leads_to((STABLE, 100))
    after.set_alias("prod", leads_to((STABLE, 95), (CANARY, 5)))
    assert after.aliases()["prod"].alias == leads_to((STABLE, 95), (CANARY, 5))
    after.remove_alias("prod")
    assert applied_rewrites(fake) == []


def test_weights_are_whole_and_never_nothing() -> None:
    def weights(*given: float) -> list[int]:
        return list(whole_weights([Route(model=str(n), weight=one) for n, one in enumerate(given)]).values())

    assert weights(95, 5) == [95, 5]
    assert weights(1, 1) == [50, 50]
    assert weights(99.5, 0.5) == [199, 1]
    assert weights(100, 0) == [100]  # the definition has no 0
    assert weights(1e6, 1e-9) == [1_000_000, 1]


@pytest.mark.parametrize(
    ("objects", "says"),
    [
        ([SERVICE, POD, pool("other", app="other")], r"no InferencePool in llama selects .*llm-d.s router"),
        ([SERVICE, POD, pool("a", app="llama"), pool("b", tier="gpu")], r"several InferencePools \(a, b\)"),
    ],
)
def test_a_rewrite_without_one_pool_is_not_made(
    rewrites: ModelRewrites, fake: FakeKubectl, objects: Any, says: str
) -> None:
    fake.write("objects.json", objects)
    with pytest.raises(ServiceError, match=says):
        rewrites.set_alias("prod", leads_to((STABLE, 1)))
    assert not any(call["argv"][0] == "apply" for call in fake.calls)


def test_the_pool_is_found_while_nim_has_no_pods(rewrites: ModelRewrites, fake: FakeKubectl) -> None:
    fake.write("objects.json", [SERVICE, pool("llama-pool", app="llama"), pool("other", app="other")])
    rewrites.set_alias("prod", leads_to((STABLE, 1)))
    assert applied(fake)["spec"]["poolRef"]["name"] == "llama-pool"


def test_a_cluster_without_the_definition_says_what_to_install(rewrites: ModelRewrites, fake: FakeKubectl) -> None:
    fake.write("api-resources.txt", "pods\nservices\n")
    with pytest.raises(ServiceError, match=r"no InferenceModelRewrite.*llm-d's router") as caught:
        rewrites.aliases()
    assert caught.value.status == 404


def test_a_name_that_somebody_else_leads_elsewhere_is_refused(rewrites: ModelRewrites, fake: FakeKubectl) -> None:
    others = [rewrite("theirs", "prod"), rewrite("elsewhere", "prod", "other"), rewrite("different", "canary")]
    fake.write("objects.json", [SERVICE, POD, pool("llama-pool", app="llama"), *others])
    with pytest.raises(Conflict, match=r"InferenceModelRewrite theirs in llama leads prod elsewhere already"):
        rewrites.set_alias("prod", leads_to((STABLE, 1)))
    assert rewrites.aliases() == {}


def test_a_rewrite_that_the_router_does_not_read_is_in_nobodys_way(rewrites: ModelRewrites, fake: FakeKubectl) -> None:
    other_group = rewrite("theirs", "prod")
    other_group["spec"]["poolRef"]["group"] = "inference.networking.x-k8s.io"
    any_name = h.thing(
        "InferenceModelRewrite",
        "any",
        "llama",
        apiVersion=f"{NEW}/v1alpha2",
        spec={"poolRef": {"name": "llama-pool"}, "rules": [{"targets": [{"modelRewrite": "theirs"}]}]},
    )
    fake.write("objects.json", [SERVICE, POD, pool("llama-pool", app="llama"), other_group, any_name])
    rewrites.set_alias("prod", leads_to((STABLE, 1)))
    assert list(rewrites.aliases()) == ["prod"]


@pytest.mark.parametrize(
    ("name", "alias", "says"),
    [
        ("base", leads_to((STABLE, 1)), "is the name of a model"),
        ("prod", leads_to((STABLE, 1), ("gone", 1)), "cannot lead to gone: no such model is served"),
        (
            "prod",
            Alias(routes=leads_to((STABLE, 1)).routes, shadow=Shadow(model=CANARY)),
            "can have no shadow here: the pool's router does not count",
        ),
    ],
)
def test_what_cannot_be_is_refused(
    rewrites: ModelRewrites, fake: FakeKubectl, name: str, alias: Alias, says: str
) -> None:
    with pytest.raises((BadInput, Conflict), match=says):
        rewrites.set_alias(name, alias)
    assert rewrites.aliases() == {}


def test_the_way_back_needs_no_nim(fake: FakeKubectl) -> None:
    nim = Nim()
    rewrites = ModelRewrites(Kubectl(Access()), "llama/llama:8000", nim)  # type: ignore[arg-type]
    rewrites.set_alias("prod", leads_to((STABLE, 95), (CANARY, 5)))
    nim.away = True
    rewrites.set_alias("prod", leads_to((STABLE, 100)))
    assert applied(fake)["spec"]["rules"][0]["targets"] == [{"modelRewrite": STABLE, "weight": 100}]
    with pytest.raises(Unreachable):
        rewrites.set_alias("prod", leads_to((CANARY, 100)))


def test_what_the_cluster_says_is_passed_on(rewrites: ModelRewrites, fake: FakeKubectl) -> None:
    fake.fail("apply", 'error: Apply failed with 1 conflict: conflict with "kubectl": .spec.rules\n')
    with pytest.raises(Conflict, match="somebody else has changed these fields"):
        rewrites.set_alias("prod", leads_to((STABLE, 1)))
    fake.fail("get inferencemodelrewrites", "Error from server (Forbidden): no", stdout='{"kind":"List","items":[]}')
    with pytest.raises(Forbidden, match="ask for the right to read them"):
        rewrites.aliases()


@pytest.fixture
def clients(fake: FakeKubectl) -> Iterator[Clients]:
    assert fake.path
    with Clients(h.outputs()) as made:
        yield made


def test_a_stack_in_a_cluster_has_its_aliases_there(clients: Clients) -> None:
    assert isinstance(clients.aliases, ClusterAliases)
    assert clients.aliases.aliases() == {}
    assert isinstance(clients.aliases.router, ModelRewrites)
