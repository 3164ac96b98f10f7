"""Names of the Secrets with credentials, and which namespace needs which. Pure; namespaces.py makes them.

A Secret has the same name everywhere, so that values of charts need not know their namespace. What the user names
(`credentials.*`) is expected to exist and never made.
"""

import base64
import json
from collections.abc import Collection
from dataclasses import dataclass

from infra import names
from infra.config.platform import Credentials
from infra.topology.addresses import Addresses


@dataclass(frozen=True, kw_only=True)
class CredentialNames:
    """Names of the Secrets; `hf` is None where there is no Hugging Face token."""

    ngc: str
    pull: str
    hf: str | None


def credential_names(credentials: Credentials, secrets: Collection[str]) -> CredentialNames:
    """Return the names in use. `secrets`: names of the secret settings that have a value."""
    return CredentialNames(
        ngc=credentials.ngc_secret or names.NGC_SECRET,
        pull=credentials.image_pull_secret or names.PULL_SECRET,
        hf=credentials.hf_secret or (names.HF_SECRET if "hf_token" in secrets else None),
    )


def required_secrets(addresses: Addresses, found: CredentialNames) -> dict[str, tuple[str, ...]]:
    """Return the Secrets with credentials by namespace: all pull from NGC, some models and data are gated."""
    needed: dict[str, dict[str, None]] = {}
    gated, platforms = {"customizer", "evaluator"}, names.NEMO_PLATFORM.namespace
    users = [(addresses.namespace(service), service.key in gated) for service in addresses.running]
    # models that the platform deploys it fetches itself, with secrets of its own
    users += [(nim.namespace, nim.namespace != platforms) for nim in addresses.nims.values()]
    for namespace, hugging_face in users:
        mine = needed.setdefault(namespace, {})
        mine.update(dict.fromkeys([found.pull, found.ngc]))
        if hugging_face and found.hf:
            mine[found.hf] = None
    return {namespace: tuple(mine) for namespace, mine in needed.items()}


def docker_config(key: str) -> str:
    """Content of a dockerconfigjson for NVIDIA's registry."""
    login = base64.b64encode(f"{names.NGC_USER}:{key}".encode()).decode()
    return json.dumps({"auths": {names.NGC_REGISTRY: {"username": names.NGC_USER, "password": key, "auth": login}}})
