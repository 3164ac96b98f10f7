"""Settings of the Customizer."""

import os
from typing import Literal

from pydantic import Field, model_validator

from embedded.common.service import ServiceSettings


class Settings(ServiceSettings):
    """Settings of the Customizer. Unknown keys are refused."""

    entity_store_url: str = Field(description="Where output models are registered and datasets are looked up")
    data_store_url: str = Field(description="Where datasets come from and artifacts go")
    base_models: dict[str, str] = Field(
        min_length=1, description="Model id `namespace/name` -> folder or Hugging Face id of its weights"
    )
    max_concurrent_jobs: int = Field(default=1, ge=1, description="Further jobs wait in the queue")
    threads: int | None = Field(default=None, ge=1, description="CPU threads of a job; default: all cores")
    keep_warm: bool = Field(
        default=True, description="Keep a process with torch loaded, from which jobs start at once (510 MB)"
    )

    max_served_rank: int | None = Field(
        default=None, ge=1, description="Highest adapter rank that NIM serves; a job above it gets a warning"
    )

    accelerator: Literal["cpu", "cuda"] = Field(default="cpu", description="What computes")
    gpus: tuple[int, ...] = Field(default=(), description="Numbers of the GPUs that a job computes on")
    gpu_memory_fraction: float = Field(default=0.9, gt=0, le=0.98, description="Part of each GPU's memory for a job")

    @model_validator(mode="after")
    def _has_a_gpu(self) -> "Settings":
        if (self.accelerator == "cuda") != bool(self.gpus):
            raise ValueError(f"gpus={list(self.gpus)}: expected GPUs with accelerator=cuda, and none with cpu")
        return self

    @property
    def cores(self) -> int:
        """CPU threads a job computes with."""
        return self.threads or len(os.sched_getaffinity(0))
