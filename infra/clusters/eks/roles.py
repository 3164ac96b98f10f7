"""Roles of an EKS cluster, its nodes and the pods that speak to AWS, by policies of AWS's own where there are some."""

import json
from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi_aws import iam

AWS_POLICIES = "arn:aws:iam::aws:policy"
CLUSTER = (f"{AWS_POLICIES}/AmazonEKSClusterPolicy",)
NODES = tuple(
    f"{AWS_POLICIES}/{name}"
    for name in ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly", "AmazonEKS_CNI_Policy")
)
EBS = (f"{AWS_POLICIES}/service-role/AmazonEBSCSIDriverPolicy",)
EFS = (f"{AWS_POLICIES}/service-role/AmazonEFSCSIDriverPolicy",)
CLUSTER_ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
"""Access policy of EKS itself, for principals that administer a cluster."""
POD_IDENTITY = "pods.eks.amazonaws.com"

READ_GROUPS = (
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeAutoScalingInstances",
    "autoscaling:DescribeLaunchConfigurations",
    "autoscaling:DescribeScalingActivities",
    "ec2:DescribeImages",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeLaunchTemplateVersions",
    "ec2:GetInstanceTypesFromInstanceRequirements",
    "eks:DescribeNodegroup",
)
CHANGE_GROUPS = ("autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup")

USE_OBJECTS = (
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
)


def trust(service: str) -> str:
    """Let a service take a role; pods take theirs with a session that says which pod it is."""
    actions = ["sts:AssumeRole", "sts:TagSession"] if service == POD_IDENTITY else ["sts:AssumeRole"]
    return document([{"Effect": "Allow", "Principal": {"Service": service}, "Action": actions}])


def autoscaler_policy(cluster: str) -> str:
    """Let the autoscaler read all groups, and change only those of its cluster."""
    own = {"StringEquals": {f"aws:ResourceTag/k8s.io/cluster-autoscaler/{cluster}": "owned"}}
    read = {"Effect": "Allow", "Action": list(READ_GROUPS), "Resource": "*"}
    return document([read, {"Effect": "Allow", "Action": list(CHANGE_GROUPS), "Resource": "*", "Condition": own}])


def artifacts_policy(bucket: str, folder: str) -> str:
    """Let MLflow into one folder of a bucket, whose other names it may list."""
    arn = f"arn:aws:s3:::{bucket}"
    look = {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetBucketLocation"], "Resource": arn}
    return document([look, {"Effect": "Allow", "Action": list(USE_OBJECTS), "Resource": f"{arn}/{folder}/*"}])


def document(statements: Sequence[dict[str, Any]]) -> str:
    """Return a policy as JSON."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def role(
    name: str, service: str, policies: Sequence[str], opts: pulumi.ResourceOptions
) -> tuple[iam.Role, list[pulumi.Resource]]:
    """Make a role for a service and attach policies; what needs the role waits for the attachments too."""
    created = iam.Role(name, assume_role_policy=trust(service), opts=opts)
    attached: list[pulumi.Resource] = [
        iam.RolePolicyAttachment(f"{name}-{arn.rpartition('/')[2]}", role=created.name, policy_arn=arn, opts=opts)
        for arn in policies
    ]
    return created, attached
