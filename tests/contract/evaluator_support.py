"""Fixtures and helpers of the Evaluator's contract tests: the services, a scripted model, uploads, waiting."""

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from huggingface_hub import HfApi
from nemo_microservices import NeMoMicroservices

from tests.contract.conftest import Running, wait_until
from tests.contract.scripted_model import ScriptedModel

JUDGE = "nemostack/similarity-judge"
# question -> (what the scripted model says, what is true)
QA = {
    "Capital of France?": ("Paris", "Paris"),
    "Who signs a will?": ("The testator signs.", "the testator"),
    "Is it a tort?": ("no", "yes"),
    "Say nothing": ("", "something"),
}


@pytest.fixture(scope="module")
def model(start_app: Callable[..., str]) -> tuple[ScriptedModel, str]:
    """Serve a scripted model that knows QA; with its URL."""
    scripted = ScriptedModel(lambda prompt: QA[prompt][0] if prompt in QA else f"echo: {prompt}")
    return scripted, start_app(scripted.app())


@pytest.fixture(scope="module")
def service(
    start_service: Callable[..., Running], data_store_url: str, entity_store_url: str, model: tuple[ScriptedModel, str]
) -> Running:
    """Start the Evaluator, beside the session's stores and a real judge."""
    judge = start_service("judge")
    return start_service(
        "evaluator",
        data_store_url=data_store_url,
        entity_store_url=entity_store_url,
        nim_url=model[1],
        judge_url=judge.url,
        judge_model=JUDGE,
    )


@pytest.fixture(scope="module")
def client(service: Running) -> NeMoMicroservices:
    """Make the official SDK on it; Any, since all its fields are optional."""
    return NeMoMicroservices(base_url=service.url, timeout=60, max_retries=0)


@pytest.fixture
def upload(hub: HfApi, unique: str) -> Callable[..., str]:
    """`upload(rows, path)` -> the files_url in a repository of this test's own."""

    def send(rows: list[dict[str, Any]], name: str = "testing/test.jsonl") -> str:
        hub.create_repo(f"default/{unique}", repo_type="dataset", exist_ok=True)
        data = "\n".join(json.dumps(row) for row in rows).encode()
        hub.upload_file(path_or_fileobj=data, path_in_repo=name, repo_id=f"default/{unique}", repo_type="dataset")
        return f"hf://datasets/default/{unique}/{name}"

    return send


@pytest.fixture
def qa_url(upload: Callable[..., str]) -> str:
    """Upload the questions and truths of QA."""
    return upload([{"prompt": question, "ideal": truth} for question, (_, truth) in QA.items()])


def finish(client: Any, job_id: str, status: str = "completed") -> Any:
    """Wait for a job's end; fails the test unless it ends as `status`."""
    wait_until(
        lambda: client.evaluation.jobs.retrieve(job_id).status in {"completed", "failed", "cancelled"}, job_id, 90
    )
    job = client.evaluation.jobs.retrieve(job_id)
    assert job.status == status, job.status_details
    return job


def chat_config(files_url: str, metrics: dict[str, Any], **params: Any) -> dict[str, Any]:
    """Make a custom configuration with one chat task `qa`."""
    template = {"messages": [{"role": "user", "content": "{{item.prompt}}"}], "max_tokens": 9}
    task = {"type": "chat-completion", "dataset": {"files_url": files_url}, "params": {"template": template}}
    return {"type": "custom", "params": params, "tasks": {"qa": task | {"metrics": metrics}}}


def target(url: str, model_id: str = "scripted/model", **more: Any) -> dict[str, Any]:
    """Make a model target."""
    endpoint = {"url": f"{url}/v1/chat/completions", "model_id": model_id} | more
    return {"type": "model", "model": {"api_endpoint": endpoint}}


def samples(client: Any, job_id: str, task: str = "qa") -> list[dict[str, Any]]:
    """Read the records of a task from the downloaded zip."""
    archive = zipfile.ZipFile(io.BytesIO(client.evaluation.jobs.download_results(job_id).read()))
    assert {"results.json", f"{task}/samples.jsonl"} <= set(archive.namelist())
    assert json.loads(archive.read("results.json"))["job"] == job_id
    return [json.loads(line) for line in archive.read(f"{task}/samples.jsonl").splitlines()]
