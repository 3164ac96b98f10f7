"""The gate: what a policy makes of the evidence. Evidence is built here, item by item."""

import json
from collections.abc import Sequence
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml

from nemostack.clone import ROOT
from nemostack.errors import BadInput
from workflows.gate.decide import best_of, decide
from workflows.gate.evidence import Evidence
from workflows.gate.policy import (
    CorrectAnswer,
    CostRule,
    ForgettingRule,
    Policy,
    QualityRule,
    read_policy,
    schema,
)
from workflows.results.approach import Approach, ItemResult, estimates_of_items
from workflows.results.benchmarks import BenchmarkComparison
from workflows.results.statistics import of_items, of_shares

NOISE = np.random.default_rng(4).normal(0, 0.1, size=400)


def evidence(
    name: str,
    scores: Sequence[float],
    *,
    metric: str = "rouge_l",
    seconds: float = 36.0,
    training: float = 72.0,
    benchmarks: tuple[BenchmarkComparison, ...] = (),
    load: str | None = None,
    tokens: int | None = 10,
) -> Evidence:
    items = [
        ItemResult(
            index=i,
            prompt=f"q{i}",
            reference="",
            output=name,
            scores={metric: score},
            prompt_tokens=tokens,
            completion_tokens=tokens,
        )
        for i, score in enumerate(scores)
    ]
    approach = Approach(
        name=name,
        label=name,
        model="m",
        job_id="j",
        items=len(items),
        per_item=True,
        scores=estimates_of_items(items, seed=0),
    )
    return Evidence(approach, tuple(items), seconds, training, 2 * seconds, benchmarks, load)


def forgot(name: str, right: int, wrong: int, lost: int) -> BenchmarkComparison:
    """`lost` of the questions that were right are wrong now."""
    before = [1.0] * right + [0.0] * wrong
    after = [1.0] * (right - lost) + [0.0] * (wrong + lost)
    difference = of_items([b - a for a, b in zip(before, after, strict=True)], method="paired bootstrap")
    assert difference is not None
    return BenchmarkComparison(
        benchmark=name,
        metric="acc",
        base=of_shares(before),
        tuned=of_shares(after),
        difference=difference,
        verdict="unclear",
    )


BASE = evidence("base", [0.5] * 200)


@pytest.mark.parametrize(
    ("gain", "outcome"), [(0.1, "GO"), (0.0, "INCONCLUSIVE"), (-0.1, "NO-GO")], ids=["better", "no different", "worse"]
)
def test_outcomes(gain: float, outcome: str) -> None:
    centred = NOISE[:200] - NOISE[:200].mean()
    report = decide(Policy(), BASE, [evidence("tuned", list(0.5 + gain + centred))], seed=0)
    assert report.outcome == outcome
    assert report.chosen == ("tuned" if outcome == "GO" else None)
    (check,) = report.candidates[0].checks
    assert check.test == "paired bootstrap"
    assert check.difference is not None
    assert check.difference.mean == pytest.approx(gain)


def test_an_unclear_check_says_what_would_settle_it() -> None:
    spread = NOISE[:50] - NOISE[:50].mean() + 0.01
    report = decide(Policy(), evidence("base", [0.5] * 50), [evidence("tuned", list(0.5 + spread))], seed=0)
    (check,) = report.candidates[0].checks
    # (1.96 + 0.8416) standard errors: computed here from the spread alone
    error = spread.std(ddof=1) / 50**0.5
    assert check.detectable == pytest.approx(2.8016 * error, rel=1e-3)
    assert check.items_needed == pytest.approx((2.8016 * spread.std(ddof=1) / 0.01) ** 2, rel=0.01)
    assert f"it takes about {check.items_needed}" in report.reason


def test_a_policy_asks_for_more_than_any_gain() -> None:
    tuned = evidence("tuned", list(0.6 + NOISE[:200]))
    asked = {gain: Policy(quality=(QualityRule(metric="rouge_l", min_gain=gain),)) for gain in (0.05, 0.15)}
    assert decide(asked[0.05], BASE, [tuned], seed=0).outcome == "GO"
    assert decide(asked[0.15], BASE, [tuned], seed=0).outcome == "NO-GO"


