"""Which adapter is asked for when, which requests found theirs loaded, and the blocks that are compared."""

import argparse
import itertools
from collections import Counter

import httpx
import pytest

from load_tests import adapter_options
from load_tests.client.records import RequestRecord
from load_tests.traffic.adapters import ServedModels
from load_tests.traffic.blocks import Contrast
from load_tests.traffic.popularity import Mix
from load_tests.traffic.residency import Slots, ask_slots, mark_cold
from load_tests.traffic.runtime_loading import churn_sources
from nemostack.errors import BadInput

MODELS = ServedModels("base", ("a", "b", "c"))


def test_shares() -> None:
    assert Mix("weights", 0.25, 1.0, (("a", 2.0),)).shares(MODELS) == pytest.approx(
        {"base": 0.25, "a": 0.375, "b": 0.1875, "c": 0.1875}
    )
    zipf = Mix("zipf", 0.0, 1.0).shares(MODELS)
    assert zipf == pytest.approx({"a": 6 / 11, "b": 3 / 11, "c": 2 / 11})
    assert Mix("weights", 0.5, 1.0, (("base", 1.0), ("b", 0.0))).shares(MODELS) == pytest.approx(
        {"base": 1 / 3, "a": 1 / 3, "c": 1 / 3}
    )
    with pytest.raises(BadInput, match=r"weight for z, .* models: base, a, b, c"):
        Mix("weights", 0.5, 1.0, (("z", 1.0),)).shares(MODELS)


def test_choices_follow_the_shares_and_the_seed() -> None:
    mix = Mix("zipf", 0.2, 1.0)
    chosen = [model for model, _ in zip(mix.choices(MODELS, seed=7), range(20_000), strict=False)]
    for model, share in mix.shares(MODELS).items():
        # 5 sigma of a binomial share
        assert chosen.count(model) / 20_000 == pytest.approx(share, abs=5 * (share * (1 - share) / 20_000) ** 0.5)
    again = [model for model, _ in zip(mix.choices(MODELS, seed=7), range(500), strict=False)]
    assert again == chosen[:500]
    turns = [m for m, _ in zip(Mix("round-robin").choices(MODELS, seed=1), range(5), strict=False)]
    assert turns == ["base", "a", "b", "c", "base"]


def test_hot_adapters_get_their_share_and_move_on() -> None:
    mix = Mix("hot-cold", base_share=0.0, hot=1, hot_share=0.8, rotate_s=10.0)
    assert mix.shares(MODELS) == pytest.approx({"a": 0.8, "b": 0.1, "c": 0.1})
    clock = itertools.count()  # ten draws in each turn
    chosen = list(itertools.islice(mix.choices(MODELS, seed=3, now=lambda: float(next(clock))), 3000))
    hottest = [Counter(chosen[turn::30]).most_common(1)[0][0] for turn in (0, 10, 20)]
    assert hottest == ["a", "b", "c"]
    with pytest.raises(BadInput, match="none would be cold"):
        Mix("hot-cold", hot=3).shares(MODELS)


def test_tenants_share_as_told_and_split_by_the_mix() -> None:
    models = ServedModels("base", ("law/a", "law/b", "shop/c"))
    shares = Mix("zipf", 0.0, tenants=(("law", 1.0), ("shop", 3.0))).shares(models)
    # inside of law, ranks one and two have 1 and 1/2
    assert shares == pytest.approx({"law/a": 0.25 * 2 / 3, "law/b": 0.25 / 3, "shop/c": 0.75})
    with pytest.raises(BadInput, match=r"no adapter of tenant toys; tenants: law, shop"):
        Mix(tenants=(("toys", 1.0),)).shares(models)


@pytest.mark.parametrize("kind", ["weights", "zipf", "round-robin"])
def test_in_a_block_one_side_alone_is_asked_for(kind: str) -> None:
    side = itertools.cycle(["base", "adapters"])
    choices = Mix(kind).choices(MODELS, seed=1, only=lambda: next(side))  # type: ignore[arg-type]
    chosen = list(itertools.islice(choices, 60))
    assert set(chosen[0::2]) == {"base"}
    assert set(chosen[1::2]) == {"a", "b", "c"}


@pytest.mark.parametrize("kind", ["weights", "zipf", "hot-cold", "round-robin"])
def test_without_adapters_the_base_model_is_asked_for(kind: str) -> None:
    choices = Mix(kind).choices(ServedModels("base", ()), seed=1)  # type: ignore[arg-type]
    assert list(itertools.islice(choices, 3)) == ["base"] * 3


def _reply(k: int, model: str, send: float, first: float | None = None, last: float | None = None) -> RequestRecord:
    return RequestRecord(str(k), 0, model, None, send, first, last)


