"""Network of an EKS cluster: a VPC with private and public subnets, or the subnets that the settings name.

A zone's letter decides its addresses, so that one more zone moves nobody else's. One NAT gateway serves all zones: the
zone it is in is the one whose failure stops downloads everywhere.
"""

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from pulumi_aws import ec2

from infra.config.clusters import EksSettings
from infra.config.pools import GpuPool, SystemPool

LEAST_ZONES = 3  # EKS wants two; with three, one can fail and pods still find a place to spread
LETTERS = "abcdefg"
ANYWHERE = "0.0.0.0/0"
FORBIDDEN_ZONE_IDS = ("use1-az3", "usw1-az2", "cac1-az3")
"""Zones in which EKS refuses subnets of a cluster ("Amazon EKS networking requirements", Amazon EKS User Guide).
They go by ids, since the names of zones mean another zone in each account."""

Offers = Mapping[str, Collection[str]]
"""Machine type -> zones that offer it."""


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

    def in_zone(self, zone: str) -> list[pulumi.Input[str]]:
        """Return the subnets of a zone."""
        return [subnet.id for subnet in self.subnets if subnet.zone == zone]

    @property
    def zones(self) -> list[str]:
        """Zones of the subnets, each once."""
        return list(dict.fromkeys(subnet.zone for subnet in self.subnets))

    def zones_of_pool(self, path: str, pool: GpuPool | SystemPool, machine: str, offers: Offers) -> list[str]:
        """Return the zones of a pool that have a subnet and offer its machine type.

        Those that the pool names; else one for GPUs, and the first three for the system pool. `path`: of the pool in
        the settings, for messages. Raises RunError where there are none, or a named one is none of these.
        """
        for zone in pool.zones:
            if zone not in self.zones:
                raise pulumi.RunError(
                    f"{path}.zones: no subnet is in {zone}, only in {', '.join(sorted(self.zones))}: one of these"
                )
        if missing := [zone for zone in pool.zones if zone not in offers[machine]]:
            raise pulumi.RunError(
                f"{path}.zones: {missing[0]} does not offer {machine}: {alternatives(machine, offers)}"
            )
        able = [zone for zone in pool.zones or self.zones if zone in offers[machine]]
        if not able:
            raise pulumi.RunError(
                f"{path}: no zone with a subnet offers {machine}, of {', '.join(sorted(self.zones))}: "
                f"{alternatives(machine, offers)}"
            )
        if pool.zones:
            return able
        return able[:1] if isinstance(pool, GpuPool) else able[:LEAST_ZONES]

    def one_per_zone(self) -> list[Subnet]:
        """Return a subnet of each zone: a file system may have one mount target in each."""
        return list({subnet.zone: subnet for subnet in reversed(self.subnets)}.values())[::-1]


def existing(settings: EksSettings, invoke: pulumi.InvokeOptions) -> Network:
    """Look the subnets of the settings up."""
    assert settings.vpc_id is not None
    subnets = [ec2.get_subnet(id=name, opts=invoke) for name in settings.subnet_ids]
    return Network(
        vpc_id=settings.vpc_id,
        subnets=[Subnet(zone=subnet.availability_zone, id=subnet.id) for subnet in subnets],
    )


def machine_offers(machines: Iterable[str], invoke: pulumi.InvokeOptions) -> Offers:
    """Ask AWS which zones of the region offer which machine types."""
    names = sorted(set(machines))
    answer = ec2.get_instance_type_offerings(
        location_type="availability-zone",
        filters=[ec2.GetInstanceTypeOfferingsFilterArgs(name="instance-type", values=names)],
        opts=invoke,
    )
    offers: dict[str, set[str]] = {machine: set() for machine in names}
    for machine, zone in zip(answer.instance_types, answer.locations, strict=True):
        offers[machine].add(zone)
    return offers


def alternatives(machine: str, offers: Offers) -> str:
    """Say where a machine type is to be had."""
    zones = ", ".join(sorted(offers[machine]))
    return f"one of {zones}" if zones else "the region has none: another machine type, or another region"


def choose_zones(available: Iterable[str], settings: EksSettings, offers: Offers) -> list[str]:
    """Choose the first three zones, those that pools name, and for each other pool one that offers its machine type.

    Raises RunError for a zone that the region lacks, or that a cluster cannot be in.
    """
    usable = sorted(zone for zone in available if zone[-1] in LETTERS)
    chosen = set(usable[:LEAST_ZONES])
    for path, pool, machine in machines_of(settings):
        if missing := [zone for zone in pool.zones if zone not in usable]:
            raise pulumi.RunError(f"{path}.zones: the region has no usable {missing[0]}: one of {', '.join(usable)}")
        chosen.update(pool.zones)
        if not pool.zones and chosen.isdisjoint(offers[machine]):
            chosen.update([zone for zone in usable if zone in offers[machine]][:1])
    return sorted(chosen)


def machines_of(settings: EksSettings) -> Iterator[tuple[str, GpuPool | SystemPool, str]]:
    """Yield each pool with its path in the settings and its machine type; the system pool only of a new cluster."""
    if settings.create:
        yield "eks.system_pool", settings.system_pool, settings.system_pool.machine
    for index, pool in enumerate(settings.gpu_pools):
        yield f"eks.gpu_pools.{index}", pool, pool.resolve("eks").name


def blocks(cidr: str, zone: str) -> tuple[str, str]:
    """Return the addresses of a zone's private subnet, an eighth of all, and public one, an eighth of the last."""
    place = LETTERS.index(zone[-1])
    eighths = list(ipaddress.IPv4Network(cidr).subnets(prefixlen_diff=3))
    return str(eighths[place]), str(list(eighths[-1].subnets(prefixlen_diff=3))[place])


def make(
    name: str, settings: EksSettings, offers: Offers, invoke: pulumi.InvokeOptions, opts: pulumi.ResourceOptions
) -> Network:
    """Make a VPC with private subnets that reach the internet, and public ones for load balancers."""
    available = aws.get_availability_zones(
        state="available",
        filters=[aws.GetAvailabilityZonesFilterArgs(name="opt-in-status", values=["opt-in-not-required"])],
        exclude_zone_ids=list(FORBIDDEN_ZONE_IDS),
        opts=invoke,
    )
    zones = choose_zones(available.names, settings, offers)
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
