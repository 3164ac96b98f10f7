"""Amazon EKS: network, roles, cluster, add-ons, node groups, EFS. Or GPU pools for an existing cluster.

Private nodes, encrypted disks, metadata that pods do not reach, a role for each thing that speaks to AWS (Pod
Identity), network policies switched on, a log of the API server. Not made: quotas and capacity reservations, which
the largest machines need. Of an existing cluster, its drivers of volumes and its autoscaler are its owner's; the
driver of EFS must be there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_aws as aws
from pulumi_aws import eks

from infra import names
from infra.clusters import kubeconfig
from infra.clusters.cluster import CloudArgs, Cluster, ClusterComponent
from infra.clusters.eks import addons as eks_addons
from infra.clusters.eks import network as eks_network
from infra.clusters.eks import roles as eks_roles
from infra.clusters.eks.groups import NodeGroupState, read_node_groups
from infra.clusters.eks.network import Network
from infra.clusters.eks.pools import NodePoolContext, pool_groups
from infra.clusters.storage import RWO_CLASS, makes_shared_class
from infra.config.clusters import EksSettings
from infra.config.stack import ClusterStackConfig
from infra.platform.helm import ChartStore
from infra.topology import Topology
from infra.topology.bucket import ARTIFACTS

LOGS = ("api", "audit", "authenticator")


@dataclass(frozen=True, kw_only=True)
class ClusterHandle:
    """A cluster, created or adopted, as its pools and its users need it."""

    endpoint: pulumi.Input[str]
    ca: pulumi.Input[str]
    security_group: pulumi.Input[str]
    """Of the cluster, which all nodes have."""
    version: pulumi.Input[str]
    """Kubernetes version of the control plane, which may be newer than that of the settings."""
    ready: tuple[pulumi.Resource, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EksArgs(CloudArgs):
    """A cluster on EKS. `adopted`: the one that exists; None: it is created."""

    settings: EksSettings
    charts: ChartStore
    invoke: pulumi.InvokeOptions
    network: Network | None
    """None: a new one."""
    adopted: ClusterHandle | None
    groups: Mapping[str, NodeGroupState]
    """Node groups that exist, by name."""


def connect(
    config: ClusterStackConfig, topology: Topology, root: Path, opts: pulumi.ResourceOptions | None = None
) -> Cluster:
    """Make the cluster of the settings, or GPU pools for an existing one."""
    settings = config.cluster
    assert isinstance(settings, EksSettings)
    tags = aws.ProviderDefaultTagsArgs(tags={"managed-by": "nemostack"})
    cloud = aws.Provider("aws", region=settings.region, default_tags=tags)
    invoke = pulumi.InvokeOptions(provider=cloud)
    args = EksArgs(
        config=config,
        bucket=topology.bucket,
        shared_files=makes_shared_class(settings, config.storage),
        settings=settings,
        charts=ChartStore(config.charts, root, None),
        invoke=invoke,
        network=eks_network.existing(settings, invoke) if settings.vpc_id else None,
        adopted=None if settings.create else find(settings, invoke),
        groups=read_node_groups(settings.cluster_name, invoke),
    )
    providers = pulumi.ResourceOptions(providers=[cloud])
    return EksCluster(settings.cluster_name, args, pulumi.ResourceOptions.merge(opts, providers)).finish()


def find(settings: EksSettings, invoke: pulumi.InvokeOptions) -> ClusterHandle:
    """Look the cluster up."""
    cluster = eks.get_cluster(name=settings.cluster_name, opts=invoke)
    return ClusterHandle(
        endpoint=cluster.endpoint,
        ca=cluster.certificate_authorities[0].data,
        security_group=cluster.vpc_config.cluster_security_group_id,
        version=cluster.version,
    )


class EksCluster(ClusterComponent):
    """Network, roles, cluster, node groups, add-ons, provider and storage classes on AWS."""

    def __init__(self, name: str, args: EksArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("Eks", name, args, opts)
        settings = args.settings
        machines = (machine for _, _, machine in eks_network.machines_of(settings))
        offers = eks_network.machine_offers(machines, args.invoke)
        network = args.network or eks_network.make(name, settings, offers, args.invoke, self.child)
        handle = args.adopted or create(name, settings, network, self.child)
        content = pulumi.Output.all(handle.endpoint, handle.ca).apply(
            lambda address: kubeconfig.eks(name, settings.region, *address)
        )
        in_cluster = self.connect(content, *handle.ready)

        role, attached = eks_roles.role("nodes", "ec2.amazonaws.com", eks_roles.NODES, self.child)
        context = NodePoolContext(
            software=args.config.gpu_software,
            settings=settings,
            cluster=name,
            role_arn=role.arn,
            network=network,
            offers=offers,
            groups=args.groups,
            invoke=args.invoke,
        )
        addons = eks_addons.Addons(
            cluster=name,
            kubernetes_version=settings.kubernetes_version,
            invoke=args.invoke,
            opts=self.after(*handle.ready),
        )
        before = [] if args.adopted else addons.before_nodes()
        nodes_after = self.after(*handle.ready, *attached, *before, *network.ready)
        for index, pool in enumerate(settings.gpu_pools):
            self.ready += pool_groups(context, f"gpu-{pool.name}", f"eks.gpu_pools.{index}", pool, nodes_after)
        if not args.adopted:
            system = pool_groups(context, "system", "eks.system_pool", settings.system_pool, nodes_after)
            administrators(name, settings, self.after(*handle.ready))
            installed = services(args, addons, handle.version, system=system, in_cluster=in_cluster)
            self.ready += [*system, *installed]
            if args.config.storage.class_name is None:
                self.storage_class = RWO_CLASS
        if args.shared_files:
            drivers = [eks_addons.adopted_driver(in_cluster)] if args.adopted else []
            after_driver = pulumi.ResourceOptions.merge(in_cluster, pulumi.ResourceOptions(depends_on=drivers))
            self.ready += eks_addons.shared_files(name, network, handle.security_group, self.child, after_driver)


def services(
    args: EksArgs,
    addons: eks_addons.Addons,
    kubernetes_version: pulumi.Input[str],
    *,
    system: Sequence[pulumi.Resource],
    in_cluster: pulumi.ResourceOptions,
) -> list[pulumi.Resource]:
    """Make what a new cluster needs on its system pool: add-ons, the default class, the autoscaler, identities."""
    settings = args.settings
    resources = addons.after_nodes(system, shared_files=args.shared_files)
    after = pulumi.ResourceOptions.merge(in_cluster, pulumi.ResourceOptions(depends_on=resources))
    resources.append(eks_addons.autoscaler(addons, settings.region, kubernetes_version, args.charts, after))
    if args.bucket and args.bucket.pod_identity == "eks":  # the Data Store takes keys only: those of the settings
        policy = eks_roles.artifacts_policy(args.bucket.name, ARTIFACTS)
        resources += addons.identity(
            "mlflow", namespace=names.MLFLOW_NAMESPACE, account=names.MLFLOW_SERVICE, policy=policy
        )
    if args.config.storage.class_name is None:
        resources.append(eks_addons.disks(in_cluster))
    return resources


def administrators(name: str, settings: EksSettings, opts: pulumi.ResourceOptions) -> None:
    """Let the principals of the settings administer the cluster, besides the one that created it."""
    for arn in settings.admins:
        principal = arn.partition(":iam::")[2].replace(":", "-").replace("/", "-")
        entry = eks.AccessEntry(f"admin-{principal}", cluster_name=name, principal_arn=arn, opts=opts)
        eks.AccessPolicyAssociation(
            f"admin-{principal}",
            cluster_name=name,
            principal_arn=arn,
            policy_arn=eks_roles.CLUSTER_ADMIN,
            access_scope=eks.AccessPolicyAssociationAccessScopeArgs(type="cluster"),
            opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[entry])),
        )


def create(name: str, settings: EksSettings, network: Network, opts: pulumi.ResourceOptions) -> ClusterHandle:
    """Create the cluster, whose creator is its first administrator."""
    role, attached = eks_roles.role("cluster", "eks.amazonaws.com", eks_roles.CLUSTER, opts)
    cluster = eks.Cluster(
        name,
        name=name,
        role_arn=role.arn,
        version=settings.kubernetes_version,
        vpc_config=eks.ClusterVpcConfigArgs(
            subnet_ids=[subnet.id for subnet in network.subnets],
            endpoint_private_access=True,
            endpoint_public_access=True,
            public_access_cidrs=list(settings.authorized_networks) or None,
        ),
        access_config=eks.ClusterAccessConfigArgs(
            authentication_mode="API", bootstrap_cluster_creator_admin_permissions=True
        ),
        bootstrap_self_managed_addons=False,  # addons.py makes them, with network policies
        enabled_cluster_log_types=list(LOGS),
        upgrade_policy=eks.ClusterUpgradePolicyArgs(support_type="STANDARD"),  # EXTENDED costs six times as much
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=attached)),
    )
    return ClusterHandle(
        endpoint=cluster.endpoint,
        ca=cluster.certificate_authority.apply(lambda authority: authority.data or ""),
        security_group=cluster.vpc_config.apply(lambda vpc: vpc.cluster_security_group_id or ""),
        version=cluster.version,
        ready=(cluster,),
    )
