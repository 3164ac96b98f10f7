"""Google Kubernetes Engine: network, cluster, system pool, GPU pools, Filestore. Or pools for an existing cluster.

Private nodes with least privilege, Dataplane V2 (which enforces NetworkPolicies), shielded nodes, workload identity,
no basic or certificate login. Not made: the APIs of the project and its quota for GPUs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pulumi
import pulumi_gcp as gcp
import pulumi_kubernetes as kubernetes
from pulumi_gcp import container

from infra import names
from infra.clusters import kubeconfig
from infra.clusters.cluster import CloudArgs, Cluster, ClusterComponent
from infra.clusters.gke import network as gke_network
from infra.clusters.gke.pools import NodePoolContext, gpu_pool, system_pool
from infra.clusters.storage import RWX_CLASS, makes_shared_class, storage_class
from infra.config.clusters import GkeExclusion, GkeMaintenance, GkeSettings
from infra.config.stack import ClusterStackConfig
from infra.topology import Topology

VIEWER_ROLE = "roles/container.clusterViewer"
MONDAY = date(2026, 1, 5)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NODE_ROLES = ("roles/container.defaultNodeServiceAccount", "roles/artifactregistry.reader")


@dataclass(frozen=True, kw_only=True)
class ClusterHandle:
    """A cluster, created or adopted, as its pools and its users need it."""

    endpoint: pulumi.Input[str]
    ca: pulumi.Input[str]
    network: pulumi.Input[str]
    workload_identity: bool = True
    ready: tuple[pulumi.Resource, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GkeArgs(CloudArgs):
    """A cluster on GKE. `adopted`: the one that exists; None: it is created."""

    settings: GkeSettings
    adopted: ClusterHandle | None


def connect(
    config: ClusterStackConfig, topology: Topology, _root: Path, opts: pulumi.ResourceOptions | None = None
) -> Cluster:
    """Make the cluster of the settings, or GPU pools for an existing one."""
    settings = config.cluster
    assert isinstance(settings, GkeSettings)
    shared = makes_shared_class(settings, config.storage)
    cloud = gcp.Provider(
        "gcp", project=settings.project, region=settings.region, default_labels={"managed-by": "nemostack"}
    )
    args = GkeArgs(
        config=config,
        bucket=topology.bucket,
        shared_files=shared,
        settings=settings,
        adopted=None if settings.create else find(settings, cloud, shared_files=shared),
    )
    providers = pulumi.ResourceOptions(providers=[cloud])
    return GkeCluster(settings.cluster_name, args, pulumi.ResourceOptions.merge(opts, providers)).finish()


def find(settings: GkeSettings, cloud: gcp.Provider, *, shared_files: bool) -> ClusterHandle:
    """Look the cluster up. Raises RunError where it cannot make shared volumes."""
    cluster = container.get_cluster(
        name=settings.cluster_name,
        location=settings.location,
        project=settings.project,
        opts=pulumi.InvokeOptions(provider=cloud),
    )
    drivers = [driver for addon in cluster.addons_configs for driver in addon.gcp_filestore_csi_driver_configs]
    if shared_files and not any(driver.enabled for driver in drivers):
        raise pulumi.RunError(
            f"gke.rwx: cluster {settings.cluster_name} has no Filestore CSI driver: gcloud container clusters "
            f"update {settings.cluster_name} --update-addons=GcpFilestoreCsiDriver=ENABLED, or rwx: none"
        )
    return ClusterHandle(
        endpoint=cluster.endpoint,
        ca=cluster.master_auths[0].cluster_ca_certificate,
        network=cluster.network,
        workload_identity=any(identity.workload_pool for identity in cluster.workload_identity_configs),
    )


class GkeCluster(ClusterComponent):
    """Network, node account, cluster, pools, provider and storage class on Google Cloud."""

    def __init__(self, name: str, args: GkeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("Gke", name, args, opts)
        account, granted = node_account(name, args.settings.project, self.child)
        handle = args.adopted or create(name, args, account, granted, self.child)
        context = NodePoolContext(
            software=args.config.gpu_software,
            settings=args.settings,
            cluster=name,
            account=account.email,
            workload_identity=handle.workload_identity,
        )
        nodes_after = self.after(*granted, *handle.ready)
        self.ready += [] if args.adopted else [system_pool(context, nodes_after)]
        self.ready += [gpu_pool(context, pool, nodes_after) for pool in args.settings.gpu_pools]
        content = pulumi.Output.all(handle.endpoint, handle.ca).apply(lambda address: kubeconfig.gke(name, *address))
        in_cluster = self.connect(content, *handle.ready)
        if args.settings.admins and not args.adopted:
            administrators(args.settings, self.child, in_cluster)
        if args.shared_files:
            self.ready.append(shared_files(handle.network, in_cluster))
        if handle.workload_identity:
            # the first cluster with workload identity is what makes the project's pool of identities
            self.annotations, grants = bucket_access(name, args, self.after(*handle.ready))
            self.ready += grants


def node_account(
    name: str, project: str, opts: pulumi.ResourceOptions
) -> tuple[gcp.serviceaccount.Account, Sequence[pulumi.Resource]]:
    """Make the account of the nodes: logs, metrics and images, where the project's default account may edit all."""
    account = gcp.serviceaccount.Account(
        "nodes",
        account_id=f"{name[:24].rstrip('-')}-nodes",  # 30 characters at most
        display_name=f"Nodes of {name}",
        opts=opts,
    )
    granted = [
        gcp.projects.IAMMember(
            f"nodes-{role.rpartition('/')[2]}", project=project, role=role, member=account.member, opts=opts
        )
        for role in NODE_ROLES
    ]
    return account, granted


