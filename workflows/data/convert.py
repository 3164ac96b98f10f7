"""`dataset convert`: any source as JSON Lines of this pipeline, without what cannot or should not be used.

Left out, and written down with line and reason: records that are no rows, later copies of a row, and rows of training
and validation data whose question is a test question. Near-duplicates stay: whether they are copies is for people to
say (`dataset split` keeps them on one side). Refuses a source of which nothing is left.
"""

from dataclasses import dataclass

from nemostack.errors import BadInput
from workflows.data.overlap import PAIRS, exact_duplicates, shared_questions
from workflows.data.problems import Problem, list_problems
from workflows.data.rows import Row
from workflows.data.sources import Placed, Source


@dataclass(frozen=True)
class Kept:
    """What is left of a source, and what is not."""

    splits: dict[str, list[Placed]]
    dropped: list[Problem]

    @property
    def rows(self) -> dict[str, list[Row]]:
        return {split: [placed.row for placed in placed_rows] for split, placed_rows in self.splits.items()}


def clean(source: Source, *, keep_duplicates: bool = False) -> Kept:
    """Leave out what should not be used. BadInput where a split has nothing left."""
    dropped = list(source.problems)
    splits = {part.split: list(part.rows) for part in source.parts}
    if not keep_duplicates:
        for split, rows in splits.items():
            copies = exact_duplicates(rows)
            dropped += [_because(rows[n], f"says what line {rows[first].line} says") for n, first in copies.items()]
            splits[split] = [placed for n, placed in enumerate(rows) if n not in copies]
    for of, into in PAIRS:
        if of in splits and into in splits:
            shared = shared_questions(splits[of], splits[into])
            dropped += [_because(splits[of][n], f"its question is also in {into}") for n in shared]
            splits[of] = [placed for n, placed in enumerate(splits[of]) if n not in shared]
    empty = [split for split, rows in splits.items() if not rows]
    if empty or not splits:
        listing = "\n".join(f"  {line}" for line in list_problems(dropped))
        raise BadInput(f"nothing is left of {', '.join(empty) or source.name} of {source.name}:\n{listing}")
    return Kept(splits, dropped)


def _because(placed: Placed, reason: str) -> Problem:
    return Problem(placed.file, placed.line, reason)
