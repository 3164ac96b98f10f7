"""A small dataset and one LoRA adapter, made once a session however many processes test.

The first process that needs one makes it under a file lock and leaves a record; the others read it. A failure is
recorded too: they then fail at once with the same words rather than trying again.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from nemostack.clients import Clients
from nemostack.clients.customizer import CustomizationJob
from nemostack.clients.evaluator import EvaluationJob
from nemostack.clients.jobs import Job
from nemostack.clients.polling import Pace, wait_for
from nemostack.clients.serving import wait_until_served
from nemostack.errors import JobFailed, NemostackError
from nemostack.files import locked
from nemostack.models import Hyperparameters, is_served_as
from smoke_tests.journal import Journal, Made
from workflows.data import dataset, rows
from workflows.settings import Settings

TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS = 128, 16, 16
EVALUATED_ITEMS = 8
JOB_TIMEOUT_S = 900.0  # on a cluster a job waits for a node and downloads its model: --job-timeout
OUTAGE_S = 60.0
PACE = Pace(first=0.5, longest=3.0)
J = TypeVar("J", bound=Job)
HYPERPARAMETERS = Hyperparameters(epochs=1, batch_size=16)
# The small model with which this repository tests a stack quickly (tests/base_model); it learns at other rates.
TEST_MODEL = "nemostack/tiny-instruct"
TEST_MODEL_SUITS = {"alpha": 32, "adapter_dropout": 0.0, "batch_size": 8, "learning_rate": 5e-3}


def suited(asked: Hyperparameters, base_model: str) -> Hyperparameters:
    """Fill in what was not chosen where we know what suits the model."""
    return asked.completed(TEST_MODEL_SUITS) if is_served_as(base_model, TEST_MODEL) else asked.suited_to(base_model)


class Shared:
    """Of one session."""

    def __init__(
        self, folder: Path, namespace: str, journal: Journal, clients: Clients, job_timeout_s: float = JOB_TIMEOUT_S
    ) -> None:
        self.job_timeout_s = job_timeout_s
        self._folder, self.namespace, self._journal, self._clients = folder, namespace, journal, clients

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what `make` returned in the first process that came here (JSON)."""
        record = self._folder / f"{name}.json"
        with locked(self._folder / f"{name}.lock"):
            if not record.exists():
                try:
                    value = {"value": make()}
                except NemostackError as error:
                    value = {"error": str(error)}
                record.write_text(json.dumps(value), encoding="utf-8")
            recorded = json.loads(record.read_text(encoding="utf-8"))
        if "error" in recorded:
            raise NemostackError(f"{name}, which this test needs, could not be made: {recorded['error']}")
        return recorded["value"]

    def dataset(self) -> str:
        """`namespace/name` of a small dataset that is uploaded and registered."""

        def make() -> str:
            name = f"{self.namespace}/shared"
            self.upload(name, small_dataset(), lambda kind, made: self._journal.add(Made(kind, made)))
            return name

        return str(self.once("dataset", make))

    def upload(self, repo: str, files: dict[str, bytes], remember: Callable[[Any, str], Any]) -> None:
        """Make namespace, repository and dataset entity, written down first."""
        namespace, _, name = repo.partition("/")
        self._journal.add(Made("namespace", namespace))
        remember("dataset-repo", repo)
        remember("dataset", repo)
        datasets = self._clients.datasets
        datasets.upload(namespace, name, files, message="smoke test")
        reference = datasets.register(namespace, name, description="Of the smoke tests", fields={})
        assert datasets.file_of(reference, "testing/test.jsonl") == self.test_url(repo)

    def test_url(self, repo: str) -> str:
        """Name the test items of a dataset as evaluations do."""
        on_platform = self._clients.on_platform
        return f"{repo}#testing/test.jsonl" if on_platform else f"hf://datasets/{repo}/testing/test.jsonl"

    def adapter_job(self) -> CustomizationJob:
        """Return the session's LoRA job, completed. JobFailed at once when it ended otherwise."""
        data = self.dataset()

        def make() -> str:
            job = self.start_customization(f"{self.namespace}/shared-lora", data, HYPERPARAMETERS, self._remember)
            return job.id

        job = self.customized(str(self.once("adapter", make)))
        assert job.output_model
        return job

    def adapter(self) -> str:
        """Model id of the session's adapter, once NIM serves it."""
        model = self.adapter_job().output_model
        assert model is not None
        wait_until_served(self._clients.front, model, deadline_s=self.job_timeout_s, outage_s=OUTAGE_S, pace=PACE)
        return model

    def _remember(self, kind: Any, name: str) -> None:
        self._journal.add(Made(kind, name))

    def start_customization(
        self, output_model: str, data: str, asked: Hyperparameters, remember: Callable[[Any, str], Any]
    ) -> CustomizationJob:
        """Start a LoRA job; the job, its model and its repository are written down."""
        remember("model-repo", output_model)
        job = self._clients.customizer.start(
            config=self._clients.outputs.customization_config,
            dataset=data,
            output_model=output_model,
            asked=suited(asked, self._clients.outputs.base_model),
            seed=0,
            run_id=self.namespace,
            stage=output_model.partition("/")[2],
        )
        remember("model", self._clients.customizer.model_of(output_model, job.id))
        remember("customization", job.id)
        return job

    def customized(self, job_id: str) -> CustomizationJob:
        """Wait for a LoRA job to complete."""
        return _completed(self._ended(self._clients.customizer.get, job_id), "customization")

    def evaluated(self, job_id: str) -> EvaluationJob:
        """Wait for an evaluation to complete."""
        return _completed(self._ended(self._clients.evaluator.get, job_id), "evaluation")

    def evaluation_ended(self, job_id: str) -> EvaluationJob:
        """Wait for an evaluation to end, well or not."""
        return self._ended(self._clients.evaluator.get, job_id)

    def customization_ended(self, job_id: str) -> CustomizationJob:
        """Wait for a LoRA job to end, well or not."""
        return self._ended(self._clients.customizer.get, job_id)

    def _ended(self, get: Callable[[str], J], job_id: str) -> J:
        return wait_for(
            lambda: get(job_id),
            done=lambda job: job.ended,
            describe=lambda job: f"{job.status} {job.message}",
            what=f"job {job_id}",
            deadline_s=self.job_timeout_s,
            outage_s=OUTAGE_S,
            pace=PACE,
        )


def _completed(job: J, what: str) -> J:
    if not job.completed:
        raise JobFailed(f"{what} job {job.id} ended as {job.status}: {job.message}")
    return job


def small_dataset() -> dict[str, bytes]:
    """Files of the Data Store's layout, from the first rows of the sample dataset."""
    data = dataset.load(Settings(limit=TEST_ROWS))
    return {
        "training/train.jsonl": rows.as_chats(data.train[:TRAIN_ROWS]),
        "validation/validation.jsonl": rows.as_chats(data.validation[:VALIDATION_ROWS]),
        "testing/test.jsonl": rows.as_test_items(data.test[:TEST_ROWS]),
    }
