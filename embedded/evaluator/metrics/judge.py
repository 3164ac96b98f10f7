"""LLM-as-a-judge: a second model reads item and output and rates it; a parser takes the ratings from its reply.

A reply without a rating, or with one out of range, is NaN. The judge is asked while the task generates (see custom.py);
its replies are kept with the items, so a restart asks nothing twice.
"""

import json
import math
import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator

from embedded.evaluator.documents import Model, Strict
from embedded.evaluator.errors import DataError
from embedded.evaluator.metrics.base import Context, Metric, Scores
from embedded.evaluator.templates import check


class Parser(Strict):
    """How a score is found in the reply: group 1 of a regex (the last match counts), or a path `a.b` in JSON."""

    type: Literal["regex", "json"] = "regex"
    pattern: str | None = None
    json_path: str | None = None

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                if re.compile(pattern).groups < 1:
                    raise ValueError(f"regex {pattern!r} has no group: put the score in parentheses")
            except re.error as error:
                raise ValueError(f"regex {pattern!r}: {error}") from error
        return pattern

    def find(self, reply: str) -> str | None:
        """Find the text of the score."""
        if self.type == "regex":
            matches = list(re.finditer(self.pattern or "", reply[:100_000]))
            groups = [group for group in matches[-1].groups() if group is not None] if matches else []
            return groups[0] if groups else None
        try:
            start, end = reply.index("{"), reply.rindex("}")
            value = json.loads(reply[start : end + 1])
            for key in (self.json_path or "").split("."):
                value = value[key]
        except (ValueError, LookupError, TypeError):
            return None
        return str(value)


class ScoreConfig(Strict):
    """One rating."""

    type: Literal["int", "float", "number", "bool", "boolean"] = "float"
    parser: Parser
    minimum: float | None = None
    maximum: float | None = None

    def value(self, reply: str) -> float:
        """Find the rating in `reply`, NaN if there is none."""
        text = (self.parser.find(reply) or "").strip().lower()
        if self.type in {"bool", "boolean"}:
            return {"true": 1.0, "yes": 1.0, "1": 1.0, "false": 0.0, "no": 0.0, "0": 0.0}.get(text, math.nan)
        try:
            value = float(int(text)) if self.type == "int" else float(text)
        except ValueError:
            return math.nan
        low = -math.inf if self.minimum is None else self.minimum
        high = math.inf if self.maximum is None else self.maximum
        return value if low <= value <= high else math.nan


class JudgeParams(Strict):
    """`model` is an endpoint or a model id; without it the configured judge is asked."""

    model: str | Model | None = None
    template: dict[str, Any] | str
    scores: dict[str, ScoreConfig] = Field(min_length=1)


class LlmJudge(Metric):
    """Parses the judge's replies, which the runner puts into `sample["judges"][metric name]`."""

    def configure(self, params: dict[str, Any]) -> None:
        """See JudgeParams."""
        self.params = JudgeParams.model_validate(params)
        for name, one in self.params.scores.items():
            if (one.parser.pattern if one.parser.type == "regex" else one.parser.json_path) is None:
                raise DataError(f"{self.where}.scores.{name}: the parser needs `pattern` (regex) or `json_path` (json)")
        check(self.params.template, self.where)

    def score_items(self, contexts: Sequence[Context]) -> Scores:
        """Not used: see `score_replies`."""
        raise NotImplementedError

    def score_replies(self, replies: Sequence[str | None]) -> Scores:
        """Ratings of the replies; no reply gives NaN."""
        return {
            name: [math.nan if reply is None else one.value(reply) for reply in replies]
            for name, one in self.params.scores.items()
        }
