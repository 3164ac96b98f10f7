"""Azure Kubernetes Service: network, identity, cluster, GPU pools, Azure Files. Or pools for a cluster that is there.

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
from infra.clusters.aks.pools import Nodes, gpu_pool, system_profile
from infra.clusters.cluster import Cluster, kubernetes_provider
from infra.clusters.storage import RWX_CLASS, makes_shared_class, storage_class
from infra.config.clusters import AksSettings
from infra.config.stack import ClusterStackConfig

ADDRESSES, NODES = "10.40.0.0/16", "10.40.0.0/20"
PODS, SERVICES, DNS = "10.244.0.0/16", "10.48.0.0/16", "10.48.0.10"
SUBNET = "nodes"
CLIENT_ID = "azure.workload.identity/client-id"
AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"  # application through which people log in with `az login`
# Roles that Azure brings, by their fixed ids
NETWORK_CONTRIBUTOR = "4d97b98b-1d4f-4787-a291-c67834d212e7"
CLUSTER_ADMIN = "b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b"  # Azure Kubernetes Service RBAC Cluster Admin
BLOB_CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"  # Storage Blob Data Contributor


@dataclass(frozen=True, kw_only=True)
class Place:
    """A cluster, made or found, as its pools and its users need it."""

    name: pulumi.Input[str]
    issued: pulumi.Input[str]
    """Kubeconfig as Azure hands it out, base64."""
    issuer: pulumi.Input[str]
    """OpenID issuer of the tokens of pods."""
    subnet: pulumi.Input[str] | None
    made: tuple[pulumi.Resource, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AksArgs:
    """A cluster on AKS. `found`: the one that is there; None: it is made."""

    config: ClusterStackConfig
    settings: AksSettings
    subscription: str
    maker: str
    """Object id of who runs this program, the first administrator of a new cluster."""
    maker_is_person: bool
    shared_files: bool
    """Whether to make the class of shared volumes."""
    found: Place | None


def connect(config: ClusterStackConfig, _root: Path, opts: pulumi.ResourceOptions | None = None) -> Cluster:
    """Make the cluster of the settings, or GPU pools for the one that is there."""
    settings = config.cluster
    assert isinstance(settings, AksSettings)
    shared = makes_shared_class(config)
    cloud = azure.Provider("azure", location=settings.location)
    invoke = pulumi.InvokeOptions(provider=cloud)
    client = authorization.get_client_config(opts=invoke)
    made = AksCluster(
        settings.cluster_name,
        AksArgs(
            config=config,
            settings=settings,
            subscription=client.subscription_id,
            maker=client.object_id,
            maker_is_person=client.client_id == AZURE_CLI,
            shared_files=shared,
            found=None if settings.create else find(settings, invoke),
        ),
        pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(providers=[cloud])),
    )
    return Cluster(
        provider=made.provider,
        kubeconfig=made.kubeconfig,
        storage_class=config.storage.class_name,  # None: AKS's own default, managed disks that can grow
        rwx_storage_class=RWX_CLASS if shared else config.storage.rwx_class_name,
        ready=tuple(made.ready),
        object_store_annotations=made.annotations,
    )


def find(settings: AksSettings, invoke: pulumi.InvokeOptions) -> Place:
    """Look the cluster up. Raises RunError where one cannot log in as this program does."""
    where = {"resource_group_name": settings.resource_group, "resource_name": settings.cluster_name}
    found = containerservice.get_managed_cluster(**where, opts=invoke)
    if not found.aad_profile:
        raise pulumi.RunError(
            f"aks: cluster {settings.cluster_name} has no login by Microsoft Entra: az aks update --enable-aad "
            f"--name {settings.cluster_name} --resource-group {settings.resource_group}"
        )
    issued = containerservice.list_managed_cluster_user_credentials(**where, format="exec", opts=invoke)
    profiles = found.agent_pool_profiles or []
    return Place(
        name=settings.cluster_name,
        issued=issued.kubeconfigs[0].value,
        issuer=found.oidc_issuer_profile.issuer_url if found.oidc_issuer_profile else "",
        subnet=settings.subnet_id or next((profile.vnet_subnet_id for profile in profiles), None),
    )


class AksCluster(pulumi.ComponentResource):
    """Network, identities, cluster, pools, provider and storage class on Azure."""

    provider: kubernetes.Provider
    kubeconfig: pulumi.Output[str]
    ready: list[pulumi.Resource]
    annotations: dict[str, pulumi.Input[str]]

    def __init__(self, name: str, args: AksArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nemostack:cluster:Aks", name, None, opts)
        self.name, self.args, self.settings = name, args, args.settings
        self.child = pulumi.ResourceOptions(parent=self)
        if args.found:
            place, group = args.found, pulumi.Output.from_input(args.settings.resource_group)
        else:
            made = resources.ResourceGroup(
                "group",
                resource_group_name=args.settings.resource_group,
                location=args.settings.location,
                opts=self.child,
            )
            place, group = self._cluster(made.name), made.name
        nodes = Nodes(
            config=args.config,
            cluster=place.name,
            group=group,
            subnet=place.subnet,
            version=None if args.found else args.settings.kubernetes_version,
        )
        after = pulumi.ResourceOptions(parent=self, depends_on=[*place.made])
        self.ready = [gpu_pool(nodes, pool, after) for pool in args.settings.gpu_pools]
        content = pulumi.Output.from_input(place.issued).apply(lambda issued: kubeconfig.aks(name, issued))
        self.kubeconfig = pulumi.Output.secret(content)
        self.provider = kubernetes_provider(name, self.kubeconfig, after)
        if args.shared_files:
            self.ready.append(shared_files(pulumi.ResourceOptions(parent=self, provider=self.provider)))
        self.annotations = self._bucket(place, group)
        self.register_outputs({"kubeconfig": self.kubeconfig})

    def _cluster(self, group: pulumi.Output[str]) -> Place:
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
            agent_pool_profiles=[system_profile(settings.system_pool, subnet, settings.kubernetes_version)],
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
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[networks], ignore_changes=["agentPoolProfiles[0].count"]
            ),
        )
        person = self.args.maker_is_person
        admin = self._grant("maker-admin", cluster.id, CLUSTER_ADMIN, self.args.maker, person=person)
        issued = containerservice.list_managed_cluster_user_credentials_output(
            resource_group_name=group,
            resource_name=cluster.name,
            format="exec",
            opts=pulumi.InvokeOutputOptions(parent=self),
        )
        return Place(
            name=cluster.name,
            issued=issued.kubeconfigs.apply(lambda found: found[0].value),
            issuer=cluster.oidc_issuer_profile.apply(lambda found: (found.issuer_url if found else None) or ""),
            subnet=subnet,
            made=(cluster, admin),
        )

    def _network(self, group: pulumi.Output[str]) -> tuple[pulumi.Input[str], pulumi.Input[str]]:
        """Return the subnet of the nodes, and what the cluster's identity may change of the network."""
        if self.settings.subnet_id:
            return self.settings.subnet_id, self.settings.subnet_id
        made = network.VirtualNetwork(
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
        return pulumi.Output.concat(made.id, "/subnets/", SUBNET), made.id

    def _grant(
        self, name: str, scope: pulumi.Input[str], role: str, principal: pulumi.Input[str], *, person: bool = False
    ) -> authorization.RoleAssignment:
        """Give a principal a role: a managed identity or service principal unless it is a person."""
        where = f"{self.args.subscription}/{self.settings.resource_group}/{self.name}/{name}"
        subscription = f"/subscriptions/{self.args.subscription}"
        return authorization.RoleAssignment(
            name,
            role_assignment_name=str(uuid.uuid5(uuid.NAMESPACE_URL, where)),
            scope=scope,
            role_definition_id=f"{subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}",
            principal_id=principal,
            principal_type="User" if person else "ServicePrincipal",
            opts=self.child,
        )

    def _bucket(self, place: Place, group: pulumi.Output[str]) -> dict[str, pulumi.Input[str]]:
        """Let MLflow's pods into the storage account; return the annotations of their service account."""
        store = self.args.config.object_store
        if store.kind != "azure" or self.args.config.mlflow.mode != "install":
            return {}
        identity = managedidentity.UserAssignedIdentity(
            "mlflow", resource_group_name=group, resource_name_=f"{self.name}-mlflow", opts=self.child
        )
        managedidentity.FederatedIdentityCredential(
            "mlflow",
            resource_group_name=group,
            resource_name_=identity.name,
            federated_identity_credential_resource_name="mlflow",
            issuer=place.issuer,
            subject=f"system:serviceaccount:{names.MLFLOW_NAMESPACE}:{names.MLFLOW_SERVICE}",
            audiences=["api://AzureADTokenExchange"],
            opts=self.child,
        )
        account = (
            f"/subscriptions/{self.args.subscription}/resourceGroups/"
            f"{store.resource_group or self.settings.resource_group}"
            f"/providers/Microsoft.Storage/storageAccounts/{store.account}"
        )
        self._grant("mlflow-blobs", account, BLOB_CONTRIBUTOR, identity.principal_id)
        return {CLIENT_ID: identity.client_id}


def shared_files(opts: pulumi.ResourceOptions) -> kubernetes.storage.v1.StorageClass:
    """Make the class of shared volumes: NFS shares of 100 GiB or more, with links, locks and modes as on disks."""
    return storage_class(
        RWX_CLASS,
        "file.csi.azure.com",
        {"protocol": "nfs", "skuName": "Premium_LRS"},
        opts,
        wait_for_pod=False,
        mount_options=["nconnect=4", "noresvport"],
    )
