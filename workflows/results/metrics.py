"""The metrics that are compared: how the Evaluator is asked for each, and how its answer is read.

One table. Scores are brought to 0..1 (`full` is what the service calls perfect), except the judge's rating, which
keeps its scale of 1 to 5.
"""

from dataclasses import dataclass
from typing import Any

JUDGE_SYSTEM = (
    "You are an impartial judge. Compare the answer with the ground truth: is it correct, does it invent nothing, "
    "does it leave out nothing that matters? Reply with one line, RATING: <n>, where n is a whole number from 1 (poor) "
    "to 5 (perfect)."
)
JUDGE_USER = "Ground truth: {{ item.completion }}\nAnswer: {{ sample.output_text }}\nQuestion: {{ item.prompt }}"


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
    Metric("judge", "Judge", "rating from 1 to 5", "llm-judge", "rating", params=(), top=5.0, bottom=1.0),
)
PRIMARY = "rouge_l"
BY_KEY = {metric.key: metric for metric in METRICS}


def wanted(*, judge: bool) -> tuple[Metric, ...]:
    """List the metrics a run asks for."""
    return tuple(metric for metric in METRICS if judge or metric.key != "judge")


def task_metrics(*, judge_url: str | None, judge_model: str, judge_key: str | None) -> dict[str, Any]:
    """Build the `metrics` of an evaluation task; without a judge URL there is no judge among them."""
    asked: dict[str, Any] = {
        metric.type: {"type": metric.type, "params": dict(metric.params)} for metric in wanted(judge=False)
    }
    if judge_url is not None:
        endpoint = {"url": f"{judge_url}/v1/chat/completions", "model_id": judge_model}
        asked["judge"] = {
            "type": "llm-judge",
            "params": {
                "model": {"api_endpoint": endpoint | ({"api_key": judge_key} if judge_key else {})},
                "template": {
                    "messages": [
                        {"role": "system", "content": JUDGE_SYSTEM},
                        {"role": "user", "content": JUDGE_USER},
                    ]
                },
                "scores": {"rating": {"type": "int", "parser": {"type": "regex", "pattern": r"RATING:\s*([1-5])"}}},
            },
        }
    return asked
