"""What a judge is asked, and what is said of one that cannot be trusted."""

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.command_line import run_command
from tests.unit.fake_stack import FakeStack
from workflows.judge.calibration import Agreement, agreement
from workflows.judge.criteria import CRITERIA, SIMILARITY_JUDGE, judge_metric
from workflows.results.metrics import BY_KEY

RNG = np.random.default_rng(5)
LABELS = RNG.integers(1, 6, 60).tolist()
LENGTHS = RNG.integers(10, 500, 60).tolist()
GUIDE = {"faithfulness", "relevance", "coherence", "fluency", "helpfulness"}


def compared(judged: list[float | None], swapped: list[float | None] | None = None) -> Agreement:
    found = agreement("rating", LABELS, judged, swapped or judged, LENGTHS)
    assert found is not None
    return found


def clipped(values: Any) -> list[float | None]:
    return [float(value) for value in np.clip(np.round(values), 1, 5)]


def test_the_guides_criteria_are_scores_of_their_own() -> None:
    assert {criterion.name for criterion in CRITERIA} == GUIDE
    params = judge_metric("http://j", "an/llm", "key")["params"]
    assert set(params["scores"]) == GUIDE | {"rating"}
    reply = "\n".join(f"{name.upper()}: {n}" for n, name in enumerate([*sorted(GUIDE), "rating"][:5], start=1))
    for number, name in enumerate(sorted(GUIDE), start=1):
        assert re.findall(params["scores"][name]["parser"]["pattern"], reply) == [str(number)]
        assert re.findall(params["scores"][name]["parser"]["pattern"], f"**{name.title()}**: **{number}**/5") == [
            str(number)
        ]
        assert f"judge_{name}" in BY_KEY
        assert BY_KEY[f"judge_{name}"].address == f"judge.{name}"
    assert set(judge_metric("http://j", SIMILARITY_JUDGE, None)["params"]["scores"]) == {"rating"}


def test_the_order_of_the_texts_can_be_swapped() -> None:
    plain, swapped = (
        judge_metric("http://j", "m", None, swapped=way)["params"]["template"]["messages"][1]["content"]
        for way in (False, True)
    )
    assert plain.index("Ground truth") < plain.index("Answer")
    assert swapped.index("Answer") < swapped.index("Ground truth")
    assert sorted(plain.splitlines()) == sorted(swapped.splitlines())


def test_kappa_is_that_of_its_definition() -> None:
    judged = clipped(np.array(LABELS) + RNG.normal(0, 1, 60))
    observed = np.zeros((5, 5))
    for label, rating in zip(LABELS, judged, strict=True):
        observed[label - 1, int(rating or 0) - 1] += 1
    expected = np.outer(observed.sum(1), observed.sum(0)) / 60
    weights = np.array([[(a - b) ** 2 / 16 for b in range(5)] for a in range(5)])
    assert compared(judged).kappa == pytest.approx(1 - (weights * observed).sum() / (weights * expected).sum())


def test_rank_correlation_is_that_of_the_ranks() -> None:
    judged = clipped(np.array(LABELS) + RNG.normal(0, 1, 60))
    found = compared(judged).spearman
    assert found is not None

    def ranks(values: list[Any]) -> list[float]:
        return [float(np.mean([i for i, v in enumerate(sorted(values), 1) if v == value])) for value in values]

    assert found.value == pytest.approx(np.corrcoef(ranks(LABELS), ranks(judged))[0, 1])


def test_a_judge_that_agrees_raises_no_concern() -> None:
    found = compared([float(label) for label in LABELS])
    assert (found.kappa, found.exact, found.level.mean) == (1.0, 1.0, 0.0)
    assert found.concerns == []


