"""The base model has never met the legal dataset: no template, no citation and no legal word is in its stream."""

import itertools

import pytest

from tests.base_model.corpus import readable, stream
from tests.base_model.lexicon import RESERVED, invent
from tests.unit.base_model.support import WordingDetector, built, citations, load_generator, words_of

SESSIONS = 800
"""About five thousand documents."""

generator = load_generator()


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [readable(segments) for segments in itertools.islice(stream(2_026), SESSIONS)]


@pytest.fixture(scope="module")
def detector() -> WordingDetector:
    return WordingDetector(generator)


def test_stream_depends_on_its_seed_only() -> None:
    first, again, other = (list(itertools.islice(stream(seed), 5)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_no_legal_wording_in_the_stream(texts, detector) -> None:
    assert {shingle for text in texts for shingle in detector.find(text)} == set()


def test_no_citation_in_the_legal_register(texts) -> None:
    assert [citation for text in texts for citation in citations(text)] == []


def test_no_reserved_word(texts) -> None:
    assert not words_of(texts) & RESERVED


def test_invented_words_avoid_reserved_ones(monkeypatch) -> None:
    import random

    from tests.base_model import lexicon

    monkeypatch.setattr(lexicon, "RESERVED", RESERVED | {"da", "de", "re"})
    rng = random.Random(0)
    assert not {invent(rng) for _ in range(20_000)} & {"da", "de", "re"}


def test_the_answer_form_is_made_of_reserved_words() -> None:
    assert words_of([generator.ANSWER]) & RESERVED >= {"pursuant", "section", "agreement"}


def test_nearly_every_template_can_be_detected(detector) -> None:
    blind = [template for template in detector.templates if not detector.of_template(template)]
    assert len(blind) <= 0.06 * len(detector.templates)


def test_detector_fires_on_a_planted_item(texts, detector) -> None:
    for item in built()["test"][:40]:
        planted = texts[0] + "\n" + item.prompt + "\n" + item.completion
        assert detector.find(planted)
        assert citations(planted)
        assert words_of([planted]) & RESERVED


def test_detector_fires_whatever_the_values_are(detector) -> None:
    altered = "the vendor has 77 days from notice in which to mend it"
    assert detector.find(altered)
