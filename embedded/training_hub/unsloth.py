"""The job schema of the backend `unsloth`, as NVIDIA documents it, and what it means to our trainer.

Its default is to load the base model in 4 bits. Here it is loaded unquantized, and the job says so: the adapter is
that of LoRA and not of QLoRA.
"""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from embedded.customizer.schemas import Hyperparameters, Lora, Precision
from embedded.customizer.spec import Recipe
from embedded.training_hub.fields import REFERENCE, Integrations, Output, Strict, Terms, check_rank, refuse

SEED = 3407
_PRECISIONS: dict[str, Precision] = {"float32": "fp32", "bfloat16": "bf16"}
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class ModelLoad(Strict):
    """The base model and how it is loaded."""

    name: str = Field(pattern=REFERENCE)
    max_seq_length: int = Field(default=2048, gt=0)
    load_in_4bit: bool = True
    load_in_8bit: bool = False
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    trust_remote_code: bool = False
    device_map: str | int | dict[str, int] | None = None
    rope_scaling: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _is_available(self) -> Self:
        if self.load_in_4bit and self.load_in_8bit:
            raise ValueError("model.load_in_4bit and model.load_in_8bit exclude each other")
        refuse(
            {
                "model.dtype": self.dtype if self.dtype == "float16" else None,
                "model.trust_remote_code": self.trust_remote_code,
                "model.rope_scaling": bool(self.rope_scaling),
            }
        )
        return self


class LoraParams(Strict):
    """The adapter."""

    rank: int = Field(default=16, gt=0)
    alpha: int = Field(default=16, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: list[str] = Field(default_factory=lambda: list(TARGETS), min_length=1)
    bias: Literal["none", "all", "lora_only"] = "none"
    use_rslora: bool = False
    random_state: int = Field(default=SEED, ge=0, lt=2**32)
    use_dora: bool = False
    loftq_config: dict[str, Any] | None = None
    modules_to_save: list[str] | None = None
    layers_to_transform: int | list[int] | None = None
    layer_replication: list[list[int]] | None = None
    init_lora_weights: bool | Literal["gaussian", "pissa", "olora", "loftq"] = True

    @model_validator(mode="after")
    def _is_available(self) -> Self:
        check_rank(self.rank)
        refuse(
            {
                "lora.bias": self.bias if self.bias != "none" else None,
                "lora.use_dora": self.use_dora,
                "lora.loftq_config": bool(self.loftq_config),
                "lora.modules_to_save": bool(self.modules_to_save),
                "lora.layers_to_transform": self.layers_to_transform is not None,
                "lora.layer_replication": bool(self.layer_replication),
                "lora.init_lora_weights": None if self.init_lora_weights is True else str(self.init_lora_weights),
            }
        )
        return self


class Training(Strict):
    """Method and adapter."""

    training_type: Literal["sft"] = "sft"
    finetuning_type: Literal["lora", "all_weights"] = "lora"
    lora: LoraParams | None = None
    use_gradient_checkpointing: Literal["unsloth", "true", "false"] = "unsloth"

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if self.finetuning_type == "lora" and self.lora is None:
            self.lora = LoraParams()
        if self.finetuning_type == "all_weights" and self.lora is not None:
            raise ValueError("training.lora must be left out when training.finetuning_type is 'all_weights'")
        return self


class Dataset(Strict):
    """Filesets with rows."""

    path: str = Field(pattern=REFERENCE)
    text_field: str = Field(default="text", pattern=r"^[A-Za-z_]\w*$")
    apply_chat_template: bool = False
    validation_path: str | None = Field(default=None, pattern=REFERENCE)
    packing: bool = False


class Schedule(Strict):
    """How long, at which rates, and how often things are measured."""

    epochs: int = Field(default=1, gt=0)
    max_steps: int | None = Field(default=None, gt=0)
    warmup_steps: int = Field(default=0, ge=0)
    warmup_ratio: float | None = Field(default=None, ge=0, le=1)
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup", "cosine_with_restarts"] = (
        "linear"
    )
    logging_steps: int = Field(default=1, gt=0)
    save_steps: int | None = Field(default=None, gt=0)
    eval_steps: int | None = Field(default=None, gt=0)
    progress_reporting: dict[str, Any] | None = None
    seed: int = Field(default=SEED, ge=0, lt=2**32)
    lr_scheduler_kwargs: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _is_available(self) -> Self:
        if self.warmup_steps and self.warmup_ratio is not None:
            raise ValueError("schedule.warmup_steps and schedule.warmup_ratio exclude each other")
        given = dict(self.lr_scheduler_kwargs or {})
        cycles = given.pop("num_cycles", 1) if self.lr_scheduler_type == "cosine_with_restarts" else 1
        if not isinstance(cycles, int) or cycles < 1:
            raise ValueError(f"schedule.lr_scheduler_kwargs.num_cycles={cycles!r}: expected a whole number from 1 up")
        refuse({f"schedule.lr_scheduler_kwargs.{name}": str(value) for name, value in given.items()})
        return self

    @property
    def cycles(self) -> int:
        """Cosines of `cosine_with_restarts`."""
        return int((self.lr_scheduler_kwargs or {}).get("num_cycles", 1))


