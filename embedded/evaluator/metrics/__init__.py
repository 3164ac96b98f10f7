"""Metrics by the type that a configuration names; score keys are in the classes of this one table."""

from typing import Any

from embedded.evaluator.errors import DataError
from embedded.evaluator.metrics.base import Metric
from embedded.evaluator.metrics.bertscore import BertScore
from embedded.evaluator.metrics.checks import NumberCheck, StringCheck, ToolCalling
from embedded.evaluator.metrics.judge import LlmJudge
from embedded.evaluator.metrics.text import F1, Bleu, ExactMatch, Meteor, Rouge

__all__ = ["METRICS", "LlmJudge", "Metric", "create"]

METRICS: dict[str, type[Metric]] = {
    "bleu": Bleu,
    "rouge": Rouge,
    "f1": F1,
    "em": ExactMatch,
    "meteor": Meteor,
    "bertscore": BertScore,
    "string-check": StringCheck,
    "number-check": NumberCheck,
    "tool-calling": ToolCalling,
    "llm-judge": LlmJudge,
}


def create(kind: str, params: dict[str, Any], where: str) -> Metric:
    """Make the metric of type `kind`; DataError if there is none, ValidationError if the params are wrong."""
    if kind not in METRICS:
        raise DataError(f"{where}: metric type {kind!r} is not known; known are {', '.join(METRICS)}")
    return METRICS[kind](params, where)
