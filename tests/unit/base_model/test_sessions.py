"""Sessions of the pretraining stream: what is learnt, what is not, and that answers can be found in documents."""

import random

from tests.base_model.domains import draw_domain, write_document
from tests.base_model.sessions import ANSWER, ASSISTANT, BEGIN, END, IGNORED, USER, sample, session
from tests.base_model.styles import Style
from tests.base_model.values import KINDS, MAKERS


def test_single_questions_are_answered_by_quoting() -> None:
    rng = random.Random(0)
    for _ in range(200):
        segments = session(rng, 1, 0)
        answer = next(text for text, weight in segments if weight == ANSWER)
        before = "".join(text for text, _ in segments).split(answer)[0]
        quoted = answer.replace(END, "").strip().removesuffix(".")
        assert quoted in before


def test_the_first_answer_in_an_unknown_style_is_not_learnt() -> None:
    rng = random.Random(1)
    styled = 0
    for _ in range(200):
        answers = [weight for text, weight in session(rng, 5, 10**6) if weight in {ANSWER, IGNORED}]
        assert len(answers) == 5
        styled += answers[0] == IGNORED
    assert styled > 150


def test_chat_sessions_have_balanced_turns() -> None:
    rng = random.Random(2)
    chats = 0
    for _ in range(200):
        text = "".join(part for part, _ in sample(rng, 1024))
        assert text.startswith(BEGIN)
        assert text.rstrip().endswith(END)
        assert text.count(USER) == text.count(ASSISTANT)
        chats += text.count(USER) > 1
    assert chats > 100


def test_facts_state_their_values() -> None:
    rng = random.Random(3)
    for _ in range(200):
        document = write_document(rng, draw_domain(rng, 5), 3)
        for fact in document.facts:
            assert fact.sentence + "." in document.text
            assert fact.ref in document.text
            assert all(value.lower() in fact.sentence.lower() for value in fact.values)


def test_a_frame_is_learnt_from_its_second_use_on() -> None:
    rng = random.Random(4)
    domain = draw_domain(rng, 1)
    style = Style(domain, framed_share=1.0)
    document = write_document(rng, domain, 1)
    assert style.answer(rng, document, document.facts[0])[1] is False
    assert style.answer(rng, document, document.facts[0])[1] is True


def test_every_kind_of_value_has_a_maker() -> None:
    assert set(KINDS) == set(MAKERS)
