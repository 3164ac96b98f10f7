"""The job schema of the backend `automodel`, as NVIDIA documents it, and what it means to our trainer.

One device computes each micro batch of the global batch, so the sizes of both change the speed and not the result.
"""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from embedded.customizer.schemas import Hyperparameters, Lora
from embedded.customizer.spec import Recipe
from embedded.training_hub.fields import REFERENCE, Integrations, Output, Strict, Terms, check_rank, refuse

DEFAULT_TEMPLATE = "{prompt} {completion}"
FINAL_RATE = 0.01  # of the learning rate: what the documented job status shows at the end of a cosine


class LoraParams(Strict):
    """The adapter."""

    rank: int = Field(default=16, gt=0)
    alpha: int = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    merge: bool = False
    target_modules: list[str] | None = None
    exclude_modules: list[str] | None = None
    use_triton: bool = True
    use_memory_efficient_lora: bool = False

    @model_validator(mode="after")
    def _can_be_trained(self) -> Self:
        check_rank(self.rank)
        if self.target_modules and self.exclude_modules:
            raise ValueError("lora.target_modules and lora.exclude_modules exclude each other: give one of them")
        return self


class Dataset(Strict):
    """Filesets with rows."""

    training: str = Field(pattern=REFERENCE)
    validation: str | None = Field(default=None, pattern=REFERENCE)
    prompt_template: str | None = None
    shuffle: bool = True


class Training(Strict):
    """Method and adapter."""

    training_type: Literal["sft", "distillation"] = "sft"
    recipe: Literal["auto", "sft", "bi_encoder", "cross_encoder"] = "auto"
    finetuning_type: Literal["lora", "lora_merged", "all_weights"] = "lora"
    lora: LoraParams | None = None
    max_seq_length: int = Field(default=2048, gt=0)
    precision: Literal["bf16", "fp16", "fp32", "fp8"] | None = None
    attn_implementation: Literal["sdpa", "flash_attention_2", "eager"] = "sdpa"
    execution_profile: str | None = Field(default=None, min_length=1)
    teacher_model: str | None = None
    distillation_ratio: float = Field(default=0.5, ge=0, le=1)
    distillation_temperature: float = Field(default=1.0, gt=0)
    teacher_precision: Literal["bf16", "fp16", "fp32"] = "bf16"
    offload_teacher: bool = False
    retrieval: dict[str, Any] | None = None
    activation_checkpointing: bool = False
    mtp: dict[str, Any] | None = None
    backend: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _is_available(self) -> Self:
        refuse(
            {
                "training.training_type": self.training_type if self.training_type != "sft" else None,
                "training.recipe": self.recipe if self.recipe not in {"auto", "sft"} else None,
                "training.precision": self.precision if self.precision in {"fp16", "fp8"} else None,
                "training.retrieval": bool(self.retrieval),
                "training.mtp": bool(self.mtp),
            }
        )
        if self.finetuning_type != "all_weights" and self.lora is None:
            self.lora = LoraParams()
        return self

    @property
    def kind(self) -> Literal["lora", "lora_merged", "all_weights"]:
        """What is trained and left; `lora.merge` asks for the same as `lora_merged`."""
        merged = self.finetuning_type == "lora" and self.lora is not None and self.lora.merge
        return "lora_merged" if merged else self.finetuning_type


class Schedule(Strict):
    """How long, and how often validation is measured."""

    epochs: int = Field(default=1, gt=0)
    max_steps: int | None = Field(default=None, gt=0)
    val_check_interval: float | None = Field(default=None, gt=0)
    validation_split: float | None = Field(default=0.1, gt=0, lt=1)
    seed: int | None = Field(default=None, ge=0, lt=2**32)
    progress_reporting: dict[str, Any] | None = None


class Batch(Strict):
    """Rows of an optimizer step."""

    global_batch_size: int = Field(default=8, gt=0)
    micro_batch_size: int = Field(default=1, gt=0)
    sequence_packing: bool = False
    sequence_packing_max_samples: int = Field(default=1000, gt=0)
    packed_sequence_size: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.global_batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch.global_batch_size={self.global_batch_size} is no multiple of "
                f"batch.micro_batch_size={self.micro_batch_size}"
            )
        if self.packed_sequence_size is not None and not self.sequence_packing:
            raise ValueError("batch.packed_sequence_size needs batch.sequence_packing=true")
        return self


