"""Finds the two texts in a judge's prompt: what is true, and what was answered.

A label opens a text and stands at the start of a line: `Ground truth:`, `Reference:`, `Truth:`, `Expected:` and
`Answer:`, `Response:`, `Output:`. A text ends at the next line that starts with any label. Only user messages are
searched. Where a label occurs twice the first counts, for a babbling model writes labels into its answer.
"""

import re
from typing import Any

_TRUTH = (
    r"ground[ _-]?truth|reference(?: answer)?|truth|expected(?: answer)?|ideal(?: answer| response)?|correct answer"
)
_WHOSE = r"(?:model |candidate |student |ai[- ]generated |assistant(?:'s)? )?"
_ANSWER = rf"{_WHOSE}(?:answer|response|output|prediction)"
_OTHER = r"question|prompt|context|instruction|criteria|source|document"
_EDGE = r"[\s*#>\-\[]*"  # Markdown around a label
_LABEL = re.compile(
    rf"^{_EDGE}(?:(?P<truth>{_TRUTH})|(?P<answer>{_ANSWER})|(?P<other>{_OTHER}))[\s*\]]*:[ \t*]*",
    re.IGNORECASE | re.MULTILINE,
)

HOW_TO = (
    "this judge is no LLM: it rates how similar two texts are, and looks for them in the user messages. "
    "Put them on lines that start with labels, e.g. 'Ground truth: <text>' and 'Answer: <text>'"
)


class PromptError(ValueError):
    """The texts cannot be found; says what is missing and how to write the prompt."""


def message_text(message: dict[str, Any]) -> str:
    """Join the text of a message, given as text or as OpenAI's list of parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def find_texts(messages: list[dict[str, Any]]) -> tuple[str, str]:
    """Find (truth, answer) in the user messages. The answer may be empty, for a model may say nothing."""
    prompt = "\n".join(message_text(message) for message in messages if message.get("role") == "user")
    labels = list(_LABEL.finditer(prompt))
    parts: dict[str, str] = {}
    ends = [*(label.start() for label in labels[1:]), len(prompt)]
    for label, end in zip(labels, ends, strict=False):  # without a label there is nothing to end
        assert label.lastgroup is not None
        parts.setdefault(label.lastgroup, prompt[label.end() : end].strip())
    if missing := [name for name, key in (("ground truth", "truth"), ("answer", "answer")) if key not in parts]:
        raise PromptError(f"no {' and no '.join(missing)} in the prompt; {HOW_TO}")
    if not parts["truth"]:
        raise PromptError(f"the ground truth in the prompt is empty; {HOW_TO}")
    return parts["truth"], parts["answer"]
