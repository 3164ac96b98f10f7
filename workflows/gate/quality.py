"""Quality and forgetting: rules about differences on the same items, and what the data say of each.

A rule passes when its test shows the gain (or that the loss is smaller than allowed), fails when the whole 95 %
interval lies on the other side, and is unclear otherwise: then it says what the data could have shown, and how many
items it takes.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from workflows.gate.evidence import Evidence
from workflows.gate.pairs import ONE_SIDED, detectable_gain, gain_p_values, holm, items_needed, mcnemar_p
from workflows.gate.policy import ForgettingRule, Policy, QualityRule
from workflows.gate.verdict import Check, Passed
from workflows.results.benchmarks import BenchmarkComparison
from workflows.results.comparison import interval_text, paired_items
from workflows.results.metrics import BY_KEY
from workflows.results.statistics import Estimate, independent_difference, of_items


def check_quality(
    policy: Policy, rule: QualityRule, baseline: Evidence, candidates: Sequence[Evidence], *, seed: int
) -> list[Check]:
    """Return a check for each candidate; p-values are corrected for their number."""
    tests = [_Comparison(rule, baseline, candidate, seed) for candidate in candidates]
    adjusted = holm([test.p_value for test in tests])
    return [test.check(policy, p, len(candidates)) for test, p in zip(tests, adjusted, strict=True)]


class _Comparison:
    """One candidate against the baseline in one metric."""

    def __init__(self, rule: QualityRule, baseline: Evidence, candidate: Evidence, seed: int) -> None:
        self.rule, self.label = rule, BY_KEY[rule.metric].label
        self.difference: Estimate | None = None
        self.p_value, self.test = 1.0, ""
        self.stddev: float | None = None
        pairs = paired_items(baseline.items, candidate.items, rule.metric)
        self.n = len(pairs)
        before, after = baseline.approach.scores.get(rule.metric), candidate.approach.scores.get(rule.metric)
        if pairs:
            self._test_pairs(np.array(pairs, dtype=np.float64), seed)
        elif before is not None and after is not None:
            self.n = min(before.n, after.n)
            self.difference = independent_difference(before, after)
            self.p_value, self.test = _normal_p(self.difference, rule.margin), "normal"

    def _test_pairs(self, pairs: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]", seed: int) -> None:
        gains = pairs[:, 1] - pairs[:, 0]
        self.difference = of_items(gains.tolist(), seed=seed, method="paired bootstrap")
        self.stddev = float(gains.std(ddof=1)) if len(gains) > 1 else None
        if self.rule.margin == 0 and np.isin(pairs, (0.0, 1.0)).all():
            self.p_value, self.test = mcnemar_p(int((gains > 0).sum()), int((gains < 0).sum())), "McNemar, exact"
        else:
            self.p_value = float(gain_p_values(gains[:, None], self.rule.margin, seed=seed)[0])
            self.test = "paired bootstrap"

    def check(self, policy: Policy, adjusted_p: float, candidates: int) -> Check:
        name, asked = f"quality: {self.label}", self._asked()
        if self.difference is None:
            text = f"{self.label} was not measured for both"
            return Check(name=name, asked=asked, verdict="UNCLEAR", text=text, metric=self.rule.metric)
        verdict = self._verdict(adjusted_p)
        detectable = None if self.stddev is None else detectable_gain(self.stddev, self.n, candidates=candidates)
        distance = self.difference.mean - self.rule.margin
        needed = None if self.stddev is None else items_needed(self.stddev, distance, candidates=candidates)
        text = f"{interval_text(self.difference, signed=True)} on {self.n} items, p = {adjusted_p:.2g} ({self.test})"
        if verdict == "PASS" and self.n < policy.min_items:
            verdict, text = "UNCLEAR", f"{text}; the policy wants {policy.min_items} items or more"
        elif verdict == "UNCLEAR" and detectable is not None:
            text = f"{text}; so many items show a gain of {detectable:.3f} in 8 of 10 cases"
            text += f", and it takes about {needed} to show this one" if needed else ""
        return Check(
            name=name,
            asked=asked,
            verdict=verdict,
            text=text,
            metric=self.rule.metric,
            difference=self.difference,
            test=self.test,
            p_value=self.p_value,
            adjusted_p=adjusted_p,
            detectable=detectable,
            items_needed=needed,
        )

    def _asked(self) -> str:
        if self.rule.max_loss is not None:
            return f"{self.label} not lower by {self.rule.max_loss:g} or more"
        return (
            f"{self.label} higher"
            if not self.rule.min_gain
            else f"{self.label} higher by more than {self.rule.min_gain:g}"
        )

    def _verdict(self, adjusted_p: float) -> Passed:
        assert self.difference is not None
        if adjusted_p <= ONE_SIDED:
            return "PASS"
        return "FAIL" if self.difference.high is not None and self.difference.high < self.rule.margin else "UNCLEAR"


def _normal_p(difference: Estimate, margin: float) -> float:
    if difference.low is None or difference.high is None:
        return 1.0
    error = (difference.high - difference.low) / 2 / NormalDist().inv_cdf(1 - ONE_SIDED)
    if error == 0:
        return 0.0 if difference.mean > margin else 1.0
    return 1 - NormalDist().cdf((difference.mean - margin) / error)


def check_forgetting(rule: ForgettingRule, benchmarks: Sequence[BenchmarkComparison]) -> list[Check]:
    """Return a check for each benchmark that the run has asked or the policy wants."""
    asked = {benchmark.benchmark: benchmark for benchmark in benchmarks}
    return [_kept(rule, name, asked.get(name)) for name in dict.fromkeys([*asked, *rule.benchmarks])]


def _kept(rule: ForgettingRule, name: str, found: BenchmarkComparison | None) -> Check:
    most = rule.benchmarks.get(name, rule.max_loss)
    title, asked = f"kept: {found.label if found else name}", f"at most {most:g} lost"
    if found is None:
        text = f"the run has not asked {name}; give it to the run with --benchmarks"
        return Check(name=title, asked=asked, verdict="UNCLEAR", text=text)
    difference = found.difference
    text = f"{interval_text(difference, signed=True)} on {difference.n} questions"
    verdict: Passed = "UNCLEAR"
    if difference.low is not None and difference.low > -most:
        verdict = "PASS"
    elif difference.high is not None and difference.high < -most:
        verdict = "FAIL"
    else:
        if difference.low is not None and most > 0:
            half = (difference.mean - difference.low) or 1 / math.sqrt(difference.n)
            text += (
                f"; about {math.ceil(difference.n * (half / most) ** 2)} questions tell a loss of {most:g} from none"
            )
        if rule.unclear == "GO":
            verdict, text = "PASS", f"{text}; the policy lets that pass"
    return Check(name=title, asked=asked, verdict=verdict, text=text, metric=found.metric, difference=difference)
