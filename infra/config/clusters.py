"""The cluster of a stack: one section per target. Cloud targets create or adopt it, the others adopt it."""

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from infra.config.kubernetes_versions import DEFAULTS
from infra.config.pools import GpuPool, SystemPool, Taint
from infra.config.section import DnsLabel, Section, repeated

VERSION = r"^1\.\d{2}$"
OWN_VERSION = "Kubernetes version of a new cluster, its nodes and its add-ons; raise it by one minor version at a time"


def _day(text: str) -> str:
    try:
        date.fromisoformat(text)
    except ValueError:
        raise ValueError("is no day of the calendar") from None
    return text


Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$"), AfterValidator(_day)]
"""A day of the calendar, as 2026-12-20."""


class Maintenance(Section):
    """Weekly window in which the cloud may upgrade nodes and Kubernetes, which evicts pods and ends training jobs."""

    day: Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"] = Field(
        default="Sunday", description="Day on which the window opens"
    )
    start: str = Field(
        default="00:00",
        pattern=r"^([01]\d|2[0-3]):[0-5]\d$",
        description="Time at which it opens, UTC, in quotes, e.g. '02:00'",
    )
    hours: int = Field(
        default=12, ge=4, le=24, description="Length; GKE needs 48 hours within 32 days, so 12 or more there"
    )


class GkeExclusion(Section):
    """Days on which Google upgrades nothing of its own accord, e.g. those of a long training job."""

    name: DnsLabel = Field(description="Name of the exclusion, each of its own")
    first_day: Day = Field(description="First day, UTC, in quotes, e.g. '2026-12-20'")
    last_day: Day = Field(description="Last day, UTC, in quotes")
    scope: Literal["no_upgrades", "no_minor_upgrades", "no_minor_or_node_upgrades"] = Field(
        default="no_upgrades",
        description="no_upgrades: neither control plane nor nodes; no_minor_upgrades: patches only; "
        "no_minor_or_node_upgrades: patches of the control plane only, so that nodes stay",
    )

    @model_validator(mode="after")
    def _days(self) -> Self:
        self._in_order("first_day", "last_day")
        return self


class GkeMaintenance(Maintenance):
    """Weekly window in which Google may upgrade nodes and Kubernetes, which evicts pods and ends training jobs."""

    exclusions: tuple[GkeExclusion, ...] = Field(
        default=(), description="Days without upgrades; Google limits their number and, by scope, their length"
    )

    @model_validator(mode="after")
    def _names(self) -> Self:
        if twice := repeated(exclusion.name for exclusion in self.exclusions):
            raise ValueError(f"exclusions: {', '.join(twice)} is listed twice: give each a name of its own")
        return self


class AksAdmin(Section):
    """A principal of Microsoft Entra that administers a new AKS cluster."""

    id: str = Field(
        pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", description="Object id, as `az ad group show` prints it"
    )
    type: Literal["User", "Group", "ServicePrincipal"] = Field(description="Type of the principal")


class CloudCluster(Section):
    """Settings that the three clouds share."""

    cluster_name: DnsLabel = Field(default="nemostack", description="Name of the cluster to create or adopt")
    create: bool = Field(
        default=True,
        description="false: adopt the existing cluster of that name, and create only GPU pools and the shared storage "
        "class",
    )
    kubernetes_version: str | None = Field(
        default=None,
        pattern=VERSION,
        description="Kubernetes version of a new cluster; default: the release channel REGULAR decides",
    )
    authorized_networks: tuple[str, ...] = Field(
        default=(),
        description="CIDRs that may reach the API server of a new cluster. []: reachable from the whole internet, "
        "authentication required",
    )
    gpu_pools: tuple[GpuPool, ...] = Field(min_length=1, description="GPU node pools, one or more")
    rwx: str

    @property
    def principals(self) -> tuple[str, ...]:
        """Administrators of a new cluster, by the names or ids that the cloud gives them."""
        raise NotImplementedError


class GkeSettings(CloudCluster):
    """Google Kubernetes Engine."""

    project: str = Field(min_length=4, description="Google Cloud project ID")
    location: str = Field(pattern=r"^[a-z]+-[a-z]+\d(-[a-z])?$", description="Region or zone, e.g. us-central1")
    network: str | None = Field(default=None, description="Existing VPC network; default: a new one")
    subnetwork: str | None = Field(default=None, description="Existing subnetwork of `network`")
    system_pool: SystemPool = SystemPool(machine="e2-standard-8")
    maintenance: GkeMaintenance | None = Field(
        default=GkeMaintenance(), description="Window for automatic upgrades of a new cluster; null: at any hour"
    )
    admins: tuple[Annotated[str, Field(pattern=r"^(user|group|serviceAccount):[^\s:]+@[^\s:]+$")], ...] = Field(
        default=(),
        description="Members of Google Cloud IAM that administer a new cluster, e.g. group:platform@example.com, "
        "besides those whose roles in the project allow it",
    )
    rwx: Literal["filestore", "none"] = Field(default="filestore", description="ReadWriteMany storage class to create")

    @property
    def principals(self) -> tuple[str, ...]:
        """Members of Google Cloud IAM."""
        return self.admins

    @property
    def region(self) -> str:
        """Region of the location."""
        return "-".join(self.location.split("-")[:2])

    @model_validator(mode="after")
    def _network(self) -> Self:
        if (self.network is None) != (self.subnetwork is None):
            raise ValueError("set both network and subnetwork, or neither for a new network")
        return self


