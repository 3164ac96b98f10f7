"""Node groups of an EKS cluster as AWS has them, read while the program runs.

A group's number of nodes belongs to the cluster autoscaler. AWS takes minimum, maximum and desired number only
together, so that whoever changes a limit must send the present number; the number in Pulumi's state is that of the
group's creation, and would stop running nodes.
"""

from dataclasses import dataclass

import pulumi
from pulumi_aws import ec2, eks, ssm

IMAGE_RELEASES = {
    "AL2023_x86_64_STANDARD": "/aws/service/eks/optimized-ami/{version}/amazon-linux-2023/x86_64/standard/recommended/"
    "release_version",
    "AL2023_x86_64_NVIDIA": "/aws/service/eks/optimized-ami/{version}/amazon-linux-2023/x86_64/nvidia/recommended/"
    "release_version",
    "BOTTLEROCKET_x86_64": "/aws/service/bottlerocket/aws-k8s-{version}/x86_64/latest/image_version",
    "BOTTLEROCKET_x86_64_NVIDIA": "/aws/service/bottlerocket/aws-k8s-{version}-nvidia/x86_64/latest/image_version",
}
"""Type of node image -> public parameter of AWS Systems Manager with the newest release of it ("Retrieve recommended
Amazon Linux AMI IDs" and "Retrieve recommended Bottlerocket AMI IDs", Amazon EKS User Guide)."""


@dataclass(frozen=True, kw_only=True)
class NodeGroupState:
    """A node group as it is now."""

    desired: int
    min: int
    max: int
    subnet_ids: tuple[str, ...]
    zones: frozenset[str]
    """Zones of the subnets; more than one only for groups that an earlier version of this program made."""


def read_node_groups(cluster: str, invoke: pulumi.InvokeOptions) -> dict[str, NodeGroupState]:
    """Read the groups `system` and `gpu-...` of a cluster, by name; none where the cluster does not exist yet."""
    if cluster not in eks.get_clusters(opts=invoke).names:
        return {}
    states = {}
    for name in eks.get_node_groups(cluster_name=cluster, opts=invoke).names:
        if name.partition("-")[0] not in ("system", "gpu"):
            continue
        group = eks.get_node_group(cluster_name=cluster, node_group_name=name, opts=invoke)
        scaling = group.scaling_configs[0]
        states[name] = NodeGroupState(
            desired=scaling.desired_size,
            min=scaling.min_size,
            max=scaling.max_size,
            subnet_ids=tuple(group.subnet_ids),
            zones=frozenset(ec2.get_subnet(id=name, opts=invoke).availability_zone for name in group.subnet_ids),
        )
    return states


def image_release(ami: str, kubernetes_version: str, invoke: pulumi.InvokeOptions) -> str:
    """Return AWS's newest release of a type of node image for a version of Kubernetes."""
    name = IMAGE_RELEASES[ami].format(version=kubernetes_version)
    release: str = ssm.get_parameter(name=name, opts=invoke).insecure_value
    return release