class Batch(Strict):
    """Rows of an optimizer step."""

    per_device_train_batch_size: int = Field(default=1, gt=0)
    gradient_accumulation_steps: int = Field(default=1, gt=0)


class Optimizer(Strict):
    """Steps over the weights."""

    learning_rate: float = Field(default=2e-4, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    optim: Literal["adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "sgd"] = "adamw_8bit"
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    adam_epsilon: float = Field(default=1e-8, gt=0)
    max_grad_norm: float = Field(default=1.0, ge=0)
    label_smoothing_factor: float = Field(default=0.0, ge=0, lt=1)
    neftune_noise_alpha: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _is_available(self) -> Self:
        refuse(
            {
                "optimizer.label_smoothing_factor": self.label_smoothing_factor or None,
                "optimizer.neftune_noise_alpha": self.neftune_noise_alpha or None,
            }
        )
        return self


class Hardware(Strict):
    """Devices; the stack's settings say which one computes."""

    gpus: str | None = Field(default=None, pattern=r"^\d+(,\d+)*$")
    precision: Literal["bf16", "fp16"] = "bf16"

    @model_validator(mode="after")
    def _is_available(self) -> Self:
        refuse({"hardware.precision": self.precision if self.precision == "fp16" else None})
        return self


class OutputRequest(Strict):
    """Name and form of what comes out."""

    name: str | None = None
    description: str | None = None
    save_method: Literal["lora", "merged_16bit", "merged_4bit"] = "lora"

    @model_validator(mode="after")
    def _is_available(self) -> Self:
        refuse({"output.save_method": self.save_method if self.save_method == "merged_4bit" else None})
        return self


class UnslothOutput(Output):
    """Where the result went to be, and its form."""

    save_method: Literal["lora", "merged_16bit"] = "lora"


class UnslothJob(Strict):
    """The body of `POST /apis/customization/v2/workspaces/{workspace}/unsloth/jobs`, below `spec`."""

    name: str | None = None
    model: ModelLoad
    dataset: Dataset
    training: Training = Field(default_factory=Training)
    schedule: Schedule = Field(default_factory=Schedule)
    batch: Batch = Field(default_factory=Batch)
    optimizer: Optimizer = Field(default_factory=Optimizer)
    hardware: Hardware = Field(default_factory=Hardware)
    integrations: Integrations | None = None
    output: OutputRequest | None = None
    deployment_config: str | dict[str, Any] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        refuse({"deployment_config": bool(self.deployment_config)})
        whole = self.training.finetuning_type == "all_weights"
        if whole and (self.model.load_in_4bit or self.model.load_in_8bit):
            raise ValueError(
                "training.finetuning_type='all_weights' needs model.load_in_4bit=false and model.load_in_8bit=false"
            )
        if whole and self.output and self.output.save_method != "lora":
            raise ValueError("output.save_method is for training.finetuning_type='lora': leave it out")
        return self

    @property
    def makes_adapter(self) -> bool:
        """Whether the result is an adapter, and no whole model."""
        return self.training.finetuning_type == "lora" and self.save_method == "lora"

    @property
    def save_method(self) -> Literal["lora", "merged_16bit", "merged_4bit"]:
        """In which form the result is saved."""
        return self.output.save_method if self.output else "lora"

    @property
    def asks_for(self) -> tuple[str, list[str]]:
        """(model, filesets with rows)."""
        return self.model.name, [name for name in (self.dataset.path, self.dataset.validation_path) if name]


class UnslothJobWithOutput(UnslothJob):
    """What the platform keeps of a job: the request with its output resolved."""

    output: UnslothOutput  # type: ignore[assignment]

    def terms(self) -> Terms:
        """Say it in the words of our trainer."""
        schedule, optimizer, lora = self.schedule, self.optimizer, self.training.lora
        merged = self.training.finetuning_type == "lora" and not self.makes_adapter
        style = schedule.lr_scheduler_type
        hyperparameters = Hyperparameters(
            finetuning_type="lora_merged" if merged else self.training.finetuning_type,
            epochs=schedule.epochs,
            max_steps=schedule.max_steps,
            batch_size=self.batch.per_device_train_batch_size * self.batch.gradient_accumulation_steps,
            learning_rate=optimizer.learning_rate,
            weight_decay=optimizer.weight_decay,
            adam_beta1=optimizer.adam_beta1,
            adam_beta2=optimizer.adam_beta2,
            warmup_steps=0 if style == "constant" else schedule.warmup_steps,
            log_every_n_steps=schedule.logging_steps,
            val_check_interval=schedule.eval_steps,
            seed=schedule.seed,
            lora=lora
            and Lora(
                adapter_dim=lora.rank,
                alpha=lora.alpha,
                adapter_dropout=lora.dropout,
                target_modules=lora.target_modules,
            ),
        )
        decay = "constant" if style == "constant_with_warmup" else style
        return Terms(
            backend="unsloth",
            model=self.model.name,
            training=self.dataset.path,
            validation=self.dataset.validation_path,
            prompt_template="{prompt} {completion}",
            whole_text=None if self.dataset.apply_chat_template else self.dataset.text_field,
            hyperparameters=hyperparameters,
            recipe=Recipe(
                algorithm="sgd" if optimizer.optim == "sgd" else "adamw",
                adam_epsilon=optimizer.adam_epsilon,
                max_gradient_norm=optimizer.max_grad_norm,
                decay=decay,
                restarts=schedule.cycles,
                warmup_ratio=schedule.warmup_ratio or 0,
                rank_stabilized=bool(lora and lora.use_rslora),
            ),
            max_seq_length=self.model.max_seq_length,
            precision=_PRECISIONS.get(self.model.dtype),
            hold_out=0.1,
            seed=schedule.seed,
            output=Output.model_validate(self.output.model_dump(exclude={"save_method"})),
            warnings=self._warnings(),
        )

    def _warnings(self) -> list[str]:
        warnings = []
        if self.model.load_in_4bit or self.model.load_in_8bit:
            warnings.append("the base model is loaded unquantized: loading in 4 or 8 bits is not available here")
        if "8bit" in self.optimizer.optim:
            warnings.append(f"optimizer.optim={self.optimizer.optim}: AdamW keeps its averages in 32 bits here")
        if self.dataset.packing:
            warnings.append("dataset.packing has no effect: rows of similar length share a pass in any case")
        warnings += self.integrations.warnings() if self.integrations else []
        if self.hardware.gpus is not None:
            warnings.append("hardware.gpus has no effect: the stack's settings say which device computes")
        return warnings
