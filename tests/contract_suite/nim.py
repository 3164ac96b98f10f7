"""NIM: the OpenAI API as far as the harness uses it.

Fixtures: `nim_url` of the service, which counts tokens, and `base_model`, which it serves.
"""

from collections.abc import Iterator

import httpx
import openai
import pytest


class NimContract:
    """What clients may rely on."""

    @pytest.fixture
    def openai_client(self, nim_url: str) -> Iterator[openai.OpenAI]:
        with openai.OpenAI(base_url=f"{nim_url}/v1", api_key="unused", max_retries=0, timeout=60) as client:
            yield client

    def test_it_is_ready_and_serves_the_base_model(
        self, nim_url: str, openai_client: openai.OpenAI, base_model: str
    ) -> None:
        assert httpx.get(f"{nim_url}/v1/health/ready").status_code == 200
        assert base_model in [model.id for model in openai_client.models.list()]
        model = openai_client.models.retrieve(base_model)
        assert (model.id, model.object) == (base_model, "model")

    def test_an_unknown_model_is_404_and_named(self, openai_client: openai.OpenAI) -> None:
        with pytest.raises(openai.NotFoundError, match=r"no/such-model@cust-9.*does not exist"):
            openai_client.models.retrieve("no/such-model@cust-9")
        with pytest.raises(openai.NotFoundError, match=r"no/such-model@cust-9.*does not exist"):
            openai_client.chat.completions.create(
                model="no/such-model@cust-9", messages=[{"role": "user", "content": "x"}], max_tokens=1
            )

    def test_a_chat_is_answered_and_counted(self, openai_client: openai.OpenAI, base_model: str) -> None:
        answer = openai_client.chat.completions.create(
            model=base_model, messages=[{"role": "user", "content": "What is a lease?"}], max_tokens=8, temperature=0
        )
        assert (answer.object, answer.model) == ("chat.completion", base_model)
        [choice] = answer.choices
        assert choice.message.role == "assistant"
        assert choice.message.content
        assert choice.finish_reason in {"stop", "length"}
        assert answer.usage is not None
        assert 1 <= answer.usage.completion_tokens <= 8
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens

    def test_tokens_of_a_text_are_counted(self, nim_url: str, base_model: str) -> None:
        def count(text: str) -> int:
            answer = httpx.post(f"{nim_url}/tokenize", json={"model": base_model, "prompt": text}, timeout=30)
            found: int = answer.raise_for_status().json()["count"]
            return found

        assert 0 < count("What is a lease?") < count("What is a lease? " * 20)
