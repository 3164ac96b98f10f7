"""Whether the questions of users are those of the training data, by three numbers of each question.

Its length in characters, the share of its words that the training data has not, and how near the nearest question of
the training data is. Each is compared with the same number of questions of that data which were held out (validation
and test): new ones of the same kind. A two-sample Kolmogorov-Smirnov test decides, at LEVEL for each number; its false
alarms are LEVEL a number and look, since every look has questions of its own. Refuses looks with fewer than LEAST.
"""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from nemostack.models import Model
from workflows.data.embeddings import Embed, embed_texts

LEVEL = 0.001
LEAST = 30
_POOL = 1000
_WORD = re.compile(r"\w+")


class Shift(Model):
    """One number, before and now: medians, and the chance of such a difference where there is none."""

    name: str
    before: float
    now: float
    p: float

    @property
    def drifted(self) -> bool:
        """Whether that is too unlikely to be chance."""
        return self.p < LEVEL

    def __str__(self) -> str:
        return f"{self.name} {self.before:.3g} -> {self.now:.3g} (p {self.p:.2g})"


@dataclass
class Questions:
    """The questions of the training data, and held-out ones to compare with."""

    trained: Sequence[str]
    held_out: Sequence[str]
    embed: Embed
    embedding: str

    def shifts(self, asked: Sequence[str]) -> list[Shift]:
        """Compare what was asked with what was held out. ValueError for too few of either."""
        if min(len(asked), len(self.held_out)) < LEAST:
            raise ValueError(f"{len(asked)} questions against {len(self.held_out)}: {LEAST} of both are needed")
        known = {word for text in self.trained for word in words(text)}
        texts, count = [*self.held_out, *asked], len(self.held_out)
        near, method = self._nearest(texts)
        numbers = {
            "length in characters": [float(len(text)) for text in texts],
            "share of unknown words": [unknown(text, known) for text in texts],
            f"nearest trained question ({method})": near,
        }
        return [shift(name, values[:count], values[count:]) for name, values in numbers.items()]

    def _nearest(self, texts: Sequence[str]) -> tuple[list[float], str]:
        pool = self.trained[:_POOL]
        known, asked, method = embed_texts(pool, texts, self.embed, self.embedding)
        return [float(value) for value in (asked @ known.T).max(axis=1)], method


def shift(name: str, before: Sequence[float], now: Sequence[float]) -> Shift:
    """Compare two samples of a number."""
    from scipy.stats import ks_2samp

    p = float(ks_2samp(before, now).pvalue)
    return Shift(name=name, before=statistics.median(before), now=statistics.median(now), p=p)


def words(text: str) -> list[str]:
    """Split into words, of any script, without their case."""
    return _WORD.findall(text.casefold())


def unknown(text: str, known: set[str]) -> float:
    """Share of the words of a text that are not known; 0 for a text without words."""
    found = words(text)
    return sum(word not in known for word in found) / len(found) if found else 0.0