def administrators(settings: GkeSettings, opts: pulumi.ResourceOptions, in_cluster: pulumi.ResourceOptions) -> None:
    """Let the members of the settings find the cluster, and do all within it.

    Google's own role for that, Kubernetes Engine Admin, would be one for all clusters of the project.
    """
    for member in settings.admins:
        gcp.projects.IAMMember(
            f"admin-{member.replace(':', '-')}", project=settings.project, role=VIEWER_ROLE, member=member, opts=opts
        )
    kubernetes.rbac.v1.ClusterRoleBinding(
        "admins",
        metadata=kubernetes.meta.v1.ObjectMetaArgs(name="nemostack-admins"),
        role_ref=kubernetes.rbac.v1.RoleRefArgs(
            api_group="rbac.authorization.k8s.io", kind="ClusterRole", name="cluster-admin"
        ),
        subjects=[
            kubernetes.rbac.v1.SubjectArgs(
                api_group="rbac.authorization.k8s.io",
                kind="Group" if member.startswith("group:") else "User",
                name=member.partition(":")[2],
            )
            for member in settings.admins
        ],
        opts=in_cluster,
    )


def bucket_access(
    name: str, args: GkeArgs, opts: pulumi.ResourceOptions
) -> tuple[dict[str, pulumi.Input[str]], list[pulumi.Resource]]:
    """Let MLflow's pods into the bucket; return the annotations of their service account, and the grants.

    The Data Store speaks S3 to it, which takes keys: those of the settings.
    """
    if args.bucket is None or args.bucket.pod_identity != "gke":
        return {}, []
    account = gcp.serviceaccount.Account(
        "mlflow", account_id=f"{name[:23].rstrip('-')}-mlflow", display_name=f"MLflow of {name}", opts=opts
    )
    bucket = gcp.storage.BucketIAMMember(
        "mlflow",
        bucket=args.bucket.name,
        role="roles/storage.objectUser",
        member=account.member,
        opts=opts,
    )
    pods = f"{args.settings.project}.svc.id.goog[{names.MLFLOW_NAMESPACE}/{names.MLFLOW_SERVICE}]"
    identity = gcp.serviceaccount.IAMMember(
        "mlflow",
        service_account_id=account.name,
        role="roles/iam.workloadIdentityUser",
        member=f"serviceAccount:{pods}",
        opts=opts,
    )
    return {"iam.gke.io/gcp-service-account": account.email}, [bucket, identity]


