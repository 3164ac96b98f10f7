"""Software that makes GPUs allocatable: values of NVIDIA's device plugin and GPU operator, labels of pools. Pure.

MIG and time slicing are set per pool: a node's label names the entry of the plugin's configuration that it follows.
"""

import json
from collections.abc import Sequence
from typing import Any

from infra.config.clusters import AksSettings, ClusterSettings, EksSettings, GkeSettings
from infra.config.network import Observability
from infra.config.platform import GpuSoftwareKind
from infra.config.pools import GpuPool
from infra.names import GPU_RESOURCE
from infra.topology.placement import Placement

PLUGIN_CONFIG_LABEL = "nvidia.com/device-plugin.config"
MIG_CONFIG_LABEL = "nvidia.com/mig.config"
PRESENT_LABEL = "nvidia.com/gpu.present"
DEFAULT_ENTRY = "default"
CONFIG_MAP = "device-plugin-config"


def own_entry(pool: GpuPool) -> bool:
    """Tell whether the plugin must treat a pool's nodes otherwise than by default."""
    return bool(pool.time_slicing or pool.mig)


def pool_labels(software: GpuSoftwareKind, cluster: ClusterSettings, pool: GpuPool) -> dict[str, str]:
    """Return the labels by which our GPU software finds the nodes of a pool; none where the cloud does it all."""
    if software == "provided":
        return {}
    labels = {PRESENT_LABEL: "true"}
    if own_entry(pool):
        labels[PLUGIN_CONFIG_LABEL] = pool.name
    if pool.mig and software == "gpu-operator" and not isinstance(cluster, AksSettings):
        labels[MIG_CONFIG_LABEL] = f"all-{pool.mig.profile}"  # AKS has cut the GPUs already
    return labels


def plugin_entries(pools: Sequence[GpuPool]) -> dict[str, str]:
    """Return the entries of the plugin's configuration by pool, YAML as JSON; empty where the default does."""
    entries = {pool.name: entry(pool) for pool in pools if own_entry(pool)}
    return (
        {DEFAULT_ENTRY: json.dumps({"version": "v1", "flags": {"migStrategy": "none"}}), **entries} if entries else {}
    )


def entry(pool: GpuPool) -> str:
    """Configuration of the device plugin on one pool's nodes."""
    plugin_config: dict[str, Any] = {
        "version": "v1",
        "flags": {"migStrategy": pool.mig.strategy if pool.mig else "none"},
    }
    if pool.time_slicing:
        shared = {"name": GPU_RESOURCE, "replicas": pool.time_slicing.replicas}
        plugin_config["sharing"] = {"timeSlicing": {"resources": [shared]}}
    return json.dumps(plugin_config)


def device_plugin_values(pools: Sequence[GpuPool], placement: Placement) -> dict[str, Any]:
    """Values of nvidia-device-plugin, with feature discovery of GPUs and nodes, whose labels NIMs and doctor read."""
    entries = plugin_entries(pools)
    small = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
    values: dict[str, Any] = {
        "gfd": {"enabled": True},
        "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}, *placement.tolerations],
        "resources": small,
        "nfd": {"worker": {"tolerations": placement.tolerations}},
    }
    if entries:
        values["config"] = {"map": entries, "default": DEFAULT_ENTRY}
    return values


def gpu_operator_values(
    cluster: ClusterSettings, pools: Sequence[GpuPool], placement: Placement, observability: Observability
) -> dict[str, Any]:
    """Values of gpu-operator: what the nodes have already, it leaves alone."""
    entries = plugin_entries(pools)
    strategies = {pool.mig.strategy for pool in pools if pool.mig}
    values: dict[str, Any] = {
        "daemonsets": {"tolerations": placement.tolerations},
        "operator": {"upgradeCRD": True},  # a hook: Helm would leave the definitions as they were
        "node-feature-discovery": {"worker": {"tolerations": placement.tolerations}},
        "mig": {"strategy": "mixed" if "mixed" in strategies else "single"},
        "driver": {"enabled": not isinstance(cluster, EksSettings)},  # installed where a host has none
        "dcgmExporter": {
            "enabled": True,
            "serviceMonitor": {
                "enabled": observability.dcgm_exporter and observability.prometheus != "skip",
                "honorLabels": True,  # namespace and pod are those that use the GPU, not the exporter's
                "additionalLabels": {"release": observability.release_label},
            },
        },
    }
    if isinstance(cluster, EksSettings):
        values["toolkit"] = {"enabled": False}  # AL2023's NVIDIA image has it, and its runtime is set up for it
    if isinstance(cluster, GkeSettings):
        values["migManager"] = {"env": [{"name": "WITH_REBOOT", "value": "true"}]}  # Google's machines need one for MIG
    if entries:
        values["devicePlugin"] = {
            "config": {"create": True, "name": CONFIG_MAP, "default": DEFAULT_ENTRY, "data": entries}
        }
    return values