def test_no_worse_is_another_question_than_better() -> None:
    tuned = evidence("tuned", list(0.5 + NOISE[:200] - NOISE[:200].mean()))
    assert (
        decide(Policy(quality=(QualityRule(metric="rouge_l", max_loss=0.05),)), BASE, [tuned], seed=0).outcome == "GO"
    )
    strict = Policy(quality=(QualityRule(metric="rouge_l", max_loss=0.001),))
    assert decide(strict, BASE, [tuned], seed=0).outcome == "INCONCLUSIVE"


def test_right_or_wrong_is_tested_by_mcnemar() -> None:
    base = evidence("base", [0.0] * 40 + [1.0] * 60, metric="em")
    tuned = evidence("tuned", [1.0] * 30 + [0.0] * 10 + [1.0] * 58 + [0.0] * 2, metric="em")
    report = decide(Policy(quality=(QualityRule(metric="em", min_gain=0),)), base, [tuned], seed=0)
    (check,) = report.candidates[0].checks
    assert (check.test, report.outcome) == ("McNemar, exact", "GO")
    assert check.p_value == pytest.approx(1.23e-07, rel=0.01)  # P(at least 30 of 32 coins)
    wins = report.candidates[0].wins
    assert wins is not None
    assert (wins.candidate, wins.baseline, wins.ties) == (30, 2, 68)
    assert {one.index for one in wins.worst} == {98, 99}
    assert all(one.gain == 1 for one in wins.best)


def test_several_candidates_are_corrected_and_the_best_is_chosen() -> None:
    rows = [
        list(0.5 + gain + NOISE[i : i + 200] - NOISE[i : i + 200].mean()) for i, gain in enumerate((0.05, 0.08, 0.0))
    ]
    report = decide(Policy(), BASE, [evidence(f"c{i}", row) for i, row in enumerate(rows)], seed=0)
    assert [one.outcome for one in report.candidates] == ["GO", "GO", "INCONCLUSIVE"]
    assert report.chosen == "c1"
    first = report.candidates[0].checks[0]
    assert first.adjusted_p == pytest.approx(3 * (first.p_value or 0))
    assert "corrected for 3 candidates" in report.reason


def test_a_weak_gain_does_not_survive_the_correction() -> None:
    weak = NOISE[:200] - NOISE[:200].mean()
    weak += 2.2 * weak.std(ddof=1) / 200**0.5  # 2.2 standard errors: p of about 0.014
    alone = decide(Policy(), BASE, [evidence("weak", list(0.5 + weak))], seed=0)
    nothing = [evidence(f"n{i}", list(0.5 + NOISE[i : i + 200] - NOISE[i : i + 200].mean())) for i in range(1, 5)]
    assert alone.outcome == "GO"
    assert decide(Policy(), BASE, [evidence("weak", list(0.5 + weak)), *nothing], seed=0).outcome == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("benchmark", "unclear", "outcome"),
    [
        (forgot("gsm8k", 300, 300, 0), "INCONCLUSIVE", "GO"),
        (forgot("gsm8k", 10, 10, 1), "INCONCLUSIVE", "INCONCLUSIVE"),
        (forgot("gsm8k", 10, 10, 1), "GO", "GO"),
        (forgot("gsm8k", 100, 100, 60), "GO", "NO-GO"),
    ],
    ids=["kept", "too few to tell", "too few, let pass", "forgotten"],
)
def test_forgetting(benchmark: BenchmarkComparison, unclear: str, outcome: str) -> None:
    policy = Policy(forgetting=ForgettingRule(max_loss=0.05, unclear=unclear))
    tuned = evidence("tuned", list(0.7 + NOISE[:200]), benchmarks=(benchmark,))
    assert decide(policy, BASE, [tuned], seed=0).outcome == outcome


def test_a_benchmark_that_the_policy_wants_must_have_been_asked() -> None:
    policy = Policy(forgetting=ForgettingRule(benchmarks={"mmlu": 0.02}))
    report = decide(policy, BASE, [evidence("tuned", [0.9] * 200)], seed=0)
    assert report.outcome == "INCONCLUSIVE"
    assert "has not asked mmlu" in report.reason


