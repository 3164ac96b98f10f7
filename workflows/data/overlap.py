"""What stands more than once: rows of one split, and questions that two splits share.

Exactly the same means the same letters and digits, whatever case and punctuation; nearly the same is what MinHash finds
(`similarity`). Of a pair, the later row of a split is the duplicate, and the row of the training data is the leak.
"""

from collections.abc import Mapping, Sequence

from nemostack.models import Model
from workflows.data.rows import normal
from workflows.data.similarity import near_between, near_pairs
from workflows.data.sources import Placed

PAIRS = (("train", "test"), ("train", "validation"), ("validation", "test"))


class Duplicates(Model):
    """Lines of rows that stand before already: line -> the line of the first, and nearly so."""

    exact: dict[int, int]
    near: dict[int, int]


class Leak(Model):
    """Questions that stand in both splits: line in `of` -> line in `into`."""

    of: str
    into: str
    exact: dict[int, int]
    near: dict[int, int]


def find_duplicates(rows: Sequence[Placed], *, near: bool = True) -> Duplicates:
    """Find rows whose question and answer stand before already."""
    exact = exact_duplicates(rows)
    others = [placed for number, placed in enumerate(rows) if number not in exact]
    pairs = near_pairs([_whole(placed) for placed in others]) if near else []
    return Duplicates(
        exact={rows[number].line: rows[first].line for number, first in exact.items()},
        near={others[number].line: others[first].line for number, first, _ in pairs},
    )


def exact_duplicates(rows: Sequence[Placed]) -> dict[int, int]:
    """Number of each row that says what a row before it says -> number of the first."""
    first: dict[tuple[str, str], int] = {}
    found = {}
    for number, placed in enumerate(rows):
        key = (normal(placed.row.prompt), normal(placed.row.completion))
        if key in first:
            found[number] = first[key]
        else:
            first[key] = number
    return found


def find_leaks(splits: Mapping[str, Sequence[Placed]], *, near: bool = True) -> list[Leak]:
    """Find the questions that two splits share; a pair of splits that shares none is left out."""
    leaks = []
    for of, into in PAIRS:
        if of not in splits or into not in splits:
            continue
        exact = shared_questions(splits[of], splits[into])
        others = [placed for number, placed in enumerate(splits[of]) if number not in exact]
        pairs = near_between(_prompts(others), _prompts(splits[into])) if near else []
        if exact or pairs:
            leaks.append(
                Leak(
                    of=of,
                    into=into,
                    exact={splits[of][number].line: splits[into][other].line for number, other in exact.items()},
                    near={others[number].line: splits[into][other].line for number, other, _ in pairs},
                )
            )
    return leaks


def shared_questions(rows: Sequence[Placed], others: Sequence[Placed]) -> dict[int, int]:
    """Number of each row whose question is one of `others` -> number of that one."""
    asked = {normal(placed.row.prompt): number for number, placed in reversed(list(enumerate(others)))}
    return {
        number: asked[question]
        for number, placed in enumerate(rows)
        if (question := normal(placed.row.prompt)) in asked
    }


def _whole(placed: Placed) -> str:
    return f"{placed.row.prompt}\n{placed.row.completion}"


def _prompts(rows: Sequence[Placed]) -> list[str]:
    return [placed.row.prompt for placed in rows]