def test_cold_is_told_by_what_has_arrived() -> None:
    rows = [
        (_reply(1, "a", 0.0, 1.0, 2.0), True, "seen"),  # nothing of it has ever arrived
        (_reply(2, "a", 0.5, 1.1, 2.0), True, "seen"),  # still none: it waits for the same load
        (_reply(3, "a", 1.5, 1.6, 2.0), False, "seen"),  # another reply of it is arriving
        (_reply(4, "base", 1.5, 1.6, 9.0), False, ""),
        (_reply(5, "b", 2.5, 3.0, 3.5), True, "seen"),
        (_reply(6, "a", 4.0, 4.1, 4.2), False, "estimate"),  # two slots hold a and b
        (_reply(7, "c", 5.0, 5.5, 5.6), True, "seen"),  # b leaves: it was used longest ago
        (_reply(8, "a", 6.0, 6.1, 6.2), False, "estimate"),
        (_reply(9, "b", 7.0, 7.5, 7.6), True, "estimate"),
        (_reply(10, "z", 8.0), True, "seen"),  # failed: nothing of it arrives
    ]
    mark_cold([row[0] for row in rows], base="base", slots=2)
    assert [(row[0].cold, row[0].cold_from) for row in rows] == [row[1:] for row in rows]


def test_an_adapter_in_use_is_never_pushed_out() -> None:
    # c arrives while a is in use for long: b has to leave, though a was used before it
    records = [
        _reply(1, "a", 0.0, 0.1, 9.0),
        _reply(2, "b", 1.0, 1.1, 1.2),
        _reply(3, "c", 2.0, 2.1, 2.2),
        _reply(4, "b", 3.0, 3.1, 3.2),
    ]
    mark_cold(records, base="base", slots=2)
    assert records[3].cold


METRICS = 'vllm:lora_requests_info{max_lora="8",running_lora_adapters="a",waiting_lora_adapters="a"} 1.76e+09\n'


@pytest.mark.parametrize(
    ("pages", "option", "slots"),
    [
        pytest.param({"/metrics": METRICS}, 3, Slots(8, "server"), id="vllm"),
        pytest.param({"/metrics": "", "/v1/metrics": METRICS}, None, Slots(8, "server"), id="nim"),
        pytest.param({"/metrics": "up 1\n"}, 3, Slots(3, "option"), id="silent"),
        pytest.param({}, None, Slots(4, "assumed"), id="nothing"),
    ],
)
def test_slots_are_asked_of_the_server_first(pages: dict[str, str], option: int | None, slots: Slots) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        text = pages.get(request.url.path)
        return httpx.Response(404) if text is None else httpx.Response(200, text=text)

    assert ask_slots("http://nim/", option, transport=httpx.MockTransport(answer)) == slots


def test_churn_is_refused_where_the_server_cannot_load() -> None:
    routes: dict[str, object] = {"/v1/models": {}}
    rows = [{"id": "a", "root": "/adapters/a"}, {"id": "b", "root": "b"}]

    def answer(request: httpx.Request) -> httpx.Response:
        found = {"/openapi.json": {"paths": routes}, "/v1/models": {"data": rows}}
        return httpx.Response(200, json=found[request.url.path])

    nim = httpx.MockTransport(answer)
    with pytest.raises(BadInput, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"):
        churn_sources("http://nim", ("a", "b"), transport=nim)
    routes |= {"/v1/load_lora_adapter": {}, "/v1/unload_lora_adapter": {}}
    assert churn_sources("http://nim", ("a", "b"), transport=nim) == [("a", "/adapters/a")]
    with pytest.raises(BadInput, match="no path of an adapter"):
        churn_sources("http://nim", ("b",), transport=nim)


def test_blocks_are_off_on_on_off_and_drift_falls_out() -> None:
    blocks = list(Contrast("base", 2.0).blocks((5.0, 21.9)))
    assert [(b.start, b.on) for b in blocks] == [
        (5.0, False),
        (7.0, True),
        (9.0, True),
        (11.0, False),
        (13.0, False),
        (15.0, True),
        (17.0, True),
        (19.0, False),
    ]
    # what grows evenly has the same mean in both kinds
    means = [sum(b.start for b in blocks if b.on is on) / 4 for on in (False, True)]
    assert means[0] == means[1]


def test_a_command_runs_in_the_middle_third() -> None:
    blocks = list(Contrast("beside", 3.0).blocks((0.0, 30.0)))
    assert [b.on for b in blocks] == [False] * 3 + [True] * 3 + [False] * 3
    assert all(b.end <= 10 or b.start >= 10 for b in blocks)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--mix zipf --weights a=1", "--weights belongs to --mix weights, not zipf"),
        ("--hot-share 2", "--hot-share must be from 0 to 1, not 2"),
        ("--mix hot-cold --hot 0", "--hot must be 1 or more"),
        ("--mix round-robin --rotate 5", "do not go with --mix round-robin"),
        ("--tenants law", "'law' is not NAME=NUMBER"),
        ("--rotate 0", "--rotate must be above 0"),
        ("--interleave --neighbour a=3", "give one of them"),
        ("--interleave --block 20", "does not hold 6 of them"),
        ("--neighbour a=0", "is not one ID=RATE"),
    ],
)
def test_options_about_adapters_are_checked(line: str, complaint: str) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--stack")
    adapter_options.add_options(parser.add_argument)
    options = parser.parse_args(line.split())

    def seconds(_: str, text: str) -> float:
        return float(text.removesuffix("s"))

    def check() -> None:
        adapter_options.mix_from(options, seconds)
        adapter_options.beside_from(options, seconds, 60.0)

    with pytest.raises(BadInput, match=complaint):
        check()