def test_cost_by_the_hour_and_of_a_correct_answer() -> None:
    rule = CostRule(price_per_gpu_hour=10, training_gpus=2, max_run=0.5)
    policy = Policy(cost=rule, correct=CorrectAnswer(metric="rouge_l", at_least=0.8))
    tuned = evidence("tuned", [0.9] * 100 + [0.7] * 100)
    report = decide(policy, BASE, [tuned], seed=0)
    found = report.candidates[0]
    # evaluation 36 s = 0.01 h; run: training 72 s on two GPUs = 0.04 h, evaluations 72 s on one = 0.02 h
    assert (found.cost.gpu_hours, found.cost.usd, found.cost.correct) == (pytest.approx(0.01), pytest.approx(0.1), 100)
    assert found.cost.usd_per_correct == pytest.approx(0.001)
    assert found.cost.tokens_per_correct == 200 * 20 / 100
    assert found.run_cost.usd == pytest.approx(0.6)
    assert (report.outcome, found.checks[-1].verdict) == ("NO-GO", "FAIL")  # 0.6 is above 0.5


def test_cost_by_the_token_at_a_hosted_endpoint() -> None:
    policy = Policy(cost=CostRule(prompt_price=1.0, completion_price=2.0))
    assert decide(policy, BASE, [evidence("tuned", [0.9] * 200)], seed=0).candidates[0].cost.usd == pytest.approx(
        200 * 10 * 3 / 1e6
    )
    uncounted = decide(policy, BASE, [evidence("tuned", [0.9] * 200, tokens=None)], seed=0)
    assert uncounted.candidates[0].cost.usd is None


def test_an_unknown_cost_is_not_within_its_limit() -> None:
    report = decide(Policy(cost=CostRule(max_run=1)), BASE, [evidence("tuned", [0.9] * 200)], seed=0)
    assert report.outcome == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("load", "outcome"), [("PASS", "GO"), ("FAIL", "NO-GO"), ("NOT ENOUGH", "INCONCLUSIVE"), (None, "INCONCLUSIVE")]
)
def test_the_load_test_counts_where_the_policy_wants_it(load: str | None, outcome: str) -> None:
    policy = Policy(require_load_test=True)
    assert decide(policy, BASE, [evidence("tuned", [0.9] * 200, load=load)], seed=0).outcome == outcome


def test_too_few_items_are_no_go_ahead() -> None:
    tuned = evidence("tuned", [0.9] * 200)
    assert decide(Policy(min_items=201), BASE, [tuned], seed=0).outcome == "INCONCLUSIVE"
    assert decide(Policy(min_items=201), tuned, [BASE], seed=0).outcome == "NO-GO"  # worse is worse


def test_a_metric_that_was_not_measured_decides_nothing() -> None:
    report = decide(Policy(), evidence("base", [0.5], metric="em"), [BASE], seed=0)
    assert (report.outcome, report.candidates[0].wins) == ("INCONCLUSIVE", None)
    assert best_of([evidence("x", [0.5], metric="em")], Policy()) is None


def test_summaries_without_items_are_compared_by_a_normal_test() -> None:
    def bare(one: Evidence) -> Evidence:
        return Evidence(one.approach, (), one.seconds, 0, 0)

    tuned = evidence("tuned", list(0.7 + NOISE[:200]))
    noisy = evidence("base", list(0.5 + NOISE[200:400]))
    report = decide(Policy(), bare(noisy), [bare(tuned)], seed=0)
    assert (report.outcome, report.candidates[0].checks[0].test) == ("GO", "normal")


def test_the_example_is_valid_and_the_schema_takes_it() -> None:
    path = ROOT / "examples" / "gate.yaml"
    assert read_policy(path).min_items == 200
    jsonschema.validate(yaml.safe_load(path.read_text()), schema())


def test_the_schema_on_the_page_is_current() -> None:
    """`nemostack gate --schema > docs/gate-policy.schema.json`."""
    assert json.loads((ROOT / "docs" / "gate-policy.schema.json").read_text()) == schema()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("qualty: []", "qualty"),
        ("quality: []", "quality"),
        ("quality: [{metric: rouge, min_gain: 0}]", "rouge is no metric"),
        ("quality: [{metric: em}]", "exactly one of min_gain and max_loss"),
        ("quality: [{metric: em, min_gain: 0}, {metric: em, max_loss: 0.1}]", "stands there twice"),
        ("cost: {gpu: moon/b9000}", "no price for .moon/b9000."),
        ("cost: {prompt_price: 1}", "both prompt_price and completion_price"),
        ("version: 2", "version"),
        ("[", "cannot read the gate policy"),
    ],
)
def test_policies_that_cannot_be_used_are_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=says):
        read_policy(path)
