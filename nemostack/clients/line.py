"""What the harness asks of a product line: a few small interfaces, each implemented for both lines.

`Clients` picks the implementation by the outputs of the stack, so that a stage of the pipeline or a smoke test does not
know which line it runs on. Of the microservices these are thin layers over NVIDIA's SDK; of the NeMo Platform, whose
SDK does not fit into our environment (docs/adr/0014-two-product-lines.md), over its HTTP API. Datasets have their own,
in nemostack/clients/datasets.py. What a line does not have is refused with BadInput before anything is
made.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from nemostack.clients.customizer import CustomizationJob
from nemostack.clients.evaluator import BenchmarkData, EvaluationJob, Sample, Score
from nemostack.models import Hyperparameters


class Evaluations(Protocol):
    """Evaluation jobs, in the terms of the microservices' API v1: configs, and scores named `metric.score`."""

    def ping(self) -> str:
        """One cheap call; says what came back."""

    def start(
        self, *, config: dict[str, Any], target: dict[str, Any], namespace: str, run_id: str, stage: str
    ) -> EvaluationJob:
        """Start a job."""

    def find(self, run_id: str, stage: str) -> EvaluationJob | None:
        """Find the job that this stage of this run started, should its id never have been written down."""

    def ids_of_run(self, run_id: str) -> list[str]:
        """Ids of all jobs that a run has started."""

    def newest(self) -> list[EvaluationJob]:
        """Return at most a hundred jobs, the newest first, whoever started them."""

    def get(self, job_id: str) -> EvaluationJob:
        """NotFound when the line does not know it."""

    def cancel(self, job_id: str) -> None:
        """Ask it to stop. Conflict when it has ended."""

    def delete(self, job_id: str) -> list[str]:
        """Delete it with its results; the names of what was there."""

    def scores(self, job_id: str) -> dict[str, dict[str, Score]]:
        """Task -> `metric.score` -> score, of a job that has ended."""

    def samples(self, job_id: str, task: str) -> list[Sample] | None:
        """Every item of a task in order, None where no samples are handed out."""

    def benchmark_data(self, job_id: str, task: str) -> BenchmarkData:
        """Say where a benchmark's questions come from."""


class Trainings(Protocol):
    """LoRA jobs."""

    def configs(self) -> list[str]:
        """`namespace/name` of what can be trained."""

    def start(
        self,
        *,
        config: str,
        dataset: str,
        output_model: str,
        asked: Hyperparameters,
        seed: int,
        run_id: str,
        stage: str,
    ) -> CustomizationJob:
        """Start a LoRA job on dataset `namespace/name`. What `asked` leaves open is not sent."""

    def find(self, run_id: str, stage: str) -> CustomizationJob | None:
        """Find the job that this stage of this run started, should its id never have been written down."""

    def ids_of_run(self, run_id: str) -> list[str]:
        """Ids of all jobs that a run has started."""

    def newest(self) -> list[CustomizationJob]:
        """Return at most a hundred jobs, the newest first, whoever started them."""

    def get(self, job_id: str) -> CustomizationJob:
        """NotFound when the line does not know it."""

    def cancel(self, job_id: str) -> None:
        """Ask it to stop. Conflict when it has ended."""

    def delete(self, job_id: str) -> list[str]:
        """Delete the job where jobs can be deleted, not its model; the names of what was there."""

    def model_of(self, output_model: str, job_id: str) -> str:
        """Id of the model that a job of this `output_model` leaves."""


class Records(Protocol):
    """Small records of our own, such as the changes of an alias."""

    def record(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return the fields of a record; None when there is none."""

    def save_record(self, namespace: str, name: str, base_model: str, fields: dict[str, Any]) -> None:
        """Keep a record about a model, in the place of one of this name."""


class Models(Protocol):
    """Tuned models, and prompts with examples."""

    def has_model(self, model: str) -> bool:
        """Whether a tuned model is there with its files complete."""

    def delete_model(self, model: str) -> bool:
        """Delete it; False when there was none."""

    def delete_repository(self, output_model: str) -> bool:
        """Delete where the files of all models of this name are, on a line that keeps them in one place."""

    def register_prompt(self, model: str, *, base_model: str, examples: str, fields: Mapping[str, object]) -> None:
        """Keep the base model with examples in its prompt (a JSON list of turns), in the place of one of this name."""

    def has_prompt(self, model: str) -> bool:
        """Whether a prompt is kept under this name."""

    def delete_prompt(self, model: str) -> bool:
        """Delete it; False when there was none."""
