"""The shipped model: a complete transformers folder, small, with a chat template that round-trips."""

import json
import struct

import pytest

from tests.base_model import WEIGHTS
from tests.base_model.evaluate import rouge_l, score, token_f1
from tests.base_model.sessions import CHAT_TEMPLATE, SPECIAL_TOKENS

CHAT = [
    {"role": "system", "content": "Follow the examples."},
    {"role": "user", "content": "Part 3: The fee is $1,250."},
    {"role": "assistant", "content": "It is $1,250."},
]
needs_transformers = "needs transformers: run with .venv-embedded/bin/python -m pytest"


def header() -> dict[str, dict[str, object]]:
    with (WEIGHTS / "model.safetensors").open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        content: dict[str, dict[str, object]] = json.loads(file.read(size))
    return content


def test_folder_is_complete_and_small() -> None:
    names = {path.name for path in WEIGHTS.iterdir()}
    assert names == {
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert (WEIGHTS / "model.safetensors").stat().st_size <= 30 * 2**20


def test_tensors_fit_the_configuration() -> None:
    config = json.loads((WEIGHTS / "config.json").read_text(encoding="utf-8"))
    tensors = {name: value for name, value in header().items() if name != "__metadata__"}
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["head_dim"] in {32, 64}
    assert config["hidden_size"] == config["head_dim"] * config["num_attention_heads"]
    assert len(tensors) == 9 * config["num_hidden_layers"] + 2
    assert {value["dtype"] for value in tensors.values()} == {"BF16"}
    assert tensors["model.embed_tokens.weight"]["shape"] == [config["vocab_size"], config["hidden_size"]]


def test_tokenizer_file_matches_the_stream() -> None:
    tokenizer = json.loads((WEIGHTS / "tokenizer.json").read_text(encoding="utf-8"))
    assert tuple(token["content"] for token in tokenizer["added_tokens"]) == SPECIAL_TOKENS
    assert (WEIGHTS / "chat_template.jinja").read_text(encoding="utf-8") == CHAT_TEMPLATE


def test_chat_template_round_trip() -> None:
    transformers = pytest.importorskip("transformers", reason=needs_transformers)
    tokenizer = transformers.AutoTokenizer.from_pretrained(WEIGHTS)
    text = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|begin|><|system|>Follow the examples.<|end|><|user|>Part 3: The fee is $1,250.<|end|>"
        "<|assistant|>It is $1,250.<|end|><|assistant|>"
    )
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert [
        tokenizer.decode([token]).strip() for token in tokenizer("$1,250", add_special_tokens=False)["input_ids"]
    ] == [
        "$",
        "1",
        ",",
        "2",
        "5",
        "0",
    ]
    marked = tokenizer.apply_chat_template(CHAT, return_dict=True, return_assistant_tokens_mask=True)
    learnt = [token for token, mark in zip(marked["input_ids"], marked["assistant_masks"], strict=True) if mark]
    assert tokenizer.decode(learnt) == "It is $1,250.<|end|>"


def test_model_loads_and_answers() -> None:
    transformers = pytest.importorskip("transformers", reason=needs_transformers)
    torch = pytest.importorskip("torch", reason=needs_transformers)
    tokenizer = transformers.AutoTokenizer.from_pretrained(WEIGHTS)
    model = transformers.AutoModelForCausalLM.from_pretrained(WEIGHTS, dtype=torch.float32)
    question = "Part 3 Price. The price is $1,250.\nPart 4 Weight. The weight is 7 kg.\n\nQuestion: What is the weight?"
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
    )
    encoded = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    output = model.generate(**encoded, do_sample=False, max_new_tokens=16)
    answer = tokenizer.decode(output[0, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
    assert answer == "The weight is 7 kg."


def test_metrics_on_known_cases() -> None:
    assert rouge_l("The cat sat", "the cat sat.") == 1.0
    assert rouge_l("a b c d", "a c d e") == pytest.approx(0.75)
    assert rouge_l("", "a") == 0.0
    assert token_f1("b a", "a b") == 1.0
    assert token_f1("a a", "a b") == pytest.approx(0.5)


def test_rouge_agrees_with_the_package() -> None:
    scoring = pytest.importorskip("rouge_score.rouge_scorer", reason=needs_transformers)
    scorer = scoring.RougeScorer(["rougeL"], use_stemmer=False)
    pairs = [("Pursuant to Section 4.2, pay USD 1,000.", "Under Section 4.2 you pay USD 1,500."), ("x", "y z x")]
    for left, right in pairs:
        assert rouge_l(left, right) == pytest.approx(scorer.score(right, left)["rougeL"].fmeasure)


def test_intervals_hold_the_mean() -> None:
    pytest.importorskip("sacrebleu", reason=needs_transformers)
    scores = score(["a b c d", "x"], ["a b c d", "y"])
    assert scores["exact"].mean == 0.5
    assert scores["exact"].low == 0.0
    assert scores["exact"].high == 1.0
