"""Our questions in the shape of published benchmarks: columns, balance, and answers by a second route."""

import re
from collections import Counter
from typing import Any

import pytest

from embedded.evaluator import substitutes
from tests.contract import gsm8k_second_route

# Columns of the datasets on the Hub that lm-eval's tasks read.
COLUMNS = {
    "gsm8k_test": {"question": str, "answer": str},
    "gsm8k_train": {"question": str, "answer": str},
    "mmlu_test": {"question": str, "subject": str, "choices": list, "answer": int},
    "mmlu_dev": {"question": str, "subject": str, "choices": list, "answer": int},
    "truthfulqa_generation": {
        **dict.fromkeys(("type", "category", "question", "best_answer", "source"), str),
        **dict.fromkeys(("correct_answers", "incorrect_answers"), list),
    },
    "truthfulqa_multiple_choice": {"question": str, "mc1_targets": dict, "mc2_targets": dict},
}
HELLASWAG = {"activity_label", "ctx_a", "ctx_b", "ctx", "source_id", "split", "split_type", "label"}
for file in ("hellaswag_validation", "hellaswag_train"):
    COLUMNS[file] = {"ind": int, "endings": list, **dict.fromkeys(HELLASWAG, str)}
EVALUATED = ("gsm8k_test", "mmlu_test", "hellaswag_validation", "truthfulqa_generation", "truthfulqa_multiple_choice")


def test_every_file_is_known_here() -> None:
    assert {path.stem for path in substitutes.FOLDER.glob("*.jsonl")} == set(COLUMNS)


@pytest.mark.parametrize("name", list(COLUMNS))
def test_columns_are_those_of_the_original(name: str) -> None:
    rows = substitutes.read(name)
    for row in rows:
        assert {key: type(value) for key, value in row.items()} == COLUMNS[name], row
    questions = [row.get("question") or row["ctx"] for row in rows]
    assert len(set(questions)) == len(rows), [text for text, times in Counter(questions).items() if times > 1]
    if name in EVALUATED:
        assert len(rows) >= 50


@pytest.mark.parametrize(
    ("name", "answers"), [("gsm8k_test", gsm8k_second_route.TEST), ("gsm8k_train", gsm8k_second_route.TRAIN)]
)
def test_answers_of_gsm8k_by_another_route(name: str, answers: list[tuple[str, Any]]) -> None:
    rows = substitutes.read(name)
    assert len(rows) == len(answers)
    for row, (words, expected) in zip(rows, answers, strict=True):
        assert row["question"].startswith(words)
        assert int(row["answer"].split("#### ")[1]) == expected, row


@pytest.mark.parametrize("name", ["gsm8k_test", "gsm8k_train"])
def test_worked_solutions_of_gsm8k_reckon_rightly(name: str) -> None:
    for row in substitutes.read(name):
        steps = re.findall(r"<<([-+*/().\d]+)=([\d.]+)>>", row["answer"])
        assert steps
        assert len(steps) == row["answer"].count("<<")
        for expression, value in steps:
            assert eval(expression) == pytest.approx(float(value)), row
        assert float(steps[-1][1]) == float(row["answer"].split("#### ")[1])


def test_right_answers_are_spread_evenly_over_the_places() -> None:
    mmlu = substitutes.read("mmlu_test")
    subjects = {row["subject"] for row in mmlu}
    assert len(subjects) == 8
    for subject in subjects:
        places = Counter(row["answer"] for row in mmlu if row["subject"] == subject)
        assert places == {0: 2, 1: 2, 2: 2, 3: 2}, subject
    assert Counter(row["label"] for row in substitutes.read("hellaswag_validation")) == dict.fromkeys("0123", 14)


@pytest.mark.parametrize("name", ["mmlu_test", "mmlu_dev", "hellaswag_validation", "hellaswag_train"])
def test_choices_are_four_different_ones(name: str) -> None:
    for row in substitutes.read(name):
        choices = row.get("choices") or row["endings"]
        assert len(choices) == len(set(choices)) == 4, row
        assert 0 <= int(row.get("answer", row.get("label"))) < 4


def test_right_endings_of_hellaswag_are_not_told_by_their_length() -> None:
    """A model that always takes the longest, or the shortest, should be right about as often as by chance."""
    rows = substitutes.read("hellaswag_validation")
    for pick in (max, min):
        picked = [row["endings"].index(pick(row["endings"], key=len)) for row in rows]
        share = sum(place == int(row["label"]) for place, row in zip(picked, rows, strict=True)) / len(rows)
        assert share < 0.6, pick


def test_both_forms_of_truthfulqa_say_the_same() -> None:
    pairs = zip(substitutes.read("truthfulqa_generation"), substitutes.read("truthfulqa_multiple_choice"), strict=True)
    for generation, choice in pairs:
        assert generation["question"] == choice["question"]
        right, wrong = generation["correct_answers"], generation["incorrect_answers"]
        assert right[0] == generation["best_answer"]
        assert choice["mc1_targets"] == {"choices": [right[0], *wrong], "labels": [1, *[0] * len(wrong)]}
        assert choice["mc2_targets"] == {
            "choices": [*right, *wrong],
            "labels": [*[1] * len(right), *[0] * len(wrong)],
        }


def test_simple_sums_of_mmlu_are_right() -> None:
    expected = {
        "What is the value of 7 + 6 * 5?": str(7 + 6 * 5),
        "What is the least common multiple of 12 and 18?": str(next(n for n in range(1, 999) if n % 12 == n % 18 == 0)),
        "A triangle has angles of 48 and 65 degrees. How large is the third angle in degrees?": str(180 - 48 - 65),
        "What is 15% of 240?": str(240 * 15 // 100),
        "If 3x - 7 = 20, what is x?": str(next(x for x in range(99) if 3 * x - 7 == 20)),
        "The median of 4, 9, 1, 7 and 12 is which number?": str(sorted([4, 9, 1, 7, 12])[2]),
        "Which of these numbers is prime?": str(next(n for n in (51, 53, 57, 91) if all(n % d for d in range(2, n)))),
        "Which fraction equals 0.375?": "3/8",
    }
    rows = {row["question"]: row["choices"][row["answer"]] for row in substitutes.read("mmlu_test")}
    assert {question: rows[question] for question in expected} == expected


def test_datasets_that_there_is_nothing_for_are_not_made_up() -> None:
    assert substitutes.find("allenai/ai2_arc", "ARC-Easy") is None
    assert substitutes.find("cais/mmlu", "virology") is None
    assert substitutes.find("openai/gsm8k", "socratic") is None
