"""Bodies of requests: targets, configurations, jobs, and the parameters inside them.

Unknown keys of parameters are ignored and named in the job's log. Unknown keys of the entity around them are kept, as
the SDK sends whatever its version knows.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from embedded.common.names import DEFAULT_NAMESPACE
from embedded.common.unknown_keys import Tolerant

# A task's name becomes a folder; the pattern leaves no room for separators or `..`.
TaskName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*([.@+ ][A-Za-z0-9_-]+)*$", max_length=100)
]


class Lenient(BaseModel):
    """Keeps unknown keys."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


class ApiEndpoint(Tolerant):
    """An OpenAI-compatible model. `url` is the full address, `.../v1/chat/completions` or `.../v1/completions`."""

    url: str = Field(pattern=r"^https?://")
    model_id: str = Field(min_length=1)
    api_key: str | None = None
    format: Literal["nim", "openai", "lama_stack"] = "nim"
    stream: bool | None = None


class Model(Lenient):
    """A model by its endpoint, or by the name under which the NIM serves it."""

    api_endpoint: ApiEndpoint | None = None
    name: str | None = None


class Dataset(Lenient):
    """Files in the Data Store; `limit` takes the first rows only."""

    files_url: str
    limit: int | None = Field(default=None, ge=1)
    hf_endpoint: str | None = None


class CachedOutputs(Lenient):
    """Outputs that a model gave earlier."""

    files_url: str


class Entity(Lenient):
    """What targets, configurations, jobs and results have in common."""

    name: str | None = None
    namespace: str = DEFAULT_NAMESPACE
    description: str | None = None
    project: str | None = None
    custom_fields: dict[str, Any] = Field(default_factory=dict)


class Target(Entity):
    """What is evaluated."""

    type: Literal["model", "cached_outputs", "retriever", "rag", "rows", "dataset"]
    model: str | Model | None = None
    dataset: str | Dataset | None = None
    rows: list[dict[str, Any]] | None = None
    cached_outputs: CachedOutputs | None = None


class Params(Tolerant):
    """How a model is asked. A task's params are laid over the configuration's."""

    parallelism: int = Field(default=32, ge=1, le=512, description="requests at a time")
    request_timeout: float = Field(default=120, gt=0, description="seconds a request")
    max_retries: int = Field(default=4, ge=0, le=20, description="for transport errors, 429 and 5xx")
    limit_samples: int | None = Field(default=None, ge=1, description="take the first rows only")
    max_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    stop: str | list[str] | None = None
    extra: dict[str, Any] = Field(default_factory=dict)


class MetricConfig(Tolerant):
    """One metric; its params are checked by the metric itself."""

    type: str
    params: dict[str, Any] = Field(default_factory=dict)


class TaskConfig(Tolerant):
    """One task; `params.template` says how the model is asked."""

    type: str
    dataset: str | Dataset | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[TaskName, MetricConfig] = Field(default_factory=dict)


class GroupConfig(Lenient):
    """Names tasks that belong together."""

    tasks: list[str] = Field(default_factory=list)


class Config(Entity):
    """What is measured, and how. `type` is `custom`, or the name of an lm-eval benchmark."""

    type: str
    params: dict[str, Any] = Field(default_factory=dict)
    tasks: dict[TaskName, TaskConfig] = Field(default_factory=dict)
    groups: dict[str, GroupConfig] = Field(default_factory=dict)


class JobRequest(Entity):
    """A job; `target` and `config` inline or by reference `namespace/name`."""

    target: str | dict[str, Any]
    config: str | dict[str, Any]
