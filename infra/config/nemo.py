"""The NeMo services, the Customizer's targets and the NIMs, as data."""

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from infra import names
from infra.config.section import DnsLabel, ModelId, Quantity, Section
from nemostack.base_urls import split_api_path


class Services(Section):
    """Which NeMo services run. The pipeline needs Data Store, Entity Store, Customizer and Evaluator."""

    data_store: bool = Field(default=True, description="Datasets and adapters, through the Hugging Face Hub API")
    entity_store: bool = Field(default=True, description="Registry of namespaces, projects, datasets and models")
    customizer: bool = Field(default=True, description="Fine-tuning jobs (LoRA)")
    evaluator: bool = Field(default=True, description="Benchmarks, metrics and LLM-as-a-judge evaluations")
    guardrails: bool = Field(default=False, description="Guardrails around a model")
    deployment_management: bool = Field(default=False, description="Starts NIMs on request; needs the NIM operator")
    nim_proxy: bool = Field(default=False, description="One address for all NIMs")

    @property
    def running(self) -> tuple[names.Service, ...]:
        """Services that run. The Evaluator brings the jobs service (core) along."""
        enabled = {key for key in type(self).model_fields if getattr(self, key)}
        enabled |= {"core"} if self.evaluator else set()
        return tuple(service for service in names.MICROSERVICES if service.key in enabled)


class GuardrailsSettings(Section):
    """The Guardrails service."""

    nvidia_api_secret: DnsLabel | None = Field(
        default=None,
        description="Existing Secret with the key NVIDIA_API_KEY in the namespace of Guardrails, for models "
        "hosted by NVIDIA; it also allows traffic to them (security.internet_cidrs)",
    )


class CustomizationTemplate(Section):
    """How jobs train a target on one type of GPU."""

    name: str = Field(
        pattern=r"^[\w.-]+/[\w.-]+@[\w.+-]+$", description="Name of the job config, namespace/name@version"
    )
    gpus: int = Field(default=1, ge=1, description="GPUs per node")
    nodes: int = Field(default=1, ge=1, description="Nodes per job; more than one needs a fast network between them")
    gpu_memory_gb: int = Field(default=40, ge=16, description="Minimum memory of each GPU in GB")
    micro_batch_size: int = Field(default=1, ge=1, description="Examples per GPU in one forward pass")
    max_seq_length: int = Field(default=4096, ge=64, description="Maximum sequence length in tokens")
    prompt_template: str = Field(
        default="{prompt} {completion}", description="How the fields of an example are combined into text"
    )


class CustomizationTarget(Section):
    """A base model that can be fine-tuned."""

    name: str = Field(pattern=r"^[\w.-]+/[\w.-]+@[\w.-]+$", description="namespace/name@version")
    base_model: ModelId = Field(description="Model name as NIM serves it, e.g. meta/llama-3.2-3b-instruct")
    model_uri: str = Field(pattern=r"^(ngc|hf)://", description="URI of the checkpoint to download")
    model_path: str = Field(min_length=1, description="Directory of the checkpoint on the models volume")
    parameters: int = Field(ge=1_000_000, description="Number of parameters")
    precision: Literal["bf16-mixed", "bf16", "fp16", "fp32"] = Field(
        default="bf16-mixed", description="Training precision"
    )
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
    """Fine-tuning targets and jobs of the Customizer."""

    targets: tuple[CustomizationTarget, ...] = (LLAMA_3_2_3B,)
    models_size: Quantity = Field(default="100Gi", description="Size of the volume for base checkpoints")
    job_size: Quantity = Field(
        default="200Gi", description="Volume size per job; the chart's default of 5Gi is too small"
    )
    max_pending_minutes: int = Field(
        default=60,
        ge=1,
        description="Jobs that wait longer for a GPU are cancelled; allow time for the autoscaler to add a node",
    )
    pool: DnsLabel | None = Field(
        default=None, description="GPU pool for training jobs; default: any, or the first one that fits"
    )


class NimLora(Section):
    """LoRA adapters of a NIM."""

    peft_source: str = Field(
        default="entity-store",
        description="Adapter source: entity-store (NIM 1.x only), an HTTP URL, or an absolute path in the container",
    )
    existing_claim: DnsLabel | None = Field(
        default=None,
        description="Existing PersistentVolumeClaim with adapters, mounted at peft_source; with deploy: chart only",
    )
    refresh_interval_s: int = Field(default=30, ge=1, description="Seconds between checks for new adapters")
    max_gpu_loras: int = Field(default=8, ge=1, description="Maximum number of adapters in one batch")
    max_cpu_loras: int = Field(default=16, ge=1, description="Maximum number of adapters in memory")
    max_rank: Literal[8, 16, 32, 64, 128, 256] = Field(
        default=32, description="Maximum adapter rank; adapters of a higher rank are refused"
    )

    @model_validator(mode="after")
    def _fit(self) -> Self:
        self._in_order("max_gpu_loras", "max_cpu_loras")
        if self.existing_claim and not self.peft_source.startswith("/"):
            raise ValueError(
                f"existing_claim is mounted as a directory, but peft_source is {self.peft_source!r}: set it to the "
                "absolute path at which NIM shall find the adapters"
            )
        return self


