"""From a measured curve to replicas, GPUs and cost, by hand."""

from datetime import date

import pytest

from load_tests.verdict.capacity import Limit, Point, Span, limit, plan
from load_tests.verdict.slo import Verdict
from nemostack.prices import Price

PASS, FAIL = Verdict.PASS, Verdict.FAIL
PRICE = Price(name="box", gpu="H200", gpus=8, usd_per_hour=(32.0, 48.0), source="a list", as_of=date(2026, 11, 1))


def _point(rate: float, verdict: Verdict, *, open_loop: bool = True) -> Point:
    return Point(f"run-{rate:g}", rate, 100 * rate, (95 * rate, 105 * rate), verdict, open_loop)


def test_the_limit_is_the_highest_rate_up_to_which_all_passed() -> None:
    found = limit([_point(r, v) for r, v in ((4, PASS), (1, PASS), (8, FAIL), (16, PASS), (6, PASS))])
    assert found is not None
    assert (found.holds, found.breaks) == (6, 8)
    assert (found.tokens_per_s, found.tokens_interval) == (600, (570, 630))
    assert found.notes == ["nothing was measured between 6 and 8 requests/s: measure there"]
    assert limit([_point(6, PASS), _point(7, FAIL)]).notes == []  # type: ignore[union-attr]
    # a repeat that failed counts
    repeated = limit([_point(2, PASS), _point(4, PASS), _point(4, FAIL)])
    assert repeated is not None
    assert (repeated.holds, repeated.breaks) == (2, 4)
    assert limit([_point(1, FAIL), _point(2, PASS)]) is None
    assert limit([_point(1, Verdict.NOT_ENOUGH)]) is None


def test_it_says_what_was_not_measured() -> None:
    found = limit([_point(3, PASS, open_loop=False)])
    assert found is not None
    assert [note.split(",")[0] for note in found.notes] == [
        "no run failed",
        "some runs are closed loops",
        "one rate is no curve: measure several",
    ]
    made = plan(found, target_rate=1.0, price=PRICE, gpus_per_replica=1, headroom=0.0, lowest_rate=3)
    assert "less than the lowest measured rate of 3" in made.notes[-1]


def test_a_plan_by_hand() -> None:
    found = Limit(holds=10, breaks=12.5, tokens_per_s=1000, tokens_interval=(900, 1100), notes=[])
    made = plan(found, target_rate=64, price=PRICE, gpus_per_replica=2, headroom=0.2, lowest_rate=2)
    # each replica takes 8 requests/s, and at best a little under 10
    assert made.replicas == Span(8, 7, 8)
    assert made.gpus == Span(16, 14, 16)
    # two of eight GPUs cost 8 to 12 dollars an hour
    assert made.usd_per_month == Span(10 * 8 * 730, 8 * 7 * 730, 12 * 8 * 730)
    # 64 requests/s of 100 tokens (90 to 110) are 23.04 million tokens an hour
    per_hour = 64 * 3600 / 1e6
    assert made.usd_per_million_tokens.value == pytest.approx(80 / (per_hour * 100))
    assert made.usd_per_million_tokens.low == pytest.approx(56 / (per_hour * 110))
    assert made.usd_per_million_tokens.high == pytest.approx(96 / (per_hour * 90))
    assert made.full_load_usd_per_million_tokens.value == pytest.approx(10 / (3.6e-3 * 1000))
    assert made.notes == ["one replica was measured; 8 of them are taken to hold 8 times as much"]
