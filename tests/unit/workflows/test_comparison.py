"""Comparisons: what is paired with what."""

import pytest

from workflows.results.approach import Approach, ItemResult, estimates_of_items
from workflows.results.comparison import compare, interval_text
from workflows.results.statistics import of_summary


def items(scores: list[float], prompts: str = "abcdefgh") -> list[ItemResult]:
    return [
        ItemResult(index=i, prompt=prompts[i], reference="", output="", scores={"rouge_l": score})
        for i, score in enumerate(scores)
    ]


def approach(name: str, answered: list[ItemResult]) -> Approach:
    scores = estimates_of_items(answered, seed=0)
    return Approach(name=name, label=name, model="m", job_id="j", items=8, per_item=True, scores=scores)


def test_items_are_paired_by_prompt_not_by_place() -> None:
    first, second = items([0.1, 0.2, 0.9]), items([0.2, 0.3, 0.1], prompts="abz")
    result = compare([approach("x", first), approach("y", second)], {"x": first, "y": second})
    (difference,) = result.differences
    assert difference.estimate.mean == pytest.approx(0.1)  # the third is another question
    assert difference.estimate.n == 2


def test_nothing_shared_falls_back_to_independent() -> None:
    first, second = items([0.1, 0.2, 0.3]), items([0.2, 0.3, 0.4], prompts="xyz")
    result = compare([approach("x", first), approach("y", second)], {"x": first, "y": second})
    assert result.differences[0].estimate.method == "normal"


def test_interval_text() -> None:
    assert interval_text(of_summary(0.5, 0.0, 4)) == "0.500 [0.500, 0.500]"
    assert interval_text(of_summary(-0.25, None, 4), signed=True) == "-0.250 (no interval)"
