"""Node groups of an EKS cluster: managed ones, whose numbers the cluster autoscaler changes between min and max."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_aws import ec2, eks

from infra.clusters import node_pools
from infra.config.clusters import EksSettings
from infra.config.pools import GpuPool, SystemPool
from infra.config.stack import ClusterStackConfig

SYSTEM_AMI = {"AL2023": "AL2023_x86_64_STANDARD", "BOTTLEROCKET": "BOTTLEROCKET_x86_64"}
DATA_DISK = {"AL2023": "/dev/xvda", "BOTTLEROCKET": "/dev/xvdb"}  # Bottlerocket keeps images on a second disk


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """What all nodes of a cluster share."""

    config: ClusterStackConfig
    settings: EksSettings
    cluster: pulumi.Input[str]
    role_arn: pulumi.Input[str]

    @property
    def family(self) -> str:
        """Operating system of the nodes: AL2023 or BOTTLEROCKET."""
        return self.settings.ami.split("_")[0]


def launch_template(nodes: Nodes, name: str, disk_gib: int, opts: pulumi.ResourceOptions) -> ec2.LaunchTemplate:
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
                device_name=DATA_DISK[nodes.family],
                ebs=ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
                    volume_size=disk_gib, volume_type="gp3", encrypted="true", delete_on_termination="true"
                ),
            )
        ],
        update_default_version=True,
        opts=opts,
    )


def group(
    nodes: Nodes,
    name: str,
    pool: GpuPool | SystemPool,
    *,
    machine: str,
    ami: str,
    subnets: Sequence[pulumi.Input[str]],
    opts: pulumi.ResourceOptions,
) -> eks.NodeGroup:
    """Make a node group; a GPU pool brings labels, taints and spot."""
    gpu = pool if isinstance(pool, GpuPool) else None
    template = launch_template(nodes, name, pool.disk_gib, opts)
    return eks.NodeGroup(
        name,
        cluster_name=nodes.cluster,
        node_group_name=name,
        node_role_arn=nodes.role_arn,
        subnet_ids=list(subnets),
        ami_type=ami,
        instance_types=[machine],
        capacity_type="SPOT" if gpu and gpu.spot else "ON_DEMAND",
        launch_template=eks.NodeGroupLaunchTemplateArgs(id=template.id, version=template.latest_version.apply(str)),
        scaling_config=eks.NodeGroupScalingConfigArgs(desired_size=pool.min, min_size=pool.min, max_size=pool.max),
        update_config=eks.NodeGroupUpdateConfigArgs(max_unavailable=1),
        labels=node_pools.labels(nodes.config, gpu) if gpu else None,
        taints=[
            eks.NodeGroupTaintArgs(key=taint.key, value=taint.value, effect=node_pools.EFFECTS[taint.effect])
            for taint in gpu.taints
        ]
        if gpu
        else None,
        opts=pulumi.ResourceOptions.merge(
            opts, pulumi.ResourceOptions(ignore_changes=["scalingConfig.desiredSize"], delete_before_replace=True)
        ),
    )


def system_pool(nodes: Nodes, subnets: Sequence[pulumi.Input[str]], opts: pulumi.ResourceOptions) -> eks.NodeGroup:
    """Make the group that carries all that needs no GPU."""
    pool = nodes.settings.system_pool
    ami = SYSTEM_AMI[nodes.family]
    return group(nodes, "system", pool, machine=pool.machine, ami=ami, subnets=subnets, opts=opts)


def gpu_pool(
    nodes: Nodes, pool: GpuPool, subnets: Sequence[pulumi.Input[str]], opts: pulumi.ResourceOptions
) -> eks.NodeGroup:
    """Make a GPU pool exactly as the settings describe it."""
    machine = pool.resolve("eks").name
    return group(nodes, f"gpu-{pool.name}", pool, machine=machine, ami=nodes.settings.ami, subnets=subnets, opts=opts)
