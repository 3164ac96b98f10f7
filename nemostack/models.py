"""Models that the clients, the operations and the pipeline share: a strict base model, and the LoRA hyperparameters."""

import math
from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from nemostack.entity_names import gateway_model

SAMPLE_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
SAMPLE_MODEL_SUITS = {"alpha": 16, "adapter_dropout": 0.0, "batch_size": 4, "learning_rate": 4e-3}
"""See docs/adr/0013-the-sample-model-comes-from-the-package-index.md."""


SCHEDULE_PART = 10
"""The warm-up takes one of so many steps, and the learning rate ends at one part of so many."""


def is_served_as(served: str, model_id: str) -> bool:
    """Whether a stack of either product line that serves `served` serves the model of this id."""
    return served in {model_id, gateway_model(model_id)}


class Model(BaseModel):
    """Frozen, and strict about its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Hyperparameters(Model):
    """Of the LoRA job. None leaves the choice to the Customizer, since what suits one base model ruins another."""

    adapter_dim: int = Field(default=8, ge=1, le=256, description="Rank of the adapter")
    alpha: int | None = Field(default=None, ge=1, description="Scale of the adapter is alpha / rank")
    adapter_dropout: float | None = Field(default=None, ge=0, lt=1)
    epochs: int = Field(default=1, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)
    val_check_interval: float = Field(default=0.25, ge=0.1, le=1, description="Validation every so much of an epoch")
    warmup_steps: int | None = Field(default=None, ge=0)
    min_learning_rate: float | None = Field(default=None, ge=0, description="The rate at the end of the cosine")

    def suited_to(self, base_model: str) -> Self:
        """Fill in what was not chosen where we know what suits the model: the default one of local stacks."""
        return self.completed(SAMPLE_MODEL_SUITS) if is_served_as(base_model, SAMPLE_MODEL) else self

    def scheduled(self, rows: int) -> Self:
        """Fill in the schedule of the learning rate for `rows` training rows, where it follows from what was chosen.

        Left open, the same job would train otherwise on each product: the microservices document a warm-up of 200 steps
        and an end at a tenth of the rate, the platform none and a hundredth. A tenth of all steps is a warm-up that
        ends even in a short job.
        """
        values: dict[str, float] = {}
        if self.batch_size is not None:
            values["warmup_steps"] = math.ceil(rows / self.batch_size) * self.epochs // SCHEDULE_PART
        if self.learning_rate is not None:
            values["min_learning_rate"] = self.learning_rate / SCHEDULE_PART
        return self.completed(values)

    def completed(self, values: Mapping[str, float]) -> Self:
        """Fill in what was not chosen."""
        unset = {name: value for name, value in values.items() if getattr(self, name) is None}
        return self.model_copy(update=unset)
