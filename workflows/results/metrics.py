"""The metrics that are compared: how the Evaluator is asked for each, and how its answer is read.

One table. Scores are brought to 0..1 (`full` is what the service calls perfect), except the judge's rating, which
keeps its scale of 1 to 5.
"""

from dataclasses import dataclass
from typing import Any

from workflows.judge.criteria import CRITERIA, RATING, judge_metric


@dataclass(frozen=True)
class Metric:
    """`key` is ours; the service's scores are found under `task metric.score name`."""

    key: str
    label: str
    about: str
    type: str
    score: str
    params: tuple[tuple[str, Any], ...] = (("ground_truth", "{{ item.completion }}"),)
    full: float = 1.0
    top: float = 1.0
    bottom: float = 0.0

    @property
    def address(self) -> str:
        """As the keys of samples and results are written."""
        return f"{self.type.replace('llm-judge', 'judge')}.{self.score}"


_JUDGE = "llm-judge"
METRICS: tuple[Metric, ...] = (
    Metric("rouge_l", "ROUGE-L", "longest common subsequence with the reference, F-measure", "rouge", "rouge_L_score"),
    Metric(
        "bleu",
        "BLEU",
        "n-gram precision of each answer, mean of sentence scores, as a fraction",
        "bleu",
        "sentence",
        params=(("references", ["{{ item.completion }}"]),),
        full=100.0,
    ),
    Metric("f1", "Token F1", "overlap of words, precision and recall", "f1", "f1_score"),
    Metric("em", "Exact match", "the whole answer is the reference", "em", "em_score"),
    Metric("bertscore", "BERTScore", "similarity of contextual embeddings, F1", "bertscore", "bertscore_f1"),
    Metric("meteor", "METEOR", "aligned words and stems", "meteor", "meteor_score"),
    Metric("judge", "Judge", "rating from 1 to 5", _JUDGE, RATING, params=(), top=5.0, bottom=1.0),
    *(
        Metric(f"judge_{one.name}", f"Judge: {one.name}", one.asks, _JUDGE, one.name, params=(), top=5.0, bottom=1.0)
        for one in CRITERIA
    ),
)
PRIMARY = "rouge_l"
BY_KEY = {metric.key: metric for metric in METRICS}


def task_metrics(*, judge_url: str | None, judge_model: str, judge_key: str | None) -> dict[str, Any]:
    """Build the `metrics` of an evaluation task; without a judge URL there is no judge among them."""
    asked: dict[str, Any] = {
        metric.type: {"type": metric.type, "params": dict(metric.params)} for metric in METRICS if metric.type != _JUDGE
    }
    if judge_url is not None:
        asked["judge"] = judge_metric(judge_url, judge_model, judge_key)
    return asked
