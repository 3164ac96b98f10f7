"""What adapters cost, how fairly they are served, how many slots they need: against simulations and other routes."""

import math
import random
from collections import OrderedDict

import numpy as np
import pytest
from scipy import stats

from load_tests.client.records import RequestRecord
from load_tests.report import adapters
from load_tests.traffic.blocks import Block
from load_tests.verdict import contrast, fairness, intervals, slots
from load_tests.verdict.token_rate import Window, arrivals, counted, token_rate


def _reply(model: str, send: float, ttft: float, tokens: int, tpot: float) -> RequestRecord:
    first = send + ttft
    return RequestRecord(
        id=f"{model}-{send}",
        worker=0,
        model=model,
        t_sched=None,
        t_send=send,
        t_first=first,
        t_last=first + tpot * (tokens - 1),
        t_end=first + tpot * tokens,
        output_tokens=tokens,
        content_events=tokens,
        gaps_ms=[1e3 * tpot] * (tokens - 1),
    )


def test_tokens_count_where_they_arrive() -> None:
    # ten tokens at 0.5, 1.5, ... 9.5 of a request that was due before the window
    early = _reply("m", -1.0, 1.5, 10, 1.0)
    lost = _reply("m", 2.0, 0.1, 10, 0.1)
    lost.outcome = "truncated"
    assert counted(*arrivals([early, lost]), np.array([0.0, 5.0, 20.0])).tolist() == [5.0, 5.0]
    rate, _ = token_rate([early, lost], Window(2.0, 6.0))
    assert rate == pytest.approx(1.0)


def test_users_in_step_do_not_move_the_token_rate() -> None:
    # 64 users of a closed loop whose replies last 0.75 s: 13 or 14 waves end in 10 s, and the server makes 853 tokens/s
    waves = [_reply("m", k * 0.75, 0.05, 10, 0.07) for k in range(-3, 20) for _ in range(64)]
    for begin in (0.0, 0.2, 0.4, 0.6):
        rate, interval = token_rate(waves, Window(begin, begin + 10))
        assert rate == pytest.approx(64 * 10 / 0.75, rel=0.04)
        assert interval is not None
        assert interval[0] < 64 * 10 / 0.75 < interval[1]


