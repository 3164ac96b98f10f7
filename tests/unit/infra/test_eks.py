"""EKS as the engine is asked for it: pools as the settings say, secure defaults, only pools where it is there."""

import functools
import ipaddress
import itertools
import json
from typing import Any

import pulumi
import pytest

from infra import clusters, versions
from infra.clusters.eks import network, roles
from infra.config.clusters import EksSettings
from tests.unit.infra.cluster_support import (
    CLOUDS,
    L4,
    ROOT,
    Registrations,
    comes_after,
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
    registered = run(lambda: made.append(clusters.connect(settings, ROOT)), outputs=OUTPUTS, calls=calls)
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


def test_inventory() -> None:
    cluster, registered = as_shipped()
    assert set(of_type(registered, GROUP)) == {
        "system",
        "system-us-east-1b",
        "system-us-east-1c",
        "gpu-l4",
        "gpu-train",
    }
    assert set(of_type(registered, ":Addon")) == {
        "vpc-cni",
        "kube-proxy",
        "coredns",
        "eks-pod-identity-agent",
        "aws-ebs-csi-driver",
        "aws-efs-csi-driver",
    }
    assert (cluster.storage_class, cluster.rwx_storage_class) == ("nemostack-rwo", "nemostack-rwx")
    classes = {
        name: found.inputs["metadata"].get("annotations") for name, found in of_type(registered, "StorageClass").items()
    }
    assert classes == {
        "nemostack-rwo": {"storageclass.kubernetes.io/is-default-class": "true"},
        "nemostack-rwx": None,
    }
    ours = [key for key, registration in registered.items() if not registration.parent]
    assert ours == [("pulumi:providers:aws", "aws"), ("nemostack:cluster:Eks", "nemostack")]


def test_a_pool_is_what_the_settings_say() -> None:
    group, template = pool(
        {
            "name": "l4",
            "machine": "g6.12xlarge",
            "min": 1,
            "max": 5,
            "zones": ["us-east-1f"],
            "spot": True,
            "disk_gib": 300,
            "labels": {"team": "x"},
            "taints": [
                {"key": "nvidia.com/gpu", "value": "present"},
                {"key": "team", "effect": "PreferNoSchedule"},
            ],
        }
    )
    assert (group["instanceTypes"], group["capacityType"]) == (["g6.12xlarge"], "SPOT")
    assert group["scalingConfig"] == {"desiredSize": 1, "minSize": 1, "maxSize": 5}
    assert group["subnetIds"] == ["private-us-east-1f-id"]
    assert group["amiType"] == "AL2023_x86_64_NVIDIA"
    assert group["labels"] == {
        "team": "x",
        "nemostack.io/pool": "l4",
        "nvidia.com/gpu.present": "true",
        "k8s.amazonaws.com/accelerator": "nvidia-l4",  # else the autoscaler takes a new node for one without GPUs
    }
    assert group["taints"] == [
        {"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"},
        {"key": "team", "value": "", "effect": "PREFER_NO_SCHEDULE"},
    ]
    assert "diskSize" not in group, "the launch template has it, and EKS takes one of the two"
    assert group["launchTemplate"] == {"id": "gpu-l4-id", "version": "3"}
    (disk,) = template["blockDeviceMappings"]
    assert disk["deviceName"] == "/dev/xvda"
    assert (disk["ebs"]["volumeSize"], disk["ebs"]["encrypted"]) == (300, "true")


def test_bottlerocket_keeps_images_on_its_second_disk() -> None:
    group, template = pool(L4, eks={"ami": "BOTTLEROCKET_x86_64_NVIDIA"})
    assert group["amiType"] == "BOTTLEROCKET_x86_64_NVIDIA"
    assert template["blockDeviceMappings"][0]["deviceName"] == "/dev/xvdb"
    _, registered = connect(eks={"ami": "BOTTLEROCKET_x86_64_NVIDIA"})
    assert of_type(registered, GROUP)["system"].inputs["amiType"] == "BOTTLEROCKET_x86_64"


def test_mig_and_time_slicing_are_the_operators() -> None:
    operator = {"prerequisites": {"gpu": {"software": "gpu-operator"}}}
    mig, _ = pool(TRAIN | {"name": "mig", "mig": {"profile": "3g.40gb"}}, **operator)
    assert mig["labels"]["nvidia.com/mig.config"] == "all-3g.40gb"
    shared, _ = pool(L4 | {"time_slicing": {"replicas": 4}}, **operator)
    assert shared["labels"]["nvidia.com/device-plugin.config"] == "l4"


def test_nodes_are_hard_to_misuse() -> None:
    _, registered = as_shipped()
    templates = of_type(registered, ":LaunchTemplate")
    assert len(templates) == 5
    for template in templates.values():
        assert template.inputs["metadataOptions"] == {
            "httpEndpoint": "enabled",
            "httpTokens": "required",
            "httpPutResponseHopLimit": 1,
        }
        assert template.inputs["blockDeviceMappings"][0]["ebs"]["encrypted"] == "true"


def test_nodes_come_after_what_makes_them_ready() -> None:
    _, registered = as_shipped()
    for registration in of_type(registered, GROUP).values():
        assert {"vpc-cni", "kube-proxy", "nemostack", "private-us-east-1a"} <= registration.dependencies
        assert "nodes-AmazonEKSWorkerNodePolicy" in registration.dependencies
    addons = of_type(registered, ":Addon")
    assert "system" in addons["coredns"].dependencies
    assert "eks-pod-identity-agent" in addons["aws-efs-csi-driver"].dependencies


def test_what_names_the_cluster_waits_for_it() -> None:
    """Its name is in the settings, so that nothing waits by itself."""
    _, registered = as_shipped()
    naming = {
        key: one for key, one in registered.items() if "clusterName" in one.inputs or key[0].startswith("kubernetes:")
    }
    assert {typ.rpartition(":")[2] for typ, _ in naming} == {
        "NodeGroup",
        "Addon",
        "PodIdentityAssociation",
        "Release",
        "StorageClass",
    }
    for key, one in naming.items():
        assert (CLUSTER, "nemostack") in comes_after(registered, one), key


def test_network_policies_are_enforced() -> None:
    _, registered = as_shipped()
    settings = of_type(registered, ":Addon")["vpc-cni"].inputs["configurationValues"]
    assert json.loads(settings) == {"enableNetworkPolicy": "true"}
    assert registered[CLUSTER, "nemostack"].inputs["bootstrapSelfManagedAddons"] is False


def test_drivers_have_roles_of_their_own() -> None:
    _, registered = as_shipped()
    accounts = {
        name: addon.inputs["podIdentityAssociations"][0]["serviceAccount"]
        for name, addon in of_type(registered, ":Addon").items()
        if "podIdentityAssociations" in addon.inputs
    }
    assert accounts == {
        "aws-ebs-csi-driver": "ebs-csi-controller-sa",
        "aws-efs-csi-driver": "efs-csi-controller-sa",
    }
    attached = {name for _, name in registered if name.startswith("aws-efs-csi-driver-")}
    assert attached == {"aws-efs-csi-driver-AmazonEFSCSIDriverPolicy"}
    trust = json.loads(registered["aws:iam/role:Role", "aws-efs-csi-driver"].inputs["assumeRolePolicy"])
    assert trust["Statement"][0]["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert trust["Statement"][0]["Action"] == ["sts:AssumeRole", "sts:TagSession"]


def test_the_api_server() -> None:
    _, registered = connect(eks={"authorized_networks": ["192.0.2.0/24"]})
    inputs = registered[CLUSTER, "nemostack"].inputs
    assert inputs["vpcConfig"]["publicAccessCidrs"] == ["192.0.2.0/24"]
    assert inputs["vpcConfig"]["endpointPrivateAccess"] is True
    assert inputs["accessConfig"]["authenticationMode"] == "API"
    assert inputs["enabledClusterLogTypes"] == ["api", "audit", "authenticator"]
    assert inputs["version"] == "1.35"
    _, registered = as_shipped()
    assert "publicAccessCidrs" not in registered[CLUSTER, "nemostack"].inputs["vpcConfig"]


def test_the_autoscaler_changes_only_groups_of_its_cluster() -> None:
    _, registered = as_shipped()
    (release,) = of_type(registered, ":Release").values()
    assert (release.inputs["chart"], release.inputs["version"]) == (
        "cluster-autoscaler",
        versions.CLUSTER_AUTOSCALER.version,
    )
    values = release.inputs["values"]
    assert values["autoDiscovery"] == {"clusterName": "nemostack"}
    assert values["image"] == {"tag": "v1.35.0"}
    association = registered["aws:eks/podIdentityAssociation:PodIdentityAssociation", "cluster-autoscaler"].inputs
    assert association["serviceAccount"] == values["rbac"]["serviceAccount"]["name"]
    policy = json.loads(registered["aws:iam/rolePolicy:RolePolicy", "cluster-autoscaler"].inputs["policy"])
    assert policy == json.loads(roles.autoscaler_policy("nemostack"))
    for statement in policy["Statement"]:
        reads = all(":Describe" in action or ":Get" in action for action in statement["Action"])
        tag = "aws:ResourceTag/k8s.io/cluster-autoscaler/nemostack"
        assert reads or statement["Condition"] == {"StringEquals": {tag: "owned"}}


S3: dict[str, Any] = {
    "object_store": {"kind": "s3", "bucket": "mine", "region": "us-east-1"},
    "secrets": {"ngc_api_key": "x", "object_store_access_key": "a", "object_store_secret_key": "b"},
}


def test_mlflow_gets_into_its_folder_of_the_bucket_by_its_identity() -> None:
    cluster, registered = connect(**S3)
    association = registered["aws:eks/podIdentityAssociation:PodIdentityAssociation", "mlflow"]
    assert association.inputs["namespace"] == "mlflow"
    assert association.inputs["serviceAccount"] == "mlflow-tracking"
    assert (CLUSTER, "nemostack") in comes_after(registered, association)
    policy = json.loads(registered["aws:iam/rolePolicy:RolePolicy", "mlflow"].inputs["policy"])
    resources = {action: one["Resource"] for one in policy["Statement"] for action in one["Action"]}
    assert resources["s3:PutObject"] == resources["s3:GetObject"] == "arn:aws:s3:::mine/mlflow/*"
    assert resources["s3:ListBucket"] == "arn:aws:s3:::mine"
    plain, _ = as_shipped()
    assert len(cluster.ready) == len(plain.ready) + 2, "MLflow waits for both"


@pytest.mark.parametrize(
    "changed",
    [
        {"object_store": {"kind": "s3", "endpoint": "https://s3.example.com"}},
        {"mlflow": {"mode": "skip"}},
        {"eks": THERE | {"create": False}},  # its agent is its owner's
    ],
)
def test_other_buckets_are_opened_by_keys(changed: dict[str, Any]) -> None:
    _, registered = connect(**S3 | changed)
    assert "mlflow" not in of_type(registered, ":PodIdentityAssociation")


def test_shared_files_have_a_door_in_each_zone_for_nodes_only() -> None:
    _, registered = as_shipped()
    assert of_type(registered, ":FileSystem")["shared"].inputs["encrypted"] is True
    doors = of_type(registered, ":MountTarget")
    assert set(doors) == {f"shared-us-east-1{letter}" for letter in "abc"}
    assert all(door.inputs["securityGroups"] == ["shared-id"] for door in doors.values())
    (rule,) = of_type(registered, ":SecurityGroupIngressRule").values()
    assert (rule.inputs["referencedSecurityGroupId"], rule.inputs["fromPort"], rule.inputs["toPort"]) == (
        "sg-nodes",
        2049,
        2049,
    )
    made = of_type(registered, "StorageClass")["nemostack-rwx"]
    assert made.inputs["allowVolumeExpansion"] is False, "the driver would never finish"
    assert made.inputs["parameters"]["fileSystemId"] == "shared-id"
    assert set(doors) <= made.dependencies


def test_one_door_a_zone_in_subnets_that_are_there() -> None:
    _, registered = connect(eks=THERE)
    doors = {name: door.inputs["subnetId"] for name, door in of_type(registered, ":MountTarget").items()}
    assert doors == {"shared-us-east-1a": "subnet-a", "shared-us-east-1b": "subnet-b"}
    assert not of_type(registered, ":Vpc")
    assert registered[CLUSTER, "nemostack"].inputs["vpcConfig"]["subnetIds"] == list(ZONE_OF)


def test_no_shared_files() -> None:
    cluster, registered = connect(storage={"rwx_class_name": "nfs", "class_name": "fast"})
    assert not of_type(registered, ":FileSystem")
    assert not of_type(registered, "StorageClass")
    assert "aws-efs-csi-driver" not in of_type(registered, ":Addon")
    assert (cluster.storage_class, cluster.rwx_storage_class) == ("fast", "nfs")


def test_addresses_of_zones_do_not_overlap_and_stay() -> None:
    zones = [f"x-1{letter}" for letter in network.LETTERS]
    taken = [ipaddress.IPv4Network(block) for zone in zones for block in network.blocks("10.40.0.0/16", zone)]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(taken, 2))
    assert all(block.subnet_of(ipaddress.IPv4Network("10.40.0.0/16")) for block in taken)
    assert network.blocks("10.40.0.0/16", "x-1a") == ("10.40.0.0/19", "10.40.224.0/22")


def test_zones() -> None:
    pools = CLOUDS["eks"] | {"gpu_pools": [L4 | {"zones": ["us-east-1f"]}, TRAIN]}
    settings = EksSettings.model_validate(pools)
    everywhere = dict.fromkeys(("m6i.2xlarge", "g6.2xlarge", "p4de.24xlarge"), NAMES)
    assert network.choose_zones(NAMES, settings, everywhere) == [f"us-east-1{letter}" for letter in "abcf"]
    elsewhere = everywhere | {"p4de.24xlarge": ["us-east-1d"]}
    assert network.choose_zones(NAMES, settings, elsewhere) == [f"us-east-1{letter}" for letter in "abcdf"]
    with pytest.raises(
        pulumi.RunError, match=r"^eks\.gpu_pools\.0\.zones: the region has no usable us-east-1e: one of"
    ):
        connect(eks={"gpu_pools": [L4 | {"zones": ["us-east-1e"]}, TRAIN]})
    with pytest.raises(
        pulumi.RunError, match=r"^eks\.gpu_pools\.0\.zones: no subnet is in us-east-1f, only in us-east-1a"
    ):
        connect(eks=THERE | {"gpu_pools": [L4 | {"zones": ["us-east-1f"]}, TRAIN]})


def test_zones_in_which_a_cluster_cannot_be_are_left_out() -> None:
    asked: list[dict[str, Any]] = []

    def answer(question: dict[str, Any]) -> dict[str, Any]:
        asked.append(question)
        return {"names": NAMES}

    calls = CALLS | {"aws:index/getAvailabilityZones:getAvailabilityZones": answer}
    run(lambda: clusters.connect(config_for("eks"), ROOT) and None, outputs=OUTPUTS, calls=calls)
    assert set(asked[0]["excludeZoneIds"]) == {"use1-az3", "usw1-az2", "cac1-az3"}


def test_a_gpu_pool_is_in_a_zone_that_offers_its_machine() -> None:
    _, registered = as_shipped()
    groups = of_type(registered, GROUP)
    assert groups["gpu-l4"].inputs["subnetIds"] == ["private-us-east-1a-id"]
    assert groups["gpu-train"].inputs["subnetIds"] == ["private-us-east-1b-id"], "a has no p4de.24xlarge"
    wrong = TRAIN | {"zones": ["us-east-1a"]}
    refusal = r"^eks\.gpu_pools\.1\.zones: us-east-1a does not offer p4de\.24xlarge: one of us-east-1b, us-east-1c$"
    with pytest.raises(pulumi.RunError, match=refusal):
        connect(eks={"gpu_pools": [L4, wrong]})
    nowhere = r"^eks\.gpu_pools\.1: no zone with a subnet offers p4de\.24xlarge, of us-east-1a: one of us-east-1b"
    with pytest.raises(pulumi.RunError, match=nowhere):
        connect(eks={"vpc_id": "vpc-1", "subnet_ids": ["subnet-a"]})


def test_each_zone_has_a_group_of_its_own() -> None:
    """A volume is in one zone, and the autoscaler must know in which zone its node will be."""
    _, registered = connect(eks={"gpu_pools": [L4 | {"min": 2, "max": 5, "zones": NAMES[:3]}, TRAIN]})
    groups = of_type(registered, GROUP)
    found = {
        name: (
            group.inputs["subnetIds"],
            group.inputs["scalingConfig"]["minSize"],
            group.inputs["scalingConfig"]["maxSize"],
        )
        for name, group in groups.items()
        if name != "gpu-train"
    }
    assert found == {
        "gpu-l4": (["private-us-east-1a-id"], 1, 2),
        "gpu-l4-us-east-1b": (["private-us-east-1b-id"], 1, 2),
        "gpu-l4-us-east-1c": (["private-us-east-1c-id"], 0, 1),
        "system": (["private-us-east-1a-id"], 1, 2),
        "system-us-east-1b": (["private-us-east-1b-id"], 1, 1),
        "system-us-east-1c": (["private-us-east-1c-id"], 0, 1),
    }
    labels = [group.inputs["labels"]["nemostack.io/pool"] for name, group in groups.items() if "l4" in name]
    assert labels == ["l4"] * 3, "pods are sent to the pool, whatever its zone"


def test_subnets_of_one_zone_are_one_group() -> None:
    _, registered = connect(eks=THERE | {"gpu_pools": [L4 | {"zones": ["us-east-1b"]}, TRAIN]})
    assert of_type(registered, GROUP)["gpu-l4"].inputs["subnetIds"] == ["subnet-b", "subnet-b2"]


def test_a_group_over_several_zones_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its subnets cannot be changed, so that it would be replaced while a NIM runs on it."""
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", said.append)
    groups = {
        "gpu-l4": group_of(1, 0, 8, ("subnet-b", "subnet-a")),
        "system": group_of(2, 2, 4, ("subnet-b", "subnet-a")),
    }
    _, registered = connect(groups)
    made = of_type(registered, GROUP)
    assert set(made) == {"gpu-l4", "gpu-train", "system"}
    assert made["gpu-l4"].inputs["subnetIds"] == ["subnet-b", "subnet-a"]
    assert (made["system"].inputs["scalingConfig"]["minSize"], made["system"].inputs["scalingConfig"]["maxSize"]) == (
        2,
        4,
    )
    assert [text.split(":")[0] for text in said] == ["eks.gpu_pools.0", "eks.system_pool"]
    assert all("spans us-east-1a, us-east-1b" in text and "delete-nodegroup" in text for text in said)


@pytest.mark.parametrize(
    ("now", "limits", "desired", "ignored"),
    [
        (group_of(3, 0, 8), (0, 8), 3, True),  # the limits stay: the number is the autoscaler's
        (group_of(3, 0, 8), (0, 9), 3, False),  # 0, the number of the group's creation, would stop three nodes
        (group_of(0, 0, 8), (1, 8), 1, False),  # AWS refuses a minimum above the desired number
        (group_of(3, 0, 8), (0, 2), 2, False),
    ],
)
def test_a_change_of_limits_keeps_running_nodes(
    now: dict[str, Any], limits: tuple[int, int], desired: int, ignored: bool
) -> None:
    pools = [L4 | {"min": limits[0], "max": limits[1]}, TRAIN]
    _, registered = connect({"gpu-l4": now}, eks={"gpu_pools": pools})
    group = of_type(registered, GROUP)["gpu-l4"]
    assert group.inputs["scalingConfig"] == {"desiredSize": desired, "minSize": limits[0], "maxSize": limits[1]}
    assert list(group.options.ignoreChanges) == (["scalingConfig.desiredSize"] if ignored else [])


def test_nodes_and_add_ons_follow_the_control_plane() -> None:
    _, registered = connect(eks={"kubernetes_version": "1.36"})
    assert registered[CLUSTER, "nemostack"].inputs["version"] == "1.36"
    for group in of_type(registered, GROUP).values():
        assert group.inputs["version"] == "1.36"
        assert "releaseVersion" not in group.inputs
        assert (CLUSTER, "nemostack") in comes_after(registered, group), "the control plane is upgraded first"
    for name, addon in of_type(registered, ":Addon").items():
        assert addon.inputs["addonVersion"] == f"v1-{name}-for-1.36"
    (release,) = of_type(registered, ":Release").values()
    assert release.inputs["values"]["image"] == {"tag": "v1.36.0"}


def test_the_autoscaler_is_that_of_the_actual_control_plane() -> None:
    """AWS upgrades a control plane by itself when support of its version ends."""
    outputs = OUTPUTS | {CLUSTER: OUTPUTS[CLUSTER] | {"version": "1.36"}}
    registered = run(lambda: clusters.connect(config_for("eks"), ROOT) and None, outputs=outputs, calls=CALLS)
    (release,) = of_type(registered, ":Release").values()
    assert release.inputs["values"]["image"] == {"tag": "v1.36.0"}


@pytest.mark.parametrize(
    ("ami", "gpu", "system"),
    [
        (
            "AL2023_x86_64_NVIDIA",
            "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/nvidia/recommended/release_version",
            "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/standard/recommended/release_version",
        ),
        (
            "BOTTLEROCKET_x86_64_NVIDIA",
            "/aws/service/bottlerocket/aws-k8s-1.35-nvidia/x86_64/latest/image_version",
            "/aws/service/bottlerocket/aws-k8s-1.35/x86_64/latest/image_version",
        ),
    ],
)
def test_node_images_are_renewed_where_the_settings_ask(ami: str, gpu: str, system: str) -> None:
    _, registered = connect(eks={"update_node_image": True, "ami": ami})
    groups = of_type(registered, GROUP)
    assert groups["gpu-l4"].inputs["releaseVersion"] == f"newest of {gpu}"
    assert groups["system"].inputs["releaseVersion"] == f"newest of {system}"


def test_administrators_are_those_of_the_settings() -> None:
    _, registered = as_shipped()
    assert not of_type(registered, ":AccessEntry")
    arn = "arn:aws:iam::111122223333:role/platform"
    _, registered = connect(eks={"admins": [arn]})
    (entry,) = of_type(registered, ":AccessEntry").values()
    assert (entry.inputs["clusterName"], entry.inputs["principalArn"]) == ("nemostack", arn)
    (policy,) = of_type(registered, ":AccessPolicyAssociation").values()
    assert policy.inputs["policyArn"] == "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
    assert policy.inputs["accessScope"] == {"type": "cluster"}
    assert (CLUSTER, "nemostack") in comes_after(registered, policy)


def test_the_kubeconfig_is_secret_and_holds_no_credential() -> None:
    _, registered = as_shipped()
    provider = registered["pulumi:providers:kubernetes", "nemostack"]
    assert provider.secrets == {"kubeconfig"}
    config = json.loads(provider.inputs["kubeconfig"])
    assert config["clusters"][0]["cluster"]["server"] == "https://api.eks"
    command = config["users"][0]["user"]["exec"]
    assert [command["command"], *command["args"]] == [
        "aws",
        "eks",
        "get-token",
        "--cluster-name",
        "nemostack",
        "--region",
        "us-east-1",
        "--output",
        "json",
    ]


def test_a_cluster_that_is_there_only_gets_pools_and_shared_files() -> None:
    cluster, registered = connect(eks=THERE | {"create": False})
    kinds = {typ.rpartition(":")[2] for typ, _ in registered}
    assert kinds == {
        "Eks",
        "aws",
        "kubernetes",
        "NodeGroup",
        "LaunchTemplate",
        "Role",
        "RolePolicyAttachment",
        "FileSystem",
        "SecurityGroup",
        "SecurityGroupIngressRule",
        "MountTarget",
        "StorageClass",
        "CSIDriver",
    }
    assert set(of_type(registered, GROUP)) == {"gpu-l4", "gpu-train"}
    driver = registered["kubernetes:storage.k8s.io/v1:CSIDriver", "eks.rwx"]
    assert driver.inputs == {"id": "efs.csi.aws.com"}, "it is read, which fails where it is missing"
    made = of_type(registered, ":StorageClass")["nemostack-rwx"]
    assert made.inputs["provisioner"] == "efs.csi.aws.com"
    assert "eks.rwx" in made.dependencies
    assert of_type(registered, ":Role").keys() == {"nodes"}
    (rule,) = of_type(registered, ":SecurityGroupIngressRule").values()
    assert rule.inputs["referencedSecurityGroupId"] == "sg-there"
    assert "https://there" in registered["pulumi:providers:kubernetes", "nemostack"].inputs["kubeconfig"]
    assert (cluster.storage_class, cluster.rwx_storage_class) == (None, "nemostack-rwx")


def test_the_driver_of_shared_files_is_read_only_where_it_is_needed_and_not_ours() -> None:
    _, registered = as_shipped()
    assert not of_type(registered, ":CSIDriver")
    _, registered = connect(eks=THERE | {"create": False}, storage={"rwx_class_name": "nfs"})
    assert not of_type(registered, ":CSIDriver")
