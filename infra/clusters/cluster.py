"""What a cluster is to the rest of the program, wherever it came from."""

from dataclasses import dataclass, field

import pulumi
import pulumi_kubernetes as kubernetes


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster that can be deployed to.

    `ready`: resources that must be there before anything that needs a node, a GPU or a volume.
    """

    provider: kubernetes.Provider
    kubeconfig: pulumi.Output[str]
    """Secret; empty where the user's own kubeconfig is used."""
    kubeconfig_path: str | None = None
    context: str | None = None
    storage_class: str | None = None
    """For ReadWriteOnce volumes; None: the cluster's default."""
    rwx_storage_class: str | None = None
    """For ReadWriteMany volumes; None where one node makes any volume do."""
    ready: tuple[pulumi.Resource, ...] = ()
    object_store_annotations: dict[str, pulumi.Input[str]] = field(default_factory=dict)
    """Annotations of service accounts that give pods access to the cloud's buckets (workload identity)."""


def kubernetes_provider(
    name: str, kubeconfig: pulumi.Input[str] | None, opts: pulumi.ResourceOptions, context: str | None = None
) -> kubernetes.Provider:
    """Connect Pulumi to a cluster.

    Secrets and ConfigMaps change in place. By default the provider deletes a changed one and makes it anew, so that for
    a moment a pod cannot start and an operator misses its password.
    """
    return kubernetes.Provider(
        name,
        kubeconfig=kubeconfig,
        context=context,
        enable_secret_mutable=True,
        enable_config_map_mutable=True,
        opts=opts,
    )
