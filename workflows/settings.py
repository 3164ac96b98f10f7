"""The settings of a run: one frozen model, with the defaults in one place.

Refuses unknown keys. `identity` is the part that decides whether an unfinished run may be continued: what changes
the results belongs to it, what only changes patience or tidiness does not.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator

from nemostack import sample_dataset
from nemostack.models import SAMPLE_MODEL, Hyperparameters, Model, is_served_as
from nemostack.outputs import StackOutputs
from workflows.sweep.space import SweepSettings

Kind = Literal["run", "evaluate", "customize"]
Method = Literal["random", "similar", "diverse"]
"""How the examples of an in-context prompt are chosen; see workflows/data/selection.py."""
DEFAULT_DATASET = sample_dataset.FOLDER
SAMPLE_ROWS = {"train_rows": 128, "validation_rows": 16}
"""Of the sample dataset with the sample model: as many as two cores learn from in less than two minutes."""


class Deadlines(Model):
    """Seconds before waiting is given up; the job itself is left alone and can be picked up again."""

    evaluation: float = Field(default=4 * 3600, gt=0)
    customization: float = Field(default=48 * 3600, gt=0)
    adapter: float = Field(default=900, gt=0, description="From the end of training until NIM lists the model")
    outage: float = Field(default=120, gt=0, description="How long a service may be unreachable while a job runs")


class Settings(Model):
    """Everything a run is asked, save which services to talk to."""

    kind: Kind = "run"
    dataset: Path = DEFAULT_DATASET
    prompt_column: str = Field(default="prompt", min_length=1)
    completion_column: str = Field(default="completion", min_length=1)
    namespace: str = Field(default="default", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    limit: int = Field(default=100, ge=1, description="Test items evaluated per approach, the first ones of the split")
    train_rows: int | None = Field(default=None, ge=1, description="Rows trained on, the first ones; None: all")
    validation_rows: int | None = Field(default=None, ge=1, description="Rows of the validation loss; None: all")
    shots: int = Field(default=3, ge=0, le=64, description="Examples shown in the in-context evaluation")
    choose_shots: tuple[int, ...] = Field(default=(), description="Numbers of examples to choose from on validation")
    examples: Method = Field(default="random", description="Which examples are shown")
    temperature: float = Field(default=0.0001, gt=0, le=2, description="The Evaluator does not take 0")
    max_tokens: int | None = Field(default=None, ge=1, description="None: long enough for the longest reference")
    parallelism: int = Field(default=32, ge=1, description="Requests at once, per evaluation")
    judge: bool = Field(default=True, description="Let the stack's judge rate the answers")
    reuse: bool = Field(default=True, description="Take answers of earlier runs for items that are unchanged")
    seed: int = 0
    hyperparameters: Hyperparameters = Hyperparameters()
    sweep: SweepSettings | None = Field(default=None, description="Several jobs instead of one; the best goes on")
    experiment: str = Field(default="legal_domain_evaluation", min_length=1, description="In MLflow")
    benchmarks: tuple[str, ...] = Field(default=(), description="run: lm-eval tasks for base and tuned model")
    benchmark_items: int = Field(default=20, ge=1, description="Questions per benchmark; of mmlu, per subject")
    keep_adapter: bool = False
    policy: Path | None = Field(default=None, description="Policy of the gate; None: the default one")
    load_slo: Path | None = Field(default=None, description="Objectives of a load test before the cleanup; None: none")
    deadlines: Deadlines = Deadlines()
    model: str | None = Field(default=None, description="evaluate: the model id, None for the stack's base model")
    benchmark: str | None = Field(default=None, description="evaluate: an lm-eval task instead of the dataset")

    @field_validator("benchmarks")
    @classmethod
    def _once_each(cls, benchmarks: tuple[str, ...]) -> tuple[str, ...]:
        for name in benchmarks:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
                raise ValueError(f"{name!r} is no name of a benchmark; expected names such as gsm8k,mmlu")
        return tuple(dict.fromkeys(benchmarks))

    @field_validator("choose_shots")
    @classmethod
    def _in_order(cls, numbers: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 1 <= number <= 64 for number in numbers):
            raise ValueError(f"{', '.join(map(str, numbers))}: expected numbers from 1 to 64, such as 1,3,5")
        return tuple(sorted(set(numbers)))

    @property
    def shows_examples(self) -> bool:
        """Whether there is an in-context prompt."""
        return self.shots > 0 or bool(self.choose_shots)

    def suited_to(self, base_model: str) -> Self:
        """Fill in what was not chosen where we know what suits the model and, with it, the sample dataset."""
        change: dict[str, Any] = {"hyperparameters": self.hyperparameters.suited_to(base_model)}
        if is_served_as(base_model, SAMPLE_MODEL) and self.dataset == DEFAULT_DATASET:
            change |= {name: rows for name, rows in SAMPLE_ROWS.items() if getattr(self, name) is None}
        return self.model_copy(update=change)

    def identity(self, outputs: StackOutputs, dataset_digest: str) -> str:
        """Eight hex digits of what the results depend on: settings, files of the dataset, services."""
        without = {"keep_adapter", "deadlines", "experiment", "load_slo", "policy", "reuse"}
        without |= set() if self.benchmarks else {"benchmarks", "benchmark_items"}
        without |= set() if self.sweep else {"sweep"}
        asked: dict[str, Any] = self.model_dump(mode="json", exclude=without)
        asked["dataset"] = dataset_digest
        services = outputs.model_dump(mode="json", exclude={"log_commands", "cluster"})
        text = json.dumps([asked, services], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]
