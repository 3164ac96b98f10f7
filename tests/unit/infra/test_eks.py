"""EKS as the engine is asked for it: pools as the settings say, secure defaults, only pools where it is there."""

import json
from typing import Any

import pytest

from infra import versions
from infra.clusters.eks import roles
from tests.unit.infra.cluster_support import (
    comes_after,
    every,
    of_type,
)
from tests.unit.infra.eks_program import CLUSTER, GROUP, S3, THERE, ZONE_OF, as_shipped, connect

pytestmark = pytest.mark.xdist_group("eks")  # one process imports the SDK of this cloud


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


def test_nodes_come_after_what_makes_them_ready() -> None:
    _, registered = as_shipped()
    for registration in every(registered, GROUP):
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
