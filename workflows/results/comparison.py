"""Approaches side by side: the differences between them, and what follows.

A difference is a step of a ladder (zero-shot -> in-context -> LoRA) or between two runs, per metric: paired where both
sides have scores per item for the same prompts. The decision: GO when the candidate's gain over the best of the others
is above the margin with its whole 95 % interval, NO-GO when it lies below, INCONCLUSIVE otherwise.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from nemostack.models import Model
from workflows.results.approach import Approach, ItemResult
from workflows.results.benchmarks import BenchmarkComparison
from workflows.results.metrics import BY_KEY, METRICS, PRIMARY
from workflows.results.statistics import Estimate, Verdict, independent_difference, overlap, paired_difference, verdict

Outcome = Literal["GO", "NO-GO", "INCONCLUSIVE"]


class Difference(Model):
    """`better` minus `worse` in one metric. `overlap`: whether their own intervals do; None without intervals."""

    metric: str
    worse: str
    better: str
    estimate: Estimate
    overlap: bool | None
    verdict: Verdict


class Decision(Model):
    """What follows for the candidate, and the hypothesis that was looked at."""

    outcome: Outcome
    candidate: str
    against: str
    metric: str
    margin: float
    difference: Estimate | None
    hypothesis: str
    reason: str


class Comparison(Model):
    """All of it."""

    approaches: list[Approach]
    differences: list[Difference]
    decision: Decision | None
    benchmarks: list[BenchmarkComparison] = Field(default_factory=list)


def compare(
    approaches: Sequence[Approach],
    items: Mapping[str, Sequence[ItemResult]],
    *,
    metric: str = PRIMARY,
    margin: float = 0.0,
    seed: int = 0,
) -> Comparison:
    """Differences between every two approaches, in their order; the last approach is the candidate of the decision.

    `items` maps an approach's name to its items; one without items is compared by its summary.
    """
    differences = [
        difference
        for i, first in enumerate(approaches)
        for second in approaches[i + 1 :]
        for difference in _differences(first, second, items, seed)
    ]
    decision = _decide(approaches, differences, metric, margin) if len(approaches) > 1 else None
    return Comparison(approaches=list(approaches), differences=differences, decision=decision)


def _differences(
    first: Approach, second: Approach, items: Mapping[str, Sequence[ItemResult]], seed: int
) -> list[Difference]:
    differences = []
    for metric in METRICS:
        a, b = first.scores.get(metric.key), second.scores.get(metric.key)
        if a is None or b is None:
            continue
        estimate = _paired(items.get(first.name, ()), items.get(second.name, ()), metric.key, seed)
        if estimate is None:
            estimate = independent_difference(a, b)
        differences.append(
            Difference(
                metric=metric.key,
                worse=first.name,
                better=second.name,
                estimate=estimate,
                overlap=overlap(a, b),
                verdict=verdict(estimate),
            )
        )
    return differences


def _paired(a: Sequence[ItemResult], b: Sequence[ItemResult], key: str, seed: int) -> Estimate | None:
    """None unless the two answered the same questions: an index alone does not make two items the same."""
    prompts = {item.index: item.prompt for item in a}
    same = {item.index for item in b if prompts.get(item.index) == item.prompt}
    return paired_difference(
        {item.index: item.scores[key] for item in a if item.index in same and key in item.scores},
        {item.index: item.scores[key] for item in b if item.index in same and key in item.scores},
        seed=seed,
    )


def _decide(
    approaches: Sequence[Approach], differences: Sequence[Difference], metric: str, margin: float
) -> Decision | None:
    candidate = approaches[-1]
    rivals = [approach for approach in approaches[:-1] if metric in approach.scores]
    if metric not in candidate.scores or not rivals:
        return None
    against = max(rivals, key=lambda approach: approach.scores[metric].mean)
    difference = next(d for d in differences if (d.metric, d.worse, d.better) == (metric, against.name, candidate.name))
    seen = verdict(difference.estimate, margin)
    outcomes: dict[Verdict, Outcome] = {"better": "GO", "worse": "NO-GO", "unclear": "INCONCLUSIVE"}
    label = BY_KEY[metric].label
    gain = f"in {label}" if margin == 0 else f"more than {margin:g} {label}"
    return Decision(
        outcome=outcomes[seen],
        candidate=candidate.name,
        against=against.name,
        metric=metric,
        margin=margin,
        difference=difference.estimate,
        hypothesis=f"{candidate.label} gains {gain} over {against.label}, the best of the others",
        reason=f"the difference is {interval_text(difference.estimate, signed=True)} ({difference.estimate.method})",
    )


def interval_text(estimate: Estimate, *, signed: bool = False, digits: int = 3) -> str:
    """`0.624 [0.592, 0.654]`; without an interval it says so."""
    form = f"{'+' if signed else ''}.{digits}f"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:{form}} (no interval)"
    return f"{estimate.mean:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"


def to_csv(comparison: Comparison) -> str:
    """Write a line per approach and metric, then a line per benchmark and model."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["approach", "model", "shots", "metric", "mean", "low95", "high95", "n", "missing", "method"])
    for approach in comparison.approaches:
        for key, score in approach.scores.items():
            writer.writerow(
                [
                    *(approach.name, approach.model, approach.shots, key),
                    *(score.mean, score.low, score.high, score.n, score.missing, score.method),
                ]
            )
    for benchmark in comparison.benchmarks:
        for side, score in (("base", benchmark.base), ("tuned", benchmark.tuned)):
            writer.writerow(
                [
                    *(f"{benchmark.label}, {side}", "", "", benchmark.metric),
                    *(score.mean, score.low, score.high, score.n, score.missing, score.method),
                ]
            )
    return out.getvalue()
