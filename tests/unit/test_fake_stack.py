"""The fake stack keeps the promises of the services that it stands in for: it runs the suite of the embedded ones."""

import json
import os
import re
import uuid
from collections.abc import Iterator
from typing import Any

# Before huggingface_hub reads them: no bars between the dots, no telemetry, nothing of the user's token.
os.environ.update(HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_IMPLICIT_TOKEN="1")

import httpx
import pytest
from huggingface_hub import HfApi
from nemo_microservices import NeMoMicroservices

from tests.contract_suite.customization import CustomizationContract
from tests.contract_suite.data_store import DataStoreContract
from tests.contract_suite.entity_store import EntityStoreContract
from tests.contract_suite.evaluation import ROWS, EvaluationContract
from tests.contract_suite.nim import NimContract
from tests.unit.fake_stack import CONFIG, FakeStack


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    stem = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].strip("-")
    return f"{stem}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def entity_store_url(stack: FakeStack) -> str:
    return stack.outputs.nemo_url


@pytest.fixture
def data_store_url(stack: FakeStack) -> str:
    return stack.outputs.data_store_url


@pytest.fixture
def sdk(entity_store_url: str) -> Iterator[NeMoMicroservices]:
    with NeMoMicroservices(base_url=entity_store_url) as client:
        yield client


@pytest.fixture
def hub(data_store_url: str) -> HfApi:
    return HfApi(endpoint=f"{data_store_url}/v1/hf", token=False)


class TestEntityStore(EntityStoreContract):
    """The part of the fake that is the Entity Store."""


class TestDataStore(DataStoreContract):
    """The part of the fake that is the Data Store."""


class TestEvaluation(EvaluationContract):
    """The part of the fake that is the Evaluator."""

    @pytest.fixture
    def client(self, sdk: NeMoMicroservices) -> NeMoMicroservices:
        return sdk

    @pytest.fixture
    def rows_url(self, stack: FakeStack) -> str:
        stack.repos["dataset", "default/rows"] = {"test.jsonl": "\n".join(map(json.dumps, ROWS)).encode()}
        return "hf://datasets/default/rows/test.jsonl"

    @pytest.fixture
    def model_target(self, stack: FakeStack) -> dict[str, Any]:
        return {"type": "model", "model": {"api_endpoint": {"url": stack.url, "model_id": stack.base_model}}}


class TestCustomization(CustomizationContract):
    """The part of the fake that is the Customizer."""

    @pytest.fixture
    def client(self, sdk: NeMoMicroservices) -> NeMoMicroservices:
        return sdk

    @pytest.fixture
    def config(self) -> str:
        return CONFIG

    @pytest.fixture
    def dataset(self) -> str:
        return "default/rows"


class TestNim(NimContract):
    """The part of the fake that is NIM."""

    @pytest.fixture
    def nim_url(self, stack: FakeStack) -> str:
        stack.tokens_per_character = 0.5
        return stack.outputs.nim_url

    @pytest.fixture
    def base_model(self, stack: FakeStack) -> str:
        return stack.base_model


def test_what_the_fake_cannot_answer_fails_the_test() -> None:
    """Not only the client, which may have an answer of its own to an error of the server."""
    stack = FakeStack()
    stack.evaluations["eval-1"] = {"config": {}}  # lacks what the route of results reads
    answer = httpx.get(f"{stack.url}/v1/evaluation/jobs/eval-1/results")
    assert answer.status_code == 500
    with pytest.raises(ExceptionGroup, match="the fake stack itself failed") as caught:
        stack.close()
    assert caught.group_contains(KeyError, match="type")
