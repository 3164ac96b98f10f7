"""Outputs that came with the data: texts, or whole answers of an OpenAI-compatible model with their calls of tools."""

import json
from typing import Any

from embedded.evaluator.endpoint import output_text
from embedded.evaluator.errors import DataError
from embedded.evaluator.rows import Row

# Columns that hold a model's answer in rows and cached outputs, the first present wins.
OUTPUT_COLUMNS = ("output_text", "output", "response", "llm_response", "prediction")


def given_output(row: Row) -> dict[str, Any] | None:
    """Read the `sample` of a row: `output_text`, and `response` where a column holds an OpenAI-shaped answer.

    None without a column for outputs.
    """
    for column in OUTPUT_COLUMNS:
        if column in row:
            answer = _openai_answer(row[column])
            if answer is None:
                return {"output_text": _as_text(row[column])}
            choice = answer["choices"][0]
            text = output_text("chat" if "message" in choice else "completion", answer)
            return {
                "output_text": text,
                "response": {"choices": [choice]},
                "finish_reason": choice.get("finish_reason"),
            }
    return None


def with_output(item: Row, output: Row, task: str) -> Row:
    """Return `item` with the output of a row of cached outputs in place of any of its own."""
    for column in OUTPUT_COLUMNS:
        if column in output:
            own = {name: value for name, value in item.items() if name not in OUTPUT_COLUMNS}
            is_answer = _openai_answer(output[column]) is not None
            return own | ({"response": output[column]} if is_answer else {"output_text": _as_text(output[column])})
    raise DataError(
        f"task {task}: a cached output has none of {', '.join(OUTPUT_COLUMNS)}; it has {', '.join(output) or 'nothing'}"
    )


def _openai_answer(value: Any) -> dict[str, Any] | None:
    if isinstance(value, dict) and isinstance(value.get("choices"), list) and value["choices"]:
        return value if isinstance(value["choices"][0], dict) else None
    return None


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
