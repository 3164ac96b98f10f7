"""Ids, timestamps and `namespace/name` references as the NeMo microservices write them."""

import re
import uuid
from datetime import UTC, datetime
from typing import NamedTuple

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# First character alphanumeric: keeps `.` and `..` out, so a name is always safe as one path segment.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+\-]{0,254}")
# NVIDIA's pattern for names of entities (Customization Config Reference, 25.x).
_ENTITY = re.compile(r"[\w.@+:\-]{1,255}", re.ASCII)
DEFAULT_NAMESPACE = "default"


def new_id(prefix: str) -> str:
    """`<prefix>-<22 base58 characters of a random UUID>`, e.g. `cust-8Yb2KfWmQpXtNs4VhDz7Ra`."""
    number, digits = uuid.uuid4().int, ""
    for _ in range(22):
        number, rest = divmod(number, 58)
        digits = _BASE58[rest] + digits
    return f"{prefix}-{digits}"


def now() -> str:
    """UTC in ISO 8601, microseconds, no zone: `2025-06-20T04:20:21.387984`."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def is_name(text: str) -> bool:
    """Whether `text` may name a namespace or a repository. Refuses separators, `..` and empty names."""
    return _NAME.fullmatch(text) is not None and ".." not in text


def is_entity_name(text: str) -> bool:
    """Whether `text` may name an entity in a namespace, which is no folder. Refuses separators, `.`, `..` in it."""
    return _ENTITY.fullmatch(text) is not None and ".." not in text and text != "."


class Ref(NamedTuple):
    """A reference to an entity, written `namespace/name`."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> "Ref":
        """`ns/name`, or `name` alone in the default namespace. ValueError for anything else."""
        namespace, slash, name = text.rpartition("/")
        ref = cls(namespace if slash else DEFAULT_NAMESPACE, name)
        if not (is_name(ref.namespace) and is_entity_name(ref.name)):
            raise ValueError(f"{text!r} is no reference: expected namespace/name of letters, digits and . _ @ + : -")
        return ref