def create(
    name: str,
    args: GkeArgs,
    account: gcp.serviceaccount.Account,
    granted: Sequence[pulumi.Resource],
    opts: pulumi.ResourceOptions,
) -> ClusterHandle:
    """Make the network and the cluster."""
    settings = args.settings
    routes = args.config.routes
    google_gateway = routes.kind == "gateway" and routes.gateway.controller == "gke"
    proxies = next(iter(routes.load_balancer_cidrs), None) if google_gateway else None
    network = gke_network.network(name, settings, proxies, opts)
    allowed = [
        container.ClusterMasterAuthorizedNetworksConfigCidrBlockArgs(cidr_block=cidr)
        for cidr in settings.authorized_networks
    ]
    cluster = container.Cluster(
        name,
        name=name,
        location=settings.location,
        network=network.network,
        subnetwork=network.subnetwork,
        networking_mode="VPC_NATIVE",
        ip_allocation_policy=network.ranges,
        min_master_version=settings.kubernetes_version,
        release_channel=container.ClusterReleaseChannelArgs(channel="REGULAR"),
        # GKE insists on a first pool; ours replace it. It needs the account too: the default one may be forbidden.
        remove_default_node_pool=True,
        initial_node_count=1,
        node_config=container.ClusterNodeConfigArgs(
            service_account=account.email,
            disk_size_gb=20,  # the default is 100 GB of SSD in each zone, which the quota of a new project lacks
            disk_type="pd-standard",
            shielded_instance_config=container.ClusterNodeConfigShieldedInstanceConfigArgs(enable_secure_boot=True),
        ),
        datapath_provider="ADVANCED_DATAPATH",
        workload_identity_config=container.ClusterWorkloadIdentityConfigArgs(
            workload_pool=f"{settings.project}.svc.id.goog"
        ),
        private_cluster_config=container.ClusterPrivateClusterConfigArgs(
            enable_private_nodes=True, enable_private_endpoint=False
        ),
        master_authorized_networks_config=container.ClusterMasterAuthorizedNetworksConfigArgs(
            cidr_blocks=allowed, gcp_public_cidrs_access_enabled=False
        )
        if allowed
        else None,
        addons_config=container.ClusterAddonsConfigArgs(
            gce_persistent_disk_csi_driver_config=container.ClusterAddonsConfigGcePersistentDiskCsiDriverConfigArgs(
                enabled=True
            ),
            gcp_filestore_csi_driver_config=container.ClusterAddonsConfigGcpFilestoreCsiDriverConfigArgs(
                enabled=settings.rwx == "filestore"
            ),
            # GKE switches it on from 1.34.1 unless told otherwise, and the network policies must know of it
            dns_cache_config=container.ClusterAddonsConfigDnsCacheConfigArgs(
                enabled=args.config.security.node_local_dns
            ),
        ),
        gateway_api_config=container.ClusterGatewayApiConfigArgs(
            channel="CHANNEL_STANDARD" if google_gateway else "CHANNEL_DISABLED"
        ),
        maintenance_policy=maintenance_policy(settings.maintenance) if settings.maintenance else None,
        enable_shielded_nodes=True,
        enable_legacy_abac=False,
        deletion_protection=False,  # Pulumi's own `protect` is the one that `pulumi destroy` explains
        opts=pulumi.ResourceOptions.merge(
            opts,
            pulumi.ResourceOptions(
                depends_on=[*granted, *network.ready], ignore_changes=["node_config", "initial_node_count"]
            ),
        ),
    )
    return ClusterHandle(
        endpoint=cluster.endpoint,
        ca=cluster.master_auth.apply(lambda login: login.cluster_ca_certificate or ""),
        network=network.network,
        ready=(cluster,),
    )


def maintenance_policy(window: GkeMaintenance) -> container.ClusterMaintenancePolicyArgs:
    """Keep automatic upgrades, which evict pods, within a weekly window. Its first day is one in the past."""
    opens = datetime.combine(
        MONDAY + timedelta(days=WEEKDAYS.index(window.day)), time.fromisoformat(window.start), tzinfo=UTC
    )
    closes = opens + timedelta(hours=window.hours)
    return container.ClusterMaintenancePolicyArgs(
        recurring_window=container.ClusterMaintenancePolicyRecurringWindowArgs(
            start_time=f"{opens:%Y-%m-%dT%H:%M:%SZ}",
            end_time=f"{closes:%Y-%m-%dT%H:%M:%SZ}",
            recurrence=f"FREQ=WEEKLY;BYDAY={window.day[:2].upper()}",
        ),
        maintenance_exclusions=[maintenance_exclusion(days) for days in window.exclusions] or None,
    )


def maintenance_exclusion(days: GkeExclusion) -> container.ClusterMaintenancePolicyMaintenanceExclusionArgs:
    """Forbid automatic upgrades from the first day to the end of the last one, UTC."""
    end = date.fromisoformat(days.last_day) + timedelta(days=1)
    return container.ClusterMaintenancePolicyMaintenanceExclusionArgs(
        exclusion_name=days.name,
        start_time=f"{days.first_day}T00:00:00Z",
        end_time=f"{end}T00:00:00Z",
        exclusion_options=container.ClusterMaintenancePolicyMaintenanceExclusionExclusionOptionsArgs(
            scope=days.scope.upper()
        ),
    )


def shared_files(network: pulumi.Input[str], opts: pulumi.ResourceOptions) -> kubernetes.storage.v1.StorageClass:
    """Make the class of shared volumes: each is a Filestore instance of 100 GiB or more, made in some minutes."""
    return storage_class(
        RWX_CLASS,
        "filestore.csi.storage.gke.io",
        {"tier": "standard", "network": network},
        opts,
        wait_for_pod=True,  # an instance is in one zone
    )
