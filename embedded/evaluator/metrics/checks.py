"""Yes-or-no metrics: comparisons of text and numbers, and calls of tools. Score 1 or 0."""

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import Field, field_validator

from embedded.common.unknown_keys import Tolerant
from embedded.evaluator.errors import DataError
from embedded.evaluator.metrics.base import Context, Metric, Scores
from embedded.evaluator.templates import check, render

_TEXT: dict[str, Callable[[str, str], bool]] = {
    "==": lambda left, right: left == right,
    "equals": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<>": lambda left, right: left != right,
    "not equals": lambda left, right: left != right,
    "contains": lambda left, right: right in left,
    "not contains": lambda left, right: right not in left,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
_NUMBER: dict[str, Callable[[float, float, float], bool]] = {
    "==": lambda left, right, eps: abs(left - right) <= eps,
    "!=": lambda left, right, eps: abs(left - right) > eps,
    "<": lambda left, right, _: left < right,
    "<=": lambda left, right, _: left <= right,
    ">": lambda left, right, _: left > right,
    ">=": lambda left, right, _: left >= right,
    "absolute difference": lambda left, right, eps: abs(left - right) <= eps,
}
_SAME = {
    "==": ("equals",),
    "!=": ("<>", "not equals"),
    "<": ("lt", "less than"),
    "<=": ("lte", "less than or equal"),
    ">": ("gt", "greater than"),
    ">=": ("gte", "greater than or equal"),
}
_NUMBER |= {name: _NUMBER[symbol] for symbol, names in _SAME.items() for name in names}
# A number with its thousands separators and its exponent; of `1,2` each part is one.
_NUMERAL = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|[.\d]*\d)(?:[eE][+-]?\d+)?")
_NO_JSON = object()


class _CheckParams(Tolerant):
    check: list[str | float] = Field(min_length=3, max_length=5)

    @field_validator("check")
    @classmethod
    def _operator_second(cls, check: list[str | float]) -> list[str | float]:
        """Bring `[operator, left, right, "epsilon", number]` of NVIDIA's notebooks into the usual order."""
        if len(check) == 5:
            if check[3] != "epsilon":
                raise ValueError("expected [left, operator, right, tolerance] or [..., 'epsilon', tolerance]")
            check = [*check[:3], check[4]]
        if str(check[0]) in _NUMBER and str(check[1]) not in {*_NUMBER, *_TEXT}:
            check = [check[1], check[0], *check[2:]]
        return check


class _Check(Metric):
    """`check: [left, operator, right]` with templates left and right."""

    NAME: str
    OPERATORS: dict[str, Any]

    def configure(self, params: dict[str, Any]) -> None:
        """Refuses unknown operators."""
        left, operator, right, *rest = self.read_params(_CheckParams, params).check
        if str(operator) not in self.OPERATORS:
            raise DataError(f"{self.where}: operator {operator!r}; known are {', '.join(self.OPERATORS)}")
        self.left, self.operator, self.right, self.rest = str(left), self.OPERATORS[str(operator)], str(right), rest
        check([self.left, self.right], self.where)

    def rehearse(self, context: Context) -> None:
        """Render both sides once."""
        render(self.left, context, self.where)
        render(self.right, context, self.where)

    def score_items(self, contexts: Sequence[Context]) -> Scores:
        """1 where the check holds."""
        sides = [
            (render(self.left, context, self.where), render(self.right, context, self.where)) for context in contexts
        ]
        return {self.NAME: [float(self.holds(left, right)) for left, right in sides]}

    def holds(self, left: str, right: str) -> float:
        """1 where the check holds, 0 where it does not, NaN where there is nothing to compare."""
        raise NotImplementedError


class StringCheck(_Check):
    """Compares text as it is: where white space around it should not count, the templates say `| trim`."""

    NAME, OPERATORS = "string-check", _TEXT

    def configure(self, params: dict[str, Any]) -> None:
        """Exactly three parts."""
        super().configure(params)
        if self.rest:
            raise DataError(f"{self.where}: expected [left, operator, right]")

    def holds(self, left: str, right: str) -> float:
        """Compare the texts."""
        return float(self.operator(left, right))


class NumberCheck(_Check):
    """Compares the last number of each side, equal within the fourth part (default 0). No number, no score: NaN."""

    NAME, OPERATORS = "number-check", _NUMBER

    def configure(self, params: dict[str, Any]) -> None:
        """Take the fourth part as the tolerance."""
        super().configure(params)
        self.tolerance = self._number(str(self.rest[0])) if self.rest else 0.0
        if math.isnan(self.tolerance) or self.tolerance < 0:
            raise DataError(f"{self.where}: tolerance {self.rest[0]!r} is no number from 0 up")

    @staticmethod
    def _number(text: str) -> float:
        numerals = _NUMERAL.findall(text)
        try:
            return float(numerals[-1].replace(",", "")) if numerals else math.nan
        except ValueError:  # 1.2.3
            return math.nan

    def holds(self, left: str, right: str) -> float:
        """Compare the numbers."""
        actual, expected = self._number(left), self._number(right)
        if math.isnan(actual) or math.isnan(expected):
            return math.nan
        return float(self.operator(actual, expected, self.tolerance))


class _ToolParams(Tolerant):
    tool_calls_ground_truth: str


class ToolCalling(Metric):
    """Whether the model called the expected tools; their order does not count, how often each is called does."""

    def configure(self, params: dict[str, Any]) -> None:
        """One template that gives the expected calls as JSON, e.g. `{{ item.tool_calls | tojson }}`."""
        self.truth = self.read_params(_ToolParams, params).tool_calls_ground_truth
        check(self.truth, self.where)

    def rehearse(self, context: Context) -> None:
        """Render the truth once."""
        render(self.truth, context, self.where)

    def score_items(self, contexts: Sequence[Context]) -> Scores:
        """1 where all names agree; 1 where all names and arguments agree, NaN where arguments are no JSON."""
        names, calls = [], []
        for context in contexts:
            choices = (context["sample"].get("response") or {}).get("choices") or [{}]
            actual = _calls((choices[0].get("message") or {}).get("tool_calls") or [])
            try:
                expected = _calls(json.loads(render(self.truth, context, self.where)))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise DataError(f"{self.where}: tool_calls_ground_truth is no list of tool calls: {error}") from error
            names.append(float(sorted(name for name, _ in actual) == sorted(name for name, _ in expected)))
            broken = any(arguments is _NO_JSON for _, arguments in actual)
            calls.append(math.nan if broken else float(_same_calls(actual, expected)))
        return {"function_name_accuracy": names, "function_name_and_args_accuracy": calls}


def _calls(calls: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    """(name, arguments); _NO_JSON for arguments that are no JSON."""
    pairs = []
    for call in calls:
        function = call.get("function", call)
        arguments = function.get("arguments") or {}
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except ValueError:
                arguments = _NO_JSON
        pairs.append((str(function["name"]), arguments))
    return pairs


def _same_calls(actual: list[tuple[str, Any]], expected: list[tuple[str, Any]]) -> bool:
    """Whether each call has its like; 1 and 1.0 are the same argument."""
    left = list(expected)
    for call in actual:
        if call not in left:
            return False
        left.remove(call)
    return not left
