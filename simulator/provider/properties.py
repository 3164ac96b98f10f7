"""Property values as they travel between the engine and a provider: JSON with marks for secrets and unknowns.

In Python a value is plain JSON, except that a secret is `Secret(value)` and that an unknown is one of the engine's
marker strings. Whole numbers become int, because the wire knows only doubles and Kubernetes does not take 1.0 for 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf import struct_pb2  # type: ignore[import-untyped]

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 a marker of the protocol, no password
OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
UNKNOWNS = frozenset(
    {
        UNKNOWN,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # bool
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # array
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
        "030794c1-ac77-496b-92df-f27374a8bd58",  # asset
        "e48ece36-62e2-4504-bad9-02848725956a",  # archive
    },
)


@dataclass(frozen=True)
class Secret:
    """A value the engine keeps encrypted in its state and hidden in what it prints."""

    value: Any


def read(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Turn a message of the engine into Python values."""
    return {key: _read(value) for key, value in struct.fields.items()}


def _read(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        fields = value.struct_value.fields
        signature = fields[SIGNATURE].string_value if SIGNATURE in fields else ""
        if signature == SECRET:
            return Secret(_read(fields["value"]))
        if signature == OUTPUT:
            inner = _read(fields["value"]) if "value" in fields else UNKNOWN
            return Secret(inner) if "secret" in fields and fields["secret"].bool_value else inner
        return {key: _read(item) for key, item in fields.items()}
    if kind == "list_value":
        return [_read(item) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    return None if kind in (None, "null_value") else getattr(value, kind)


def write(properties: dict[str, Any]) -> struct_pb2.Struct:
    """Turn Python values into a message for the engine."""
    struct = struct_pb2.Struct()
    struct.update(_wire(properties))
    return struct


def _wire(value: Any) -> Any:
    if isinstance(value, Secret):
        return {SIGNATURE: SECRET, "value": _wire(value.value)}
    if isinstance(value, dict):
        return {key: _wire(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_wire(item) for item in value]
    return value


def plain(value: Any) -> Any:
    """Return the value without the marks of secrets, at any depth."""
    if isinstance(value, Secret):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def is_unknown(value: Any) -> bool:
    """Say whether this very value is known only after its source was created."""
    return isinstance(value, str) and value in UNKNOWNS


def has_unknowns(value: Any) -> bool:
    """Say whether the value or anything in it is unknown yet."""
    return any(is_unknown(leaf) for leaf in _leaves(value))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Secret):
        yield from _leaves(value.value)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def with_secrets_of(value: Any, source: Any) -> Any:
    """Mark as secret in `value` what is secret at the same place in `source`."""
    if isinstance(source, Secret):
        return value if isinstance(value, Secret) else Secret(plain(value))
    if isinstance(source, dict) and isinstance(value, dict):
        return {key: with_secrets_of(item, source[key]) if key in source else item for key, item in value.items()}
    if isinstance(source, list) and isinstance(value, list):
        marked = [with_secrets_of(item, mark) for item, mark in zip(value, source, strict=False)]
        return marked + value[len(marked) :]
    return value
