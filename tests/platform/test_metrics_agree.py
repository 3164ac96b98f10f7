"""Our Evaluator's metrics beside those of NVIDIA's open evaluator, on the same inputs.

Runs where both can be imported, which is the environment of the platform. What differs on purpose is in `DIFFERENCES`,
whose rows are the table of docs/evaluator.md: a difference that goes away, or a new one, fails here.
"""

import asyncio
import json
import math
from typing import Any

import pytest
from nemo_evaluator_sdk.metrics.aggregation import aggregate_metrics
from nemo_evaluator_sdk.metrics.bleu import BLEUMetric
from nemo_evaluator_sdk.metrics.exact_match import ExactMatchMetric
from nemo_evaluator_sdk.metrics.f1 import F1Metric
from nemo_evaluator_sdk.metrics.number_check import NumberCheckMetric
from nemo_evaluator_sdk.metrics.protocol import (
    CandidateOutput,
    DatasetRow,
    MetricInput,
    MetricOutput,
    MetricOutputSpec,
    MetricResult,
)
from nemo_evaluator_sdk.metrics.rouge import ROUGEMetric
from nemo_evaluator_sdk.metrics.string_check import StringCheckMetric
from nemo_evaluator_sdk.metrics.template_rendering import build_template_context
from nemo_evaluator_sdk.metrics.tool_calling import ToolCallingMetric
from nemo_evaluator_sdk.templates import render_template
from nemo_evaluator_sdk.values.scores import JSONScoreParser, RangeScore, RegexScoreParser, ScoreParserJSON
from nemo_evaluator_sdk.values.scores import ScoreParserRegex as RegexParser

from embedded.evaluator.metrics import LlmJudge, create
from embedded.evaluator.stats import statistics
from embedded.evaluator.templates import render
from nemostack import clone

OUTPUT, TRUTH = "{{sample.output_text}}", "{{item.reference}}"
ENGLISH = [
    ("The court dismissed the appeals.", "The courts dismissed an appeal, finally"),
    ("It's a well-known Rule_of law, no. 12!", "The well known rule of LAW no 12 holds"),
    ("$1,000 (+5%) <b>net</b> = x^2 | y~z", "1000 5 net x2 yz"),
    ("  spaces \t and\n\nlines ", "spaces and lines"),
    ("the a an", "an"),
    ("running runs ran", "run runs running"),
    ("yes", "no"),
    ("same words here today", "same words here today"),
    ("a b c d e f", "a b c d x f"),
    ("", "something"),
    ("something", ""),
    ("", ""),
    ("...", "!!!"),
]
LANGUAGES = {
    "Korean": ("임대인은 보증금을 반환해야 한다.", "임대인은 보증금을 돌려주어야 한다"),
    "Chinese": ("法院驳回了上诉。", "法院驳回上诉"),
    "German": ("Der Käufer zahlt den Preis.", "Der Kaufer zahlt den Preis"),
    "Hindi": ("न्यायालय ने अपील खारिज की।", "न्यायालय ने अपील स्वीकार की"),
}


def theirs(metric: Any, item: dict[str, Any], sample: dict[str, Any]) -> dict[str, float]:
    """Score one row with NVIDIA's metric."""
    given = MetricInput(row=DatasetRow(data=item), candidate=CandidateOutput(**sample))
    return {output.name: float(output.value) for output in asyncio.run(metric.compute_scores(given)).outputs}


def ours(kind: str, params: dict[str, Any], item: dict[str, Any], sample: dict[str, Any]) -> dict[str, float]:
    """Score one row with our metric."""
    found = create(kind, params, "test").score_items([{"item": item, "sample": sample}])
    return {name: values[0] for name, values in found.items()}


def text_scores(kind: str, output: str, truth: str) -> tuple[dict[str, float], dict[str, float]]:
    """(ours, NVIDIA's) for a metric of two texts, under our names."""
    item, sample = {"reference": truth}, {"output_text": output}
    params = {"references": [TRUTH]} if kind == "bleu" else {"ground_truth": TRUTH}
    metric = {
        "bleu": lambda: BLEUMetric(references=[TRUTH], candidate=OUTPUT),
        "rouge": lambda: ROUGEMetric(reference=TRUTH, candidate=OUTPUT),
        "f1": lambda: F1Metric(reference=TRUTH, candidate=OUTPUT),
        "em": lambda: ExactMatchMetric(reference=TRUTH, candidate=OUTPUT),
    }[kind]()
    names = {"f1": "f1_score", "exact-match": "em_score"}
    return ours(kind, params, item, sample), {
        names.get(name, name): value for name, value in theirs(metric, item, sample).items()
    }


