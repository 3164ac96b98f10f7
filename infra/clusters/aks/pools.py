"""Agent pools of an AKS cluster."""

from dataclasses import dataclass

import pulumi
from pulumi_azure_native import containerservice

from infra.cluster.placement import AKS_SPOT
from infra.clusters import node_pools
from infra.config.pools import GpuPool, SystemPool
from infra.config.stack import ClusterStackConfig

FROZEN = ["count"]  # the autoscaler's


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """What all nodes of a cluster share. `version`: of Kubernetes; None: the cluster's."""

    config: ClusterStackConfig
    cluster: pulumi.Input[str]
    group: pulumi.Input[str]
    subnet: pulumi.Input[str] | None
    version: str | None


def system_profile(
    pool: SystemPool, subnet: pulumi.Input[str], version: str
) -> containerservice.ManagedClusterAgentPoolProfileArgs:
    """Return the pool that a cluster is made with, which carries all that needs no GPU."""
    return containerservice.ManagedClusterAgentPoolProfileArgs(
        name="system",
        mode="System",
        type="VirtualMachineScaleSets",
        vm_size=pool.machine,
        os_type="Linux",
        os_sku="Ubuntu",
        os_disk_size_gb=pool.disk_gib,
        enable_auto_scaling=True,
        count=pool.min,
        min_count=pool.min,
        max_count=pool.max,
        vnet_subnet_id=subnet,
        orchestrator_version=version,
        enable_node_public_ip=False,
        upgrade_settings=containerservice.AgentPoolUpgradeSettingsArgs(max_surge="1"),
    )


def gpu_pool(nodes: Nodes, pool: GpuPool, opts: pulumi.ResourceOptions) -> containerservice.AgentPool:
    """Make a GPU pool exactly as the settings describe it."""
    taints = [*pool.taints, *([AKS_SPOT] if pool.spot else [])]
    return containerservice.AgentPool(
        f"gpu-{pool.name}",
        agent_pool_name=pool.name.replace("-", ""),  # letters and digits only
        resource_group_name=nodes.group,
        resource_name_=nodes.cluster,
        mode="User",
        type="VirtualMachineScaleSets",
        vm_size=pool.resolve("aks").name,
        os_type="Linux",
        os_sku="Ubuntu",
        os_disk_size_gb=pool.disk_gib,
        availability_zones=list(pool.zones) or None,
        enable_auto_scaling=True,
        count=pool.min,
        min_count=pool.min,
        max_count=pool.max,
        vnet_subnet_id=nodes.subnet,
        orchestrator_version=nodes.version,
        enable_node_public_ip=False,
        scale_set_priority="Spot" if pool.spot else None,
        scale_set_eviction_policy="Delete" if pool.spot else None,
        spot_max_price=-1 if pool.spot else None,  # up to the price on demand
        gpu_profile=containerservice.GPUProfileArgs(driver="Install" if pool.driver == "cloud" else "None"),
        gpu_instance_profile=f"MIG{pool.mig.profile.split('.')[0]}" if pool.mig else None,
        node_labels=node_pools.labels(nodes.config, pool),
        # AKS adds the taint of spot nodes by itself; said here, it is no difference
        node_taints=[f"{taint.key}={taint.value}:{taint.effect}" for taint in taints],
        # an upgrade takes a node away first: there is rarely quota for one GPU node more
        upgrade_settings=None
        if pool.spot
        else containerservice.AgentPoolUpgradeSettingsArgs(max_surge="0", max_unavailable="1"),
        opts=pulumi.ResourceOptions.merge(
            opts, pulumi.ResourceOptions(ignore_changes=FROZEN, delete_before_replace=True)
        ),
    )
