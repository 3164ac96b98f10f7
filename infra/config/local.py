"""Settings of the local stack: real services of this machine, on loopback."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from infra.config.section import Section


class BaseModelSettings(Section):
    """The model that NIM serves and the Customizer tunes."""

    id: str = Field(
        default="nemostack/tiny-instruct", pattern=r"^[\w.-]+/[\w.-]+$", description="namespace/name for clients"
    )
    path: str = Field(
        default="embedded/base_model/weights",
        min_length=1,
        description="Folder in Hugging Face layout (relative to the clone), or a Hub id",
    )


class LocalNim(Section):
    """Limits of the embedded NIM; the defaults suit 2 cores and 8 GiB."""

    max_loras: int = Field(default=4, ge=1, description="Adapters in one batch")
    max_cpu_loras: int = Field(default=16, ge=1, description="Adapters in memory")
    max_lora_rank: Literal[8, 16, 32, 64, 128, 256] = Field(default=32, description="Adapters above it are refused")
    max_model_len: int = Field(default=2048, ge=16, description="Prompt and completion together, tokens")
    max_num_seqs: int = Field(default=64, ge=1, description="Requests decoded at the same time")
    refresh_interval_s: float = Field(default=2.0, gt=0, description="Seconds between two looks for new adapters")

    @model_validator(mode="after")
    def _adapters_fit(self) -> "LocalNim":
        if self.max_cpu_loras < self.max_loras:
            raise ValueError(f"max_cpu_loras ({self.max_cpu_loras}) must not be below max_loras ({self.max_loras})")
        return self


class LocalCustomizer(Section):
    """Limits of the embedded Customizer."""

    max_concurrent_jobs: int = Field(default=1, ge=1, description="Further jobs wait in the queue")
    threads: int | None = Field(default=None, ge=1, description="CPU threads of a job; default: all cores")


class LocalSettings(Section):
    """The local stack: real services on this machine, on loopback."""

    base_port: int = Field(default=18080, ge=1024, le=65528, description="First of eight ports in a row")
    data_dir: str | None = Field(default=None, description="Folder of the stack; default .nemostack/<stack>")
    base_model: BaseModelSettings = BaseModelSettings()
    nim: LocalNim = LocalNim()
    customizer: LocalCustomizer = LocalCustomizer()

    def folder(self, root: Path, stack: str) -> Path:
        """Return the stack's folder, absolute."""
        return root / self.data_dir if self.data_dir else root / ".nemostack" / stack


class LocalStackConfig(Section):
    """A stack whose target is `local`."""

    target: Literal["local"]
    local: LocalSettings = LocalSettings()