@pytest.mark.parametrize("kind", ["bleu", "rouge", "f1", "em"])
@pytest.mark.parametrize(("output", "truth"), ENGLISH)
def test_texts_in_english_score_the_same(kind: str, output: str, truth: str) -> None:
    mine, nvidias = text_scores(kind, output, truth)
    assert mine == pytest.approx(nvidias)


@pytest.mark.parametrize("language", LANGUAGES)
def test_equal_texts_of_any_script_are_exact_matches(language: str) -> None:
    text = LANGUAGES[language][0]
    for kind in ("f1", "em", "bleu"):
        mine, nvidias = text_scores(kind, text, text)
        assert mine == pytest.approx(nvidias), kind


def test_corpus_bleu_of_one_reference_is_the_same() -> None:
    rows = [{"reference": truth} for _, truth in ENGLISH]
    samples = [{"output_text": output} for output, _ in ENGLISH]
    metric = create("bleu", {"references": [TRUTH]}, "test")
    scores = metric.score_items([{"item": i, "sample": s} for i, s in zip(rows, samples, strict=True)])
    given = [
        MetricInput(row=DatasetRow(data=item), candidate=CandidateOutput(**sample))
        for item, sample in zip(rows, samples, strict=True)
    ]
    found = asyncio.run(BLEUMetric(references=[TRUTH], candidate=OUTPUT).compute_corpus_scores(given))
    assert metric.results(scores)["corpus"]["value"] == pytest.approx(found.outputs[0].value)


def test_sentence_bleu_of_several_references_is_the_same() -> None:
    item = {"one": "the cat sat on the mat", "two": "a cat was sitting on the mat"}
    sample, references = {"output_text": "the cat was on the mat"}, ["{{item.one}}", "{{item.two}}"]
    nvidias = theirs(BLEUMetric(references=references, candidate=OUTPUT), item, sample)
    assert ours("bleu", {"references": references}, item, sample) == pytest.approx(nvidias)


TEXT_OPERATORS = ["==", "equals", "!=", "<>", "not equals", "contains", "not contains", "startswith", "endswith"]
SIDES = [
    ("yes", "yes"),
    (" yes\n", "yes"),
    ("Yes", "yes"),
    ("abc", "b"),
    ("abc", "ab"),
    ("abc", "bc"),
    ("x", ""),
    ("", ""),
]


@pytest.mark.parametrize("operator", TEXT_OPERATORS)
@pytest.mark.parametrize(("left", "right"), SIDES)
def test_string_checks_agree(operator: str, left: str, right: str) -> None:
    item, sample = {"reference": right}, {"output_text": left}
    metric = StringCheckMetric(left_template=OUTPUT, right_template=TRUTH, operation=operator)
    assert ours("string-check", {"check": [OUTPUT, operator, TRUTH]}, item, sample) == theirs(metric, item, sample)


NUMBER_OPERATORS = [
    "==",
    "equals",
    "!=",
    "<>",
    "not equals",
    "<",
    "lt",
    "less than",
    "<=",
    "lte",
    ">",
    "gt",
    ">=",
    "gte",
]
NUMBERS = [
    ("3", "3.0"),
    ("The answer is 42.", "42"),
    ("first 1, then 2", "2"),
    ("-5", "5"),
    ("5-3", "-3"),
    (".5", "0.5"),
    ("no number", "3"),
    ("3", "none"),
    ("version 1.2.3", "3"),
    ("", ""),
]


@pytest.mark.parametrize("operator", NUMBER_OPERATORS)
@pytest.mark.parametrize(("left", "right"), NUMBERS)
def test_number_checks_agree(operator: str, left: str, right: str) -> None:
    item, sample = {"reference": right}, {"output_text": left}
    metric = NumberCheckMetric(left_template=OUTPUT, right_template=TRUTH, operation=operator)
    mine = ours("number-check", {"check": [OUTPUT, operator, TRUTH]}, item, sample)
    assert mine == pytest.approx(theirs(metric, item, sample), nan_ok=True)


@pytest.mark.parametrize("left", ["8", "12", "12.1", "none"])
def test_number_checks_within_a_tolerance_agree(left: str) -> None:
    item, sample = {"reference": "10"}, {"output_text": left}
    metric = NumberCheckMetric(left_template=OUTPUT, right_template=TRUTH, operation="absolute difference", epsilon=2)
    mine = ours("number-check", {"check": ["absolute difference", OUTPUT, TRUTH, "epsilon", 2]}, item, sample)
    assert mine == pytest.approx(theirs(metric, item, sample), nan_ok=True)


