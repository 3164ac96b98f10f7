"""LoRA: a job trains, NIM serves what it made, and jobs that cannot work or are not wanted end as they should."""

from collections.abc import Callable
from statistics import mean

import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionUserMessageParam

from nemostack.clients import Clients
from nemostack.clients.evaluator import EvaluationJob
from nemostack.clients.polling import wait_for
from nemostack.models import Hyperparameters
from nemostack.outputs import StackOutputs
from smoke_tests.conftest import Session
from smoke_tests.journal import Kind
from smoke_tests.shared import OUTAGE_S, PACE, TRAIN_ROWS, Shared, small_dataset
from workflows.data import dataset
from workflows.results import approach
from workflows.settings import Settings

Make = Callable[[Kind, str], str]
pytestmark = pytest.mark.services("customizer")
CHAT: ChatCompletionUserMessageParam = {"role": "user", "content": dataset.load(Settings()).test[0].prompt}


def test_lora_job_trains(clients: Clients, outputs: StackOutputs, shared: Shared) -> None:
    job = shared.adapter_job()
    steps = TRAIN_ROWS // 16
    assert job.steps_completed in {steps, None}  # not every build says
    assert job.epochs_completed in {1, None}
    values = [point.value for point in job.train_loss]
    assert len(values) >= 2
    assert mean(values[-2:]) < mean(values[:2])
    assert job.output_model is not None
    assert clients.models.has_model(job.output_model)
    namespace, _, name = job.output_model.partition("/")
    if clients.on_platform:
        adapter = clients.platform.within(namespace).adapter(name)
        assert adapter is not None
        assert adapter["finetuning_type"] == "lora"
        return
    model = clients.sdk.models.retrieve(name, namespace=namespace)
    assert name.endswith(f"@{job.id}")
    assert model.artifact is not None
    assert model.artifact.status == "upload_completed"
    assert model.base_model == outputs.base_model


@pytest.mark.services("customizer", "nim")
def test_nim_serves_the_adapter(outputs: StackOutputs, shared: Shared) -> None:
    adapter = shared.adapter()
    nim = OpenAI(base_url=f"{outputs.inference_url}/v1", api_key="none", timeout=60, max_retries=2)

    def say(model: str) -> str:
        reply = nim.chat.completions.create(model=model, messages=[CHAT], max_tokens=24, temperature=0)
        assert reply.model.endswith(model)  # the platform's gateway names the base model before it
        return str(reply.choices[0].message.content)

    tuned = say(adapter)
    assert tuned
    assert tuned != say(outputs.base_model)  # an adapter that changes nothing was not applied
    assert tuned == say(adapter)


@pytest.mark.services("customizer", "nim", "evaluator")
def test_the_tuned_model_is_evaluated(
    clients: Clients,
    shared: Shared,
    evaluate: Callable[..., EvaluationJob],
) -> None:
    job = evaluate(shared.test_url(shared.dataset()), model=shared.adapter())
    shared.evaluated(job.id)
    rouge = clients.evaluator.scores(job.id)[approach.TASK]["rouge.rouge_L_score"]
    assert rouge.mean is not None
    assert 0 <= rouge.mean <= 1
    assert rouge.nan_count == 0


def test_a_bad_dataset_fails_with_the_line(shared: Shared, smoke: Session, name: str, made: Make) -> None:
    repo = f"{smoke.namespace}/{name}"
    train = small_dataset()["training/train.jsonl"].splitlines(keepends=True)
    train[4] = b'{"messages": "not a list"}\n'
    shared.upload(repo, {"training/train.jsonl": b"".join(train)}, made)
    job = shared.start_customization(f"{repo}-lora", repo, Hyperparameters(epochs=1), made)
    ended = shared.customization_ended(job.id)
    assert ended.status == "failed"
    assert "train.jsonl" in ended.message
    assert "5" in ended.message


def test_a_job_can_be_cancelled(clients: Clients, shared: Shared, smoke: Session, name: str, made: Make) -> None:
    # long enough that it cannot end by itself before it is cancelled
    job = shared.start_customization(f"{smoke.namespace}/{name}", shared.dataset(), Hyperparameters(epochs=500), made)
    clients.customizer.cancel(job.id)
    ended = wait_for(
        lambda: clients.customizer.get(job.id),
        done=lambda seen: seen.ended,
        describe=lambda seen: seen.status,
        what=f"cancellation of {job.id}",
        deadline_s=shared.job_timeout_s,
        outage_s=OUTAGE_S,
        pace=PACE,
    )
    assert ended.status == "cancelled"
    assert clients.customizer.model_of(f"{smoke.namespace}/{name}", job.id) not in clients.front.models()
