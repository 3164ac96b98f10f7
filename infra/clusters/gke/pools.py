"""Node pools of a GKE cluster. The settings' minimum and maximum are of the whole pool, not of each zone."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_gcp import container

from infra.clusters import node_pools
from infra.config.clusters import GkeSettings
from infra.config.gpus import accelerator
from infra.config.platform import GpuSoftwareKind
from infra.config.pools import GpuPool

REGIONAL_ZONES = 3  # in which a regional cluster puts its nodes unless told otherwise
WITHOUT_PLUGIN = {"gke-no-default-nvidia-gpu-device-plugin": "true"}
FROZEN = ["initial_node_count"]  # a new pool would be the price of changing it, and the autoscaler changes the number


@dataclass(frozen=True, kw_only=True)
class NodePoolContext:
    """What all nodes of a cluster share."""

    software: GpuSoftwareKind
    settings: GkeSettings
    cluster: pulumi.Input[str]
    account: pulumi.Input[str]
    """Email of the service account."""
    workload_identity: bool


def system_pool(context: NodePoolContext, opts: pulumi.ResourceOptions) -> container.NodePool:
    """Make the pool that carries all that needs no GPU."""
    pool = context.settings.system_pool
    return container.NodePool(
        "system",
        name="system",
        cluster=context.cluster,
        location=context.settings.location,
        node_locations=list(pool.zones) or None,
        initial_node_count=node_pools.first_nodes(pool, zone_count(context.settings, pool.zones)),
        autoscaling=container.NodePoolAutoscalingArgs(
            total_min_node_count=pool.min, total_max_node_count=pool.max, location_policy="BALANCED"
        ),
        node_config=node_config(context, machine_type=pool.machine, disk_size_gb=pool.disk_gib),
        management=container.NodePoolManagementArgs(auto_repair=True, auto_upgrade=True),
        opts=pulumi.ResourceOptions.merge(
            opts, pulumi.ResourceOptions(ignore_changes=FROZEN, delete_before_replace=True)
        ),
    )


def gpu_pool(context: NodePoolContext, pool: GpuPool, opts: pulumi.ResourceOptions) -> container.NodePool:
    """Make a GPU pool exactly as the settings describe it."""
    machine = pool.resolve("gke")
    kind = accelerator(machine.gpu)
    assert kind is not None, "the settings were checked"
    by_google = pool.driver == "cloud"
    gpus = container.NodePoolNodeConfigGuestAcceleratorArgs(
        type=kind,
        count=machine.count,
        gpu_driver_installation_config=container.NodePoolNodeConfigGuestAcceleratorGpuDriverInstallationConfigArgs(
            gpu_driver_version="DEFAULT" if by_google else "INSTALLATION_DISABLED"
        ),
        gpu_partition_size=pool.mig.profile if pool.mig and by_google else None,
        gpu_sharing_config=container.NodePoolNodeConfigGuestAcceleratorGpuSharingConfigArgs(
            gpu_sharing_strategy="TIME_SHARING", max_shared_clients_per_gpu=pool.time_slicing.replicas
        )
        if pool.time_slicing and by_google
        else None,
    )
    return container.NodePool(
        f"gpu-{pool.name}",
        name=pool.name,
        cluster=context.cluster,
        location=context.settings.location,
        node_locations=list(pool.zones) or None,
        initial_node_count=node_pools.first_nodes(pool, zone_count(context.settings, pool.zones)),
        autoscaling=container.NodePoolAutoscalingArgs(
            total_min_node_count=pool.min, total_max_node_count=pool.max, location_policy="ANY"
        ),
        node_config=node_config(
            context,
            machine_type=machine.name,
            disk_size_gb=pool.disk_gib,
            labels=node_pools.labels(context.software, context.settings, pool) | ({} if by_google else WITHOUT_PLUGIN),
            taints=[
                container.NodePoolNodeConfigTaintArgs(
                    key=taint.key, value=taint.value, effect=node_pools.EFFECTS[taint.effect]
                )
                for taint in pool.taints
            ],
            gpus=gpus,
            spot=pool.spot,
            # drivers of the GPU operator are not signed, and it builds them on Ubuntu only
            secure_boot=by_google,
            image="COS_CONTAINERD" if by_google else "UBUNTU_CONTAINERD",
        ),
        management=container.NodePoolManagementArgs(auto_repair=True, auto_upgrade=True),
        # an upgrade takes a node away first: there is rarely quota for one GPU node more
        upgrade_settings=container.NodePoolUpgradeSettingsArgs(max_surge=0, max_unavailable=1),
        opts=pulumi.ResourceOptions.merge(
            opts, pulumi.ResourceOptions(ignore_changes=FROZEN, delete_before_replace=True)
        ),
    )


def node_config(
    context: NodePoolContext,
    *,
    machine_type: str,
    disk_size_gb: int,
    labels: dict[str, str] | None = None,
    taints: Sequence[container.NodePoolNodeConfigTaintArgs] = (),
    gpus: container.NodePoolNodeConfigGuestAcceleratorArgs | None = None,
    spot: bool = False,
    secure_boot: bool = True,
    image: str = "COS_CONTAINERD",
) -> container.NodePoolNodeConfigArgs:
    """Return what one node is. No disk type: GKE knows which one a machine type can have."""
    return container.NodePoolNodeConfigArgs(
        machine_type=machine_type,
        disk_size_gb=disk_size_gb,
        image_type=image,
        labels=labels or {},
        taints=list(taints),
        spot=spot,
        guest_accelerators=[gpus] if gpus else None,
        gvnic=container.NodePoolNodeConfigGvnicArgs(enabled=True),
        service_account=context.account,
        oauth_scopes=["https://www.googleapis.com/auth/cloud-platform"],  # roles of the account are what limits it
        metadata={"disable-legacy-endpoints": "true"},
        shielded_instance_config=container.NodePoolNodeConfigShieldedInstanceConfigArgs(
            enable_secure_boot=secure_boot, enable_integrity_monitoring=True
        ),
        # pods get their own identity instead of the node's
        workload_metadata_config=container.NodePoolNodeConfigWorkloadMetadataConfigArgs(mode="GKE_METADATA")
        if context.workload_identity
        else None,
    )


def zone_count(settings: GkeSettings, zones: Sequence[str]) -> int:
    """Count the zones of a pool: those it names, else one for a zonal cluster, three for a regional."""
    return len(zones) or (1 if settings.location != settings.region else REGIONAL_ZONES)
