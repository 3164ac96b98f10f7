"""A cluster as the rest of the program sees it, and the frame that the three clouds share."""

from dataclasses import dataclass, field

import pulumi
import pulumi_kubernetes as kubernetes

from infra.clusters.storage import RWX_CLASS
from infra.config.stack import ClusterStackConfig
from infra.topology.bucket import Bucket


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


@dataclass(frozen=True, kw_only=True)
class CloudArgs:
    """Arguments that the clusters of all clouds have."""

    config: ClusterStackConfig
    bucket: Bucket | None
    shared_files: bool
    """Whether to make the class of shared volumes."""


class ClusterComponent(pulumi.ComponentResource):
    """Frame of a cluster on a cloud: how Pulumi connects to it, and what it hands to the rest of the program."""

    provider: kubernetes.Provider
    kubeconfig: pulumi.Output[str]
    ready: list[pulumi.Resource]
    annotations: dict[str, pulumi.Input[str]]
    storage_class: str | None

    def __init__(self, cloud: str, name: str, args: CloudArgs, opts: pulumi.ResourceOptions | None) -> None:
        super().__init__(f"nemostack:cluster:{cloud}", name, None, opts)
        self.name, self.config, self.shared_files = name, args.config, args.shared_files
        self.child = pulumi.ResourceOptions(parent=self)
        self.ready, self.annotations = [], {}
        self.storage_class = args.config.storage.class_name

    def after(self, *resources: pulumi.Resource) -> pulumi.ResourceOptions:
        """Return options of a child that waits for resources."""
        return pulumi.ResourceOptions(parent=self, depends_on=list(resources))

    def connect(self, kubeconfig: pulumi.Output[str], *needed: pulumi.Resource) -> pulumi.ResourceOptions:
        """Connect to the cluster once `needed` exist; return options of children within it."""
        self.kubeconfig = pulumi.Output.secret(kubeconfig)
        self.provider = kubernetes_provider(self.name, self.kubeconfig, self.after(*needed))
        return pulumi.ResourceOptions(parent=self, provider=self.provider)

    def finish(self) -> Cluster:
        """Close the component and return the cluster that it made."""
        self.register_outputs({"kubeconfig": self.kubeconfig})
        return Cluster(
            provider=self.provider,
            kubeconfig=self.kubeconfig,
            storage_class=self.storage_class,
            rwx_storage_class=RWX_CLASS if self.shared_files else self.config.storage.rwx_class_name,
            ready=tuple(self.ready),
            object_store_annotations=self.annotations,
        )


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
