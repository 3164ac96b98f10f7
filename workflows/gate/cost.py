"""What a run and its answers cost: GPU hours by the clock, tokens, and US dollars where a price is known.

The time of an evaluation is that of its stage, in which metrics are computed too, so it is an upper bound of what the
answers took. Refuses to guess: without a price or without counts of tokens, the number is None.
"""

from collections.abc import Sequence

from nemostack.models import Model
from workflows.gate.evidence import Evidence
from workflows.gate.policy import CorrectAnswer, CostRule
from workflows.results.approach import ItemResult

_HOUR = 3600.0


class ApproachCost(Model):
    """Of the answers of one approach; `correct` is None where the metric that says so was not measured."""

    name: str
    label: str
    items: int
    gpu_hours: float
    prompt_tokens: int | None
    completion_tokens: int | None
    usd: float | None
    correct: int | None

    @property
    def usd_per_correct(self) -> float | None:
        """None without a price or a correct answer."""
        return None if self.usd is None or not self.correct else self.usd / self.correct

    @property
    def tokens_per_correct(self) -> float | None:
        """Tokens of prompts and answers; None without counts or a correct answer."""
        if self.prompt_tokens is None or self.completion_tokens is None or not self.correct:
            return None
        return (self.prompt_tokens + self.completion_tokens) / self.correct


class RunCost(Model):
    """Of training and all evaluations of the candidate's run."""

    training_gpu_hours: float
    serving_gpu_hours: float
    usd: float | None
    price: str


def of_approach(evidence: Evidence, rule: CostRule, correct: CorrectAnswer) -> ApproachCost:
    """Cost of the answers of an approach."""
    hours = evidence.seconds * rule.serving_gpus / _HOUR
    prompt = _sum(evidence.items, "prompt_tokens")
    completion = _sum(evidence.items, "completion_tokens")
    usd = None if rule.hourly is None else hours * rule.hourly
    if rule.prompt_price is not None and rule.completion_price is not None:
        usd = None
        if prompt is not None and completion is not None:
            usd = (prompt * rule.prompt_price + completion * rule.completion_price) / 1e6
    return ApproachCost(
        name=evidence.approach.name,
        label=evidence.approach.label,
        items=evidence.approach.items,
        gpu_hours=hours,
        prompt_tokens=prompt,
        completion_tokens=completion,
        usd=usd,
        correct=count_correct(evidence.items, correct),
    )


def of_run(evidence: Evidence, rule: CostRule) -> RunCost:
    """Cost of the whole run that the approach belongs to, on hardware of one's own."""
    training = evidence.run_training_s * rule.training_gpus / _HOUR
    serving = evidence.run_serving_s * rule.serving_gpus / _HOUR
    usd = None if rule.hourly is None else (training + serving) * rule.hourly
    return RunCost(training_gpu_hours=training, serving_gpu_hours=serving, usd=usd, price=rule.where_from)


def count_correct(items: Sequence[ItemResult], correct: CorrectAnswer) -> int | None:
    """Answers whose score is high enough; None when no item has a score of that metric."""
    scores = [item.scores[correct.metric] for item in items if correct.metric in item.scores]
    return sum(score >= correct.at_least for score in scores) if scores else None


def _sum(items: Sequence[ItemResult], name: str) -> int | None:
    """Sum of what every item has; None when one has not."""
    counts = [getattr(item, name) for item in items]
    return sum(counts) if counts and None not in counts else None
