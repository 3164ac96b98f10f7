"""What a judge is asked: the guide's five criteria as separate scores, and one rating of the whole.

One reply has all of them, a line each, so that an answer is judged once. The similarity judge of the local stack is no
language model and cannot tell criteria apart: of it the rating alone is asked.
"""

from dataclasses import dataclass
from typing import Any

SIMILARITY_JUDGE = "nemostack/similarity-judge"
RATING = "rating"


@dataclass(frozen=True)
class Criterion:
    """One of the guide's criteria; `asks` is what the judge is to look at."""

    name: str
    asks: str


CRITERIA = (
    Criterion("faithfulness", "it says nothing that the ground truth contradicts or that is made up"),
    Criterion("relevance", "it answers the question that was asked, and nothing else"),
    Criterion("coherence", "its parts fit together and follow from one another"),
    Criterion("fluency", "its language is correct and natural"),
    Criterion("helpfulness", "somebody with this question is served by it"),
)
_OVERALL = (
    "You are an impartial judge. Compare the answer with the ground truth: is it correct, does it invent nothing, "
    "does it leave out nothing that matters? Reply with one line, RATING: <n>, where n is a whole number from 1 (poor) "
    "to 5 (perfect)."
)
_EACH = (
    "You are an impartial judge. Rate the answer from 1 (poor) to 5 (perfect) by each of these criteria on its own, "
    "whatever the others say, and then as a whole. A longer answer is not a better one.\n{criteria}\nReply with these "
    "lines and nothing else, where n is a whole number from 1 to 5:\n{lines}"
)
_TRUTH, _ANSWER, _QUESTION = (
    "Ground truth: {{ item.completion }}",
    "Answer: {{ sample.output_text }}",
    "Question: {{ item.prompt }}",
)


def criteria_of(judge_model: str) -> tuple[Criterion, ...]:
    """List the criteria that a judge can tell apart."""
    return () if judge_model == SIMILARITY_JUDGE else CRITERIA


def judge_metric(url: str, model: str, key: str | None, *, swapped: bool = False) -> dict[str, Any]:
    """Describe the metric for the Evaluator. `swapped`: the judge reads the answer before the ground truth."""
    names = [criterion.name for criterion in criteria_of(model)]
    order = (_ANSWER, _TRUTH, _QUESTION) if swapped else (_TRUTH, _ANSWER, _QUESTION)
    return {
        "type": "llm-judge",
        "params": {
            "model": {
                "api_endpoint": {"url": f"{url}/v1/chat/completions", "model_id": model}
                | ({"api_key": key} if key else {})
            },
            "template": {
                "messages": [
                    {"role": "system", "content": _system(model)},
                    {"role": "user", "content": "\n".join(order)},
                ]
            },
            "scores": {name: _score(name) for name in (RATING, *names)},
        },
    }


def _system(model: str) -> str:
    criteria = criteria_of(model)
    if not criteria:
        return _OVERALL
    asked = "\n".join(f"- {criterion.name}: {criterion.asks}" for criterion in criteria)
    lines = "\n".join(f"{name.upper()}: <n>" for name in (*(criterion.name for criterion in criteria), RATING))
    return _EACH.format(criteria=asked, lines=lines)


def _score(name: str) -> dict[str, Any]:
    pattern = rf"(?i){name}\W{{0,4}}:\W{{0,4}}([1-5])\b"
    return {"type": "int", "parser": {"type": "regex", "pattern": pattern}}
