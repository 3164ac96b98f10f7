"""What the job schemas of both backends share: names that refuse unknown keys, output, tracking, and the common terms.

`Terms` is what the steps of a job work by: what a backend's own schema said, in the words of our trainer.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from embedded.customizer.schemas import Hyperparameters, Precision
from embedded.customizer.spec import Recipe

REFERENCE = r"^[^/\s]+(/[^/\s]+)?$"
MAX_RANK = 256


class Strict(BaseModel):
    """Base of the schemas: unknown keys are refused, as NVIDIA documents it."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Output(Strict):
    """Where the result went to be; `fileset` is new for each job, so that no job overwrites another's."""

    name: str
    type: Literal["adapter", "model"]
    fileset: str
    description: str | None = None


class MlflowTracking(Strict):
    """A run in MLflow: accepted, and answered with a warning."""

    experiment_name: str | None = None
    tracking_uri: str | None = None
    name: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)
    description: str | None = None


class WandbTracking(Strict):
    """A run in Weights & Biases: accepted, and answered with a warning."""

    project: str | None = None
    entity: str | None = None
    tags: list[str] = Field(default_factory=list)
    api_key_secret: str | None = None
    name: str | None = None
    notes: str | None = None
    base_url: str | None = None


class Integrations(Strict):
    """Where else metrics go."""

    wandb: WandbTracking | None = None
    mlflow: MlflowTracking | None = None

    def warnings(self) -> list[str]:
        """Say what is left off."""
        asked = {"wandb": self.wandb, "mlflow": self.mlflow}
        return [
            f"integrations.{name} has no effect: metrics are in the job's status" for name, one in asked.items() if one
        ]


class Terms(Strict):
    """A job in the words of our trainer."""

    backend: str
    model: str
    training: str
    validation: str | None
    prompt_template: str
    whole_text: str | None = Field(description="Column of texts that are learned whole, where rows have it")
    hyperparameters: Hyperparameters
    recipe: Recipe
    max_seq_length: int
    precision: Precision | None = Field(description="None: what suits the device")
    hold_out: float
    seed: int
    output: Output
    warnings: list[str]

    def with_served_rank(self, highest: int | None) -> "Terms":
        """Return the terms with a warning where NIM does not serve the adapter: its rank is above `highest`."""
        lora = self.hyperparameters.lora
        if highest is None or self.output.type != "adapter" or lora is None or lora.adapter_dim <= highest:
            return self
        warning = (
            f"lora.rank={lora.adapter_dim} is above the rank {highest} that NIM serves: the adapter is stored and not "
            "served. Lower the rank, or raise NIM's max_lora_rank"
        )
        return self.model_copy(update={"warnings": [*self.warnings, warning]})


def refuse(found: dict[str, Any]) -> None:
    """ValueError that names the fields with values that are not available here."""
    wrong = [f"{name}={value!r}" for name, value in found.items() if value not in {None, False}]
    if wrong:
        raise ValueError(
            f"{', '.join(wrong)}: not available on this backend, which trains LoRA adapters or all weights by SFT on "
            "one device. Leave these fields out"
        )


def check_rank(rank: int) -> None:
    """ValueError unless the trainer can make such an adapter."""
    if rank > MAX_RANK or rank & (rank - 1):
        raise ValueError(
            f"lora.rank={rank}: expected a power of 2 up to {MAX_RANK}, the highest rank NIM can be set to"
        )
