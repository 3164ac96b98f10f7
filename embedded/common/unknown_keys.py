"""Request bodies with keys that this service does not know: they are ignored, and named to whoever sent them.

NVIDIA's services and public clients send keys that other versions know, so such a key is a warning and not a 422. The
same clients write null for what they leave to the service, so null stands for the default. A known key with a wrong
value is refused as ever.
"""

import difflib
import logging
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

_LOG = logging.getLogger("uvicorn.error")


class Tolerant(BaseModel):
    """Base of request bodies that are let through with unknown keys; see `drop_unknown_keys`."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _null_is_the_default(cls, body: Any) -> Any:
        """Leave out null for keys with another default; where null is the default, it says something in a PATCH."""
        if not isinstance(body, dict):
            return body
        fields = cls.model_fields
        return {
            key: value
            for key, value in body.items()
            if value is not None or key not in fields or fields[key].is_required() or fields[key].default is None
        }


def drop_unknown_keys(value: Any, path: str = "") -> list[str]:
    """Remove the unknown keys of `value` and of all models within it; return a sentence for each.

    `value` is a model, list or dictionary; models that are not Tolerant keep their own. The path of a key is written as
    `lora.rank`.
    """
    sentences: list[str] = []
    if isinstance(value, BaseModel):
        known = type(value).model_fields
        if isinstance(value, Tolerant):
            extra = value.__pydantic_extra__ or {}
            for key in extra:
                close = difflib.get_close_matches(key, known, 1)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                sentences.append(f"unknown key {_join(path, key)!r} is ignored{hint}")
            extra.clear()
            value.__pydantic_fields_set__.intersection_update(known)
        items: Iterable[tuple[str, Any]] = ((name, getattr(value, name)) for name in known)
    elif isinstance(value, dict):
        items = ((str(key), item) for key, item in value.items())
    elif isinstance(value, list):
        items = ((str(number), item) for number, item in enumerate(value))
    else:
        return []
    for name, item in items:
        sentences += drop_unknown_keys(item, _join(path, name))
    return sentences


def log_unknown_keys(request: str, sentences: list[str]) -> None:
    """Write one line to the service's log; `request` says what was asked, as `POST /v1/...`."""
    if sentences:
        _LOG.warning("%s: %s", request, "; ".join(sentences))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
