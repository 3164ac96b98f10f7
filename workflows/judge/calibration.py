"""How far a judge can be trusted: its ratings beside those of people, and what moves them that should not.

Agreement is Cohen's kappa with quadratic weights (a miss by two is worse than two by one) and Spearman's rank
correlation. Biases: of level (rates higher or lower than people), of position (the same pair read in the other order),
and of length (what the judge gives beyond people, against the length of the answer). What the data cannot tell is None.
"""

from collections.abc import Sequence

import numpy as np

from nemostack.models import Model
from workflows.results.statistics import Estimate, of_items

SIGNIFICANT = 0.05
SUBSTANTIAL = 0.6
"""Kappa from which agreement is usually called substantial."""
_CHANGED = 0.2  # of pairs whose rating depends on the order: more is a bias of position
RATINGS = (1, 2, 3, 4, 5)


class Correlation(Model):
    """Spearman's rank correlation, and the chance of one as large where there is none."""

    value: float
    p: float


class Position(Model):
    """The same pairs in the other order: share of ratings that changed, and the mean change."""

    changed: float
    shift: Estimate


class Agreement(Model):
    """A judge's ratings by one criterion beside people's."""

    criterion: str
    items: int
    unrated: int
    exact: float
    within_one: float
    kappa: float | None
    spearman: Correlation | None
    level: Estimate
    length: Correlation | None
    position: Position | None

    @property
    def concerns(self) -> list[str]:
        """Say in words what speaks against the judge."""
        found = []
        if self.kappa is None:
            found.append("ratings that do not vary tell nothing about agreement")
        elif self.kappa < SUBSTANTIAL:
            found.append(f"agrees weakly with people (kappa {self.kappa:.2f}, below {SUBSTANTIAL})")
        if self.level.low is not None and self.level.high is not None and not self.level.low <= 0 <= self.level.high:
            found.append(f"rates {abs(self.level.mean):.2f} {'higher' if self.level.mean > 0 else 'lower'} than people")
        if self.length is not None and self.length.p < SIGNIFICANT:
            found.append(f"favours {'longer' if self.length.value > 0 else 'shorter'} answers")
        if self.position is not None and self._depends_on_order(self.position):
            found.append(f"{self.position.changed:.0%} of its ratings depend on what it reads first")
        if self.unrated:
            found.append(f"gave no rating for {self.unrated} answer(s)")
        return found

    @staticmethod
    def _depends_on_order(position: Position) -> bool:
        low, high = position.shift.low, position.shift.high
        return position.changed > _CHANGED or (low is not None and high is not None and not low <= 0 <= high)


def agreement(
    criterion: str,
    labels: Sequence[int],
    judged: Sequence[float | None],
    swapped: Sequence[float | None],
    lengths: Sequence[int],
    *,
    seed: int = 0,
) -> Agreement | None:
    """Compare ratings item by item; None where the judge rated nothing."""
    rated = [number for number, rating in enumerate(judged) if rating is not None]
    if not rated:
        return None
    people = np.array([labels[number] for number in rated])
    judge = np.array([judged[number] for number in rated], dtype=np.float64)
    beyond = judge - people
    level = of_items(beyond.tolist(), seed=seed)
    assert level is not None
    return Agreement(
        criterion=criterion,
        items=len(rated),
        unrated=len(judged) - len(rated),
        exact=float(np.mean(beyond == 0)),
        within_one=float(np.mean(np.abs(beyond) <= 1)),
        kappa=_kappa(people.tolist(), judge.tolist()),
        spearman=_correlation(people.tolist(), judge.tolist()),
        level=level,
        length=_correlation([lengths[number] for number in rated], beyond.tolist()),
        position=_position(judged, swapped, seed),
    )


def _position(judged: Sequence[float | None], swapped: Sequence[float | None], seed: int) -> Position | None:
    changes = [
        after - before
        for before, after in zip(judged, swapped, strict=True)
        if before is not None and after is not None
    ]
    shift = of_items(changes, seed=seed)
    if shift is None:
        return None
    return Position(changed=sum(change != 0 for change in changes) / len(changes), shift=shift)


def _kappa(people: Sequence[int], judge: Sequence[float]) -> float | None:
    from sklearn.metrics import cohen_kappa_score

    if len({*people, *judge}) < 2:
        return None
    return float(cohen_kappa_score(people, list(map(round, judge)), labels=list(RATINGS), weights="quadratic"))


def _correlation(first: Sequence[float], second: Sequence[float]) -> Correlation | None:
    from scipy.stats import spearmanr

    if len(first) < 3 or len(set(first)) < 2 or len(set(second)) < 2:
        return None
    found = spearmanr(first, second)
    return Correlation(value=float(found.statistic), p=float(found.pvalue))
