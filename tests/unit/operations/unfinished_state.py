"""Pulumi's state of a stack whose `up` was killed, in the shape in which its engine writes it, and its settings."""

import json
from typing import Any

SETTINGS = """config:
  nemostack:target: existing
  nemostack:storage: {rwx_class_name: nfs}
  nemostack:ngc_api_key: {secure: v1:abc}
"""
URN = "urn:pulumi:mine::nemostack::nemostack:cluster:Stack$"


def namespace(name: str) -> dict[str, Any]:
    """A namespace that is there."""
    return {
        "urn": f"{URN}kubernetes:core/v1:Namespace::namespaces.{name}",
        "type": "kubernetes:core/v1:Namespace",
        "outputs": {"metadata": {"name": name}},
    }


def connection(name: str = "cluster", **inputs: Any) -> dict[str, Any]:
    """The connection to a cluster."""
    kind = "pulumi:providers:kubernetes"
    return {"urn": f"{URN}{kind}::{name}", "type": kind, "inputs": inputs}


def secret(value: str) -> dict[str, str]:
    """A secret that `pulumi stack export --show-secrets` decrypted."""
    return {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "plaintext": json.dumps(value)}
