"""Words of scripts without spaces and of scripts with marks: scores worked out by hand, character by character."""

from typing import Any

import pytest

from embedded.evaluator.metrics import create
from embedded.evaluator.metrics.segmentation import space_out, words


def rate(kind: str, output: str, truth: str) -> dict[str, list[float]]:
    context: dict[str, Any] = {"item": {"reference": truth}, "sample": {"output_text": output}}
    return create(kind, {}, "test").score_items([context])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("通知期为三十天。", "通 知 期 为 三 十 天"),
        ("第12条 ABC股份", "第 12 条 abc 股 份"),
        ("ラーメンを、食べます", "ラ ー メ ン を 食 べ ま す"),
        ("ที่นี่", "ที่ นี่"),
        ("हिन्दी में लिखा है।", "हिन्दी में लिखा है"),
        ("원격 근무, 법률", "원격 근무 법률"),
        ("\u1112\u1161\u11ab글", "한글"),  # jamo, as macOS names files
        ("Größe é e\u0301", "größe é é"),
        ("Москва, Київ", "москва київ"),
    ],
)
def test_words(text: str, expected: str) -> None:
    assert words(text) == expected.split()


def test_english_is_not_touched() -> None:
    text = "It's a well-known Rule_of law, no. 12!"
    assert space_out(text) == text


# One of ten characters or words is another one; all are different from each other.
ONE_OF_TEN = {
    "zh": ("合同期限自今天起算满", "合同期限自今天起算空"),
    "ja": ("あいうえおかきくけこ", "あいうえおかきくけさ"),
    "th": ("กขคงจฉชซญฐ", "กขคงจฉชซญฒ"),
    "km": ("កខគឃងចឆជឈញ", "កខគឃងចឆជឈដ"),
    "hi": ("एक दो तीन चार पाँच छह सात आठ नौ की", "एक दो तीन चार पाँच छह सात आठ नौ का"),
    "ko": ("하나 둘 셋 넷 다섯 여섯 일곱 여덟 아홉 열", "하나 둘 셋 넷 다섯 여섯 일곱 여덟 아홉 백"),
}


@pytest.mark.parametrize("language", ONE_OF_TEN)
def test_one_word_of_ten_differs(language: str) -> None:
    output, truth = ONE_OF_TEN[language]
    assert rate("rouge", output, truth)["rouge_L_score"] == pytest.approx([0.9])
    assert rate("rouge", output, truth)["rouge_2_score"] == pytest.approx([8 / 9])
    assert rate("f1", output, truth)["f1_score"] == pytest.approx([0.9])
    # precisions of one to four words: 9/10, 8/9, 7/8, 6/7; equal lengths
    assert rate("bleu", output, truth)["sentence"] == pytest.approx([100 * (9 / 10 * 8 / 9 * 7 / 8 * 6 / 7) ** 0.25])
    # nine matches in one chunk: P = R = F = 0.9
    assert rate("meteor", output, truth)["meteor_score"] == pytest.approx([0.9 * (1 - 0.5 * (1 / 9) ** 3)])
    assert rate("em", output, truth)["em_score"] == [0]
    assert rate("em", truth + "。", f" {truth}")["em_score"] == [1]


@pytest.mark.parametrize(("output", "truth"), [("通知期为三十天", "公司总部设在巴黎"), ("की", "का")])
def test_unrelated_texts_score_nothing(output: str, truth: str) -> None:
    for kind in ("rouge", "f1", "bleu", "meteor"):
        assert all(values == pytest.approx([0], abs=1e-9) for values in rate(kind, output, truth).values()), kind
