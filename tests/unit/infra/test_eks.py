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
ZONES = {"names": [f"us-east-1{letter}" for letter in "abcdf"]}
ZONE_OF = {"subnet-a": "us-east-1a", "subnet-b": "us-east-1b", "subnet-b2": "us-east-1b"}
CALLS = {
    "aws:index/getAvailabilityZones:getAvailabilityZones": ZONES,
    "aws:ec2/getSubnet:getSubnet": lambda asked: {"id": asked["id"], "availabilityZone": ZONE_OF[asked["id"]]},
    "aws:eks/getCluster:getCluster": {
        "endpoint": "https://there",
        "certificateAuthorities": [{"data": "Q0E="}],
        "vpcConfig": {"clusterSecurityGroupId": "sg-there"},
    },
}
THERE = {"vpc_id": "vpc-1", "subnet_ids": list(ZONE_OF)}


def connect(**sections: Any) -> tuple[clusters.Cluster, Registrations]:
    made: list[clusters.Cluster] = []
    sections["eks"] = CLOUDS["eks"] | sections.get("eks", {})
    settings = config_for("eks", **sections)
    registered = run(lambda: made.append(clusters.connect(settings, ROOT)), outputs=OUTPUTS, calls=CALLS)
    return made[0], registered


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
    assert set(of_type(registered, GROUP)) == {"system", "gpu-l4", "gpu-train"}
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
            "zones": ["us-east-1b", "us-east-1f"],
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
    assert group["subnetIds"] == ["private-us-east-1b-id", "private-us-east-1f-id"]
    assert group["amiType"] == "AL2023_x86_64_NVIDIA"
    assert group["labels"] == {"team": "x", "nemostack.io/pool": "l4", "nvidia.com/gpu.present": "true"}
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
    assert len(templates) == 3
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
        assert list(registration.options.ignoreChanges) == ["scalingConfig.desiredSize"]
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
    settings = config_for("eks", eks=CLOUDS["eks"] | {"gpu_pools": [L4 | {"zones": ["us-east-1f"]}, TRAIN]}).pools
    assert network.choose_zones(ZONES["names"], settings) == [f"us-east-1{letter}" for letter in "abcf"]
    with pytest.raises(pulumi.RunError, match=r"^eks\.gpu_pools\.0\.zones: the region has no us-east-1e: one of us-"):
        connect(eks={"gpu_pools": [L4 | {"zones": ["us-east-1e"]}, TRAIN]})
    with pytest.raises(pulumi.RunError, match=r"^eks\.gpu_pools\.0\.zones: no subnet is there, only in us-east-1a, us"):
        connect(eks=THERE | {"gpu_pools": [L4 | {"zones": ["us-east-1f"]}, TRAIN]})


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
