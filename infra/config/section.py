"""Base of all parts of the settings: a section that refuses unknown keys, and the constrained types they use."""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

PROJECT = "nemostack"


class Section(BaseModel):
    """A part of the settings. Unknown keys are refused: a misspelt key would silently do nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def _in_order(self, low: str, high: str) -> None:
        """Raise ValueError where the setting `high` is below the setting `low`."""
        least, most = getattr(self, low), getattr(self, high)
        if most < least:
            raise ValueError(f"{high} ({most}) must not be below {low} ({least})")


Product = Literal["microservices", "platform"]
"""NVIDIA's product line: the microservices (25.x), or their open successor, the NeMo Platform."""

PRODUCT_MEANING = (
    "Product line: microservices (Data Store, Entity Store, Customizer, Evaluator), or platform, their open "
    "successor NeMo Platform"
)

DnsLabel = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""Name of a Kubernetes object that must serve as a DNS label, e.g. a namespace or Service."""

Hostname = Annotated[
    str, Field(max_length=253, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$")
]
"""Lower-case DNS name without scheme, port or path."""

Quantity = Annotated[str, Field(pattern=r"^[1-9]\d*(Mi|Gi|Ti)$")]
"""Size of a volume or memory, binary units, e.g. `50Gi`."""

ModelId = Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
"""namespace/name as clients of NIM and the Customizer write it, e.g. meta/llama-3.2-3b-instruct."""


def repeated(values: Iterable[str]) -> list[str]:
    """Values that are there more than once."""
    return [value for value, times in Counter(values).items() if times > 1]


def section_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a field's type holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((section for part in get_args(annotation) if (section := section_in(part))), None)


def is_list(annotation: Any) -> bool:
    """Tell whether a setting is a list."""
    return get_origin(annotation) is tuple
