"""Network of a GKE cluster: a VPC of its own with a way out for private nodes, or the one that the settings name."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_gcp import compute, container

from infra.config.clusters import GkeSettings

NODES = "10.40.0.0/20"
PODS = "10.44.0.0/14"
SERVICES = "10.48.0.0/20"


@dataclass(frozen=True, kw_only=True)
class Network:
    """Where the cluster is. `ready`: what nodes need to reach registries."""

    network: pulumi.Input[str]
    subnetwork: pulumi.Input[str]
    ranges: container.ClusterIpAllocationPolicyArgs
    ready: Sequence[pulumi.Resource] = ()


def network(name: str, settings: GkeSettings, proxies: str | None, opts: pulumi.ResourceOptions) -> Network:
    """Make the network, or use the one of the settings, whose way out (Cloud NAT or other) is the user's business.

    `proxies`: CIDR of the subnetwork from which Google's load balancers reach pods, None where none are used.
    """
    if settings.network is not None and settings.subnetwork is not None:
        return Network(
            network=settings.network,
            subnetwork=settings.subnetwork,
            ranges=container.ClusterIpAllocationPolicyArgs(),  # GKE adds ranges of its own to the subnetwork
        )
    vpc = compute.Network("network", name=name, auto_create_subnetworks=False, opts=opts)
    subnetwork = compute.Subnetwork(
        "nodes",
        name=f"{name}-nodes",
        region=settings.region,
        network=vpc.id,
        ip_cidr_range=NODES,
        secondary_ip_ranges=[
            compute.SubnetworkSecondaryIpRangeArgs(range_name="pods", ip_cidr_range=PODS),
            compute.SubnetworkSecondaryIpRangeArgs(range_name="services", ip_cidr_range=SERVICES),
        ],
        private_ip_google_access=True,
        opts=opts,
    )
    if proxies:
        compute.Subnetwork(
            "proxies",
            name=f"{name}-proxies",
            region=settings.region,
            network=vpc.id,
            ip_cidr_range=proxies,
            purpose="REGIONAL_MANAGED_PROXY",
            role="ACTIVE",
            opts=opts,
        )
    router = compute.Router("router", name=f"{name}-router", region=settings.region, network=vpc.id, opts=opts)
    nat = compute.RouterNat(
        "nat",
        name=f"{name}-nat",
        region=settings.region,
        router=router.name,
        nat_ip_allocate_option="AUTO_ONLY",
        source_subnetwork_ip_ranges_to_nat="ALL_SUBNETWORKS_ALL_IP_RANGES",
        log_config=compute.RouterNatLogConfigArgs(enable=True, filter="ERRORS_ONLY"),
        opts=opts,
    )
    ranges = container.ClusterIpAllocationPolicyArgs(
        cluster_secondary_range_name="pods", services_secondary_range_name="services"
    )
    return Network(network=vpc.name, subnetwork=subnetwork.name, ranges=ranges, ready=[nat])