def test_intervals_against_scipy() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(10, 2, 9)
    low, high = intervals.of_mean(values) or (math.nan, math.nan)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 8, loc=values.mean(), scale=stats.sem(values)))
    a, b = rng.lognormal(0, 0.1, 5), rng.lognormal(0.2, 0.3, 8)
    found = intervals.of_ratio(list(a), list(b))
    welch = stats.ttest_ind(np.log(b), np.log(a), equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((math.exp(welch.low), math.exp(welch.high)))
    assert intervals.of_mean([1.0, 2.0]) is None
    assert intervals.of_ratio([1.0], [2.0, 2.0, 2.0]).low is None


def test_the_cost_of_blocks_is_found_with_an_interval_that_holds_it() -> None:
    rng = random.Random(2)
    held = 0
    for _ in range(40):
        blocks = [Block(3.0 * k, 3.0 * k + 3, k % 4 in {1, 2}) for k in range(16)]
        records = []
        for block in blocks:
            tpot = (0.013 if block.on else 0.010) * rng.lognormvariate(0, 0.03)
            at = block.start
            while at < block.end:  # eight users, replies of twenty tokens one after the other
                records += [_reply("m", at + u / 100, 0.02, 20, tpot) for u in range(8)]
                at += 0.02 + 20 * tpot
        ratio = contrast.of_blocks(records, blocks).ratios["tpot_ms p50"]
        assert ratio.low is not None
        assert ratio.high is not None
        held += ratio.low <= 1.3 <= ratio.high
    assert held >= 34  # 95 % of 40 are 38; fewer than 34 has a chance of 1 in 100


def test_groups_of_one_run_are_compared_by_seconds() -> None:
    rng = random.Random(8)
    base = [_reply("base", k / 20, 0.1 * rng.lognormvariate(0, 0.2), 5, 0.01) for k in range(400)]
    cold = [_reply("a", k / 20, 0.4 * rng.lognormvariate(0, 0.2), 5, 0.01) for k in range(200)]
    ratio = contrast.of_groups(base, cold, "ttft_ms")
    assert ratio.values == (400, 200)
    assert ratio.low is not None
    assert ratio.high is not None
    assert ratio.low < 4 < ratio.high
    assert ratio.high / ratio.low < 1.3
    assert contrast.of_groups(base, [], "ttft_ms").ratio is None


def test_jain_and_the_worst_adapter() -> None:
    assert fairness.jain([1, 1, 1, 1]) == 1
    assert fairness.jain([1, 0, 0, 0]) == 0.25
    assert fairness.jain([4]) is None
    groups = {
        "quick": [_reply("quick", k, 0.1, 10, 0.01) for k in range(30)],
        "slow": [_reply("slow", k, 0.6 + k / 1000, 10, 0.05) for k in range(30)],
        "rare": [_reply("rare", k, 9.0, 10, 0.05) for k in range(4)],
    }
    fair = fairness.fairness(groups)
    # 10 tokens in 0.19 s, and in 1.0505 s at the mean
    assert (fair.judged, fair.left_out, fair.slowest) == (2, 1, "slow")
    x, y = 10 / 0.19, float(np.mean([10 / (1.05 + k / 1000) for k in range(30)]))
    assert fair.jain == pytest.approx((x + y) ** 2 / (2 * (x * x + y * y)))
    assert fair.slowest_share == pytest.approx(2 * y / (x + y))
    worst = fairness.worst(groups)
    assert worst is not None
    assert (worst.model, worst.stat, worst.of) == ("slow", "p95", 2)


def _simulated_misses(shares: list[float], count: int, *, draws: int = 40_000) -> float:
    rng, cache, missed = random.Random(11), OrderedDict[int, None](), 0
    for k, adapter in enumerate(rng.choices(range(len(shares)), shares, k=draws)):
        missed += adapter not in cache and k >= draws // 4
        cache[adapter] = None
        cache.move_to_end(adapter)
        if len(cache) > count:
            cache.popitem(last=False)
    return missed / (draws - draws // 4)


@pytest.mark.parametrize(("adapters_", "exponent"), [(32, 1.0), (100, 0.6), (300, 1.2), (12, 0.0)])
def test_the_model_of_slots_holds_against_a_simulated_lru(adapters_: int, exponent: float) -> None:
    shares = [1 / rank**exponent for rank in range(1, adapters_ + 1)]
    for count in (1, 4, 8, adapters_ // 2):
        assert slots.miss_share(shares, count) == pytest.approx(_simulated_misses(shares, count), abs=0.02)
    assert slots.miss_share(shares, adapters_) == 0
    # of equal adapters, the slots hold their share exactly
    assert slots.miss_share([1.0] * 10, 4) == pytest.approx(0.6, abs=0.02)


def test_replicas_with_adapters_of_their_own_miss_as_a_simulation_does() -> None:
    shares = [1 / rank for rank in range(1, 65)]
    parts = slots.spread(shares, 4)
    assert sorted(share for part in parts for share in part) == sorted(shares)
    simulated = sum(sum(part) * _simulated_misses(part, 8) for part in parts) / sum(shares)
    assert slots.miss_share_by_adapter(shares, 8, 4) == pytest.approx(simulated, abs=0.02)


def test_percentiles_of_a_mixture_against_drawing_from_it() -> None:
    rng = np.random.default_rng(1)
    warm, cold = rng.normal(100, 10, 500), rng.normal(900, 50, 80)
    drawn = np.where(rng.random(200_000) < 0.3, rng.choice(cold, 200_000), rng.choice(warm, 200_000))
    for p in (50, 80, 95):
        assert slots.mixture_percentile([(0.7, warm), (0.3, cold)], p) == pytest.approx(
            np.percentile(drawn, p), rel=0.03
        )
    assert slots.mixture_percentile([(1.0, warm), (0.0, np.empty(0))], 50) == pytest.approx(np.median(warm), rel=0.01)
    assert slots.mixture_percentile([(0.5, warm), (0.5, np.empty(0))], 50) is None


def _advice(target: float | None) -> slots.Advice:
    return slots.advise(
        [1 / rank for rank in range(1, 33)],
        cold=np.linspace(2500, 3000, 50),
        warm=np.linspace(300, 400, 100),
        base=np.linspace(200, 300, 100),
        base_share=0.2,
        slots=8,
        cold_share=0.4,
        percentile=95.0,
        target_ms=target,
    )


def test_advice_is_the_fewest_slots_that_keep_cold_requests_rare_enough() -> None:
    advice = _advice(1000.0)
    # p95 is met when at most one request in twenty is cold: 0.8 of them ask for adapters
    fewest = next(n for n in range(1, 33) if 0.8 * slots.miss_share([1 / r for r in range(1, 33)], n) <= 0.05)
    assert advice.needed == fewest
    assert 8 < fewest < 32
    assert _advice(300.0).needed is None
    assert "too high for a replica" in _advice(300.0).why_not
    assert _advice(None).why_not == "no objective for TTFT was given"


def test_a_change_is_written_with_its_interval_in_the_same_words() -> None:
    ratio = {"ratio": 0.71, "low": 0.67, "high": 0.75}
    assert adapters.change(ratio, less=True) == "29 % less (25 % less to 33 % less)"
    assert adapters.change({"ratio": 1.2, "low": 0.9, "high": 1.5}) == "20 % more (10 % less to 50 % more)"
    assert "too few values" in adapters.change({"ratio": 1.2, "low": None, "high": None})
