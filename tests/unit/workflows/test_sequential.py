"""The sequential test keeps its level when it is looked at after every item, and finds what is there."""

from collections.abc import Callable

import numpy as np
import pytest

from workflows.promotion.sequential import ConfidenceSequence

SEQUENCES, ITEMS = 400, 300
Draw = Callable[[np.random.Generator], "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"]
NOTHING_GAINED: dict[str, Draw] = {
    "right or wrong": lambda g: g.choice([-1.0, 0.0, 1.0], size=ITEMS, p=[0.2, 0.6, 0.2]),
    "scores": lambda g: np.clip(g.normal(0, 0.2, ITEMS), -1, 1),
    "seldom and much": lambda g: np.where(g.random(ITEMS) < 0.05, g.choice([-1.0, 1.0], ITEMS), 0.0),
}


def ever_excludes_zero(gains: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> bool:
    found = ConfidenceSequence()
    for gain in gains:
        found.add(float(gain))
        if found.low > 0 or found.high < 0:
            return True
    return False


@pytest.mark.parametrize("shape", NOTHING_GAINED)
def test_looked_at_after_every_item_it_errs_in_5_percent_of_sequences_at_most(shape: str) -> None:
    generator = np.random.default_rng(12)
    wrong = sum(ever_excludes_zero(NOTHING_GAINED[shape](generator)) for _ in range(SEQUENCES))
    assert wrong / SEQUENCES <= 0.05


def test_an_ordinary_interval_looked_at_as_often_does_not_keep_its_level() -> None:
    """What the sequence is for: the same looks with a 95 % interval of the mean err far more often."""
    generator, wrong = np.random.default_rng(12), 0
    for _ in range(SEQUENCES):
        gains = NOTHING_GAINED["scores"](generator)
        count = np.arange(1, ITEMS + 1)
        mean = gains.cumsum() / count
        error = np.sqrt(np.maximum((gains**2).cumsum() / count - mean**2, 1e-12) / count)
        wrong += bool((np.abs(mean) > 1.96 * error)[10:].any())
    assert wrong / SEQUENCES > 0.2


@pytest.mark.parametrize("loss", [0.1, 0.4])
def test_a_loss_is_found_and_its_true_size_stays_inside(loss: float) -> None:
    generator = np.random.default_rng(5)
    found = ConfidenceSequence()
    looks = []
    for gain in np.clip(generator.normal(-loss, 0.2, 1000), -1, 1):
        found.add(float(gain))
        looks.append(found.high < 0)
    assert looks.index(True) < (250 if loss == 0.1 else 80)
    assert found.low - 0.02 <= -loss <= found.high + 0.02  # clipping moves the true mean by less than that
    assert found.mean == pytest.approx(-loss, abs=0.03)


def test_gains_beyond_the_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        ConfidenceSequence().add(1.5)