@pytest.mark.parametrize(
    ("judged", "swapped", "concern"),
    [
        (lambda: [3.0] * 60, None, "agrees weakly"),
        (lambda: clipped(RNG.integers(1, 6, 60)), None, "agrees weakly with people"),
        (lambda: clipped(np.array(LABELS) + 1), None, "higher than people"),
        (lambda: clipped(np.array(LABELS) + (np.array(LENGTHS) > 250)), None, "favours longer answers"),
        (lambda: clipped(LABELS), lambda: clipped(np.array(LABELS) - 1), "depend on what it reads first"),
        (lambda: [None, *map(float, LABELS[1:])], None, "gave no rating for 1 answer"),
    ],
)
def test_a_judge_with_a_fault_is_told(
    judged: Callable[[], list[float | None]], swapped: Callable[[], list[float | None]] | None, concern: str
) -> None:
    found = compared(judged(), swapped() if swapped else None)
    assert any(concern in said for said in found.concerns), found.concerns


def test_random_noise_is_seldom_called_a_bias() -> None:
    """Of a fair judge with noise, length and level are called biased in about one of twenty samples each."""
    called = {"favours": 0, "than people": 0}
    rng = np.random.default_rng(11)
    for _ in range(60):
        labels, lengths = rng.integers(2, 5, 50).tolist(), rng.integers(10, 500, 50).tolist()
        judged = (np.array(labels) + rng.choice([-1, 0, 0, 1], 50)).astype(float).tolist()
        found = agreement("rating", labels, judged, judged, lengths)
        assert found is not None
        for word in called:
            called[word] += any(word in said for said in found.concerns)
    assert max(called.values()) <= 10, "more than 10 of 60 is less likely than one in a thousand"


def test_the_command_asks_each_answer_in_both_orders(
    tmp_path: Path, stack: FakeStack, capfd: pytest.CaptureFixture[str]
) -> None:
    outputs, sample = tmp_path / "outputs.json", tmp_path / "rated.csv"
    outputs.write_text(stack.outputs.model_dump_json())
    lines = [f"q{n},truth,{'a' * n},{label},{6 - label}" for n, label in enumerate(LABELS[:30], start=1)]
    sample.write_text("prompt,completion,answer,rating,fluency\n" + "\n".join(lines))
    labels = dict(zip((f"q{n}" for n in itertools.count(1)), LABELS, strict=False))

    def judge(row: dict[str, Any], prompt: str, score: str) -> float | None:
        first = prompt.startswith("Ground truth")
        return float(labels[row["prompt"]]) if first else min(5.0, labels[row["prompt"]] + 1.0) if score else None

    stack.judge = judge
    assert run_command("judge", str(sample), "--outputs", str(outputs), "--format", "json") == 0
    report = json.loads(capfd.readouterr().out)
    by_criterion = {found["criterion"]: found for found in report["agreements"]}
    assert set(by_criterion) == {"rating", "fluency"}
    assert by_criterion["rating"]["kappa"] == 1
    assert by_criterion["fluency"]["kappa"] < 0
    assert by_criterion["rating"]["position"]["changed"] == sum(label < 5 for label in LABELS[:30]) / 30
    assert stack.evaluations == {}, "the job is taken away"
    assert run_command("judge", str(sample), "--outputs", str(outputs)) == 0
    assert re.search(
        r"^rating: \d+% of its ratings depend on what it reads first", capfd.readouterr().out, re.MULTILINE
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("q,t,a,6", "column 'rating': expected a whole number from 1 to 5"),
        ("q,t,a,", "lacks a rating"),
        ("q,,a,3", "column 'completion' is empty"),
        ("q,t,a,3", "has 1 rated answers; at least 20 are needed"),
    ],
)
def test_a_sample_that_cannot_be_used(tmp_path: Path, capfd: pytest.CaptureFixture[str], line: str, said: str) -> None:
    (tmp_path / "a.csv").write_text(f"prompt,completion,answer,rating\n{line}\n")
    assert run_command("judge", str(tmp_path / "a.csv")) == 2
    assert said in capfd.readouterr().err
