"""Clusters: made on a cloud, or adopted. Each ends in one `Cluster`, which is all that the rest knows of it."""

import importlib
from pathlib import Path

import pulumi

from infra.clusters.adopted import adopt
from infra.clusters.cluster import Cluster
from infra.config.clusters import CloudCluster
from infra.config.stack import ClusterStackConfig
from infra.topology import Topology

__all__ = ["Cluster", "connect"]

SDKS = {"gke": "pulumi_gcp", "eks": "pulumi_aws", "aks": "pulumi_azure_native"}
"""Package that a target's module imports. They are large, so each is installed and loaded for its target only."""


def connect(
    config: ClusterStackConfig, topology: Topology, root: Path, opts: pulumi.ResourceOptions | None = None
) -> Cluster:
    """Make the cluster of the settings, or adopt it. Raises RunError where that cannot work, before anything is made.

    `root`: the clone, to which paths in the settings are relative.
    """
    if not isinstance(config.cluster, CloudCluster):
        return adopt(config, root, opts)
    try:
        module = importlib.import_module(f"infra.clusters.{config.target}")
    except ModuleNotFoundError as error:
        sdk = SDKS[config.target]
        if error.name is None or error.name.split(".")[0] != sdk:
            raise
        package, stack = sdk.replace("_", "-"), pulumi.get_stack()
        raise pulumi.RunError(f"target {config.target} needs {package}: make env STACK={stack}") from None
    cluster: Cluster = module.connect(config, topology, root, opts)
    return cluster
