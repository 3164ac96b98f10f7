"""The settings of a whole stack: one class per target, and their union."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, TypeAdapter, model_validator

from infra.config.clusters import (
    AksSettings,
    CloudCluster,
    ClusterSettings,
    EksSettings,
    ExistingSettings,
    GkeSettings,
    MinikubeSettings,
)
from infra.config.local import LocalStackConfig
from infra.config.nemo import LLAMA_NIM, CustomizerSettings, GuardrailsSettings, Judge, Nim, Services
from infra.config.nemo_platform import NemoPlatform
from infra.config.network import Observability, Routes, Security
from infra.config.platform import (
    Charts,
    Credentials,
    GpuSoftwareKind,
    Mlflow,
    Namespaces,
    ObjectStore,
    Postgres,
    Prerequisites,
    Storage,
)
from infra.config.pools import GpuPool, Taint
from infra.config.section import PRODUCT_MEANING, Product, Section
from infra.names import NEMO_PLATFORM, Service


class ClusterStackConfig(Section):
    """What every stack on Kubernetes has, wherever its cluster comes from."""

    target: str
    product: Product = Field(default="microservices", description=PRODUCT_MEANING)
    layout: Literal["per-service", "single"] = Field(
        default="per-service",
        description="per-service: one namespace and one Helm release per service; single: one release `nemo` for all",
    )
    namespaces: Namespaces = Namespaces()
    charts: Charts = Charts()
    credentials: Credentials = Credentials()
    prerequisites: Prerequisites = Prerequisites()
    storage: Storage = Storage()
    postgres: Postgres = Postgres()
    object_store: ObjectStore = ObjectStore()
    platform: NemoPlatform = NemoPlatform()
    services: Services = Services()
    customizer: CustomizerSettings = CustomizerSettings()
    guardrails: GuardrailsSettings = GuardrailsSettings()
    nims: tuple[Nim, ...] = Field(default=(LLAMA_NIM,), min_length=1)
    judge: Judge = Judge()
    mlflow: Mlflow = Mlflow()
    routes: Routes = Routes()
    security: Security = Security()
    observability: Observability = Observability()

    @model_validator(mode="before")
    @classmethod
    def _of_the_product(cls, given: Any) -> Any:
        """With the platform alone no microservice runs unless it is asked for, and NIMs are the platform's."""
        return of_the_product(given) if isinstance(given, dict) else given

    @property
    def cluster(self) -> ClusterSettings:
        """The section of the target."""
        raise NotImplementedError

    @property
    def running(self) -> tuple[Service, ...]:
        """Services that run: those of the microservices, and the platform, which is one."""
        return (*self.services.running, *([NEMO_PLATFORM] if self.product == "platform" else []))

    @property
    def pools(self) -> tuple[GpuPool, ...]:
        """GPU pools that the program creates; none on an adopted cluster."""
        return self.cluster.gpu_pools if isinstance(self.cluster, CloudCluster) else ()

    @property
    def gpu_software(self) -> GpuSoftwareKind:
        """What makes GPUs allocatable: as said, else what the target's nodes lack."""
        if software := self.prerequisites.gpu.software:
            return software
        return "device-plugin" if self.lacks_device_plugin else "provided"

    @property
    def installs_gpu_software(self) -> bool:
        """Whether this stack installs what makes GPUs allocatable, so that there are none at first."""
        return self.gpu_software != "provided" and self.prerequisites.gpu.mode == "install"

    @property
    def lacks_device_plugin(self) -> bool:
        """Whether the cloud's GPU nodes come without a device plugin, as those of AKS and AL2023 on EKS do."""
        if isinstance(self.cluster, EksSettings):
            return self.cluster.ami.startswith("AL2023")
        return isinstance(self.cluster, AksSettings)

    @property
    def gpu_taints(self) -> tuple[Taint, ...]:
        """Taints that pods with a GPU meet besides nvidia.com/gpu, each once."""
        if isinstance(self.cluster, CloudCluster):
            return tuple(dict.fromkeys(taint for pool in self.pools for taint in pool.taints))
        return self.cluster.gpu_taints


def of_the_product(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with what the product decides where the user did not: `services`, and `deploy` of each NIM."""
    chosen, section = dict(given), given.get("platform")
    keeps = isinstance(section, Mapping) and section.get("keep_microservices")
    if given.get("product") != "platform" or keeps:
        return chosen
    chosen.setdefault("services", dict.fromkeys(Services.model_fields, False))
    nims = chosen.get("nims", [LLAMA_NIM.model_dump(exclude={"deploy"})])
    if isinstance(nims, list | tuple):
        chosen["nims"] = [{"deploy": "platform", **nim} if isinstance(nim, Mapping) else nim for nim in nims]
    return chosen


class GkeStackConfig(ClusterStackConfig):
    """A stack on Google Kubernetes Engine."""

    target: Literal["gke"]
    gke: GkeSettings

    @property
    def cluster(self) -> GkeSettings:
        return self.gke


class EksStackConfig(ClusterStackConfig):
    """A stack on Amazon Elastic Kubernetes Service."""

    target: Literal["eks"]
    eks: EksSettings

    @property
    def cluster(self) -> EksSettings:
        return self.eks


class AksStackConfig(ClusterStackConfig):
    """A stack on Azure Kubernetes Service."""

    target: Literal["aks"]
    aks: AksSettings

    @property
    def cluster(self) -> AksSettings:
        return self.aks


class ExistingStackConfig(ClusterStackConfig):
    """A stack on an existing cluster."""

    target: Literal["existing"]
    existing: ExistingSettings = ExistingSettings()

    @property
    def cluster(self) -> ExistingSettings:
        return self.existing


class MinikubeStackConfig(ClusterStackConfig):
    """A stack on minikube."""

    target: Literal["minikube"]
    minikube: MinikubeSettings = MinikubeSettings()

    @property
    def cluster(self) -> MinikubeSettings:
        return self.minikube


StackConfig = (
    LocalStackConfig | MinikubeStackConfig | ExistingStackConfig | GkeStackConfig | EksStackConfig | AksStackConfig
)
"""The settings of any stack."""
STACK_CONFIG: TypeAdapter[StackConfig] = TypeAdapter(Annotated[StackConfig, Field(discriminator="target")])
"""Reads the settings of a stack whose target is not known yet: `target` decides on the class."""
TARGETS: dict[str, type[StackConfig]] = {
    get_args(model.model_fields["target"].annotation)[0]: model for model in get_args(StackConfig)
}
"""Target -> class of its settings."""

SECRET_KEYS = {
    "ngc_api_key": "NGC API key: NVIDIA charts and images, model downloads",
    "hf_token": "Hugging Face token, for gated models and datasets",
    "object_store_access_key": "Access key of an external object store",
    "object_store_secret_key": "Secret key of an external object store",
}
"""Settings that are secrets. They stay Pulumi secrets and never pass through the model."""
