"""Aliases as virtual models, and records as files, on a platform of a few lines."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from nemostack.aliases import Alias, Route, Shadow
from nemostack.clients import Clients, Timeouts
from nemostack.clients.platform import Platform
from nemostack.clients.platform.aliases import VirtualModels, alias_of, model_of
from nemostack.clients.platform.records import PlatformRecords
from nemostack.errors import BadInput, Conflict, NotFound
from tests.unit.fake_platform import URL, VIRTUAL, FakePlatform
from tests.unit.fake_stack import FakeStack

FIRST, SECOND = "default/x-lora-1a2b3c", "default/x-lora-4d5e6f"


def entity(model: str) -> str:
    return f"default/base&adapters/{model}"


@pytest.fixture
def fake() -> FakePlatform:
    made = FakePlatform()
    for model in (FIRST, SECOND):
        own: Any = {"name": model.partition("/")[2], "default_model_entity": entity(model), "autoprovisioned": True}
        made.things[VIRTUAL + own["name"]] = own
    return made


@pytest.fixture
def platform(fake: FakePlatform) -> Iterator[Platform]:
    made = Platform(URL, Timeouts(), transport=httpx.MockTransport(fake))
    yield made
    made.close()


@pytest.fixture
def virtual(platform: Platform) -> VirtualModels:
    return VirtualModels(platform)


def leads_to(*routes: tuple[str, float]) -> Alias:
    return Alias(routes=tuple(Route(model=model, weight=weight) for model, weight in routes))


def test_an_alias_comes_back_as_it_was_set(virtual: VirtualModels, fake: FakePlatform) -> None:
    assert virtual.aliases() == {}  # those of the adapters themselves are none
    for alias in (leads_to((FIRST, 100)), leads_to((FIRST, 95), (SECOND, 5)), leads_to((SECOND, 100))):
        virtual.set_alias("prod", alias)
        assert {name: state.alias for name, state in virtual.aliases().items()} == {"prod": alias}
    assert fake.things[VIRTUAL + "prod"]["default_model_entity"] == entity(SECOND)
    assert fake.things[VIRTUAL + "prod"]["request_middleware"] == []
    virtual.remove_alias("prod")
    assert virtual.aliases() == {}
    with pytest.raises(NotFound):
        virtual.remove_alias("prod")


def test_two_models_are_drawn_by_the_gateways_middleware(virtual: VirtualModels, fake: FakePlatform) -> None:
    virtual.set_alias("prod", leads_to((FIRST, 3), (SECOND, 1)))
    made = fake.things[VIRTUAL + "prod"]
    (call,) = made["request_middleware"]
    assert (call["name"], call["config_type"]) == ("nemo-switchyard", "random_routing")
    config = call["config"]
    assert (config["weak"], config["strong"]) == ({"model": entity(FIRST)}, {"model": entity(SECOND)})
    assert config["strong_probability"] == 0.25
    assert made["default_model_entity"] == entity(FIRST)  # whatever the middleware does not take


@pytest.mark.parametrize(
    ("name", "alias", "says"),
    [
        ("prod", leads_to((FIRST, 1), ("default/gone", 1)), "cannot lead to default/gone: no such model is served"),
        ("prod", leads_to((FIRST, 1), (SECOND, 1), ("default/third", 1)), "two models at most"),
        ("prod", Alias(routes=leads_to((FIRST, 1)).routes, shadow=Shadow(model=SECOND)), "without a shadow"),
        ("x-lora-1a2b3c", leads_to((FIRST, 1)), "is a virtual model that no alias of ours can replace"),
        ("guarded", leads_to((FIRST, 1)), "is a virtual model that no alias of ours can replace"),
    ],
)
def test_what_cannot_be_is_refused(
    virtual: VirtualModels, fake: FakePlatform, name: str, alias: Alias, says: str
) -> None:
    rails = [{"name": "nemo-guardrails", "config_type": "rails", "config_id": "default/rails"}]
    guarded = {"name": "guarded", "default_model_entity": entity(FIRST), "request_middleware": rails}
    fake.things[VIRTUAL + "guarded"] = dict(guarded)
    with pytest.raises((BadInput, Conflict), match=says):
        virtual.set_alias(name, alias)
    assert VIRTUAL + "prod" not in fake.things
    assert fake.things[VIRTUAL + "guarded"] == guarded


@pytest.mark.parametrize(
    "more",
    [
        {"default_model_entity": None},
        {"override_proxy": "a.b"},
        {"response_middleware": [{"name": "x"}]},
        {"request_middleware": [{"name": "nemo-switchyard", "config_type": "random_routing", "config": None}]},
        {"request_middleware": [{}, {}]},
    ],
)
def test_what_is_more_than_an_alias_is_none(more: dict[str, Any]) -> None:
    plain = {"name": "prod", "default_model_entity": entity(FIRST)}
    assert alias_of(plain) == leads_to((FIRST, 100))
    assert alias_of(plain | more) is None


def test_names_of_models_are_those_that_clients_use() -> None:
    assert model_of("default/base&adapters/legal/x") == "legal/x"
    assert model_of("default/base") == "default/base"


def test_records_are_files(platform: Platform) -> None:
    records = PlatformRecords(platform)
    assert records.record("aliases", "prod") is None
    for changes in ([1], [1, 2]):
        records.save_record("aliases", "prod", FIRST, {"changes": changes})
        assert records.record("aliases", "prod") == {"changes": changes}


def test_a_stack_of_this_product_has_its_aliases_there(stack: FakeStack) -> None:
    with Clients(stack.outputs.model_copy(update={"product": "platform", "nemo_url": URL})) as clients:
        assert isinstance(clients.aliases, VirtualModels)
        assert isinstance(clients.records, PlatformRecords)
    with Clients(stack.outputs) as clients:
        assert clients.aliases is clients.nim
        assert clients.records is clients.entity_store
