"""One evaluation of one model on the test items: the job's config, and its scores as estimates.

Scores per item where the Evaluator hands out its samples; otherwise the summary it gives, which is said in the result.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from nemostack.clients.evaluator import Sample, Score
from nemostack.errors import ServiceError
from nemostack.models import Model
from nemostack.outputs import StackOutputs
from workflows.data import in_context
from workflows.data.rows import Row
from workflows.results.metrics import METRICS, Metric, task_metrics
from workflows.results.statistics import Estimate, of_items, of_summary
from workflows.settings import Settings

TASK = "answers"
JUDGE_KEY_ENV = "NEMOSTACK_JUDGE_API_KEY"


class ItemResult(Model):
    """One test item with the answer and its scores by our metric keys."""

    index: int
    prompt: str
    reference: str
    output: str
    scores: dict[str, float] = Field(default_factory=dict)
    cut: bool = False
    """Whether the answer was cut by the limit of tokens."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Approach(Model):
    """What an evaluation found: its scores by metric key."""

    name: str
    label: str
    model: str
    shots: int = 0
    job_id: str
    items: int
    per_item: bool
    scores: dict[str, Estimate]
    cut: int = 0
    """Answers that the limit of tokens cut off."""
    reused: int = 0
    """Answers of earlier runs that were not asked for again, and the seconds that they took then."""
    reused_s: float = 0.0


def judge_key() -> str | None:
    """Key for the judge's endpoint, from the environment, where no process list shows it."""
    return os.environ.get(JUDGE_KEY_ENV) or None


def target(outputs: StackOutputs, model: str) -> dict[str, Any]:
    """Describe the model as the Evaluator reaches it."""
    url = f"{outputs.nim_internal_url}/v1/chat/completions"
    return {"type": "model", "model": {"api_endpoint": {"url": url, "model_id": model}}}


def config(
    settings: Settings,
    outputs: StackOutputs,
    *,
    name: str,
    test_url: str,
    max_tokens: int,
    chats: bool = False,
    examples: Sequence[Row] = (),
    judge_key: str | None = None,
) -> dict[str, Any]:
    """Describe a `custom` evaluation: every test item asked once, all metrics on the answer."""
    return {
        "type": "custom",
        "name": name,
        "params": {"parallelism": settings.parallelism},
        "tasks": {
            TASK: {
                "type": "chat-completion",
                "params": {
                    "template": in_context.template(
                        examples, max_tokens=max_tokens, temperature=settings.temperature, chats=chats
                    )
                },
                "dataset": {"files_url": test_url, "limit": settings.limit},
                "metrics": task_metrics(
                    judge_url=outputs.judge_url if settings.judge else None,
                    judge_model=outputs.judge_model,
                    judge_key=judge_key,
                ),
            }
        },
    }


def benchmark_config(settings: Settings, benchmark: str, *, limit: int, shots: int | None) -> dict[str, Any]:
    """Describe an lm-eval benchmark by its name, e.g. gsm8k. Without `shots` it shows the examples that its task does.

    Whether it asks a chat or completions is left to the Evaluator: some benchmarks can have only one of them. So is the
    temperature, for lm-eval decodes greedily; with another one its seeded requests end vLLM on CPUs, where long prompts
    are read in parts.
    """
    params = {
        "limit_samples": limit,
        "max_tokens": settings.max_tokens or 256,
        "parallelism": settings.parallelism,
        "extra": {} if shots is None else {"num_fewshot": shots},
    }
    return {"type": benchmark, "params": params, "tasks": {benchmark: {"type": benchmark}}}


def item_results(samples: Sequence[Sample]) -> list[ItemResult]:
    """Put samples in our words."""
    return [
        ItemResult(
            index=sample.index,
            prompt=str(sample.item.get("prompt", "")),
            reference=str(sample.item.get("completion", "")),
            output=sample.output,
            cut=sample.cut,
            prompt_tokens=sample.prompt_tokens,
            completion_tokens=sample.completion_tokens,
            scores={m.key: sample.scores[m.address] / m.full for m in METRICS if m.address in sample.scores},
        )
        for sample in samples
    ]


def estimates_of_items(items: Sequence[ItemResult], seed: int) -> dict[str, Estimate]:
    """Bootstrap per metric. A metric that no item has a score of is left out."""
    estimates: dict[str, Estimate] = {}
    for metric in METRICS:
        values = [item.scores[metric.key] for item in items if metric.key in item.scores]
        estimate = of_items(values, missing=len(items) - len(values), seed=seed)
        if estimate is not None:
            estimates[metric.key] = estimate
    return estimates


def estimates_of_summary(scores: Mapping[str, Score], items: int) -> dict[str, Estimate]:
    """Compute normal intervals per metric, from what the results say; `items` where they do not say how many."""
    estimates: dict[str, Estimate] = {}
    for metric in METRICS:
        score = scores.get(metric.address)
        mean = None if score is None else (score.mean if score.mean is not None else score.value)
        if score is not None and mean is not None:
            estimates[metric.key] = _scaled(metric, mean, score, items)
    return estimates


def _scaled(metric: Metric, mean: float, score: Score, items: int) -> Estimate:
    stddev = None if score.stddev is None else score.stddev / metric.full
    return of_summary(mean / metric.full, stddev, score.count or items, missing=score.nan_count)


def require_scores(found: Mapping[str, Estimate], job_id: str) -> None:
    """ServiceError when an evaluation brought nothing that can be compared."""
    if not found:
        known = ", ".join(metric.address for metric in METRICS)
        raise ServiceError(f"evaluation job {job_id} completed without any score we know ({known})")
