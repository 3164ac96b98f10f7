"""Rows that stand more than once, exactly or nearly, in one split or across them."""

import random

import pytest

from workflows.data.overlap import exact_duplicates, find_duplicates, find_leaks
from workflows.data.rows import Row, normal
from workflows.data.similarity import NEAR, near_between, near_pairs, shingles
from workflows.data.sources import Placed

WORDS = [
    *("court", "lease", "tenant", "notice", "breach", "clause", "waiver", "surety", "bond", "levy"),
    *("writ", "plea", "deed", "lien", "fraud", "tort", "appeal", "jury"),
]


def sentence(rng: random.Random, words: int = 60) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


def placed(*questions: str, answer: str = "x") -> list[Placed]:
    return [Placed(Row(question, answer), "a.jsonl", line) for line, question in enumerate(questions, start=10)]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("What is  RENT?", "what is rent", True),
        ("\uff21\uff22\uff23", "abc", True),
        ("한국어 질문!", "한국어 질문", True),
        ("rent", "rents", False),
        ("1.5", "15", False),
        ("?!", "!?", False),
    ],
)
def test_what_counts_as_the_same(first: str, second: str, same: bool) -> None:
    assert (normal(first) == normal(second)) is same


def test_near_pairs_are_those_of_a_comparison_of_all_with_all() -> None:
    """The hash index must not miss what counting every pair finds, nor find what that does not."""
    rng = random.Random(1)
    texts = [sentence(rng) for _ in range(60)]
    for number in (3, 17, 30):
        texts.append(texts[number].replace(texts[number].split()[5], "changed", 1))
    texts.append(sentence(rng, 5))
    sets = [shingles(normal(text)) for text in texts]
    counts = {one: sum(one in other for other in sets) for one in set().union(*sets)}
    kept = [{one for one in each if counts[one] <= 0.2 * len(texts)} for each in sets]
    expected = {
        (later, earlier)
        for later in range(len(texts))
        for earlier in range(later)
        if len(kept[later] & kept[earlier]) / len(kept[later] | kept[earlier]) >= NEAR
    }
    assert expected >= {(60, 3), (61, 17), (62, 30)}
    assert {(later, earlier) for later, earlier, _ in near_pairs(texts)} == expected


def test_what_all_prompts_begin_with_makes_none_alike() -> None:
    rng = random.Random(2)
    intro = "Answer the question of the tenant as a lawyer would, in one sentence, without naming any statute: "
    texts = [intro + sentence(rng, 6) for _ in range(40)]
    assert near_pairs(texts) == []
    assert [(a, b) for a, b, _ in near_between([texts[7] + " now"], texts)] == [(0, 7)]


def test_korean_is_compared_as_well() -> None:
    text = "이 도서관은 월요일에 쉬고 화요일부터 일요일까지 오전 아홉 시에 문을 엽니다"
    assert [(a, b) for a, b, _ in near_pairs([text, "전혀 다른 문장입니다", text + "다"])] == [(2, 0)]


def test_duplicates_are_told_by_their_lines() -> None:
    rows = placed("one?", "two?", "ONE", "one?")
    assert exact_duplicates(rows) == {2: 0, 3: 0}
    assert find_duplicates(rows).exact == {12: 10, 13: 10}
    other = [*placed("one?"), *placed("one?", answer="another answer")]
    assert exact_duplicates(other) == {}


def test_leaks_are_told_for_each_pair_of_splits() -> None:
    rng = random.Random(3)
    long = sentence(rng)
    train, validation, test = placed("one?", "two?", long), placed("three?", "two"), placed("Two!", long + " plea")
    leaks = {
        (leak.of, leak.into): leak for leak in find_leaks({"train": train, "validation": validation, "test": test})
    }
    assert leaks["train", "test"].exact == {11: 10}
    assert leaks["train", "test"].near == {12: 11}
    assert leaks["train", "validation"].exact == {11: 11}
    assert leaks["validation", "test"].exact == {11: 10}
    assert find_leaks({"train": placed("a"), "test": placed("b")}, near=False) == []
