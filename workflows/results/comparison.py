"""Approaches side by side, and the differences between them.

A difference is a step of a ladder (zero-shot -> in-context -> LoRA) or between two runs, per metric: paired where both
sides have scores per item for the same prompts. What follows from them is the gate's to say (workflows/gate).
"""

import csv
import io
from collections.abc import Mapping, Sequence

from pydantic import Field

from nemostack.models import Model
from workflows.results.approach import Approach, ItemResult
from workflows.results.benchmarks import BenchmarkComparison
from workflows.results.metrics import METRICS
from workflows.results.statistics import Estimate, Verdict, independent_difference, overlap, paired_difference, verdict


class Difference(Model):
    """`better` minus `worse` in one metric. `overlap`: whether their own intervals do; None without intervals."""

    metric: str
    worse: str
    better: str
    estimate: Estimate
    overlap: bool | None
    verdict: Verdict


class Comparison(Model):
    """All of it."""

    approaches: list[Approach]
    differences: list[Difference]
    benchmarks: list[BenchmarkComparison] = Field(default_factory=list)


def compare(
    approaches: Sequence[Approach],
    items: Mapping[str, Sequence[ItemResult]],
    *,
    seed: int = 0,
) -> Comparison:
    """Differences between every two approaches, in their order.

    `items` maps an approach's name to its items; one without items is compared by its summary.
    """
    differences = [
        difference
        for i, first in enumerate(approaches)
        for second in approaches[i + 1 :]
        for difference in _differences(first, second, items, seed)
    ]
    return Comparison(approaches=list(approaches), differences=differences)


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


def same_questions(a: Sequence[ItemResult], b: Sequence[ItemResult]) -> list[tuple[ItemResult, ItemResult]]:
    """Pair the items that both answered: an index alone does not make two items the same."""
    first = {item.index: item for item in a}
    return [(first[item.index], item) for item in b if item.index in first and first[item.index].prompt == item.prompt]


def paired_items(a: Sequence[ItemResult], b: Sequence[ItemResult], key: str) -> list[tuple[float, float]]:
    """Scores of the same questions, where both have one."""
    return [
        (before.scores[key], after.scores[key])
        for before, after in same_questions(a, b)
        if key in before.scores and key in after.scores
    ]


def _paired(a: Sequence[ItemResult], b: Sequence[ItemResult], key: str, seed: int) -> Estimate | None:
    """None unless the two answered the same questions."""
    pairs = same_questions(a, b)
    return paired_difference(
        {item.index: item.scores[key] for item, _ in pairs if key in item.scores},
        {item.index: item.scores[key] for _, item in pairs if key in item.scores},
        seed=seed,
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
