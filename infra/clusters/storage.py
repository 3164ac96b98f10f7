"""Storage classes of clusters that we make. Classes that the settings name are used instead, and nothing is made."""

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_kubernetes as kubernetes

from infra.config.clusters import CloudCluster
from infra.config.platform import Storage

RWX_CLASS = "nemostack-rwx"
RWO_CLASS = "nemostack-rwo"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


def makes_shared_class(cluster: CloudCluster, storage: Storage) -> bool:
    """Whether a cloud makes the class of shared volumes: unless it is told not to, or to use another."""
    return cluster.rwx != "none" and storage.rwx_class_name is None


def storage_class(
    name: str,
    provisioner: str,
    parameters: Mapping[str, pulumi.Input[str]],
    opts: pulumi.ResourceOptions,
    *,
    wait_for_pod: bool,
    mount_options: Sequence[str] = (),
    default: bool = False,
    can_grow: bool = True,
) -> kubernetes.storage.v1.StorageClass:
    """Make a class whose volumes go with their claim.

    `wait_for_pod`: the volume is made where the first pod runs, which volumes of one zone need.
    `can_grow`: whether the driver can enlarge a volume; a claim on one that cannot would wait for ever.
    """
    return kubernetes.storage.v1.StorageClass(
        name,
        metadata=kubernetes.meta.v1.ObjectMetaArgs(name=name, annotations={DEFAULT_CLASS: "true"} if default else None),
        provisioner=provisioner,
        parameters=parameters,
        mount_options=list(mount_options) or None,
        reclaim_policy="Delete",
        allow_volume_expansion=can_grow,
        volume_binding_mode="WaitForFirstConsumer" if wait_for_pod else "Immediate",
        opts=opts,
    )
