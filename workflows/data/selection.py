"""Which examples stand in a prompt, and how many fit.

    random    the same for every question, by the seed
    diverse   the same for every question: the middle of each of as many clusters as there are examples
    similar   for each question the nearest ones, the nearest last

The pool is the training data without any question that is tested or that chooses. Examples that do not fit into the
budget of tokens are left out, the least similar first, and counted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from workflows.data import in_context
from workflows.data.embeddings import Embed, Vectors, embed_texts
from workflows.data.lengths import CountTokens, most_tokens
from workflows.data.rows import Message, Row, normal
from workflows.settings import Method


@dataclass(frozen=True)
class Selected:
    """Examples for each question. `by`: what told how alike texts are. `cut`: questions that got fewer than asked."""

    examples: list[list[Row]]
    by: str
    cut: int = 0

    @property
    def shared(self) -> list[Row] | None:
        """The examples, where they are the same for all questions."""
        first = self.examples[0] if self.examples else []
        return first if all(one == first for one in self.examples) else None


@dataclass(frozen=True)
class Budget:
    """Tokens that examples and question may have together; None: unknown, and nothing is left out."""

    tokens: int | None
    count: CountTokens


def pool_of(train: Iterable[Row], *held_out: Iterable[Row]) -> list[Row]:
    """Different rows whose question is not among those held out."""
    tested = {normal(row.prompt) for rows in held_out for row in rows}
    return list(dict.fromkeys(row for row in train if normal(row.prompt) not in tested))


def select(
    pool: Sequence[Row],
    questions: Sequence[Row],
    method: Method,
    shots: int,
    *,
    seed: int,
    embed: Embed = lambda _texts: None,
    embedding: str = "",
    budget: Budget | None = None,
) -> Selected:
    """Choose `shots` examples for each question, or as many as there are and fit."""
    shots = min(shots, len(pool))
    by = "seed"
    if shots == 0 or method == "random":
        chosen = [in_context.choose(pool, (), shots, seed)] * len(questions)
    else:
        asked = [row.prompt for row in questions] if method == "similar" else []
        vectors, wanted, by = embed_texts([row.prompt for row in pool], asked, embed, embedding)
        if method == "similar":
            chosen = [[pool[n] for n in nearest(vectors, one, shots)] for one in wanted]
        else:
            chosen = [[pool[n] for n in spread_out(vectors, shots, seed)]] * len(questions)
    if budget is None or budget.tokens is None:
        return Selected(chosen, by)
    fitted = fit(chosen, questions, budget, same=method != "similar")
    return Selected(fitted, by, sum(len(one) < shots for one in fitted))


def nearest(vectors: Vectors, wanted: Vectors, shots: int) -> list[int]:
    """Return the numbers of the nearest vectors, the nearest last: the model reads it just before the question."""
    order = np.argsort(-(vectors @ wanted), kind="stable")[:shots]
    return [int(number) for number in order[::-1]]


def spread_out(vectors: Vectors, shots: int, seed: int) -> list[int]:
    """Return the numbers of those nearest to the middle of each cluster (k-means)."""
    from sklearn.cluster import KMeans

    means = KMeans(n_clusters=shots, random_state=seed, n_init=4).fit(vectors)
    chosen: list[int] = []
    for centre in means.cluster_centers_:
        order = np.argsort(np.linalg.norm(vectors - centre, axis=1), kind="stable")
        chosen.append(next(int(number) for number in order if int(number) not in chosen))
    return sorted(chosen)


def fit(chosen: Sequence[list[Row]], questions: Sequence[Row], budget: Budget, *, same: bool) -> list[list[Row]]:
    """Leave out the first examples until the rest fits. `same`: as many for all, so that all see the same prompt."""
    assert budget.tokens is not None
    kept = [
        _fitting(examples, row, budget.tokens, budget.count) for examples, row in zip(chosen, questions, strict=True)
    ]
    if same:
        fewest = min(map(len, kept), default=0)
        return [examples[len(examples) - fewest :] for examples in chosen]
    return kept


def _fitting(examples: list[Row], row: Row, tokens: int, count: CountTokens) -> list[Row]:
    left = examples
    while left and _tokens(in_context.shown_before(left, row), tokens, count) > tokens:
        left = left[1:]
    return left


def _tokens(messages: list[Message], enough: int, count: CountTokens) -> int:
    """Return the number of tokens, or what it cannot be more than where that fits already."""
    most = most_tokens(messages)
    if most <= enough:
        return most
    counted = count(messages)
    return most // 2 if counted is None else counted
