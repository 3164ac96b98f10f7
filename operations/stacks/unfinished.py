"""Outputs of a stack whose last `up` has not ended: it was killed, or it runs.

Pulumi writes the outputs when a run ends. Until then those of the run before are there, which do not know the new
namespaces, and during a first `up` none are. What has been made so far is in Pulumi's state, what is to be made in the
settings: both are read here. Refuses to guess: without a connection to a cluster in the state nothing is said.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.config import ClusterStackConfig, stack_file
from infra.config.clusters import CloudCluster
from infra.config.section import PROJECT
from infra.config.stack import SECRET_KEYS
from nemostack.outputs import StackOutputs

NAMESPACE = "kubernetes:core/v1:Namespace"
CONNECTION = "pulumi:providers:kubernetes"


def with_namespaces(outputs: StackOutputs, deployment: Mapping[str, Any]) -> StackOutputs:
    """Return outputs that know the namespaces of Pulumi's state besides their own."""
    if outputs.cluster is None:
        return outputs
    known = outputs.cluster.namespaces
    new = [name for name in namespaces(deployment) if name not in known]
    return outputs.model_copy(update={"cluster": outputs.cluster.model_copy(update={"namespaces": [*known, *new]})})


def namespaces(deployment: Mapping[str, Any]) -> list[str]:
    """Return the namespaces that a stack has made or adopted, by Pulumi's state."""
    return sorted({one["outputs"]["metadata"]["name"] for one in _resources(deployment, NAMESPACE) if "outputs" in one})


def is_connected(deployment: Mapping[str, Any]) -> bool:
    """Whether a stack has a connection to a cluster, by Pulumi's state."""
    return any(_resources(deployment, CONNECTION))


def from_settings(settings_file: Path, deployment: Mapping[str, Any]) -> StackOutputs | None:
    """Return what the outputs of a stack on a cluster will be. None: it has no connection to a cluster yet.

    `deployment`: with its secrets; the kubeconfig of a cluster that the stack made is one. Raises SettingsError.
    """
    from infra.cluster.outputs import outputs
    from infra.topology import resolve_topology

    connection = next(_resources(deployment, CONNECTION), None)
    settings = stack_file.check(settings_file) if connection else None
    if connection is None or not isinstance(settings, ClusterStackConfig):
        return None
    secrets = {key.removeprefix(f"{PROJECT}:") for key in stack_file.read(settings_file)} & SECRET_KEYS.keys()
    kubeconfig = _plain(connection["inputs"].get("kubeconfig"))
    context = _plain(connection["inputs"].get("context"))
    made_by_us = isinstance(settings.cluster, CloudCluster)
    expected = outputs(
        settings, resolve_topology(settings), secrets, kubeconfig=None if made_by_us else kubeconfig, context=context
    )
    if made_by_us:
        expected = expected.model_copy(update={"kubeconfig": kubeconfig or ""})
    return with_namespaces(expected, deployment)


def _resources(deployment: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    """Find the resources of a kind that the program made; the engine's own connections are called `default`."""
    for resource in deployment.get("resources") or ():
        if resource["type"] == kind and not resource["urn"].rpartition("::")[2].startswith("default"):
            yield resource


def _plain(value: Any) -> str | None:
    """Return a value of the state, also where it is a secret that was decrypted."""
    if isinstance(value, dict):
        text = json.loads(value["plaintext"]) if "plaintext" in value else None
        return text if isinstance(text, str) else None
    return value if isinstance(value, str) else None
