"""EKS under mocks: what AWS answers, and the program run for its settings."""

import functools
from typing import Any

from infra import clusters
from tests.unit.infra import from_settings
from tests.unit.infra.cluster_support import (
    CLOUDS,
    Registrations,
    config_for,
    of_type,
    run,
)

CLUSTER = "aws:eks/cluster:Cluster"
GROUP = ":NodeGroup"
TRAIN = CLOUDS["eks"]["gpu_pools"][1]
OUTPUTS: dict[str, dict[str, Any]] = {
    CLUSTER: {
        "endpoint": "https://api.eks",
        "certificateAuthority": {"data": "Q0E="},
        "vpcConfig": {"clusterSecurityGroupId": "sg-nodes", "subnetIds": []},
    },
    "aws:iam/role:Role": {"arn": "arn:aws:iam::1:role/x"},
    "aws:ec2/launchTemplate:LaunchTemplate": {"latestVersion": 3},
}
NAMES = [f"us-east-1{letter}" for letter in "abcdf"]
ZONE_OF = {"subnet-a": "us-east-1a", "subnet-b": "us-east-1b", "subnet-b2": "us-east-1b"}
SCARCE = {"p4de.24xlarge": ["us-east-1b", "us-east-1c"]}
"""Zones of machine types that are not everywhere."""


def zones_offered(asked: dict[str, Any]) -> dict[str, Any]:
    """Answer which zones offer machine types, as the API does: two lists side by side."""
    assert asked["locationType"] == "availability-zone"
    (filtered,) = asked["filters"]
    assert filtered["name"] == "instance-type"
    pairs = [(machine, zone) for machine in filtered["values"] for zone in SCARCE.get(machine, NAMES)]
    return {"instanceTypes": [machine for machine, _ in pairs], "locations": [zone for _, zone in pairs]}


def parameter(asked: dict[str, Any]) -> dict[str, Any]:
    """Answer with a release that tells which parameter was asked for."""
    return {"insecureValue": f"newest of {asked['name']}"}


CALLS: dict[str, Any] = {
    "aws:index/getAvailabilityZones:getAvailabilityZones": {"names": NAMES},
    "aws:ec2/getSubnet:getSubnet": lambda asked: {"id": asked["id"], "availabilityZone": ZONE_OF[asked["id"]]},
    "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings": zones_offered,
    "aws:eks/getClusters:getClusters": {"names": ["somebody-elses"]},
    "aws:eks/getAddonVersion:getAddonVersion": lambda asked: {
        "version": f"v1-{asked['addonName']}-for-{asked['kubernetesVersion']}"
    },
    "aws:ssm/getParameter:getParameter": parameter,
    "aws:eks/getCluster:getCluster": {
        "endpoint": "https://there",
        "certificateAuthorities": [{"data": "Q0E="}],
        "vpcConfig": {"clusterSecurityGroupId": "sg-there"},
        "version": "1.33",
    },
}
THERE = {"vpc_id": "vpc-1", "subnet_ids": list(ZONE_OF)}


def connect(groups: dict[str, Any] | None = None, **sections: Any) -> tuple[clusters.Cluster, Registrations]:
    """Run the program. `groups`: node groups that the cluster has already, as AWS describes them."""
    made: list[clusters.Cluster] = []
    sections["eks"] = CLOUDS["eks"] | sections.get("eks", {})
    settings = config_for("eks", **sections)
    existing: dict[str, Any] = {
        "aws:eks/getClusters:getClusters": {"names": ["nemostack"]},
        "aws:eks/getNodeGroups:getNodeGroups": {"names": list(groups or {})},
        "aws:eks/getNodeGroup:getNodeGroup": lambda asked: (groups or {})[asked["nodeGroupName"]],
    }
    calls = CALLS | (existing if groups is not None else {})
    registered = run(lambda: made.append(from_settings.connect(settings)), outputs=OUTPUTS, calls=calls)
    return made[0], registered


def group_of(desired: int, least: int, most: int, subnets: tuple[str, ...] = ("subnet-a",)) -> dict[str, Any]:
    """Describe a node group as AWS does."""
    scaling = {"desiredSize": desired, "minSize": least, "maxSize": most}
    return {"scalingConfigs": [scaling], "subnetIds": list(subnets)}


@functools.cache
def as_shipped() -> tuple[clusters.Cluster, Registrations]:
    """The least settings."""
    return connect()


def pool(gpu: dict[str, Any], **sections: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs of the node group made of `gpu`, and of its launch template."""
    eks = {"gpu_pools": [gpu, TRAIN]} | sections.pop("eks", {})
    _, registered = connect(eks=eks, **sections)
    name = f"gpu-{gpu['name']}"
    return of_type(registered, GROUP)[name].inputs, of_type(registered, ":LaunchTemplate")[name].inputs


S3: dict[str, Any] = {
    "object_store": {"kind": "s3", "bucket": "mine", "region": "us-east-1"},
    "secrets": {"ngc_api_key": "x", "object_store_access_key": "a", "object_store_secret_key": "b"},
}
