"""Settings of the training backends, from the environment of the platform's process.

The stack sets them; without any, training runs on the CPU in this clone's `.venv-embedded`.
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nemostack import clone

PREFIX = "NEMOSTACK_TRAINING_"


class TrainingSettings(BaseModel):
    """What computes, and with which interpreter. Unknown variables with the prefix are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    python: Path = Field(
        default=clone.ROOT / ".venv-embedded" / "bin" / "python", description="Interpreter that has PyTorch and PEFT"
    )
    accelerator: Literal["cpu", "cuda"] = "cpu"
    gpus: tuple[int, ...] = ()
    gpu_memory_fraction: float = Field(default=0.9, gt=0, le=0.98)
    threads: int = Field(default_factory=lambda: len(os.sched_getaffinity(0)), ge=1)
    max_served_rank: int | None = Field(
        default=None, ge=1, description="Highest rank of an adapter that NIM serves; a job above it gets a warning"
    )

    @model_validator(mode="after")
    def _has_a_gpu(self) -> "TrainingSettings":
        if (self.accelerator == "cuda") != bool(self.gpus):
            raise ValueError(f"gpus={list(self.gpus)}: expected GPUs with accelerator=cuda, and none with cpu")
        return self

    @classmethod
    def read(cls) -> "TrainingSettings":
        """Read the environment. ValueError says which variable is wrong."""
        found = {
            name.removeprefix(PREFIX).lower(): text for name, text in os.environ.items() if name.startswith(PREFIX)
        }
        values = {
            name: [part for part in text.split(",") if part] if name == "gpus" else text for name, text in found.items()
        }
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            wrong = "; ".join(f"{PREFIX}{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
            raise ValueError(f"settings of the training backends: {wrong}") from error
