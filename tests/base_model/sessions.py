"""Training sessions: a few questions about documents, answered in one style, as chat or as running text.

A session is a list of segments (text, weight). Weights tell training what to learn: answers that follow from what came
before count in full, documents and questions a little, and what nobody could foresee (the first answer in an unknown
style) not at all.
"""

import random

from tests.base_model.domains import Document, draw_domain, write_document
from tests.base_model.styles import Style

PAD, BEGIN, END = "<|pad|>", "<|begin|>", "<|end|>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS = (PAD, BEGIN, END, SYSTEM, USER, ASSISTANT)
CHAT_TEMPLATE = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{{- '<|' + message['role'] + '|>' }}"
    "{%- if message['role'] == 'assistant' %}"
    "{% generation %}{{- message['content'] + eos_token }}{% endgeneration %}"
    "{%- else %}{{- message['content'] + eos_token }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)

IGNORED, CONTEXT, ANSWER = 0, 1, 2
Segment = tuple[str, int]

_SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "Answer the question from the document.",
    "Answer using the context.",
    "You read documents and answer questions.",
    "Follow the examples.",
)
_LAYOUTS = (
    ("", "\n\nQuestion: ", ""),
    ("", "\n\nQuestion: ", "\nAnswer:"),
    ("Context: ", "\nQuestion: ", "\nAnswer:"),
    ("", "\n\n", ""),
    ("", "\n", ""),
    ("Document:\n", "\n\nQuestion: ", "\nAnswer:"),
    ("Text: ", "\nQ: ", "\nA:"),
    ("", "\n\nQ: ", "\n\nA:"),
    ("### Document\n", "\n### Question\n", "\n### Answer\n"),
)
"""What stands before the document, between it and the question, and after the question."""
_CHARACTERS_A_TOKEN = 3.3
SHORT = 256
"""Sequences up to this length hold one question without examples."""


def session(rng: random.Random, turns: int, budget: int) -> list[Segment]:
    """Up to `turns` questions with answers within about `budget` characters; a single turn is answered plainly."""
    framed = rng.random() < 0.5
    domain = draw_domain(rng, rng.randint(2, 6) if framed else rng.randint(3, 12))
    plain = turns == 1 or rng.random() < 0.06
    style = Style(domain, plain=True) if plain else Style.draw(rng, domain, framed=framed)
    before, between, after = rng.choice(_LAYOUTS)
    parts = rng.choice((1, 2, 2, 2, 2, 3, 3, 4, 5))
    follow_up = turns > 1 and rng.random() < 0.1
    exchanges: list[tuple[str, str, int]] = []
    document: Document | None = None
    used = 0
    while len(exchanges) < turns:
        fresh = document is None or not follow_up
        if document is None or fresh:
            document = write_document(rng, domain, 6 if follow_up else parts)
        fact = rng.choice(document.facts)
        answer, foreseeable = style.answer(rng, document, fact)
        if not plain and not exchanges:
            foreseeable = False
        question = f"{before}{document.text}{between}{fact.question}" if fresh else fact.question
        used += len(question) + len(answer) + 20
        if exchanges and used > budget:
            break
        exchanges.append((question, answer, ANSWER if foreseeable else IGNORED))
    shape = rng.random()
    if shape < 0.74:
        return _as_chat(rng, exchanges, after if rng.random() < 0.5 else "")
    return _as_one_message(rng, exchanges, after) if shape < 0.86 else _as_text(exchanges, after)


def _opening(rng: random.Random) -> list[Segment]:
    segments = [(BEGIN, CONTEXT)]
    if rng.random() < 0.3:
        segments.append((f"{SYSTEM}{rng.choice(_SYSTEM_PROMPTS)}{END}", CONTEXT))
    return segments


def _as_chat(rng: random.Random, exchanges: list[tuple[str, str, int]], after: str) -> list[Segment]:
    """Each exchange is a user and an assistant turn."""
    segments = _opening(rng)
    for question, answer, weight in exchanges:
        segments += [(f"{USER}{question}{after}{END}{ASSISTANT}", CONTEXT), (answer + END, weight)]
    return segments


def _as_one_message(rng: random.Random, exchanges: list[tuple[str, str, int]], after: str) -> list[Segment]:
    """All but the last exchange are examples inside one user turn."""
    segments = _opening(rng)
    segments.append((USER + ("Here are some examples.\n\n" if rng.random() < 0.5 else ""), CONTEXT))
    for question, answer, weight in exchanges[:-1]:
        segments += [(question + after, CONTEXT), (_after_colon(after, answer), weight), ("\n\n", CONTEXT)]
    question, answer, weight = exchanges[-1]
    segments += [(f"{question}{after}{END}{ASSISTANT}", CONTEXT), (answer + END, weight)]
    return segments


def _as_text(exchanges: list[tuple[str, str, int]], after: str) -> list[Segment]:
    """Return running text without turns."""
    segments: list[Segment] = [(BEGIN, CONTEXT)]
    for number, (question, answer, weight) in enumerate(exchanges):
        last = number == len(exchanges) - 1
        segments += [(question + after, CONTEXT), (_after_colon(after, answer) + (END if last else ""), weight)]
        if not last:
            segments.append(("\n\n", CONTEXT))
    return segments


def _after_colon(after: str, answer: str) -> str:
    if after.endswith(":"):
        return " " + answer
    return answer if after else "\n" + answer


def sample(rng: random.Random, length: int) -> list[Segment]:
    """One session that about fills a sequence of `length` tokens."""
    if length <= SHORT:
        return session(rng, 1, 0)
    turns = 10**6 if rng.random() < 0.8 else rng.randint(2, 6)
    return session(rng, turns, int(length * _CHARACTERS_A_TOKEN))
