"""Lengths of rows: in characters, and in tokens of the server's own tokenizer against its context.

No byte-level tokenizer makes more tokens of a text than it has bytes, so only rows of more bytes than the context has
tokens can be too long: these are all counted, whatever the size of the dataset. The distribution is that of a sample.
"""

import random
from collections.abc import Callable, Sequence

from nemostack.models import Model
from workflows.data.rows import Message, Row
from workflows.data.sources import Placed

CountTokens = Callable[[list[Message]], int | None]
"""Tokens of a chat as the server templates it; None where it has no tokenizer to ask."""
SAMPLE = 200
_TEMPLATE_BYTES = 64  # of a turn: names of roles and marks that the template puts around it


class Spread(Model):
    """How long rows are: the shortest, the middle ones, the longest."""

    least: int
    median: int
    p95: int
    most: int

    @classmethod
    def of(cls, values: Sequence[int]) -> "Spread":
        """Of at least one value."""
        ranked = sorted(values)
        return cls(
            least=ranked[0], median=ranked[len(ranked) // 2], p95=ranked[int(0.95 * (len(ranked) - 1))], most=ranked[-1]
        )


class Tokens(Model):
    """Tokens of the rows of a split. `counted`: how many rows the spread is of."""

    spread: Spread
    counted: int
    context: int | None
    over: list[int]
    """Lines of rows that do not fit into the context."""


def measure(rows: Sequence[Placed], count: CountTokens, *, context: int | None, seed: int = 0) -> Tokens | None:
    """Ask the server; None where it has no tokenizer to ask."""
    if not rows:
        return None
    sample = random.Random(seed).sample(list(rows), min(SAMPLE, len(rows)))
    counts = []
    for placed in sample:
        tokens = count(placed.row.messages)
        if tokens is None:
            return None
        counts.append(tokens)
    over = []
    if context is not None:
        over = [
            placed.line
            for placed in rows
            if most_tokens(placed.row.messages) > context and (count(placed.row.messages) or 0) > context
        ]
    return Tokens(spread=Spread.of(counts), counted=len(counts), context=context, over=over)


def most_tokens(messages: Sequence[Message]) -> int:
    """Return what a chat cannot have more tokens than."""
    return sum(len(message["content"].encode()) + _TEMPLATE_BYTES for message in messages)


def characters(rows: Sequence[Row]) -> tuple[Spread, Spread]:
    """Spread of the questions and of the answers of at least one row."""
    return Spread.of([len(row.prompt) for row in rows]), Spread.of([len(row.completion) for row in rows])
