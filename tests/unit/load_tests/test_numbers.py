"""Definitions, percentiles, gates and schedules against hand-made values and other routes."""

import json
import math
import random
import statistics

import numpy as np
import pytest

from load_tests.client.records import RequestRecord
from load_tests.report import plots
from load_tests.report.schema import schema
from load_tests.traffic.arrivals import schedule
from load_tests.verdict import metrics
from load_tests.verdict.slo import Slo, Verdict, judge, overall
from load_tests.verdict.token_rate import Window
from nemostack.clone import ROOT


def _record(
    k: int = 0, *, model: str = "base", ttft: float = 0.1, tokens: int = 5, tpot: float = 0.01, **changes: object
) -> RequestRecord:
    values: dict[str, object] = {
        "id": f"r{k}",
        "worker": 0,
        "model": model,
        "t_sched": 0.0,
        "t_send": 0.05,
        "t_first": 0.05 + ttft,
        "t_last": 0.05 + ttft + tpot * (tokens - 1),
        "t_end": 0.05 + ttft + tpot * tokens,
        "asked_tokens": 5,
        "output_tokens": tokens,
        "content_events": tokens,
        "gaps_ms": [1e3 * tpot] * (tokens - 1),
        **changes,
    }
    return RequestRecord(**values)  # type: ignore[arg-type]


def test_definitions_of_one_request() -> None:
    r = _record(ttft=0.2, tokens=11, tpot=0.03)
    assert metrics.send_lag_ms(r) == pytest.approx(50)
    assert metrics.ttft_ms(r) == pytest.approx(200)
    assert metrics.ttft_from_schedule_ms(r) == pytest.approx(250)
    assert metrics.e2e_ms(r) == pytest.approx(500)
    assert metrics.e2e_from_schedule_ms(r) == pytest.approx(550)
    assert metrics.tpot_ms(r) == pytest.approx(30)
    assert metrics.normalized_tpot_ms(r) == pytest.approx(500 / 11)
    assert metrics.tpot_ms(_record(tokens=1)) is None


def test_errors_count_in_attainment_and_not_in_latency() -> None:
    records = [_record(k) for k in range(6)] + [_record(6, ttft=9.0)]
    records += [_record(7, outcome="http_5xx", detail="boom"), _record(8, outcome="timeout")]
    records += [_record(9, outcome="incomplete"), _record(10, outcome="dropped")]
    summary = metrics.summarise(records, Window(0.0, 10.0), {"ttft_ms": 1000})
    assert (summary.successes, summary.errors, summary.incomplete, summary.dropped) == (7, 2, 1, 1)
    assert summary.errors_by_kind == {"http_5xx": 1, "timeout": 1}
    assert summary.error_examples["http_5xx"] == "boom"
    assert summary.scalars["error_rate"] == pytest.approx(2 / 9)
    assert summary.scalars["slo_attainment"] == pytest.approx(6 / 9)
    assert summary.scalars["goodput"] == pytest.approx(0.6)
    assert summary.scalars["output_token_throughput"] == pytest.approx(3.5)
    assert summary.latencies["ttft_ms"].count == 7


def test_percentiles_need_samples() -> None:
    assert [metrics.enough_for(p) for p in (50, 90, 95, 99, 99.9)] == [2, 10, 20, 100, 1000]
    few = metrics.describe(float(k) for k in range(99))
    assert few.percentiles["p99"] is None
    assert few.percentiles["p95"] == pytest.approx(93.1)
    many = metrics.describe(random.Random(1).sample(range(1001), 1001))
    assert many.percentiles == pytest.approx({"p50": 500, "p90": 900, "p95": 950, "p99": 990, "p99.9": 999})
    assert many.std == pytest.approx(statistics.stdev(range(1001)))


def test_percentile_intervals_cover_the_truth_95_times_in_100() -> None:
    rng = random.Random(5)
    truth = -math.log(1 - 0.9)  # p90 of Exp(1)
    hits = 0
    for _ in range(1000):
        interval = metrics.percentile_interval(np.sort([rng.expovariate(1) for _ in range(200)]), 90)
        assert interval is not None
        hits += interval[0] <= truth <= interval[1]
    assert 0.93 <= hits / 1000 <= 0.98


def test_wilson_against_published_values() -> None:
    # Newcombe (1998), table I: 81 of 263, and 0 of 20
    assert metrics.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert metrics.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def _slo(**objective: object) -> Slo:
    return Slo.model_validate(
        {"version": 1, "min_samples": 3, "per_request": {"ttft_ms": 150}, "objectives": [objective]}
    )


