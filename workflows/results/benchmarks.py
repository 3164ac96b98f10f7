"""Benchmarks before and after the customization, on the same questions: what the model has kept of what it could.

One metric a benchmark, as it is usually quoted. Shares of right answers have Wilson intervals; differences are paired,
question by question. Every result carries where the questions come from, for substitutes are not the benchmark.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from nemostack.clients.evaluator import BenchmarkData, Sample, Score
from nemostack.models import Model
from workflows.results.approach import ItemResult
from workflows.results.statistics import (
    Estimate,
    Verdict,
    independent_difference,
    of_items,
    of_shares,
    of_summary,
    paired_difference,
    verdict,
)

Side = Literal["base", "tuned"]
SIDES: tuple[Side, ...] = ("base", "tuned")
# The guide's names -> lm-eval's task and the metric that is usually quoted. Others are asked for as they are written.
_USUAL = {
    "gsm8k": ("gsm8k", "exact_match__flexible-extract"),
    "mmlu": ("mmlu", "acc"),
    "hellaswag": ("hellaswag", "acc_norm"),
    "truthfulqa": ("truthfulqa_mc2", "acc"),
    "humaneval": ("humaneval", "pass@1__create_test"),
}
_QUESTION_COLUMNS = ("question", "query", "ctx", "prompt")


class BenchmarkResult(Model):
    """One benchmark of one model."""

    benchmark: str
    model: str
    job_id: str
    metric: str
    score: Estimate
    data: BenchmarkData = BenchmarkData()


class BenchmarkComparison(Model):
    """One benchmark of base and tuned model; `difference` is tuned minus base."""

    benchmark: str
    metric: str
    base: Estimate
    tuned: Estimate
    difference: Estimate
    verdict: Verdict
    data: BenchmarkData = BenchmarkData()

    @property
    def label(self) -> str:
        """`gsm8k (substitute)` where the questions are not the published ones."""
        return f"{self.benchmark} (substitute)" if self.data.note else self.benchmark


def task_of(benchmark: str) -> str:
    """Name lm-eval's task."""
    return _USUAL.get(benchmark.lower(), (benchmark, ""))[0]


def metric_of(benchmark: str, found: Sequence[str]) -> str | None:
    """Choose the metric to quote among those `found`; the first where none is usual."""
    usual = _USUAL.get(benchmark.lower(), ("", ""))[1]
    return usual if usual in found else next(iter(found), None)


def items_of(samples: Sequence[Sample]) -> list[ItemResult]:
    """Put samples in our words, their scores by metric."""
    return [
        ItemResult(
            index=sample.index,
            prompt=_question(sample.item),
            reference="",
            output=sample.output,
            scores={key.partition(".")[0]: value for key, value in sample.scores.items()},
        )
        for sample in samples
    ]


def _question(item: Mapping[str, Any]) -> str:
    found = next((item[column] for column in _QUESTION_COLUMNS if item.get(column)), None)
    return str(found) if found is not None else json.dumps(item, sort_keys=True, ensure_ascii=False)


def estimate(
    metric: str, items: Sequence[ItemResult], scores: Mapping[str, Score], *, asked: int, seed: int
) -> Estimate | None:
    """Estimate from the questions, else from the summary; None when there is neither."""
    values = [item.scores[metric] for item in items if metric in item.scores]
    missing = len(items) - len(values)
    if values:
        shares = all(value in {0.0, 1.0} for value in values)
        return of_shares(values, missing=missing) if shares else of_items(values, missing=missing, seed=seed)
    score = scores.get(metric)
    if score is None or score.value is None:
        return None
    return of_summary(score.value, score.stddev, score.count or asked, missing=score.nan_count)


def compare_benchmark(
    base: BenchmarkResult,
    tuned: BenchmarkResult,
    items: Mapping[Side, Sequence[ItemResult]],
    *,
    seed: int,
) -> BenchmarkComparison:
    """Pair the questions where both sides have scores for them."""
    questions = {item.index: item.prompt for item in items["base"]}
    by_side = {
        side: {
            item.index: item.scores[base.metric]
            for item in items[side]
            if base.metric in item.scores and questions.get(item.index) == item.prompt
        }
        for side in SIDES
    }
    difference = paired_difference(by_side["base"], by_side["tuned"], seed=seed)
    if difference is None:
        difference = independent_difference(base.score, tuned.score)
    return BenchmarkComparison(
        benchmark=base.benchmark,
        metric=base.metric,
        base=base.score,
        tuned=tuned.score,
        difference=difference,
        verdict=verdict(difference),
        data=base.data,
    )
