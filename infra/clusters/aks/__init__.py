"""Azure Kubernetes Service: network, identity, cluster, GPU pools, Azure Files. Or pools for an existing cluster.

Login by Microsoft Entra only (no local accounts), Azure CNI with Cilium (which enforces NetworkPolicies), workload
identity, no public address on a node. Not made: the subscription's quota for GPUs.
"""

import uuid
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_azure_native as azure
import pulumi_kubernetes as kubernetes
from pulumi_azure_native import authorization, containerservice, managedidentity, network, resources

from infra import names
from infra.clusters import kubeconfig
from infra.clusters.access import wait_for_administrator
from infra.clusters.aks.pools import NodePoolContext, gpu_pools, system_profile
from infra.clusters.aks.state import ClusterState, principal_of, read_cluster
from infra.clusters.cluster import CloudArgs, Cluster, ClusterComponent
from infra.clusters.storage import RWX_CLASS, makes_shared_class, storage_class
from infra.config.clusters import AksSettings
from infra.config.stack import ClusterStackConfig
from infra.topology import Topology

ADDRESSES, NODES = "10.40.0.0/16", "10.40.0.0/20"
PODS, SERVICES, DNS = "10.244.0.0/16", "10.48.0.0/16", "10.48.0.10"
SUBNET = "nodes"
CLIENT_ID = "azure.workload.identity/client-id"
AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"  # application through which people log in with `az login`
MAINTENANCE = ("aksManagedAutoUpgradeSchedule", "aksManagedNodeOSUpgradeSchedule")
"""Names that Azure gives to the windows of automatic upgrades of Kubernetes and of node images."""
# Roles that Azure brings, by their fixed ids
NETWORK_CONTRIBUTOR = "4d97b98b-1d4f-4787-a291-c67834d212e7"
CLUSTER_ADMIN = "b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b"  # Azure Kubernetes Service RBAC Cluster Admin
BLOB_CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"  # Storage Blob Data Contributor


