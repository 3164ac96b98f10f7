"""The settings of a stack: every `nemostack:*` key of `Pulumi.<stack>.yaml`, in one model.

Loaded once, at the edge (`infra/__main__.py`). Refuses unknown keys, wrong values and targets that are not there
yet, with one line a field: its path, what is wrong, what to do.
A target is a class with its `target` name and a section of the same name; add it to `TARGETS`.
"""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

PROJECT = "nemostack"
PLANNED_TARGETS = ("minikube", "existing", "gke", "eks", "aks")


class ConfigError(Exception):
    """All that is wrong with a stack's settings, one line each."""


class Section(BaseModel):
    """A part of the settings. Unknown keys are refused: a misspelt key would silently do nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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


StackConfig = LocalStackConfig
TARGETS: dict[str, type[StackConfig]] = {"local": LocalStackConfig}


def load(raw: Mapping[str, str]) -> StackConfig:
    """Validate Pulumi's flat configuration (`nemostack:key` -> text or JSON). Raises ConfigError."""
    settings = {
        key.removeprefix(f"{PROJECT}:"): parse(value) for key, value in raw.items() if key.startswith(f"{PROJECT}:")
    }
    target = settings.get("target")
    if target is None:
        raise ConfigError(f"{PROJECT}:target: missing; one of {', '.join(TARGETS)}")
    if target not in TARGETS:
        why = "is not implemented yet" if target in PLANNED_TARGETS else "is unknown"
        raise ConfigError(f"{PROJECT}:target: {target!r} {why}; choose one of {', '.join(TARGETS)}")
    model = TARGETS[str(target)]
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        lines = [describe(dict(problem), model) for problem in error.errors(include_url=False)]
        raise ConfigError("\n".join(lines)) from None


def parse(value: str) -> Any:
    """Read a value as Pulumi hands it over: structured values are JSON, plain ones text (pydantic reads numbers)."""
    if value[:1] in "{[":
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def describe(problem: dict[str, Any], model: type[BaseModel]) -> str:
    """One line for one of pydantic's errors."""
    location = [str(part) for part in problem["loc"]]
    path = f"{PROJECT}:{'.'.join(location)}"
    if problem["type"] == "extra_forbidden":
        known = keys_at(model, location[:-1])
        close = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(known)}"
        return f"{path}: unknown key ({hint})"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{path}: {message[:1].lower()}{message[1:]}, got {problem['input']!r}"


def keys_at(model: type[BaseModel], location: list[str]) -> list[str]:
    """List the keys known in the section at `location`."""
    for part in location:
        annotation = model.model_fields[part].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        model = annotation
    return list(model.model_fields)
