"""The NeMo services, the Customizer's targets and the NIMs, as data."""

from typing import Literal, Self

from pydantic import Field, model_validator

from infra.config.section import DnsLabel, ModelId, Quantity, Section


class Services(Section):
    """Which services of the platform run. Data Store, Entity Store, Customizer and Evaluator make the pipeline."""

    data_store: bool = Field(default=True, description="Datasets and adapters, as a Hugging Face hub")
    entity_store: bool = Field(default=True, description="Namespaces, projects, datasets, models")
    customizer: bool = Field(default=True, description="LoRA and full tuning")
    evaluator: bool = Field(default=True, description="Benchmarks, metrics, judges")
    guardrails: bool = Field(default=False, description="Rails around a model")
    deployment_management: bool = Field(default=False, description="Starts NIMs on request, by the NIM operator")
    nim_proxy: bool = Field(default=False, description="One address for all NIMs")


class CustomizationTemplate(Section):
    """How jobs train a target on one kind of GPU."""

    name: str = Field(
        pattern=r"^[\w.-]+/[\w.-]+@[\w.+-]+$", description="Name of the job config, namespace/name@version"
    )
    gpus: int = Field(default=1, ge=1, description="On each node")
    nodes: int = Field(default=1, ge=1, description="More than one needs a fast network between them")
    gpu_memory_gb: int = Field(default=40, ge=16, description="A GPU must have at least this much")
    micro_batch_size: int = Field(default=1, ge=1, description="Examples on a GPU at a time")
    max_seq_length: int = Field(default=4096, ge=64, description="Tokens")
    prompt_template: str = Field(
        default="{prompt} {completion}", description="How the fields of an example become a text"
    )


class CustomizationTarget(Section):
    """A base model that can be tuned."""

    name: str = Field(pattern=r"^[\w.-]+/[\w.-]+@[\w.-]+$", description="namespace/name@version")
    base_model: ModelId = Field(description="As NIM serves it, e.g. meta/llama-3.2-3b-instruct")
    model_uri: str = Field(pattern=r"^(ngc|hf)://", description="Where the checkpoint is downloaded from")
    model_path: str = Field(min_length=1, description="Folder on the models volume")
    parameters: int = Field(ge=1_000_000, description="Number of parameters")
    precision: Literal["bf16-mixed", "bf16", "fp16", "fp32"] = Field(default="bf16-mixed", description="Of training")
    templates: tuple[CustomizationTemplate, ...] = Field(min_length=1)


LLAMA_3_2_3B = CustomizationTarget(
    name="meta/llama-3.2-3b-instruct@2.0",
    base_model="meta/llama-3.2-3b-instruct",
    model_uri="ngc://nvidia/nemo/llama-3_2-3b-instruct:2.0",
    model_path="llama32_3b-instruct_2_0",
    parameters=3_000_000_000,
    templates=(CustomizationTemplate(name="meta/llama-3.2-3b-instruct@v1.0.0+40GB"),),
)


class CustomizerSettings(Section):
    """The Customizer's jobs."""

    targets: tuple[CustomizationTarget, ...] = (LLAMA_3_2_3B,)
    models_size: Quantity = Field(default="100Gi", description="Volume of base checkpoints")
    job_size: Quantity = Field(default="200Gi", description="Volume of a job; the chart's 5Gi fills up at once")
    max_pending_minutes: int = Field(
        default=60,
        ge=1,
        description="A job that waits longer for a GPU is cancelled: above the autoscaler's cold start",
    )
    pool: DnsLabel | None = Field(default=None, description="GPU pool of training jobs; default: any")


class NimLora(Section):
    """Adapters of a NIM."""

    peft_source: str = Field(
        default="entity-store",
        description="entity-store (NIM 1.x only), an http URL, or an absolute folder in the container",
    )
    refresh_interval_s: int = Field(default=30, ge=1, description="Between two looks for new adapters")
    max_gpu_loras: int = Field(default=8, ge=1, description="Adapters in one batch")
    max_cpu_loras: int = Field(default=16, ge=1, description="Adapters in memory")
    max_rank: Literal[8, 16, 32, 64, 128, 256] = Field(default=32, description="Adapters above it are refused")

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.max_cpu_loras < self.max_gpu_loras:
            raise ValueError(
                f"max_cpu_loras ({self.max_cpu_loras}) must not be below max_gpu_loras ({self.max_gpu_loras})"
            )
        return self