class Optimizer(Strict):
    """Steps over the weights."""

    learning_rate: float = Field(default=5e-6, gt=0)
    min_learning_rate: float | None = Field(default=None, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    warmup_steps: int = Field(default=0, ge=0)
    adam_eps: float = Field(default=1e-8, gt=0)
    optimizer: Literal["auto", "Adam", "AdamW", "FusedAdam"] = "auto"
    lr_decay_style: Literal["cosine", "linear", "constant"] = "cosine"

    @model_validator(mode="after")
    def _ends_lower(self) -> Self:
        if self.min_learning_rate is not None and self.min_learning_rate >= self.learning_rate:
            raise ValueError("optimizer.min_learning_rate must be lower than optimizer.learning_rate")
        return self


class Parallelism(Strict):
    """Devices; here there is one."""

    num_nodes: int = Field(default=1, gt=0)
    num_gpus_per_node: int = Field(default=1, gt=0)
    tensor_parallel_size: int = Field(default=1, gt=0)
    pipeline_parallel_size: int = Field(default=1, gt=0)
    context_parallel_size: int = Field(default=1, gt=0)
    expert_parallel_size: int | None = Field(default=None, gt=0)
    sequence_parallel: bool = False
    pipeline: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _is_one_device(self) -> Self:
        sizes = self.model_dump(exclude={"sequence_parallel", "pipeline", "expert_parallel_size"})
        sizes["expert_parallel_size"] = self.expert_parallel_size or 1
        refuse({f"parallelism.{name}": size for name, size in sizes.items() if size > 1})
        return self


class OutputRequest(Strict):
    """Name of what comes out."""

    name: str
    description: str | None = None


class AutomodelJob(Strict):
    """The body of `POST /apis/customization/v2/workspaces/{workspace}/automodel/jobs`, below `spec`."""

    name: str | None = None
    model: str = Field(pattern=REFERENCE)
    dataset: Dataset
    training: Training = Field(default_factory=Training)
    schedule: Schedule = Field(default_factory=Schedule)
    batch: Batch = Field(default_factory=Batch)
    optimizer: Optimizer = Field(default_factory=Optimizer)
    parallelism: Parallelism = Field(default_factory=Parallelism)
    output: OutputRequest | None = None
    integrations: Integrations | None = None

    @property
    def makes_adapter(self) -> bool:
        """Whether the result is an adapter, and no whole model."""
        return self.training.kind == "lora"

    @property
    def asks_for(self) -> tuple[str, list[str]]:
        """(model, filesets with rows)."""
        return self.model, [name for name in (self.dataset.training, self.dataset.validation) if name]


class AutomodelJobWithOutput(AutomodelJob):
    """What the platform keeps of a job: the request with its output resolved."""

    output: Output  # type: ignore[assignment]

    def terms(self) -> Terms:
        """Say it in the words of our trainer."""
        training, schedule, optimizer = self.training, self.schedule, self.optimizer
        lora = training.lora or LoraParams()
        hyperparameters = Hyperparameters(
            finetuning_type=training.kind,
            epochs=schedule.epochs,
            max_steps=schedule.max_steps,
            batch_size=self.batch.global_batch_size,
            learning_rate=optimizer.learning_rate,
            weight_decay=optimizer.weight_decay,
            adam_beta1=optimizer.adam_beta1,
            adam_beta2=optimizer.adam_beta2,
            warmup_steps=optimizer.warmup_steps,
            val_check_interval=schedule.val_check_interval,
            seed=schedule.seed,
            lora=Lora(
                adapter_dim=lora.rank,
                alpha=lora.alpha,
                adapter_dropout=lora.dropout,
                target_modules=lora.target_modules,
            )
            if training.finetuning_type != "all_weights"
            else None,
        )
        final = optimizer.min_learning_rate
        return Terms(
            backend="automodel",
            model=self.model,
            training=self.dataset.training,
            validation=self.dataset.validation,
            prompt_template=self.dataset.prompt_template or DEFAULT_TEMPLATE,
            whole_text=None,
            hyperparameters=hyperparameters,
            recipe=Recipe(
                algorithm="adamw" if optimizer.optimizer == "AdamW" else "adam",
                adam_epsilon=optimizer.adam_eps,
                decay=optimizer.lr_decay_style,
                final_learning_rate=FINAL_RATE * optimizer.learning_rate if final is None else final,
                excluded_modules=lora.exclude_modules,
            ),
            max_seq_length=training.max_seq_length,
            precision=training.precision if training.precision in {"bf16", "fp32"} else None,
            hold_out=schedule.validation_split or 0.1,
            seed=0 if schedule.seed is None else schedule.seed,
            output=self.output,
            warnings=self._warnings(),
        )

    def _warnings(self) -> list[str]:
        warnings = []
        if self.batch.sequence_packing:
            warnings.append("batch.sequence_packing has no effect: rows of similar length share a pass in any case")
        if not self.dataset.shuffle:
            warnings.append("dataset.shuffle=false has no effect: rows are shuffled in each epoch")
        warnings += self.integrations.warnings() if self.integrations else []
        if self.training.backend or self.training.activation_checkpointing:
            warnings.append(
                "training.backend and activation_checkpointing have no effect: the trainer's kernels are used"
            )
        return warnings
