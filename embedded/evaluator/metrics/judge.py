"""LLM-as-a-judge: a second model reads item and output and rates it; a parser takes the ratings from its reply.

A reply without a rating, with one out of range or one that is no finite number, is NaN and counted; a pattern that
takes too long fails the job. The judge is asked while the task generates (see custom.py); its replies are kept with the
items, so a restart asks nothing twice.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator

from embedded.common.unknown_keys import Tolerant
from embedded.evaluator.errors import DataError, EvaluationError
from embedded.evaluator.metrics.base import Context, Metric, Scores
from embedded.evaluator.patterns import PatternError, check_pattern, find_last
from embedded.evaluator.request_models import Model
from embedded.evaluator.templates import check


class Parser(Tolerant):
    """How a score is found in the reply: group 1 of a regex (the last match counts), or a path `a.b` in JSON."""

    type: Literal["regex", "json"] = "regex"
    pattern: str | None = None
    json_path: str | None = None

    @field_validator("pattern")
    @classmethod
    def _can_be_used(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                check_pattern(pattern)
            except PatternError as error:
                raise ValueError(str(error)) from error
        return pattern

    def find_all(self, replies: Sequence[str]) -> list[str | None]:
        """Find the text of the score in each reply. PatternError when the pattern takes too long."""
        if self.type == "regex":
            return find_last(self.pattern or "", replies)
        return [self._find_in_json(reply) for reply in replies]

    def _find_in_json(self, reply: str) -> str | None:
        try:
            start, end = reply.index("{"), reply.rindex("}")
            value = json.loads(reply[start : end + 1])
            for key in (self.json_path or "").split("."):
                value = value[key]
        except (ValueError, LookupError, TypeError, RecursionError):
            return None
        return str(value)


class ScoreConfig(Tolerant):
    """One rating."""

    type: Literal["int", "float", "number", "bool", "boolean"] = "float"
    parser: Parser
    minimum: float | None = None
    maximum: float | None = None

    def value(self, text: str | None) -> float:
        """Read the text that the parser found as a rating; NaN if it is none, or out of range."""
        text = (text or "").strip().lower()
        if self.type in {"bool", "boolean"}:
            return {"true": 1.0, "yes": 1.0, "1": 1.0, "false": 0.0, "no": 0.0, "0": 0.0}.get(text, math.nan)
        try:
            value = float(int(text)) if self.type == "int" else float(text)
        except (ValueError, OverflowError):
            return math.nan
        if not math.isfinite(value):
            return math.nan
        low = -math.inf if self.minimum is None else self.minimum
        high = math.inf if self.maximum is None else self.maximum
        return value if low <= value <= high else math.nan


class JudgeParams(Tolerant):
    """`model` is an endpoint or a model id; without it the configured judge is asked."""

    model: str | Model | None = None
    template: dict[str, Any] | str
    scores: dict[str, ScoreConfig] = Field(min_length=1)


class LlmJudge(Metric):
    """Parses the judge's replies, which the runner puts into `sample["judges"][metric name]`."""

    def configure(self, params: dict[str, Any]) -> None:
        """See JudgeParams."""
        self.params = self.read_params(JudgeParams, params)
        for name, one in self.params.scores.items():
            if (one.parser.pattern if one.parser.type == "regex" else one.parser.json_path) is None:
                raise DataError(f"{self.where}.scores.{name}: the parser needs `pattern` (regex) or `json_path` (json)")
        check(self.params.template, self.where)

    def score_items(self, contexts: Sequence[Context]) -> Scores:
        """Not used: see `score_replies`."""
        raise NotImplementedError

    def score_replies(self, replies: Sequence[str | None]) -> Scores:
        """Ratings of the replies; no reply gives NaN. EvaluationError when a pattern takes too long."""
        answered = [number for number, reply in enumerate(replies) if reply is not None]
        scores: Scores = {}
        for name, config in self.params.scores.items():
            try:
                texts = config.parser.find_all([replies[number] or "" for number in answered])
            except PatternError as error:
                raise EvaluationError(f"{self.where}.scores.{name}: {error}") from error
            values = [math.nan] * len(replies)
            for number, text in zip(answered, texts, strict=True):
                values[number] = config.value(text)
            scores[name] = values
        return scores
