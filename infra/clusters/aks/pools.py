"""Agent pools of an AKS cluster."""

from collections.abc import Iterator
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import containerservice

from infra.clusters import node_pools
from infra.clusters.aks.state import ClusterState
from infra.config.clusters import AksSettings
from infra.config.platform import GpuSoftwareKind
from infra.config.pools import GpuPool, SystemPool
from infra.topology.placement import AKS_SPOT

SYSTEM = "system"


@dataclass(frozen=True, kw_only=True)
class NodePoolContext:
    """What all nodes of a cluster share."""

    software: GpuSoftwareKind
    settings: AksSettings
    cluster: pulumi.Input[str]
    group: pulumi.Input[str]
    subnet: pulumi.Input[str] | None
    version: str | None
    """Of Kubernetes; None: the cluster's."""
    state: ClusterState | None
    """The cluster as it is; None: there is none yet."""


def present_count(state: ClusterState | None, name: str, least: int, most: int) -> int:
    """Return how many nodes a pool has, moved within its limits: Azure is told the number with every change."""
    pool = state.pools.get(name) if state else None
    return node_pools.clamp(pool.count, least, most) if pool else least


def system_version(state: ClusterState | None, wanted: str) -> str:
    """Return the Kubernetes version of the system pool, which is part of the request that changes the cluster.

    While the control plane is being raised its nodes keep theirs: Azure refuses both at once where there is a pool of
    spot nodes. The next `up` raises them.
    """
    pool = state.pools.get(SYSTEM) if state else None
    if state is None or pool is None or state.version == wanted:
        return wanted
    pulumi.log.info(
        f"aks.kubernetes_version: the control plane is raised to {wanted} first; run pulumi up again to raise the "
        f"system pool, whose nodes stay at {pool.version}"
    )
    return pool.version


def system_profile(
    pool: SystemPool, subnet: pulumi.Input[str], version: str, state: ClusterState | None
) -> containerservice.ManagedClusterAgentPoolProfileArgs:
    """Return the pool that a cluster is made with, which carries all that needs no GPU."""
    return containerservice.ManagedClusterAgentPoolProfileArgs(
        name=SYSTEM,
        mode="System",
        type="VirtualMachineScaleSets",
        vm_size=pool.machine,
        os_type="Linux",
        os_sku="Ubuntu",
        os_disk_size_gb=pool.disk_gib,
        availability_zones=list(pool.zones) or None,
        enable_auto_scaling=True,
        count=present_count(state, SYSTEM, pool.min, pool.max),
        min_count=pool.min,
        max_count=pool.max,
        vnet_subnet_id=subnet,
        orchestrator_version=system_version(state, version),
        enable_node_public_ip=False,
        upgrade_settings=containerservice.AgentPoolUpgradeSettingsArgs(max_surge="1"),
    )


def gpu_pools(
    context: NodePoolContext, path: str, pool: GpuPool, opts: pulumi.ResourceOptions
) -> Iterator[containerservice.AgentPool]:
    """Make a GPU pool exactly as the settings describe it, with an agent pool for each of its zones.

    An agent pool that exists and spans zones, as those of earlier versions do, stays as it is, with a warning: Azure
    cannot change its zones, and to replace it would stop its nodes.
    """
    name, agent_pool = f"gpu-{pool.name}", pool.name.replace("-", "")  # Azure allows letters and digits only
    whole = (pool.min, pool.max)
    state = context.state.pools.get(agent_pool) if context.state else None
    if state and len(state.zones) > 1:
        pulumi.log.warn(
            f"{path}.zones: agent pool {agent_pool} spans zones {', '.join(state.zones)}, while a volume may be in one "
            "zone: give the pool another name, so that it is made anew with an agent pool for each zone"
        )
        yield gpu_pool(context, name, agent_pool, pool, limits=whole, zones=state.zones, opts=opts)
    elif not pool.zones:
        yield gpu_pool(context, name, agent_pool, pool, limits=whole, zones=(), opts=opts)
    else:
        for share in node_pools.divide(pool, pool.zones):
            suffix = "" if share.first else share.zone
            yield gpu_pool(
                context,
                f"{name}-{suffix}" if suffix else name,
                f"{agent_pool}{suffix}",
                pool,
                limits=(share.min, share.max),
                zones=(share.zone,),
                opts=opts,
            )


def gpu_pool(
    context: NodePoolContext,
    name: str,
    agent_pool: str,
    pool: GpuPool,
    *,
    limits: tuple[int, int],
    zones: tuple[str, ...],
    opts: pulumi.ResourceOptions,
) -> containerservice.AgentPool:
    """Make one agent pool. `limits`: fewest and most nodes of it."""
    taints = [*pool.taints, *([AKS_SPOT] if pool.spot else [])]
    least, most = limits
    return containerservice.AgentPool(
        name,
        agent_pool_name=agent_pool,
        resource_group_name=context.group,
        resource_name_=context.cluster,
        mode="User",
        type="VirtualMachineScaleSets",
        vm_size=pool.resolve("aks").name,
        os_type="Linux",
        os_sku="Ubuntu",
        os_disk_size_gb=pool.disk_gib,
        availability_zones=list(zones) or None,
        enable_auto_scaling=True,
        count=present_count(context.state, agent_pool, least, most),
        min_count=least,
        max_count=most,
        vnet_subnet_id=context.subnet,
        orchestrator_version=context.version,
        enable_node_public_ip=False,
        scale_set_priority="Spot" if pool.spot else None,
        scale_set_eviction_policy="Delete" if pool.spot else None,
        spot_max_price=-1 if pool.spot else None,  # up to the price on demand
        gpu_profile=containerservice.GPUProfileArgs(driver="Install" if pool.driver == "cloud" else "None"),
        gpu_instance_profile=f"MIG{pool.mig.profile.split('.')[0]}" if pool.mig else None,
        node_labels=node_pools.labels(context.software, context.settings, pool),
        # AKS adds the taint of spot nodes by itself; named here, it is no difference
        node_taints=[f"{taint.key}={taint.value}:{taint.effect}" for taint in taints],
        # an upgrade takes a node away first: there is rarely quota for one GPU node more
        upgrade_settings=None
        if pool.spot
        else containerservice.AgentPoolUpgradeSettingsArgs(max_surge="0", max_unavailable="1"),
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(delete_before_replace=True)),
    )