def _verdicts(slo: Slo, records: list[RequestRecord]) -> dict[str, Verdict]:
    results = judge(slo, records, window=Window(0.0, 10.0), models=["base", "ns/a@1", "ns/b@2"], base="base")
    return {r.scope: r.verdict for r in results}


def test_each_adapter_is_judged_alone() -> None:
    records = [_record(k) for k in range(40)]
    records += [_record(100 + k, model="ns/a@1", ttft=0.3) for k in range(20)]
    records += [_record(200 + k, model="ns/b@2") for k in range(19)]
    limit = {"metric": "ttft_ms", "stat": "p95", "max": 200}
    assert _verdicts(_slo(**limit), records) == {"overall": Verdict.FAIL}
    assert _verdicts(_slo(**limit, scope="each-adapter"), records) == {
        "ns/a@1": Verdict.FAIL,
        "ns/b@2": Verdict.NOT_ENOUGH,  # 19 samples say nothing of a p95
    }
    assert _verdicts(_slo(**limit, scope="base"), records) == {"base": Verdict.PASS}
    assert _verdicts(_slo(**limit, scope="ns/z*"), records) == {"ns/z*": Verdict.NOT_ENOUGH}


def test_bounds_are_inclusive_and_min_works() -> None:
    records = [_record(k) for k in range(8)] + [_record(9, outcome="empty"), _record(10, outcome="empty")]
    assert _verdicts(_slo(metric="error_rate", max=0.2), records) == {"overall": Verdict.PASS}
    assert _verdicts(_slo(metric="error_rate", max=0.19), records) == {"overall": Verdict.FAIL}
    assert _verdicts(_slo(metric="slo_attainment", min=0.8), records) == {"overall": Verdict.PASS}
    assert _verdicts(_slo(metric="slo_attainment", min=0.81), records) == {"overall": Verdict.FAIL}


def test_order_of_verdicts() -> None:
    records = [_record(k) for k in range(8)]
    missed = judge(_slo(metric="goodput", min=99), records, window=Window(0.0, 1.0), models=["base"], base="base")
    few = judge(
        _slo(metric="e2e_ms", stat="p99", max=9e9), records, window=Window(0.0, 1.0), models=["base"], base="base"
    )
    assert overall(missed + few, valid=False, successes=8) is Verdict.INVALID
    assert overall(missed + few, valid=True, successes=8) is Verdict.FAIL
    assert overall(few, valid=True, successes=8) is Verdict.NOT_ENOUGH
    assert overall([], valid=True, successes=8) is Verdict.PASS
    assert overall([], valid=True, successes=0) is Verdict.FAIL


def test_schedules_have_the_rate_and_spread_asked_for() -> None:
    assert schedule("constant", rate=4, duration_s=1, seed=0) == [0, 0.25, 0.5, 0.75]
    for process, smoothness, spread in (("poisson", 1.0, 1.0), ("gamma", 0.25, 2.0), ("gamma", 4.0, 0.5)):
        times = schedule(process, rate=50, duration_s=1000, seed=3, smoothness=smoothness)  # type: ignore[arg-type]
        gaps = np.diff([0.0, *times])
        assert len(times) == pytest.approx(50_000, rel=5 * spread / 50_000**0.5)
        assert gaps.std() / gaps.mean() == pytest.approx(spread, rel=0.05)


def test_workers_split_a_schedule_without_changing_it() -> None:
    whole = schedule("poisson", rate=30, duration_s=10, seed=9)
    parts = [schedule("poisson", rate=30, duration_s=10, seed=9, worker=w, workers=3) for w in range(3)]
    assert sorted(at for part in parts for at in part) == whole
    assert whole != schedule("poisson", rate=30, duration_s=10, seed=10)
    with pytest.raises(ValueError, match="no schedule"):
        schedule("closed", rate=1, duration_s=1, seed=1)


def test_the_published_schema_is_that_of_the_program() -> None:
    published = json.loads((ROOT / "docs" / "load-report.schema.json").read_text())
    assert published == schema(), "run `python -m load_tests.report.schema > docs/load-report.schema.json`"


def test_in_flight_counts_open_spans() -> None:
    assert plots.in_flight([(0.0, 2.0), (1.0, 3.0)])[-4:] == [(0.0, 1.0), (1.0, 2.0), (2.0, 1.0), (3.0, 0.0)]