class NimCache(Section):
    """The volume that keeps a NIM's weights over restarts."""

    size: Quantity = Field(default="50Gi", description="Twice the weights and more")
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = Field(
        default="ReadWriteOnce", description="ReadWriteMany: replicas share one volume, which needs an RWX class"
    )
    existing_claim: DnsLabel | None = Field(default=None, description="PersistentVolumeClaim to use instead")


class NimAutoscaling(Section):
    """Replicas by load. The metric comes through a custom-metrics adapter, which is yours."""

    min: int = Field(default=1, ge=1, description="Replicas at least")
    max: int = Field(ge=1, description="Replicas at most")
    metric: Literal["num_requests_running", "num_requests_waiting", "gpu_cache_usage_perc"] = Field(
        default="num_requests_running", description="What tells the load"
    )
    target: str = Field(default="100", pattern=r"^\d+m?$", description="Average of the metric a replica")

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.max < self.min:
            raise ValueError(f"max ({self.max}) must not be below min ({self.min})")
        return self


class Nim(Section):
    """One NIM for one base model, with its adapters."""

    name: DnsLabel = Field(description="Release or NIMService, and its namespace in layout per-service")
    model: ModelId = Field(description="Name by which clients ask for it")
    deploy: Literal["chart", "operator"] = Field(
        default="chart", description="chart: nim-llm; operator: NIMCache and NIMService"
    )
    image: str = Field(description="Repository without tag, e.g. nvcr.io/nim/meta/llama-3.2-3b-instruct")
    tag: str = Field(pattern=r"^\d+(\.\d+)*([.-][\w.-]+)?$", description="A version; latest is refused")
    gpus: int = Field(default=1, ge=1, description="GPUs of one replica")
    min_gpu_memory_gb: int = Field(default=6, ge=1, description="Less memory than this is refused")
    relax_memory: bool = Field(
        default=False, description="Start below the recommended memory (NIM_RELAX_MEM_CONSTRAINTS)"
    )
    replicas: int = Field(default=1, ge=1, description="Copies, each with GPUs of its own")
    lora: NimLora | None = NimLora()
    cache: NimCache = NimCache()
    autoscaling: NimAutoscaling | None = None
    disruption_budget: int | None = Field(default=None, ge=1, description="Replicas that must stay in a drain")
    topology_spread: Literal["zone", "node"] | None = Field(default=None, description="Where replicas must differ")
    pool: DnsLabel | None = Field(default=None, description="GPU pool; default: any")
    startup_minutes: int = Field(default=30, ge=1, description="Download and load; longer counts as failed")
    env: dict[str, str] = Field(default={}, description="Further environment of the container, no secrets")

    @property
    def major(self) -> int:
        """NIM's major version."""
        return int(self.tag.split(".")[0].split("-")[0])

    @model_validator(mode="after")
    def _replicas(self) -> Self:
        if self.autoscaling and self.replicas != 1:
            raise ValueError("replicas and autoscaling exclude each other: leave replicas out")
        least = self.autoscaling.min if self.autoscaling else self.replicas
        if self.disruption_budget is not None and self.disruption_budget >= least:
            raise ValueError(
                f"disruption_budget ({self.disruption_budget}) must be below the replicas ({least}): "
                "else no node can be drained"
            )
        return self


LLAMA_NIM = Nim(
    name="llama3-2-3b-instruct",
    model="meta/llama-3.2-3b-instruct",
    image="nvcr.io/nim/meta/llama-3.2-3b-instruct",
    tag="1.8.3",
)


class Judge(Section):
    """The model that rates answers. Default: the first NIM rates, which is partial to its own answers."""

    url: str | None = Field(default=None, pattern=r"^https?://", description="OpenAI API without /v1, as pods reach it")
    model: str | None = Field(default=None, description="Model id there")

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.url is None) != (self.model is None):
            raise ValueError("url and model go together: say both, or neither")
        return self
