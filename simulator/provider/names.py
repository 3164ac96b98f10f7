"""Names: of kinds (from Pulumi's type tokens), of objects (autonaming), of ids in the state."""

import secrets
from typing import Any

RELEASE = "kubernetes:helm.sh/v3:Release"
AUTONAMED = "pulumi.com/autonamed"
HEX_DIGITS = 8


class UnsupportedTypeError(ValueError):
    """A resource type this provider does not offer."""


def api_version_and_kind(token: str) -> tuple[str, str]:
    """Split `kubernetes:apps/v1:Deployment` into `apps/v1` and `Deployment`; the group `core` has no name in the API.

    A patch is of the kind that it patches. Raises UnsupportedTypeError for lists and what is no Kubernetes object.
    """
    _, api_version, kind = token.split(":")
    group = api_version.split("/")[0]
    if kind.endswith("List") or group in ("helm.sh", "yaml", "kustomize"):
        raise UnsupportedTypeError(f"{token} is not supported by the test provider")
    return api_version.removeprefix("core/"), kind.removesuffix("Patch")


def is_patch(urn: str) -> bool:
    """Say whether a resource owns some fields of an object, rather than the object."""
    return type_token(urn).endswith("Patch")


def identity(metadata: dict[str, Any]) -> str:
    """Return the id of an object in Pulumi's state: `namespace/name`, or `name` without a namespace."""
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])


def parse_identity(identifier: str) -> tuple[str | None, str]:
    """Split an id into namespace and name."""
    namespace, slash, name = identifier.rpartition("/")
    return (namespace if slash else None), name


def autoname(logical_name: str, seed: bytes) -> str:
    """Give an object without a name one that is new each time it is replaced and the same in preview and update."""
    return f"{logical_name}-{(seed.hex() or secrets.token_hex(HEX_DIGITS))[:HEX_DIGITS]}"


def logical_name(urn: str) -> str:
    """Return the name a resource has in the program."""
    return urn.rsplit("::", 1)[1]


def type_token(urn: str) -> str:
    """Return a resource's type without its parents'."""
    return urn.split("::")[2].rsplit("$", 1)[-1]
