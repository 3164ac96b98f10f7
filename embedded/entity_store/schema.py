"""The entities' fields as the contract names them. Refuses wrong types; keeps fields it does not know."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from embedded.common.files_url import FilesUrl
from embedded.common.names import is_entity_name, is_name

Text = Annotated[str, StringConstraints(max_length=10_000)]
Url = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
Precision = Literal["int8", "bf16", "fp16", "fp32", "fp8-mixed", "bf16-mixed"]


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())


def _well_formed(files_url: str) -> str:
    """Check addresses in our Data Store; others (S3, ...) are not ours to judge."""
    if files_url.startswith(("hf:", "nds:")):
        FilesUrl.parse(files_url)
    return files_url


class Ownership(_Open):
    """Who made it; stored, not enforced."""

    created_by: Text | None = None
    updated_by: Text | None = None
    access_policies: dict[str, Any] | None = None


class Entity(_Open):
    """What all entities have."""

    description: Text | None = None
    project: Text | None = None
    custom_fields: dict[str, Any] = {}
    ownership: Ownership | None = None

    @field_validator("custom_fields", mode="before")
    @classmethod
    def _none_is_empty(cls, value: Any) -> Any:
        return {} if value is None else value


class Namespace(Entity):
    """The only entity whose id the client chooses; no name."""


class Project(Entity):
    """Groups entities by name: theirs is in `project`."""


class Dataset(Entity):
    """Where a dataset's files are."""

    files_url: Url
    format: Text | None = None
    split: Text | None = None
    limit: Annotated[int, Field(ge=0)] | None = None
    hf_endpoint: Url | None = Field(default=None, description="None: the Data Store")

    @model_validator(mode="after")
    def _files_url(self) -> Self:
        if self.hf_endpoint is None:  # the public hub has repositories without a namespace
            _well_formed(self.files_url)
        return self


class Spec(_Open):
    """What the network is."""

    context_size: int
    is_chat: bool
    num_parameters: int
    num_virtual_tokens: int


class Artifact(_Open):
    """A model's files; consumers must look at `status`: the entity exists before they do."""

    files_url: Url
    status: Literal["created", "upload_failed", "upload_completed"]
    backend_engine: Literal["nemo", "trt_llm", "vllm", "faster_transformer", "hugging_face"] | None = None
    precision: Precision | None = None
    gpu_arch: Text | None = None
    tensor_parallelism: int | None = None

    @field_validator("files_url")
    @classmethod
    def _files_url(cls, files_url: str) -> str:
        return _well_formed(files_url)


class Lora(_Open):
    """How the adapter was made."""

    alpha: int
    apply_lora_to_mlp: bool
    apply_lora_to_output: bool


class Peft(_Open):
    """How the model was tuned."""

    finetuning_type: Literal["lora", "lora_merged", "all_weights"]
    lora: Lora | None = None
    p_tuning: dict[str, Any] | None = None


class Prompt(_Open):
    """A prompt that makes another model of a model."""

    system_prompt: str | None = None
    system_prompt_template: str | None = None
    icl_few_shot_examples: str | None = None
    inference_params: dict[str, Any] | None = None
    reasoning_params: dict[str, Any] | None = None


class ApiEndpoint(_Open):
    """Where the model is served."""

    url: Url
    model_id: Text
    api_key: str | None = None
    format: Literal["nim", "openai", "lama_stack"] | None = None


class Model(Entity):
    """A model or an adapter; customized ones are named `output@job id`."""

    base_model: Text | dict[str, Any] | None = None
    spec: Spec | None = None
    artifact: Artifact | None = None
    peft: Peft | None = None
    prompt: Prompt | None = None
    api_endpoint: ApiEndpoint | None = None
    guardrails: dict[str, Any] | None = None
    model_providers: list[str] | None = None
    schema_version: Text | None = None


def checked_namespace(text: Any, what: str) -> str:
    """Return `text`, or ValueError saying how a namespace is named."""
    if not isinstance(text, str) or not is_name(text):
        raise ValueError(
            f"{what} {text!r}: expected 1 to 255 letters, digits and . _ @ + -, the first a letter or digit"
        )
    return text


def checked_name(text: Any, kind: str) -> str:
    """Return `text`, or ValueError saying how an entity of `kind` is named. Projects may have spaces within."""
    plain = text.replace(" ", "_") if isinstance(text, str) and kind == "project" and text == text.strip() else text
    if not isinstance(plain, str) or not is_entity_name(plain):
        spaces = ", spaces" if kind == "project" else ""
        raise ValueError(f"{kind} name {text!r}: expected 1 to 255 letters, digits{spaces} and . _ @ + : -")
    return str(text)
