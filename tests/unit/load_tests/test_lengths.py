"""Lengths of prompts and replies: their distributions, and texts that have exactly so many tokens."""

import random
import statistics

import pytest

from load_tests.mock_nim import prompt_tokens
from load_tests.traffic.lengths import read_lengths
from load_tests.traffic.token_texts import TokenTexts, learn
from nemostack.errors import BadInput


def draw(text: str, times: int = 4000) -> list[int]:
    lengths, rng = read_lengths("--input-tokens", text), random.Random(7)
    return [lengths.draw(rng) for _ in range(times)]


@pytest.mark.parametrize("text", ["128", "64-256", "normal:200,50", "lognormal:150,400"])
def test_a_distribution_says_itself_as_it_was_given(text: str) -> None:
    assert str(read_lengths("--input-tokens", text)) == text


def test_distributions_have_the_moments_that_they_are_named_by() -> None:
    assert set(draw("128")) == {128}
    uniform = draw("64-256")
    assert (min(uniform), max(uniform)) == (64, 256)
    assert statistics.mean(uniform) == pytest.approx(160, rel=0.03)
    normal = draw("normal:200,50")
    assert statistics.mean(normal) == pytest.approx(200, rel=0.03)
    assert statistics.stdev(normal) == pytest.approx(50, rel=0.05)
    lognormal = draw("lognormal:150,400")
    assert statistics.median(lognormal) == pytest.approx(150, rel=0.05)
    assert statistics.quantiles(lognormal, n=20)[-1] == pytest.approx(400, rel=0.08)
    assert min(draw("normal:2,50")) == 1


NO_LENGTHS = ["", "0", "many", "9-3", "1.5", "normal:200", "zipf:1,2", "lognormal:9,3", "-4", "nan"]


@pytest.mark.parametrize("text", NO_LENGTHS)
def test_what_is_no_length_is_refused_with_the_option(text: str) -> None:
    with pytest.raises(BadInput, match="--input-tokens"):
        read_lengths("--input-tokens", text)


def test_texts_have_the_length_that_the_server_counts() -> None:
    asked: list[str] = []

    def count(text: str) -> int:
        asked.append(text)
        return prompt_tokens({"prompt": text})

    texts = learn(count)
    assert len(asked) < 150, "a server is not asked more often than it takes"
    assert texts.overhead == 5  # three, and the opening
    assert all(len(word) <= 5 for word in texts.words)
    rng = random.Random(0)
    for wanted in (6, 7, 40, 1000):
        text, tokens = texts.text(wanted, rng)
        assert tokens == wanted == prompt_tokens({"prompt": text})
    assert texts.text(2, rng)[1] == 6, "shorter than one word beside the overhead is not to be had"


def test_texts_begin_with_their_prefix_and_differ_behind_it() -> None:
    texts = TokenTexts(words=("one", "two", "three", "four"), overhead=4)
    prefix = texts.prefix(20, random.Random(1))
    rng = random.Random(2)
    first, second = (texts.text(54, rng, prefix=prefix)[0].split() for _ in range(2))
    assert first[:21] == second[:21] == ["Words:", *prefix]
    assert first != second
    assert len(first) == len(second) == 51
    assert texts.text(14, rng, prefix=prefix) == (" ".join(["Words:", *prefix[:10]]), 14)


def test_a_server_whose_counts_do_not_add_up_is_refused() -> None:
    with pytest.raises(BadInput, match="its tokenizer joins words"):
        learn(lambda text: 3 + len(text.split()) - len(text.split()) // 100)
    with pytest.raises(BadInput, match="cuts all but 0 of"):
        learn(lambda text: 3 + 2 * len(text.split()))
