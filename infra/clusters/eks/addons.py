"""Add-ons of a new EKS cluster: network with policies, DNS, identities of pods, disks, shared files, the autoscaler.

Versions of EKS's own add-ons are the default of the Kubernetes version, for which EKS is asked: an add-on without a
version keeps that of the day it was made, and falls behind the control plane.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_aws import efs, eks, iam
from pulumi_aws.ec2 import SecurityGroup
from pulumi_aws.vpc import SecurityGroupIngressRule

from infra import versions
from infra.clusters.eks import roles
from infra.clusters.eks.network import Network
from infra.clusters.storage import RWO_CLASS, RWX_CLASS, storage_class
from infra.platform.helm import ChartStore

NFS_PORT = 2049
EFS_DRIVER = "efs.csi.aws.com"
OWNER = "1000"  # user and group that all files of a shared volume belong to, whoever the pod runs as
AUTOSCALER = "cluster-autoscaler"
SYSTEM_NAMESPACE = "kube-system"


@dataclass(frozen=True, kw_only=True)
class Addons:
    """Makes add-ons of one cluster. `opts` wait for it: its name is known before it exists."""

    cluster: str
    kubernetes_version: str
    invoke: pulumi.InvokeOptions
    opts: pulumi.ResourceOptions

    def addon(
        self,
        name: str,
        *,
        after: Sequence[pulumi.Resource] = (),
        settings: dict[str, Any] | None = None,
        policies: Sequence[str] = (),
        account: str | None = None,
    ) -> eks.Addon:
        """Make an add-on. `policies`: of the role that its service account `account` gets."""
        identity, waits = None, list(after)
        if account is not None:
            role, attached = roles.role(name, roles.POD_IDENTITY, policies, self.opts)
            identity = [eks.AddonPodIdentityAssociationArgs(role_arn=role.arn, service_account=account)]
            waits += attached
        return eks.Addon(
            name,
            cluster_name=self.cluster,
            addon_name=name,
            addon_version=eks.get_addon_version(
                addon_name=name, kubernetes_version=self.kubernetes_version, opts=self.invoke
            ).version,
            configuration_values=json.dumps(settings) if settings else None,
            pod_identity_associations=identity,
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="OVERWRITE",
            opts=pulumi.ResourceOptions.merge(self.opts, pulumi.ResourceOptions(depends_on=waits)),
        )

    def identity(self, name: str, *, namespace: str, account: str, policy: str) -> list[pulumi.Resource]:
        """Let the pods of a service account do what a policy says."""
        role, _ = roles.role(name, roles.POD_IDENTITY, (), self.opts)
        allowed = iam.RolePolicy(name, role=role.id, policy=policy, opts=self.opts)
        association = eks.PodIdentityAssociation(
            name,
            cluster_name=self.cluster,
            namespace=namespace,
            service_account=account,
            role_arn=role.arn,
            opts=self.opts,
        )
        return [allowed, association]

    def before_nodes(self) -> list[pulumi.Resource]:
        """Make what a node needs to become ready, with network policies switched on."""
        return [self.addon("vpc-cni", settings={"enableNetworkPolicy": "true"}), self.addon("kube-proxy")]

    def after_nodes(self, nodes: Sequence[pulumi.Resource], *, shared_files: bool) -> list[pulumi.Resource]:
        """Make what runs on nodes."""
        agent = self.addon("eks-pod-identity-agent", after=nodes)
        created: list[pulumi.Resource] = [agent, self.addon("coredns", after=nodes)]
        created.append(
            self.addon("aws-ebs-csi-driver", after=[agent], policies=roles.EBS, account="ebs-csi-controller-sa")
        )
        if shared_files:
            created.append(
                self.addon("aws-efs-csi-driver", after=[agent], policies=roles.EFS, account="efs-csi-controller-sa")
            )
        return created


def disks(opts: pulumi.ResourceOptions) -> kubernetes.storage.v1.StorageClass:
    """Make the default class, which EKS lacks: encrypted disks."""
    parameters = {"type": "gp3", "encrypted": "true"}
    return storage_class(RWO_CLASS, "ebs.csi.aws.com", parameters, opts, wait_for_pod=True, default=True)


def adopted_driver(opts: pulumi.ResourceOptions) -> pulumi.Resource:
    """Read the driver of EFS, add-on or not. If it is missing, the message shows this name, so that is the setting."""
    return kubernetes.storage.v1.CSIDriver.get("eks.rwx", EFS_DRIVER, opts)


def shared_files(
    name: str,
    network: Network,
    security_group: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
    in_cluster: pulumi.ResourceOptions,
) -> list[pulumi.Resource]:
    """Make one encrypted file system with a mount target in each zone, and the class of access points in it."""
    files = efs.FileSystem("shared", encrypted=True, throughput_mode="elastic", tags={"Name": name}, opts=opts)
    security = SecurityGroup("shared", vpc_id=network.vpc_id, description=f"Shared files of {name}", opts=opts)
    SecurityGroupIngressRule(
        "shared",
        security_group_id=security.id,
        referenced_security_group_id=security_group,
        ip_protocol="tcp",
        from_port=NFS_PORT,
        to_port=NFS_PORT,
        description="NFS from the nodes",
        opts=opts,
    )
    mount_targets = [
        efs.MountTarget(
            f"shared-{subnet.zone}",
            file_system_id=files.id,
            subnet_id=subnet.id,
            security_groups=[security.id],
            opts=opts,
        )
        for subnet in network.one_per_zone()
    ]
    parameters: dict[str, pulumi.Input[str]] = {
        "provisioningMode": "efs-ap",
        "fileSystemId": files.id,
        "directoryPerms": "700",
        "uid": OWNER,
        "gid": OWNER,
    }
    shared_class = storage_class(
        RWX_CLASS,
        EFS_DRIVER,
        parameters,
        pulumi.ResourceOptions.merge(in_cluster, pulumi.ResourceOptions(depends_on=mount_targets)),
        wait_for_pod=False,
        mount_options=["tls"],
        can_grow=False,  # a file system has no size, and the driver accepts no request for more
    )
    return [shared_class]


def autoscaler_values(cluster: str, region: str, kubernetes_version: pulumi.Input[str]) -> dict[str, Any]:
    """Values of the cluster autoscaler: groups of this cluster, in the version that fits its control plane."""
    tag = pulumi.Output.from_input(kubernetes_version).apply(lambda version: f"v{'.'.join(version.split('.')[:2])}.0")
    return {
        "cloudProvider": "aws",
        "awsRegion": region,
        "autoDiscovery": {"clusterName": cluster},
        "image": {"tag": tag},
        "fullnameOverride": AUTOSCALER,
        "rbac": {"serviceAccount": {"name": AUTOSCALER}},
        "extraArgs": {
            "expander": "least-waste",
            "balance-similar-node-groups": True,
            "skip-nodes-with-system-pods": False,
        },
        "resources": {"requests": {"cpu": "100m", "memory": "600Mi"}, "limits": {"memory": "600Mi"}},
        "containerSecurityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "fsGroup": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def autoscaler(
    addons: Addons,
    region: str,
    kubernetes_version: pulumi.Input[str],
    charts: ChartStore,
    in_cluster: pulumi.ResourceOptions,
) -> kubernetes.helm.v3.Release:
    """Install what changes the numbers of nodes: managed groups do not do it by themselves."""
    policy = roles.autoscaler_policy(addons.cluster)
    identity = addons.identity(AUTOSCALER, namespace=SYSTEM_NAMESPACE, account=AUTOSCALER, policy=policy)
    return charts.release(
        AUTOSCALER,
        versions.CLUSTER_AUTOSCALER,
        namespace=SYSTEM_NAMESPACE,
        values=autoscaler_values(addons.cluster, region, kubernetes_version),
        opts=pulumi.ResourceOptions.merge(in_cluster, pulumi.ResourceOptions(depends_on=identity)),
    )
