"""The gate's statistics against scipy and statsmodels, and against simulations in which nothing is better."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower

from workflows.gate.pairs import ONE_SIDED, POWER, detectable_gain, gain_p_values, holm, items_needed, mcnemar_p
from workflows.results.statistics import resampled_means

SIMULATIONS = 1000


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (1, 0), (8, 2), (2, 8), (60, 40), (300, 250)])
def test_mcnemar_agrees_with_statsmodels_and_scipy(won: int, lost: int) -> None:
    one_sided = mcnemar_p(won, lost)
    if won + lost:
        assert one_sided == pytest.approx(stats.binomtest(won, won + lost, 0.5, alternative="greater").pvalue)
    two_sided = min(1.0, 2 * min(one_sided, mcnemar_p(lost, won)))
    expected = mcnemar([[50, won], [lost, 30]], exact=True).pvalue if won + lost else 1.0
    assert two_sided == pytest.approx(expected)


@pytest.mark.parametrize("p_values", [[0.01], [0.04, 0.01, 0.03, 0.005], [0.5, 0.5, 0.9], [0.02, 0.02, 0.02]])
def test_holm_agrees_with_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(list(multipletests(p_values, method="holm")[1]))


@pytest.mark.parametrize("candidates", [1, 4])
def test_detectable_gain_agrees_with_statsmodels(candidates: int) -> None:
    # ratio 0: one sample of differences; a one-sided level of 2.5 %, shared by the candidates
    size = NormalIndPower().solve_power(
        nobs1=120, alpha=ONE_SIDED / candidates, power=POWER, ratio=0, alternative="larger"
    )
    found = detectable_gain(0.3, 120, candidates=candidates)
    assert found == pytest.approx(0.3 * size, rel=1e-6)
    assert found is not None
    needed = items_needed(0.3, found, candidates=candidates)
    assert needed is not None
    assert abs(needed - 120) <= 1
    assert items_needed(0.3, 0.0) is None
    assert detectable_gain(0.3, 1) is None


def test_a_gain_of_the_detectable_size_is_seen_in_8_of_10_cases() -> None:
    n, spread = 100, 0.3
    gain = detectable_gain(spread, n)
    assert gain is not None
    drawn = np.random.default_rng(11).normal(gain, spread, size=(n, SIMULATIONS))
    share = float((gain_p_values(drawn) <= ONE_SIDED).mean())
    assert share == pytest.approx(POWER, abs=0.04)  # 1,000 draws: three standard deviations


def test_bootstrap_agrees_with_scipys_paired_test() -> None:
    gains = np.random.default_rng(3).normal(0.03, 0.2, size=150)
    expected = stats.ttest_1samp(gains, 0.0, alternative="greater").pvalue
    assert gain_p_values(gains[:, None])[0] == pytest.approx(expected, abs=0.01)
    margin = stats.ttest_1samp(gains, 0.02, alternative="greater").pvalue
    assert gain_p_values(gains[:, None], 0.02)[0] == pytest.approx(margin, abs=0.015)


def test_columns_are_resampled_as_if_alone() -> None:
    drawn = np.random.default_rng(1).normal(size=(40, 3))
    together = resampled_means(drawn, 7)
    for column in range(3):
        assert together[:, column] == pytest.approx(resampled_means(drawn[:, column].copy(), 7))


def test_no_gain_is_no_evidence() -> None:
    assert gain_p_values(np.zeros((20, 1)))[0] == 1.0
    assert gain_p_values(np.full((20, 1), 0.1), 0.1)[0] == 1.0  # exactly what was asked for, and no more
    assert gain_p_values(np.array([[0.5]]))[0] == 1.0  # one item
    assert mcnemar_p(0, 0) == 1.0


def _same_model_twice(n: int, shape: str, columns: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """Gains between two independent sets of answers of one and the same model to the same items."""
    generator = np.random.default_rng(2026)
    difficulty = generator.beta(2, 2, size=(n, columns))
    if shape == "right or wrong":
        right = [(generator.random((n, columns)) < difficulty).astype(float) for _ in range(2)]
        return np.asarray(right[1] - right[0])
    first, second = (np.clip(difficulty + generator.normal(0, 0.15, (n, columns)), 0, 1) for _ in range(2))
    return np.asarray(second - first)


@pytest.mark.parametrize("n", [30, 100, 500])
@pytest.mark.parametrize("shape", ["right or wrong", "scores"])
def test_1000_comparisons_of_a_model_with_itself_say_go_in_5_percent_at_most(n: int, shape: str) -> None:
    gains = _same_model_twice(n, shape, SIMULATIONS)
    if shape == "right or wrong":
        p_values = np.array([mcnemar_p(int((one > 0).sum()), int((one < 0).sum())) for one in gains.T])
    else:
        p_values = gain_p_values(gains)
    assert (p_values <= ONE_SIDED).mean() <= 0.05
    assert (p_values <= ONE_SIDED).any()  # an honest test errs sometimes


def test_four_candidates_that_gain_nothing_say_go_in_5_percent_of_1000_gates_at_most() -> None:
    gains = _same_model_twice(100, "scores", 4 * SIMULATIONS)
    blocks = np.hsplit(gains, 20)  # a block's means fit into the memory of a small machine
    p_values = np.concatenate([gain_p_values(block) for block in blocks]).reshape(SIMULATIONS, 4)
    any_uncorrected = (p_values <= ONE_SIDED).any(axis=1).mean()
    any_corrected = np.mean([min(holm(list(row))) <= ONE_SIDED for row in p_values])
    assert any_corrected <= 0.05
    assert any_uncorrected > any_corrected  # which is what the correction is for
    assert math.isclose(any_uncorrected, 1 - (1 - ONE_SIDED) ** 4, abs_tol=0.03)
