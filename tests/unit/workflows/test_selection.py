"""Examples of an in-context prompt: the right ones, as many as fit, never what is tested."""

import itertools

import numpy as np
import pytest

from workflows.data import in_context
from workflows.data.embeddings import TF_IDF, embed_texts
from workflows.data.rows import Message, Row, Turn
from workflows.data.selection import Budget, pool_of, select

TOPICS = {
    "rent": ["the tenant pays the rent late", "rent of the flat is due monthly", "how high may the rent of a flat be"],
    "fraud": ["a forged cheque is fraud", "fraud by a forged signature", "was the forged invoice a fraud"],
    "방": ["세입자가 방을 비우지 않습니다", "방을 언제까지 비워야 합니까", "빈 방을 세입자에게 넘깁니다"],
}
POOL = [Row(text, topic) for topic, texts in TOPICS.items() for text in texts]


def test_similar_examples_are_of_the_same_kind_and_the_nearest_is_last() -> None:
    questions = [
        Row("the rent of my flat is due", ""),
        Row("세입자가 방을 언제 비웁니까", ""),
        Row("a forged will is fraud", ""),
    ]
    selected = select(POOL, questions, "similar", 3, seed=0)
    assert selected.by == TF_IDF
    assert [{row.completion for row in one} for one in selected.examples] == [{"rent"}, {"방"}, {"fraud"}]
    assert selected.examples[0][-1].prompt == "rent of the flat is due monthly"
    assert selected.shared is None


def test_diverse_examples_are_one_of_each_kind() -> None:
    selected = select(POOL, [Row("x", ""), Row("y", "")], "diverse", 3, seed=0)
    assert sorted(row.completion for row in selected.examples[0]) == ["fraud", "rent", "방"]
    assert selected.shared == selected.examples[1]


def test_the_vectors_of_the_server_decide_where_it_has_them() -> None:
    """Cosine by another route: the nearest by angle, computed here from the pairs."""
    rng = np.random.default_rng(3)
    vectors = {row.prompt: rng.normal(size=8).tolist() for row in POOL} | {"q": rng.normal(size=8).tolist()}
    selected = select(
        POOL, [Row("q", "")], "similar", 2, seed=0, embed=lambda texts: [vectors[t] for t in texts], embedding="served"
    )

    def angle(text: str) -> float:
        a, b = np.array(vectors["q"]), np.array(vectors[text])
        return float(np.arccos(a @ b / np.sqrt(a @ a) / np.sqrt(b @ b)))

    nearest = sorted((row.prompt for row in POOL), key=angle)[:2]
    assert [row.prompt for row in selected.examples[0]] == nearest[::-1]
    assert selected.by == "served"


def test_texts_that_share_nothing_with_the_pool_have_a_vector_all_the_same() -> None:
    _, questions, method = embed_texts(["aaa bbb"], ["한국어"], lambda _texts: None, "")
    assert method == TF_IDF
    assert np.isfinite(questions).all()


@pytest.mark.parametrize("method", ["random", "similar", "diverse"])
def test_choice_is_the_same_for_the_same_seed(method) -> None:
    questions = [Row("rent", ""), Row("fraud", "")]
    assert select(POOL, questions, method, 4, seed=5) == select(POOL, questions, method, 4, seed=5)
    assert [len(one) for one in select(POOL, questions, method, 40, seed=5).examples] == [len(POOL)] * 2


def test_what_is_tested_or_chooses_is_not_in_the_pool() -> None:
    held_out = [Row("A FORGED cheque is fraud!", ""), Row(TOPICS["rent"][0], "")]
    pool = pool_of([*POOL, *POOL], held_out[:1], held_out[1:])
    assert {row.prompt for row in POOL} - {row.prompt for row in pool} == {TOPICS["rent"][0], TOPICS["fraud"][0]}
    assert len(pool) == len(POOL) - 2


def characters(messages: list[Message]) -> int:
    return sum(len(message["content"]) for message in messages)


def test_examples_that_do_not_fit_are_left_out_the_least_similar_first() -> None:
    pool = [Row(f"rent {n} " + "x" * 500, "a") for n in range(4)]
    questions = [Row("rent 2", ""), Row("rent 3" + "y" * 900, "")]
    everything = select(pool, questions, "similar", 4, seed=0).examples
    tokens = 1600
    selected = select(pool, questions, "similar", 4, seed=0, budget=Budget(tokens, characters))
    for question, all_of_them, kept in zip(questions, everything, selected.examples, strict=True):
        fitting = [
            all_of_them[start:]
            for start in range(5)
            if characters(in_context.shown_before(all_of_them[start:], question)) <= tokens
        ]
        assert kept == fitting[0]
    assert [len(one) for one in selected.examples] == [3, 1]
    assert selected.cut == 2


def test_all_questions_see_the_same_prompt_though_it_is_short() -> None:
    pool = [Row("q" * 500 + str(n), "a") for n in range(3)]
    selected = select(
        pool, [Row("short", ""), Row("y" * 900, "")], "random", 3, seed=0, budget=Budget(1500, characters)
    )
    assert selected.shared is not None
    assert len(selected.shared) == 1


def test_the_turn_of_the_system_stays_first() -> None:
    chat = Row("s\n\nq", "a", (Turn("system", "s"), Turn("user", "q")))
    roles = [turn["role"] for turn in in_context.shown_before([chat, Row("x", "y")], chat)]
    assert roles == ["system", *itertools.chain(*[["user", "assistant"]] * 2), "user"]