class NimCache(Section):
    """The volume that keeps a NIM's weights across restarts."""

    size: Quantity = Field(default="50Gi", description="Size of the volume, at least twice that of the weights")
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = Field(
        default="ReadWriteOnce", description="ReadWriteMany: replicas share one volume; needs an RWX storage class"
    )
    existing_claim: DnsLabel | None = Field(default=None, description="Existing PersistentVolumeClaim to use instead")
    engine: Literal["tensorrt_llm", "vllm"] | None = Field(
        default=None,
        description="With deploy: operator, download only profiles of this engine; default: of all engines",
    )
    profiles: tuple[str, ...] = Field(
        default=(),
        description="With deploy: operator, download exactly these profiles (list-model-profiles in the image shows "
        "their IDs); default: all that match the number of GPUs, lora and engine",
    )

    @model_validator(mode="after")
    def _selection(self) -> Self:
        if self.engine and self.profiles:
            raise ValueError("set either engine or profiles, not both")
        return self


class NimAutoscaling(Section):
    """Scale replicas with load. Needs a custom-metrics adapter, which you install."""

    min: int = Field(default=1, ge=1, description="Minimum number of replicas")
    max: int = Field(ge=1, description="Maximum number of replicas")
    metric: Literal["num_requests_running", "num_requests_waiting", "gpu_cache_usage_perc"] = Field(
        default="num_requests_running", description="Metric to scale by"
    )
    target: str = Field(default="100", pattern=r"^\d+m?$", description="Target average of the metric per replica")

    @model_validator(mode="after")
    def _range(self) -> Self:
        self._in_order("min", "max")
        return self


class Nim(Section):
    """One NIM: a base model and its adapters."""

    name: DnsLabel = Field(
        description="Name of the Helm release or NIMService, and of its namespace in layout per-service"
    )
    model: ModelId = Field(description="Model name that clients use")
    deploy: Literal["chart", "operator", "platform"] = Field(
        default="chart",
        description="chart: Helm chart nim-llm; operator: NIMCache and NIMService of the NIM operator; platform: the "
        "NeMo Platform's own deployments, which also bring its adapters, and the default there",
    )
    image: str = Field(description="Image without tag, e.g. nvcr.io/nim/meta/llama-3.2-3b-instruct")
    tag: str = Field(pattern=r"^\d+(\.\d+)*([.-][\w.-]+)?$", description="Image version; latest is refused")
    gpus: int = Field(default=1, ge=1, description="GPUs per replica")
    min_gpu_memory_gb: int = Field(
        default=6, ge=1, description="Minimum memory of one GPU in GB; smaller GPUs are refused"
    )
    relax_memory: bool = Field(
        default=False, description="Start with less than the recommended memory (NIM_RELAX_MEM_CONSTRAINTS)"
    )
    replicas: int = Field(default=1, ge=1, description="Number of replicas, each with its own GPUs")
    lora: NimLora | None = NimLora()
    cache: NimCache = NimCache()
    autoscaling: NimAutoscaling | None = None
    disruption_budget: int | None = Field(
        default=None, ge=1, description="Minimum number of replicas kept running while nodes are drained"
    )
    topology_spread: Literal["zone", "node"] | None = Field(
        default=None, description="Prefer to spread replicas across zones or nodes"
    )
    pool: DnsLabel | None = Field(
        default=None,
        description="GPU pool; default: the smallest that fits beside that of training jobs; any where all fit alike",
    )
    startup_minutes: int = Field(
        default=30, ge=1, description="Time allowed to download and load the model before the start counts as failed"
    )
    env: dict[str, str] = Field(default={}, description="Additional environment variables of the container; no secrets")

    @property
    def major(self) -> int:
        """NIM's major version."""
        return int(self.tag.split(".")[0].split("-")[0])

    @property
    def runs_on_mig(self) -> bool:
        """Whether it starts on a partition of a GPU, which NVIDIA supports from NIM 1.13 on."""
        return tuple(int(part) for part in re.findall(r"\d+", self.tag)[:2]) >= (1, 13)

    @property
    def least_replicas(self) -> int:
        """Replicas that run whatever the load."""
        return self.autoscaling.min if self.autoscaling else self.replicas

    @model_validator(mode="after")
    def _replicas(self) -> Self:
        if self.autoscaling and self.replicas != 1:
            raise ValueError("set either replicas or autoscaling, not both")
        least = self.least_replicas
        if self.disruption_budget is not None and self.disruption_budget >= least:
            raise ValueError(
                f"disruption_budget ({self.disruption_budget}) must be below the replicas ({least}): "
                "otherwise no node can be drained"
            )
        return self

    @model_validator(mode="after")
    def _by_one_way_only(self) -> Self:
        if self.deploy == "operator" and self.lora and self.lora.existing_claim:
            raise ValueError(
                "lora.existing_claim: NIMService of the NIM operator mounts no further volume: deploy: chart"
            )
        if self.deploy == "chart" and (self.cache.engine or self.cache.profiles):
            raise ValueError(
                "cache.engine and cache.profiles select what the NIM operator downloads: deploy: operator, or set "
                "NIM_MODEL_PROFILE in env"
            )
        return self


LLAMA_NIM = Nim(
    name="llama3-2-3b-instruct",
    model="meta/llama-3.2-3b-instruct",
    image="nvcr.io/nim/meta/llama-3.2-3b-instruct",
    tag="1.8.3",
)


class Judge(Section):
    """The model that rates answers. Default: the first NIM, which tends to favour its own answers."""

    url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Base URL of an OpenAI-compatible API, without /v1, as pods reach it",
    )
    model: str | None = Field(default=None, description="Model ID at that URL")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if (self.url is None) != (self.model is None):
            raise ValueError("set both url and model, or neither")
        if self.url and (path := split_api_path("judge_url", self.url)[1]):
            raise ValueError(f"url ends in {path}, which clients add themselves: leave it out")
        return self
