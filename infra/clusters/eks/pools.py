"""Node groups of an EKS cluster: managed ones, whose numbers the cluster autoscaler changes between min and max."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi_aws import ec2, eks

from infra.clusters import node_pools
from infra.clusters.eks.groups import NodeGroupState, image_release
from infra.clusters.eks.network import Network, Offers
from infra.config.clusters import EksSettings
from infra.config.platform import GpuSoftwareKind
from infra.config.pools import GpuPool, SystemPool

SYSTEM_AMI = {"AL2023": "AL2023_x86_64_STANDARD", "BOTTLEROCKET": "BOTTLEROCKET_x86_64"}
DATA_DISK = {"AL2023": "/dev/xvda", "BOTTLEROCKET": "/dev/xvdb"}  # Bottlerocket keeps images on a second disk

ACCELERATOR_LABEL = "k8s.amazonaws.com/accelerator"


@dataclass(frozen=True, kw_only=True)
class NodePoolContext:
    """What all nodes of a cluster share."""

    software: GpuSoftwareKind
    settings: EksSettings
    cluster: pulumi.Input[str]
    role_arn: pulumi.Input[str]
    network: Network
    offers: Offers
    groups: Mapping[str, NodeGroupState]
    """Node groups that exist, by name."""
    invoke: pulumi.InvokeOptions

    @property
    def family(self) -> str:
        """Operating system of the nodes: AL2023 or BOTTLEROCKET."""
        return self.settings.ami.split("_")[0]

    @property
    def version(self) -> str | None:
        """Kubernetes version of the nodes; None on a cluster that is not ours, where new nodes follow it."""
        return self.settings.kubernetes_version if self.settings.create else None

    def image_release(self, ami: str) -> str | None:
        """Release of the node image; None: the newest when a group is made or its Kubernetes version changes."""
        if self.version is None or not self.settings.update_node_image:
            return None
        return image_release(ami, self.version, self.invoke)


def launch_template(
    context: NodePoolContext, name: str, disk_gib: int, opts: pulumi.ResourceOptions
) -> ec2.LaunchTemplate:
    """Make what managed groups cannot say themselves: an encrypted disk, and metadata that pods do not reach."""
    return ec2.LaunchTemplate(
        name,
        metadata_options=ec2.LaunchTemplateMetadataOptionsArgs(
            http_endpoint="enabled",
            http_tokens="required",
            http_put_response_hop_limit=1,  # a pod is one hop further than its node
        ),
        block_device_mappings=[
            ec2.LaunchTemplateBlockDeviceMappingArgs(
                device_name=DATA_DISK[context.family],
                ebs=ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
                    volume_size=disk_gib, volume_type="gp3", encrypted="true", delete_on_termination="true"
                ),
            )
        ],
        update_default_version=True,
        opts=opts,
    )


def group(
    context: NodePoolContext,
    name: str,
    pool: GpuPool | SystemPool,
    *,
    machine: str,
    ami: str,
    limits: tuple[int, int],
    subnets: Sequence[pulumi.Input[str]],
    opts: pulumi.ResourceOptions,
) -> eks.NodeGroup:
    """Make a node group; a GPU pool brings labels, taints and spot. `limits`: fewest and most nodes of the group."""
    gpu = pool if isinstance(pool, GpuPool) else None
    template = launch_template(context, name, pool.disk_gib, opts)
    scaling, autoscaled = scaling_config(context.groups.get(name), *limits)
    return eks.NodeGroup(
        name,
        cluster_name=context.cluster,
        node_group_name=name,
        node_role_arn=context.role_arn,
        subnet_ids=list(subnets),
        ami_type=ami,
        version=context.version,
        release_version=context.image_release(ami),
        instance_types=[machine],
        capacity_type="SPOT" if gpu and gpu.spot else "ON_DEMAND",
        launch_template=eks.NodeGroupLaunchTemplateArgs(id=template.id, version=template.latest_version.apply(str)),
        scaling_config=scaling,
        update_config=eks.NodeGroupUpdateConfigArgs(max_unavailable=1),
        labels=gpu_labels(context, gpu) if gpu else None,
        taints=[
            eks.NodeGroupTaintArgs(key=taint.key, value=taint.value, effect=node_pools.EFFECTS[taint.effect])
            for taint in gpu.taints
        ]
        if gpu
        else None,
        opts=pulumi.ResourceOptions.merge(
            opts, pulumi.ResourceOptions(ignore_changes=autoscaled, delete_before_replace=True)
        ),
    )


def scaling_config(
    state: NodeGroupState | None, least: int, most: int
) -> tuple[eks.NodeGroupScalingConfigArgs, list[str]]:
    """Return the limits of a group with its number of nodes, and which of these are not to be compared.

    While the limits stay, the number is the autoscaler's and no difference. Once one changes, AWS gets the present
    number, moved within the new limits.
    """
    desired = node_pools.clamp(state.desired, least, most) if state else least
    stays = state is not None and (state.min, state.max) == (least, most)
    scaling = eks.NodeGroupScalingConfigArgs(desired_size=desired, min_size=least, max_size=most)
    return scaling, ["scalingConfig.desiredSize"] if stays else []


def gpu_labels(context: NodePoolContext, pool: GpuPool) -> dict[str, str]:
    """Labels of a GPU pool's nodes, with the one by which the autoscaler knows that a new node will have a GPU.

    Without it a node that is ready before its device plugin counts as one without GPUs, and another node is added
    (README of cluster-autoscaler for AWS, "Special note on GPU instances"). Any value will do.
    """
    return node_pools.labels(context.software, context.settings, pool) | {
        ACCELERATOR_LABEL: f"nvidia-{pool.resolve('eks').gpu.lower()}"
    }


def pool_groups(
    context: NodePoolContext, name: str, path: str, pool: GpuPool | SystemPool, opts: pulumi.ResourceOptions
) -> list[eks.NodeGroup]:
    """Make the node groups of a pool, one for each of its zones. The first one has the name of the pool.

    A group that exists and spans zones, as those of earlier versions do, stays as it is, with a warning: AWS cannot
    change its subnets, and to replace it would stop its nodes.
    """
    gpu = isinstance(pool, GpuPool)
    machine = pool.resolve("eks").name if isinstance(pool, GpuPool) else pool.machine
    ami = context.settings.ami if gpu else SYSTEM_AMI[context.family]
    state = context.groups.get(name)
    if state and len(state.zones) > 1:
        pulumi.log.warn(
            f"{path}: node group {name} spans {', '.join(sorted(state.zones))}, while volumes are in one zone, so that "
            "a pod may wait for ever for a node beside its volume: when nothing runs on it, aws eks delete-nodegroup "
            f"--cluster-name {context.settings.cluster_name} --nodegroup-name {name}, then pulumi refresh and up"
        )
        limits = (pool.min, pool.max)
        subnets: Sequence[pulumi.Input[str]] = state.subnet_ids
        return [group(context, name, pool, machine=machine, ami=ami, limits=limits, subnets=subnets, opts=opts)]
    zones = context.network.zones_of_pool(path, pool, machine, context.offers)
    return [
        group(
            context,
            name if share.first else f"{name}-{share.zone}",
            pool,
            machine=machine,
            ami=ami,
            limits=(share.min, share.max),
            subnets=context.network.in_zone(share.zone),
            opts=opts,
        )
        for share in node_pools.divide(pool, zones)
    ]
