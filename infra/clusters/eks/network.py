"""Network of an EKS cluster: a VPC with private and public subnets, or the subnets that the settings name.

A zone's letter decides its addresses, so that a zone more moves nobody else's. One NAT gateway serves all zones: the
zone it is in is the one whose failure stops downloads everywhere.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from pulumi_aws import ec2

from infra.config.clusters import EksSettings
from infra.config.pools import GpuPool

LEAST_ZONES = 3  # EKS wants two; with three, one can fail and pods still find a place to spread
LETTERS = "abcdefg"
ANYWHERE = "0.0.0.0/0"


@dataclass(frozen=True, kw_only=True)
class Subnet:
    """A private subnet for nodes."""

    zone: str
    id: pulumi.Input[str]


@dataclass(frozen=True, kw_only=True)
class Network:
    """Where the cluster is. `ready`: what nodes need to reach registries."""

    vpc_id: pulumi.Input[str]
    subnets: Sequence[Subnet]
    ready: Sequence[pulumi.Resource] = ()

    def of_pool(self, index: int, pool: GpuPool) -> list[pulumi.Input[str]]:
        """Return the subnets of a pool's zones. Raises RunError where there are none."""
        found = [subnet.id for subnet in self.subnets if not pool.zones or subnet.zone in pool.zones]
        if not found:
            there = ", ".join(sorted({subnet.zone for subnet in self.subnets}))
            raise pulumi.RunError(f"eks.gpu_pools.{index}.zones: no subnet is there, only in {there}: one of these")
        return found

    def one_a_zone(self) -> list[Subnet]:
        """Return a subnet of each zone: a file system may have one door in each."""
        return list({subnet.zone: subnet for subnet in reversed(self.subnets)}.values())[::-1]


def existing(settings: EksSettings, invoke: pulumi.InvokeOptions) -> Network:
    """Look the subnets of the settings up."""
    assert settings.vpc_id is not None
    found = [ec2.get_subnet(id=name, opts=invoke) for name in settings.subnet_ids]
    return Network(
        vpc_id=settings.vpc_id,
        subnets=[Subnet(zone=subnet.availability_zone, id=subnet.id) for subnet in found],
    )


def choose_zones(available: Iterable[str], pools: Sequence[GpuPool]) -> list[str]:
    """Choose the first three zones and those that pools name. Raises RunError for one that the region lacks."""
    there = sorted(zone for zone in available if zone[-1] in LETTERS)
    for index, pool in enumerate(pools):
        if missing := [zone for zone in pool.zones if zone not in there]:
            lacks = f"eks.gpu_pools.{index}.zones: the region has no {missing[0]}: one of {', '.join(there)}"
            raise pulumi.RunError(lacks)
    return sorted({*there[:LEAST_ZONES], *(zone for pool in pools for zone in pool.zones)})


def blocks(cidr: str, zone: str) -> tuple[str, str]:
    """Return the addresses of a zone's private subnet, an eighth of all, and public one, an eighth of the last."""
    place = LETTERS.index(zone[-1])
    eighths = list(ipaddress.IPv4Network(cidr).subnets(prefixlen_diff=3))
    return str(eighths[place]), str(list(eighths[-1].subnets(prefixlen_diff=3))[place])


def make(name: str, settings: EksSettings, invoke: pulumi.InvokeOptions, opts: pulumi.ResourceOptions) -> Network:
    """Make a VPC with private subnets that reach the internet, and public ones for load balancers."""
    available = aws.get_availability_zones(
        state="available",
        filters=[aws.GetAvailabilityZonesFilterArgs(name="opt-in-status", values=["opt-in-not-required"])],
        opts=invoke,
    )
    zones = choose_zones(available.names, settings.gpu_pools)
    vpc = ec2.Vpc(
        "vpc",
        cidr_block=settings.vpc_cidr,
        enable_dns_support=True,
        enable_dns_hostnames=True,
        tags={"Name": name},
        opts=opts,
    )
    gateway = ec2.InternetGateway("internet", vpc_id=vpc.id, tags={"Name": name}, opts=opts)
    public_routes = ec2.RouteTable(
        "public",
        vpc_id=vpc.id,
        routes=[ec2.RouteTableRouteArgs(cidr_block=ANYWHERE, gateway_id=gateway.id)],
        tags={"Name": f"{name}-public"},
        opts=opts,
    )
    private, public, ready = [], [], []
    for zone in zones:
        inside, outside = blocks(settings.vpc_cidr, zone)
        tags = {"Name": f"{name}-private-{zone}", "kubernetes.io/role/internal-elb": "1"}
        private.append(
            ec2.Subnet(
                f"private-{zone}", vpc_id=vpc.id, availability_zone=zone, cidr_block=inside, tags=tags, opts=opts
            )
        )
        tags = {"Name": f"{name}-public-{zone}", "kubernetes.io/role/elb": "1"}
        public.append(
            ec2.Subnet(
                f"public-{zone}", vpc_id=vpc.id, availability_zone=zone, cidr_block=outside, tags=tags, opts=opts
            )
        )
        ec2.RouteTableAssociation(f"public-{zone}", subnet_id=public[-1].id, route_table_id=public_routes.id, opts=opts)
    address = ec2.Eip("nat", domain="vpc", tags={"Name": f"{name}-nat"}, opts=opts)
    nat = ec2.NatGateway(
        "nat",
        allocation_id=address.id,
        subnet_id=public[0].id,
        tags={"Name": name},
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[gateway, public_routes])),
    )
    private_routes = ec2.RouteTable(
        "private",
        vpc_id=vpc.id,
        routes=[ec2.RouteTableRouteArgs(cidr_block=ANYWHERE, nat_gateway_id=nat.id)],
        tags={"Name": f"{name}-private"},
        opts=opts,
    )
    for zone, subnet in zip(zones, private, strict=True):
        ready.append(
            ec2.RouteTableAssociation(
                f"private-{zone}", subnet_id=subnet.id, route_table_id=private_routes.id, opts=opts
            )
        )
    ec2.VpcEndpoint(  # images and models from S3 do not pay for the NAT gateway
        "s3",
        vpc_id=vpc.id,
        service_name=f"com.amazonaws.{settings.region}.s3",
        vpc_endpoint_type="Gateway",
        route_table_ids=[private_routes.id],
        tags={"Name": f"{name}-s3"},
        opts=opts,
    )
    subnets = [Subnet(zone=zone, id=subnet.id) for zone, subnet in zip(zones, private, strict=True)]
    return Network(vpc_id=vpc.id, subnets=subnets, ready=ready)