@dataclass(frozen=True, kw_only=True)
class ClusterHandle:
    """A cluster, created or adopted, as its pools and its users need it."""

    name: pulumi.Input[str]
    issued: pulumi.Input[str]
    """Kubeconfig as Azure hands it out, base64."""
    issuer: pulumi.Input[str]
    """OpenID issuer of the tokens of pods."""
    subnet: pulumi.Input[str] | None
    ready: tuple[pulumi.Resource, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AksArgs(CloudArgs):
    """A cluster on AKS. `adopted`: the one that exists; None: it is created."""

    settings: AksSettings
    subscription: str
    user: tuple[str, str]
    """Object id and type of the principal that runs this program, the first administrator of a new cluster."""
    invoke: pulumi.InvokeOptions
    state: ClusterState | None
    """The cluster as it is; None: there is none yet."""
    adopted: ClusterHandle | None


def connect(
    config: ClusterStackConfig, topology: Topology, _root: Path, opts: pulumi.ResourceOptions | None = None
) -> Cluster:
    """Make the cluster of the settings, or GPU pools for an existing one."""
    settings = config.cluster
    assert isinstance(settings, AksSettings)
    cloud = azure.Provider("azure", location=settings.location)
    invoke = pulumi.InvokeOptions(provider=cloud)
    client = authorization.get_client_config(opts=invoke)
    args = AksArgs(
        config=config,
        bucket=topology.bucket,
        shared_files=makes_shared_class(settings, config.storage),
        settings=settings,
        subscription=client.subscription_id,
        user=(client.object_id, "User" if client.client_id == AZURE_CLI else "ServicePrincipal"),
        invoke=invoke,
        state=read_cluster(settings.resource_group, settings.cluster_name, invoke),
        adopted=None if settings.create else find(settings, invoke),
    )
    providers = pulumi.ResourceOptions(providers=[cloud])
    return AksCluster(settings.cluster_name, args, pulumi.ResourceOptions.merge(opts, providers)).finish()


def find(settings: AksSettings, invoke: pulumi.InvokeOptions) -> ClusterHandle:
    """Look the cluster up. Raises RunError where one cannot log in as this program does."""
    where = {"resource_group_name": settings.resource_group, "resource_name": settings.cluster_name}
    cluster = containerservice.get_managed_cluster(**where, opts=invoke)
    if not cluster.aad_profile:
        raise pulumi.RunError(
            f"aks: cluster {settings.cluster_name} has no login by Microsoft Entra: az aks update --enable-aad "
            f"--name {settings.cluster_name} --resource-group {settings.resource_group}"
        )
    issued = containerservice.list_managed_cluster_user_credentials(**where, format="exec", opts=invoke)
    profiles = cluster.agent_pool_profiles or []
    return ClusterHandle(
        name=settings.cluster_name,
        issued=issued.kubeconfigs[0].value,
        issuer=cluster.oidc_issuer_profile.issuer_url if cluster.oidc_issuer_profile else "",
        subnet=settings.subnet_id or next((profile.vnet_subnet_id for profile in profiles), None),
    )


class AksCluster(ClusterComponent):
    """Network, identities, cluster, pools, provider and storage class on Azure."""

    def __init__(self, name: str, args: AksArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("Aks", name, args, opts)
        self.args, self.settings = args, args.settings
        if args.adopted:
            handle, group = args.adopted, pulumi.Output.from_input(args.settings.resource_group)
        else:
            created = resources.ResourceGroup(
                "group",
                resource_group_name=args.settings.resource_group,
                location=args.settings.location,
                opts=self.child,
            )
            handle, group = self._cluster(created.name), created.name
        context = NodePoolContext(
            software=args.config.gpu_software,
            settings=args.settings,
            cluster=handle.name,
            group=group,
            subnet=handle.subnet,
            version=None if args.adopted else args.settings.kubernetes_version,
            state=args.state,
        )
        for index, pool in enumerate(args.settings.gpu_pools):
            self.ready += gpu_pools(context, f"aks.gpu_pools.{index}", pool, self.after(*handle.ready))
        content = pulumi.Output.from_input(handle.issued).apply(lambda issued: kubeconfig.aks(name, issued))
        if args.state is None:  # a new role takes minutes to become effective
            content = pulumi.Output.all(content, *(resource.urn for resource in handle.ready)).apply(
                lambda values: wait_for_administrator(values[0])
            )
        in_cluster = self.connect(content, *handle.ready)
        if args.shared_files:
            self.ready.append(shared_files(in_cluster))
        self.annotations = self._bucket(handle, group)

    def _cluster(self, group: pulumi.Output[str]) -> ClusterHandle:
        """Make the network, the identity of the control plane and the cluster."""
        settings = self.settings
        subnet, scope = self._network(group)
        identity = managedidentity.UserAssignedIdentity(
            "cluster", resource_group_name=group, resource_name_=f"{self.name}-cluster", opts=self.child
        )
        # for load balancers in the subnet and for shares that only it reaches
        networks = self._grant("cluster-network", scope, NETWORK_CONTRIBUTOR, identity.principal_id)
        cluster = containerservice.ManagedCluster(
            self.name,
            resource_name_=self.name,
            resource_group_name=group,
            location=settings.location,
            kubernetes_version=settings.kubernetes_version,
            dns_prefix=self.name,
            sku=containerservice.ManagedClusterSKUArgs(name="Base", tier="Standard"),
            identity=containerservice.ManagedClusterIdentityArgs(
                type=containerservice.ResourceIdentityType.USER_ASSIGNED, user_assigned_identities=[identity.id]
            ),
            agent_pool_profiles=[
                system_profile(settings.system_pool, subnet, settings.kubernetes_version, self.args.state)
            ],
            auto_scaler_profile=containerservice.ManagedClusterPropertiesAutoScalerProfileArgs(
                # the default is to choose a pool at random, however dear
                expander="least-waste",
                balance_similar_node_groups="true",
            ),
            enable_rbac=True,
            disable_local_accounts=True,
            aad_profile=containerservice.ManagedClusterAADProfileArgs(managed=True, enable_azure_rbac=True),
            api_server_access_profile=containerservice.ManagedClusterAPIServerAccessProfileArgs(
                authorized_ip_ranges=list(settings.authorized_networks)
            )
            if settings.authorized_networks
            else None,
            network_profile=containerservice.ContainerServiceNetworkProfileArgs(
                network_plugin="azure",
                network_plugin_mode="overlay",
                network_dataplane="cilium",
                network_policy="cilium",
                load_balancer_sku="standard",
                pod_cidr=PODS,
                service_cidr=SERVICES,
                dns_service_ip=DNS,
            ),
            oidc_issuer_profile=containerservice.ManagedClusterOIDCIssuerProfileArgs(enabled=True),
            security_profile=containerservice.ManagedClusterSecurityProfileArgs(
                workload_identity=containerservice.ManagedClusterSecurityProfileWorkloadIdentityArgs(enabled=True)
            ),
            auto_upgrade_profile=containerservice.ManagedClusterAutoUpgradeProfileArgs(
                upgrade_channel="patch", node_os_upgrade_channel="NodeImage"
            ),
            opts=self.after(networks),
        )
        self._maintenance(cluster, group)
        issued = containerservice.list_managed_cluster_user_credentials_output(
            resource_group_name=group,
            resource_name=cluster.name,
            format="exec",
            opts=pulumi.InvokeOutputOptions(parent=self),
        )
        return ClusterHandle(
            name=cluster.name,
            issued=issued.kubeconfigs.apply(lambda configs: configs[0].value),
            issuer=cluster.oidc_issuer_profile.apply(lambda profile: (profile.issuer_url if profile else None) or ""),
            subnet=subnet,
            ready=(cluster, *self._administrators(cluster)),
        )

    def _administrators(self, cluster: containerservice.ManagedCluster) -> list[authorization.RoleAssignment]:
        """Make administrators of the principals of the settings, and of the one that created the cluster.

        The creator is read from its role, so that the next one who runs the program does not take its place.
        """
        settings = self.settings
        scope = (
            f"/subscriptions/{self.args.subscription}/resourceGroups/{settings.resource_group}"
            f"/providers/Microsoft.ContainerService/managedClusters/{self.name}"
        )
        known = principal_of(self._assignment_name("maker-admin"), scope, self.args.invoke) if self.args.state else None
        creator, kind = known or self.args.user
        granted = [self._grant("maker-admin", cluster.id, CLUSTER_ADMIN, creator, kind=kind)]
        for admin in settings.admins:
            if admin.id != creator:  # Azure refuses a second assignment of a role to the same principal
                name = f"admin-{admin.id}"
                granted.append(self._grant(name, cluster.id, CLUSTER_ADMIN, admin.id, kind=admin.type))
        return granted

    def _maintenance(self, cluster: containerservice.ManagedCluster, group: pulumi.Output[str]) -> None:
        """Keep upgrades of nodes and of Kubernetes, which evict pods, within the window of the settings."""
        window = self.settings.maintenance
        if window is None:
            return
        for name in MAINTENANCE:
            containerservice.MaintenanceConfiguration(
                name,
                config_name=name,
                resource_group_name=group,
                resource_name_=cluster.name,
                maintenance_window=containerservice.MaintenanceWindowArgs(
                    schedule=containerservice.ScheduleArgs(
                        weekly=containerservice.WeeklyScheduleArgs(day_of_week=window.day, interval_weeks=1)
                    ),
                    start_time=window.start,
                    utc_offset="+00:00",
                    duration_hours=window.hours,
                ),
                opts=self.child,
            )

    def _network(self, group: pulumi.Output[str]) -> tuple[pulumi.Input[str], pulumi.Input[str]]:
        """Return the subnet of the nodes, and what the cluster's identity may change of the network."""
        if self.settings.subnet_id:
            return self.settings.subnet_id, self.settings.subnet_id
        virtual_network = network.VirtualNetwork(
            "network",
            virtual_network_name=self.name,
            resource_group_name=group,
            location=self.settings.location,
            address_space=network.AddressSpaceArgs(address_prefixes=[ADDRESSES]),
            # within the network, not beside it: an update of the network would remove it
            subnets=[
                network.SubnetArgs(
                    name=SUBNET,
                    address_prefix=NODES,
                    service_endpoints=[network.ServiceEndpointPropertiesFormatArgs(service="Microsoft.Storage")],
                )
            ],
            opts=self.child,
        )
        return pulumi.Output.concat(virtual_network.id, "/subnets/", SUBNET), virtual_network.id

    def _assignment_name(self, name: str) -> str:
        """Return the name of a role assignment, a UUID that is the same on every run."""
        where = f"{self.args.subscription}/{self.settings.resource_group}/{self.name}/{name}"
        return str(uuid.uuid5(uuid.NAMESPACE_URL, where))

    def _grant(
        self,
        name: str,
        scope: pulumi.Input[str],
        role: str,
        principal: pulumi.Input[str],
        *,
        kind: str = "ServicePrincipal",
    ) -> authorization.RoleAssignment:
        """Give a principal a role. `kind`: ServicePrincipal, which managed identities are too, User or Group."""
        subscription = f"/subscriptions/{self.args.subscription}"
        return authorization.RoleAssignment(
            name,
            role_assignment_name=self._assignment_name(name),
            scope=scope,
            role_definition_id=f"{subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}",
            principal_id=principal,
            principal_type=kind,
            opts=self.child,
        )

    def _bucket(self, handle: ClusterHandle, group: pulumi.Output[str]) -> dict[str, pulumi.Input[str]]:
        """Let MLflow's pods into the storage account; return the annotations of their service account."""
        bucket, resource_group = self.args.bucket, self.args.config.object_store.resource_group
        if bucket is None or bucket.pod_identity != "aks":
            return {}
        identity = managedidentity.UserAssignedIdentity(
            "mlflow", resource_group_name=group, resource_name_=f"{self.name}-mlflow", opts=self.child
        )
        managedidentity.FederatedIdentityCredential(
            "mlflow",
            resource_group_name=group,
            resource_name_=identity.name,
            federated_identity_credential_resource_name="mlflow",
            issuer=handle.issuer,
            subject=f"system:serviceaccount:{names.MLFLOW_NAMESPACE}:{names.MLFLOW_SERVICE}",
            audiences=["api://AzureADTokenExchange"],
            opts=self.child,
        )
        account = (
            f"/subscriptions/{self.args.subscription}/resourceGroups/"
            f"{resource_group or self.settings.resource_group}"
            f"/providers/Microsoft.Storage/storageAccounts/{bucket.account}"
        )
        self._grant("mlflow-blobs", account, BLOB_CONTRIBUTOR, identity.principal_id)
        return {CLIENT_ID: identity.client_id}


def shared_files(opts: pulumi.ResourceOptions) -> kubernetes.storage.v1.StorageClass:
    """Make the class of shared volumes: NFS shares of 100 GiB or more, with links, locks and modes as on disks."""
    return storage_class(
        RWX_CLASS,
        "file.csi.azure.com",
        {"protocol": "nfs", "skuName": "Premium_LRS", "encryptInTransit": "true"},
        opts,
        wait_for_pod=False,
        mount_options=["nconnect=4", "noresvport"],
    )