def call(name: str, arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def tool_scores(reply: Any, truth: list[dict[str, Any]]) -> tuple[dict[str, float], dict[str, float]]:
    template = "{{ item.calls | tojson }}"
    item = {"calls": truth}
    sample = {"output_text": "", "response": {"choices": [{"message": {"content": "", "tool_calls": reply}}]}}
    mine = ours("tool-calling", {"tool_calls_ground_truth": template}, item, json.loads(json.dumps(sample)))
    return mine, theirs(ToolCallingMetric(reference=template), item, sample)


WANTED = [call("search", {"q": "tort", "n": 3}), call("open", {})]


@pytest.mark.parametrize(
    "reply",
    [
        [call("open", "{}"), call("search", '{"n": 3, "q": "tort"}')],
        [call("open", "{}"), call("search", '{"n": 3.0, "q": "tort"}')],
        [call("search", '{"q": "tax"}'), call("open", "{}")],
        [call("search", '{"q": "tort", "n": 3}')],
        [call("search", '{"q": "tort", '), call("open", "{}")],
        [call("close", "{"), call("open", "{}")],
        [call("Search", '{"q": "tort", "n": 3}'), call("open", None)],
        [],
        None,
    ],
)
def test_calls_of_tools_agree(reply: Any) -> None:
    mine, nvidias = tool_scores(reply, WANTED)
    assert mine == pytest.approx(nvidias, nan_ok=True)


@pytest.mark.parametrize(
    "template",
    [
        "{{item.reference}}",
        "{{ reference }}",
        "{{ sample.output_text }} / {{ output_text }}",
        "{% if item.n > 2 %}many{% else %}few{% endif %}: {{ item.list | join(', ') }}",
        "{{ item.nested.deep }} and {{ item['nested']['deep'] | upper }}",
        "plain text, äöü 한국어",
        "",
    ],
)
def test_templates_render_alike(template: str) -> None:
    item = {"reference": "r\n", "n": 3, "list": ["a", "b"], "nested": {"deep": "down"}, "output_text": "a column"}
    sample = {"output_text": "o"}
    mine = render(template, {"item": item, "sample": sample}, "test")
    assert mine == str(render_template(template, build_template_context(item, sample)))


@pytest.mark.parametrize("template", ["{{ item.missing }}", "{{ nowhere }}", "{{ item.n.__class__.__mro__ }} "])
def test_what_one_refuses_to_render_the_other_refuses(template: str) -> None:
    with pytest.raises(Exception, match=r".+"):
        render_template(template, build_template_context({"n": 1}, {}))
    with pytest.raises(Exception, match=r".+"):
        render(template, {"item": {"n": 1}, "sample": {}}, "test")


def parsed(parser: dict[str, Any], reply: str | None) -> tuple[float, float]:
    """(ours, NVIDIA's) of a judge's reply."""
    judge = create("llm-judge", {"template": {}, "scores": {"s": {"parser": parser, "minimum": 1, "maximum": 5}}}, "t")
    assert isinstance(judge, LlmJudge)
    if parser["type"] == "json":
        score = RangeScore(name="s", minimum=1, maximum=5, parser=JSONScoreParser(json_path=parser["json_path"]))
        found = ScoreParserJSON(score).parse(reply)
    else:
        regex = RegexScoreParser(pattern=parser["pattern"], method="search")
        found = RegexParser(RangeScore(name="s", minimum=1, maximum=5, parser=regex)).parse(reply)
    return judge.score_replies([reply])["s"][0], float(found.value)


@pytest.mark.parametrize("reply", ["RATING: 4", "I think\nRATING: 2", "RATING: four", "RATING:", "", None])
def test_ratings_by_a_pattern_agree(reply: str | None) -> None:
    mine, nvidias = parsed({"type": "regex", "pattern": r"RATING: (\w+)"}, reply)
    assert mine == pytest.approx(nvidias, nan_ok=True)


@pytest.mark.parametrize(
    "reply", ['{"s": 4}', '{"s": 2.5, "why": "x"}', '{"t": 4}', '{"s": null}', "4", "[4]", "no", "", None]
)
def test_ratings_in_json_agree(reply: str | None) -> None:
    mine, nvidias = parsed({"type": "json", "json_path": "s"}, reply)
    assert mine == pytest.approx(nvidias, nan_ok=True)


@pytest.mark.parametrize("values", [[1.0, 3.0, math.nan, 5.0], [0.25], [0.0, 0.0], [math.nan, 2.0]])
def test_statistics_agree(values: list[float]) -> None:
    specs = [MetricOutputSpec.continuous_score("s")]
    results = [MetricResult(outputs=[MetricOutput(name="s", value=value)]) for value in values]
    nvidias = aggregate_metrics(results, specs).scores[0]
    mine = statistics(values)
    for our_name, name in {"std_dev": "stddev"}.items():
        assert mine[name] == pytest.approx(getattr(nvidias, our_name))
    for name in ("count", "nan_count", "sum", "mean", "min", "max", "variance"):
        assert mine[name] == pytest.approx(getattr(nvidias, name)), name


def corpus(references: list[list[str]]) -> tuple[float, float]:
    rows = [{"one": pair[0], "two": pair[1]} for pair in references]
    sample, templates = {"output_text": "the cat was on the mat"}, ["{{item.one}}", "{{item.two}}"]
    metric = create("bleu", {"references": templates}, "test")
    mine = metric.results(metric.score_items([{"item": row, "sample": sample} for row in rows]))["corpus"]["value"]
    given = [MetricInput(row=DatasetRow(data=row), candidate=CandidateOutput(**sample)) for row in rows]
    found = asyncio.run(BLEUMetric(references=templates, candidate=OUTPUT).compute_corpus_scores(given))
    return mine, float(found.outputs[0].value)


def both(kind: str, name: str, output: str, truth: str) -> tuple[float, float]:
    mine, nvidias = text_scores(kind, output, truth)
    return mine[name], nvidias[name]


def numbers(left: str, right: str) -> tuple[float, float]:
    item, sample = {"reference": right}, {"output_text": left}
    metric = NumberCheckMetric(left_template=OUTPUT, right_template=TRUTH, operation="==")
    mine = ours("number-check", {"check": [OUTPUT, "==", TRUTH]}, item, sample)
    return mine["number-check"], theirs(metric, item, sample)["number-check"]


def tools(reply: Any, truth: list[dict[str, Any]], name: str) -> tuple[float, float]:
    mine, nvidias = tool_scores(reply, truth)
    return mine[name], nvidias[name]


# Row of the table in docs/evaluator.md -> how it shows: (ours, NVIDIA's).
DIFFERENCES = {
    "ROUGE in other scripts": lambda: both("rouge", "rouge_1_score", *LANGUAGES["Korean"]),
    "ROUGE of letters with accents": lambda: both("rouge", "rouge_1_score", *LANGUAGES["German"]),
    "F1 without spaces": lambda: both("f1", "f1_score", *LANGUAGES["Chinese"]),
    "F1 and exact match with other punctuation": lambda: both("em", "em_score", "你好。", "你好"),
    "Exact match of composed letters": lambda: both("em", "em_score", "Ka\u0308ufer", "K\u00e4ufer"),
    "BLEU without spaces": lambda: both("bleu", "sentence", *LANGUAGES["Chinese"]),
    "Corpus BLEU of several references": lambda: corpus([["a dog", "the cat was on the mat"]]),
    "Numbers with thousands separators": lambda: numbers("1,200", "1200"),
    "Numbers with exponents": lambda: numbers("1.2e3", "1200"),
    "Repeated calls of a tool": lambda: tools(
        [call("open", "{}"), call("open", "{}")], [call("open", {})], "function_name_accuracy"
    ),
    "Expected arguments as text": lambda: tools(
        [call("open", '{"n": 1}')], [call("open", '{"n": 1}')], "function_name_and_args_accuracy"
    ),
    "Several matches of a pattern": lambda: parsed({"type": "regex", "pattern": r"(\d)"}, "between 2 and 4"),
    "Ratings out of range": lambda: parsed({"type": "regex", "pattern": r"(\d)"}, "9"),
    "JSON with words around it": lambda: parsed({"type": "json", "json_path": "s"}, 'Here: {"s": 4}'),
    "Ratings in JSON as text": lambda: parsed({"type": "json", "json_path": "s"}, '{"s": "4"}'),
    "Paths in JSON": lambda: parsed({"type": "json", "json_path": "a.s"}, '{"a": {"s": 4}}'),
}


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_differences_are_those_of_the_table(difference: str) -> None:
    mine, nvidias = DIFFERENCES[difference]()
    assert mine != pytest.approx(nvidias, nan_ok=True)
    assert f"| {difference} |" in (clone.ROOT / "docs" / "evaluator.md").read_text()
