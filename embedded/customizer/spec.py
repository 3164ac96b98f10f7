"""The terms of a job as a file in the job's folder, from which its worker reads all; and the errors that fail a job."""

import shutil
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from embedded.common.names import Ref
from embedded.customizer.schemas import Hyperparameters, Precision

MAX_GRADIENT_NORM = 1.0


class JobError(Exception):
    """A job cannot be carried out as asked: data, hyperparameters, base model. The text is for whoever started it.

    `message` says what is wrong; `explanation` what to do about it.
    """

    def __init__(self, message: str, explanation: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.explanation = explanation


class StoreError(JobError):
    """The Data Store or the Entity Store does not answer or refuses, after retries."""


class Recipe(BaseModel):
    """What the platform's jobs may ask for and the microservice's hyperparameters cannot say; see `training_hub`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    algorithm: Literal["adam", "adamw", "sgd"] = "adamw"
    adam_epsilon: float = Field(default=1e-8, gt=0)
    max_gradient_norm: float = Field(default=MAX_GRADIENT_NORM, ge=0, description="0: gradients are not clipped")
    decay: Literal["cosine", "cosine_with_restarts", "linear", "constant"] = "cosine"
    restarts: int = Field(default=1, ge=1, description="Cosines of cosine_with_restarts, one after the other")
    final_learning_rate: float = Field(default=0, ge=0)
    warmup_ratio: float = Field(default=0, ge=0, le=1, description="Part of all steps; goes before warmup_steps")
    rank_stabilized: bool = Field(default=False, description="The adapter is scaled by alpha / sqrt(rank)")
    excluded_modules: list[str] | None = Field(default=None, description="Layers that get no adapter")


class JobSpec(BaseModel):
    """Written once when the job is created, so that a resumed job trains on the very same terms."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job_id: str
    base_model: str
    weights: str
    dataset_url: str
    dataset_limit: int | None
    data_store_url: str
    output_repo: tuple[str, str]
    hyperparameters: Hyperparameters
    max_seq_length: int
    precision: Precision
    prompt_template: str
    chat_prompt_template: str | None
    threads: int
    seed: int
    device: Literal["cpu", "cuda"] = "cpu"
    gpus: tuple[int, ...] = ()
    gpu_memory_fraction: float = 1.0
    recipe: Recipe | None = None
    hold_out: float = 0.1
    processes: int = 1
    output_version: str = ""

    @property
    def threads_per_process(self) -> int:
        """CPU threads of each of the job's processes."""
        return max(1, self.threads // self.processes)

    @property
    def repo(self) -> Ref:
        """The model repository for the output; its branch is `revision`."""
        return Ref(*self.output_repo)

    @property
    def revision(self) -> str:
        """What stands after the @ of the output model: the version that was asked for, or the job's id."""
        return self.output_version or self.job_id

    @property
    def output_model(self) -> str:
        """The name under which the model is served."""
        return f"{self.repo}@{self.revision}"


class JobFolder:
    """Files of one job."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.spec = root / "spec.json"
        self.progress = root / "progress.jsonl"
        self.log = root / "worker.log"
        self.lock = root / "lock"
        self.dataset = root / "dataset"
        self.base = root / "base"
        self.partial_base = root / "base.partial"
        self.checkpoint = root / "checkpoint.pt"
        self.best = root / "best.pt"
        self.artifact = root / "artifact"
        self.rendezvous = root / "rendezvous"

    def create(self, spec: JobSpec) -> None:
        """Make the folder with its spec."""
        self.root.mkdir(parents=True, mode=0o700)
        self.spec.write_text(spec.model_dump_json(indent=2))

    def remove(self) -> None:
        """Delete all of it."""
        shutil.rmtree(self.root, ignore_errors=True)

    def replica_error(self, rank: int) -> Path:
        """Name the file in which process `rank` says why it failed."""
        return self.root / f"replica-{rank}.json"

    def tidy(self) -> None:
        """Delete what no one needs once the job is at its end: the artifact is in the Data Store, or incomplete."""
        for file in (self.checkpoint, self.best):
            file.unlink(missing_ok=True)
        shutil.rmtree(self.artifact, ignore_errors=True)
        self.remove_downloads()

    def remove_downloads(self) -> None:
        """Delete what came from the Data Store, whole or in part."""
        for folder in (self.dataset, self.base, self.partial_base):
            shutil.rmtree(folder, ignore_errors=True)

    def read_spec(self) -> JobSpec:
        """Read the spec as it was written."""
        return JobSpec.model_validate_json(self.spec.read_text())
