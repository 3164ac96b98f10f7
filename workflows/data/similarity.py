"""Rows that say the same, or nearly: by MinHash over shingles of characters, so that every script is compared alike.

Candidates come from locality-sensitive hashing (datasketch); each is then compared exactly, so that what is called
near has at least the share of shingles in common that is asked for. Shingles of most texts, such as an instruction that
every prompt begins with, tell nothing and are left out. A row is compared with the first of its kind alone: the work
grows with the rows, not with their square.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

from workflows.data.rows import normal

NEAR = 0.8
"""Share of shingles in common (Jaccard index) from which texts count as nearly the same."""
_SHINGLE = 5
_PERMUTATIONS = 128
_MARGIN = 0.4  # candidates are sought far below the threshold, since hashes only estimate: near ones are not missed
_BOILERPLATE = 0.2  # a shingle of so many of the texts tells nothing
_ENOUGH_TEXTS = 20  # of fewer texts nobody can tell what is boilerplate
_CANDIDATES = 50


class Shingles:
    """The sets of shingles of texts, without what most of them share."""

    def __init__(self, texts: Sequence[str]) -> None:
        sets = [shingles(normal(text)) for text in texts]
        common: set[str] = set()
        if len(texts) >= _ENOUGH_TEXTS:
            # Texts that are copies of one another count once: what is frequent must be so in different texts.
            frequency = Counter(shingle for one in set(map(frozenset, sets)) for shingle in one)
            common = {shingle for shingle, count in frequency.items() if count > _BOILERPLATE * len(texts)}
        self.sets = [one - common or one for one in sets]


class Index:
    """Sets that were seen, and the first that is nearly another."""

    def __init__(self, near: float = NEAR) -> None:
        from datasketch import MinHashLSH

        self._near = near
        self._seen: dict[Hashable, set[str]] = {}
        self._index: Any = MinHashLSH(threshold=near - _MARGIN, num_perm=_PERMUTATIONS)

    def first_like(self, one: set[str], *, remember: Hashable | None = None) -> tuple[Hashable, float] | None:
        """Return the key of a near set seen before, and how near. None: there is none, and this one is remembered."""
        sketch = _sketch(one)
        found: tuple[Hashable, float] | None = None
        for key in self._index.query(sketch)[:_CANDIDATES]:
            share = jaccard(one, self._seen[key])
            if share >= self._near and (found is None or share > found[1]):
                found = (key, share)
        if found is None and remember is not None:
            self._index.insert(remember, sketch)
            self._seen[remember] = one
        return found


def shingles(text: str) -> set[str]:
    """Return all pieces of five characters; a text that is shorter is its own."""
    return {text[start : start + _SHINGLE] for start in range(max(1, len(text) - _SHINGLE + 1))}


def jaccard(first: set[str], second: set[str]) -> float:
    """Share of the shingles of either that both have."""
    either = len(first | second)
    return len(first & second) / either if either else 1.0


def near_pairs(texts: Sequence[str], near: float = NEAR) -> list[tuple[int, int, float]]:
    """List texts that are nearly one before: their numbers (the later, the first of its kind), and how near."""
    index = Index(near)
    pairs = []
    for number, one in enumerate(Shingles(texts).sets):
        like = index.first_like(one, remember=number)
        if like is not None:
            pairs.append((number, int(str(like[0])), like[1]))
    return pairs


def near_between(texts: Sequence[str], others: Sequence[str], near: float = NEAR) -> list[tuple[int, int, float]]:
    """List texts that are nearly one of `others`: the two numbers, and how near."""
    sets = Shingles([*others, *texts]).sets
    index = Index(near)
    for number, one in enumerate(sets[: len(others)]):
        index.first_like(one, remember=number)
    pairs = []
    for number, one in enumerate(sets[len(others) :]):
        like = index.first_like(one)
        if like is not None:
            pairs.append((number, int(str(like[0])), like[1]))
    return pairs


def _sketch(one: set[str]) -> Any:
    from datasketch import MinHash

    sketch = MinHash(num_perm=_PERMUTATIONS, seed=1)
    sketch.update_batch([shingle.encode() for shingle in sorted(one)])
    return sketch
