"""Requests of the Customizer's REST API, with the defaults that this stand-in chose (see docs/customizer.md).

Unknown keys are ignored with a warning, as NVIDIA's service lets them through; wrong values of known keys are refused.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from embedded.common.unknown_keys import Tolerant

FinetuningType = Literal["lora", "lora_merged", "all_weights"]
TrainingType = Literal["sft", "dpo", "distillation", "grpo"]
Precision = Literal["int8", "bf16", "fp16", "fp32", "fp8-mixed", "bf16-mixed"]
Optimizer = Literal[
    "adam_with_cosine_annealing", "adam_with_flat_lr", "adamw_with_cosine_annealing", "adamw_with_flat_lr"
]


class Lora(Tolerant):
    """Low-rank adapter: y = W x + (alpha / adapter_dim) B A x."""

    adapter_dim: int = Field(default=8, ge=1, le=256)
    alpha: int = Field(default=16, ge=1)
    adapter_dropout: float = Field(default=0.0, ge=0, le=1)
    target_modules: list[str] | None = Field(default=None, min_length=1)

    @field_validator("adapter_dim")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError("must be a power of 2 (8, 16, 32, ...)")
        return value


class Sft(Tolerant):
    """Dropout of the base model itself; None leaves the model's own."""

    hidden_dropout: float | None = Field(default=None, ge=0, le=1)
    attention_dropout: float | None = Field(default=None, ge=0, le=1)
    ffn_dropout: float | None = Field(default=None, ge=0, le=1)


class Hyperparameters(Tolerant):
    """How to train."""

    finetuning_type: FinetuningType
    training_type: TrainingType = "sft"
    epochs: int = Field(default=3, ge=1)
    batch_size: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0)
    min_learning_rate: float | None = Field(default=None, ge=0)
    optimizer: Optimizer = "adamw_with_cosine_annealing"
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_steps: int | None = Field(default=None, ge=0, description="Default: a tenth of all steps")
    log_every_n_steps: int | None = Field(
        default=None, ge=0, description="0 and default: 10, fewer when the run is short"
    )
    val_check_interval: int | float | None = Field(default=None, gt=0)
    max_steps: int | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**32)
    sequence_packing_enabled: bool = False
    lora: Lora | None = None
    sft: Sft | None = None
    dpo: dict[str, Any] | None = None
    distillation: dict[str, Any] | None = None
    grpo: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Hyperparameters":
        interval = self.val_check_interval
        if isinstance(interval, float) and not interval.is_integer() and interval > 1:
            raise ValueError("val_check_interval: a fraction of an epoch up to 1.0, or a whole number of batches")
        if self.min_learning_rate and self.min_learning_rate >= self.learning_rate:
            raise ValueError("min_learning_rate must be lower than learning_rate")
        if self.finetuning_type != "all_weights" and self.lora is None:
            self.lora = Lora()
        return self


class TrainingOption(Tolerant):
    """A kind of training that a config allows. On CPU only the micro batch size has an effect: see `batches`."""

    training_type: TrainingType = "sft"
    finetuning_type: FinetuningType
    num_gpus: int = Field(ge=0)
    micro_batch_size: int = Field(ge=1)
    num_nodes: int | None = None
    tensor_parallel_size: int | None = None
    pipeline_parallel_size: int | None = None
    data_parallel_size: int | None = None
    expert_model_parallel_size: int | None = None
    use_sequence_parallel: bool | None = None


class _Entity(Tolerant):
    name: str | None = None
    namespace: str = "default"
    description: str | None = None
    project: str | None = None
    ownership: dict[str, Any] | None = None
    custom_fields: dict[str, Any] = Field(default_factory=dict)


class _EntityUpdate(Tolerant):
    namespace: str | None = None
    description: str | None = None
    project: str | None = None
    custom_fields: dict[str, Any] | None = None


class Target(_Entity):
    """A base model that can be customized."""

    num_parameters: int = Field(ge=1)
    precision: Precision
    base_model: str | None = None
    enabled: bool = True
    model_path: str | None = None
    model_uri: str | None = None
    hf_endpoint: str | None = None
    tokenizer: dict[str, Any] | None = None


class TargetUpdate(_EntityUpdate):
    """PATCH of a target: only the keys sent change."""

    base_model: str | None = None
    enabled: bool | None = None
    num_parameters: Annotated[int, Field(ge=1)] | None = None
    precision: Precision | None = None
    model_path: str | None = None
    model_uri: str | None = None
    hf_endpoint: str | None = None
    tokenizer: dict[str, Any] | None = None


class Config(_Entity):
    """A customization config: what may be trained on a target, and how rows become text."""

    target: str | Target | None = None
    max_seq_length: int = Field(ge=8)
    training_options: list[TrainingOption] = Field(min_length=1)
    training_precision: Precision | None = None
    prompt_template: str | None = None
    chat_prompt_template: str | None = None
    dataset_schemas: list[dict[str, Any]] | None = None
    pod_spec: dict[str, Any] | None = None


class OptionRemoval(Tolerant):
    """Names the training option that a PATCH removes."""

    finetuning_type: FinetuningType
    training_type: TrainingType


class ConfigUpdate(_EntityUpdate):
    """PATCH of a config: only the keys sent change."""

    ownership: dict[str, Any] | None = None
    max_seq_length: Annotated[int, Field(ge=8)] | None = None
    training_options: list[TrainingOption] | None = None
    add_training_options: list[TrainingOption] | None = None
    remove_training_options: list[OptionRemoval] | None = None
    training_precision: Precision | None = None
    prompt_template: str | None = None
    chat_prompt_template: str | None = None
    dataset_schemas: list[dict[str, Any]] | None = None
    pod_spec: dict[str, Any] | None = None


class DatasetRef(BaseModel):
    """A dataset of the Entity Store, or an address in the Data Store. Other dataset fields are let through unused."""

    name: str | None = None
    namespace: str = "default"
    files_url: str | None = None
    hf_endpoint: str | None = None
    limit: Annotated[int, Field(ge=1)] | None = None


class JobRequest(_Entity):
    """`POST /v1/customization/jobs`."""

    config: str | Config
    dataset: str | DatasetRef
    hyperparameters: Hyperparameters
    output_model: str | None = None
    dataset_parameters: dict[str, Any] | None = None
    integrations: list[dict[str, Any]] | None = None
