"""`dataset split`: train, validation and test of one source, the same for the same seed, and without leakage.

Rows that belong together are on one side: those of one group (a document, a customer), those with the same question,
and near-duplicates. Which groups go where depends on the seed and on what they say, not on their order in the file, so
that a row that is appended moves no other one far. Refuses shares that leave a split empty.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from nemostack.errors import BadInput
from workflows.data.rows import normal
from workflows.data.similarity import near_pairs
from workflows.data.sources import SPLITS, Placed

_TOLERANCE = 1.1  # a group that would make a split larger than this times what was asked goes elsewhere


@dataclass(frozen=True)
class Shares:
    """How much goes where: below 1 a fraction of the rows, from 1 on a number of rows. The rest is training data."""

    validation: float = 0.1
    test: float = 0.2

    def wanted(self, rows: int) -> dict[str, int]:
        """Number of rows of validation and test."""
        shares = {"test": self.test, "validation": self.validation}
        return {split: round(share * rows) if share < 1 else int(share) for split, share in shares.items()}


@dataclass(frozen=True)
class Splits:
    """The rows of each split, and how many groups they came in."""

    rows: dict[str, list[Placed]]
    groups: int
    largest: int


def split_rows(rows: Sequence[Placed], shares: Shares, *, seed: int, near: bool = True) -> Splits:
    """Divide rows. BadInput when a split would be empty."""
    wanted = shares.wanted(len(rows))
    if sum(wanted.values()) >= len(rows) or min(wanted.values()) < 1:
        raise BadInput(
            f"{len(rows)} rows cannot be split into {wanted['validation']} for validation, {wanted['test']} for test "
            "and a rest for training: choose other shares with --validation and --test"
        )
    groups = group_rows(rows, near=near)
    ranked = sorted(groups, key=lambda group: _rank(rows, group, seed))
    taken: dict[str, list[int]] = {split: [] for split in SPLITS}
    for group in ranked:
        room = (s for s, n in wanted.items() if len(taken[s]) < n and len(taken[s]) + len(group) <= n * _TOLERANCE)
        split = next(room, "train")
        taken[split] += group
    empty = [split for split in SPLITS if not taken[split]]
    largest = max(map(len, groups))
    if empty:
        raise BadInput(
            f"{len(rows)} rows fall into {len(groups)} group(s) that belong together, the largest of {largest}: "
            f"nothing is left for {', '.join(empty)}; choose other shares, another --group, or --no-near"
        )
    return Splits({split: [rows[n] for n in sorted(taken[split])] for split in SPLITS}, len(groups), largest)


def group_rows(rows: Sequence[Placed], *, near: bool = True) -> list[list[int]]:
    """Put the numbers of rows that belong together into one list."""
    leader = list(range(len(rows)))

    def find(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    first: dict[tuple[str, str], int] = {}
    for number, placed in enumerate(rows):
        keys = [("question", normal(placed.row.prompt))] + ([("group", placed.group)] if placed.group else [])
        for key in keys:
            leader[find(number)] = find(first.setdefault(key, number))
    if near:
        for number, other, _share in near_pairs([placed.row.prompt for placed in rows]):
            leader[find(number)] = find(other)
    groups: dict[int, list[int]] = {}
    for number in range(len(rows)):
        groups.setdefault(find(number), []).append(number)
    return list(groups.values())


def _rank(rows: Sequence[Placed], group: Sequence[int], seed: int) -> str:
    """Give a group its place in the seeded order, by what its rows say."""
    key = min(rows[number].group or normal(rows[number].row.prompt) for number in group)
    return hashlib.sha256(f"{seed}\n{key}".encode()).hexdigest()