class EksSettings(CloudCluster):
    """Amazon Elastic Kubernetes Service."""

    kubernetes_version: str = Field(default=DEFAULTS["eks"], pattern=VERSION, description=OWN_VERSION)
    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$", description="AWS region, e.g. us-east-1")
    vpc_id: str | None = Field(default=None, pattern=r"^vpc-", description="Existing VPC; default: a new one")
    subnet_ids: tuple[str, ...] = Field(default=(), description="Private subnets of `vpc_id` in at least two zones")
    vpc_cidr: str = Field(
        default="10.40.0.0/16",
        pattern=r"^(\d{1,3}\.){3}\d{1,3}/(16|17|18|19|20)$",
        description="CIDR of a new VPC, /16 to /20",
    )
    system_pool: SystemPool = SystemPool(machine="m6i.2xlarge")
    ami: Literal["AL2023_x86_64_NVIDIA", "BOTTLEROCKET_x86_64_NVIDIA"] = Field(
        default="AL2023_x86_64_NVIDIA",
        description="Node image. AL2023 needs a device plugin, Bottlerocket includes one",
    )
    update_node_image: bool = Field(
        default=False,
        description="true: each `up` moves the nodes to AWS's newest release of their image, one at a time; false: a "
        "node group keeps the release it was made with until kubernetes_version changes",
    )
    admins: tuple[Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:(role|user)/")], ...] = Field(
        default=(),
        description="ARNs of IAM roles and users that administer a new cluster, besides the one that creates it",
    )
    rwx: Literal["efs", "none"] = Field(default="efs", description="ReadWriteMany storage class to create")

    @property
    def principals(self) -> tuple[str, ...]:
        """ARNs of IAM roles and users."""
        return self.admins

    @model_validator(mode="after")
    def _network(self) -> Self:
        if (self.vpc_id is None) != (not self.subnet_ids):
            raise ValueError("set both vpc_id and subnet_ids, or neither for a new network")
        if not self.create and self.vpc_id is None:
            raise ValueError("create: false needs vpc_id and subnet_ids, in which the GPU pools are created")
        return self


class AksSettings(CloudCluster):
    """Azure Kubernetes Service."""

    kubernetes_version: str = Field(default=DEFAULTS["aks"], pattern=VERSION, description=OWN_VERSION)
    location: str = Field(pattern=r"^[a-z0-9]+$", description="Azure region, e.g. eastus2")
    resource_group: str = Field(
        min_length=1, description="Created with a new cluster; an adopted cluster is looked up in it"
    )
    subnet_id: str | None = Field(default=None, description="Resource ID of an existing subnet; default: a new one")
    system_pool: SystemPool = SystemPool(machine="Standard_D8s_v5")
    admins: tuple[AksAdmin, ...] = Field(
        default=(), description="Administrators of a new cluster, besides the principal that creates it"
    )
    maintenance: Maintenance | None = Field(
        default=Maintenance(), description="Window for automatic upgrades of a new cluster; null: at any hour"
    )
    rwx: Literal["azurefile", "none"] = Field(default="azurefile", description="ReadWriteMany storage class to create")

    @property
    def principals(self) -> tuple[str, ...]:
        """Object ids of principals of Microsoft Entra."""
        return tuple(admin.id for admin in self.admins)


class AdoptedCluster(Section):
    """An existing cluster. The stack does not change its nodes, except for `label_nodes`, and checks its GPUs."""

    kubeconfig: str | None = Field(
        default=None, description="Path of the kubeconfig; default: KUBECONFIG, else ~/.kube/config"
    )
    context: str | None = Field(default=None, description="Context in the kubeconfig; default: the current one")
    min_gpus: int = Field(default=2, ge=0, description="Minimum number of allocatable GPUs; fewer is an error")
    gpu_memory_gb: int | None = Field(
        default=None,
        ge=1,
        description="Memory of one GPU in GB, checked against what models need; default: node labels",
    )
    gpu_taints: tuple[Taint, ...] = Field(
        default=(), description="Taints of the GPU nodes, other than nvidia.com/gpu, that GPU pods must tolerate"
    )
    label_nodes: dict[str, str] = Field(
        default={},
        description="Labels to put on every node with allocatable GPUs, e.g. NFD labels where NFD is missing",
    )


class ExistingSettings(AdoptedCluster):
    """An existing cluster: any Kubernetes 1.29 or later, including K3s."""


class MinikubeSettings(AdoptedCluster):
    """minikube on one machine with GPUs (`minikube start --driver=docker --container-runtime=docker --gpus=all`)."""

    context: str | None = Field(default="minikube", description="Name of the minikube profile")


ClusterSettings = CloudCluster | ExistingSettings | MinikubeSettings
"""The section of any target on Kubernetes."""
