"""Addresses in the cluster: which services run, in which namespaces, under which URLs. Pure.

URLs can thus be wired across namespaces before anything exists.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from infra import names
from infra.config.namespaces import find_namespace, list_workload_namespaces
from infra.config.nemo import Nim
from infra.config.stack import ClusterStackConfig
from infra.names import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A Service of Kubernetes and its port."""

    namespace: str
    service: str
    port: int

    @property
    def host(self) -> str:
        """DNS name that is valid in every namespace."""
        return f"{self.service}.{self.namespace}.svc.cluster.local"

    @property
    def url(self) -> str:
        """In-cluster URL, without path."""
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Services that run, and addresses: of every service, as values of charts name some that do not run, and of NIMs.

    Services are known by identity, NIMs by name.
    """

    running: tuple[Service, ...]
    services: Mapping[str, Address]
    """By key. The platform's is where requests of users go: its proxy, where it has one."""
    nims: Mapping[str, Address]
    """By name, in the order of the settings. A Service is called like its NIM, whichever way it is deployed."""
    mlflow: Address | None
    """Of the MLflow that the stack installs."""
    mlflow_url: str | None
    """Of that one or an adopted one; None without any."""
    namespaces: tuple[str, ...]
    """Of the services that run, NIMs and MLflow, each once."""

    def find(self, service: Service | Nim) -> Address:
        """Return the address of a service or NIM."""
        return self.services[service.key] if isinstance(service, Service) else self.nims[service.name]

    def namespace(self, service: Service | Nim) -> str:
        """Return the namespace of a service or NIM."""
        return self.find(service).namespace

    def url(self, service: Service | Nim) -> str:
        """Return the in-cluster URL of a service or NIM, without path."""
        return self.find(service).url

    def runs(self, service: Service) -> bool:
        """Tell whether a service runs."""
        return service in self.running

    @property
    def nim_entry(self) -> Address:
        """Where the microservices reach models: the NIM proxy where it runs, else the first NIM.

        With both products that is the first NIM which the platform does not deploy.
        """
        return self.find(names.NIM_PROXY) if self.runs(names.NIM_PROXY) else self.first_nim

    @property
    def first_nim(self) -> Address:
        """The first NIM that the platform does not deploy, else the first of all."""
        theirs = [nim for nim in self.nims.values() if nim.namespace != names.NEMO_PLATFORM.namespace]
        return theirs[0] if theirs else next(iter(self.nims.values()))

    @property
    def platform_nim(self) -> Address:
        """The NIM of the platform: the first that it deploys, else the first of all."""
        own = [nim for nim in self.nims.values() if nim.namespace == names.NEMO_PLATFORM.namespace]
        return own[0] if own else next(iter(self.nims.values()))


def resolve_addresses(config: ClusterStackConfig) -> Addresses:
    """Return the addresses of a stack."""
    entry = names.NEMO_PLATFORM_ENVOY if config.platform.oidc else names.NEMO_PLATFORM.name
    platform = Address(
        namespace=find_namespace(config.layout, names.NEMO_PLATFORM), service=entry, port=names.NEMO_PLATFORM.port
    )
    own_mlflow = Address(namespace=names.MLFLOW_NAMESPACE, service=names.MLFLOW_SERVICE, port=names.MLFLOW_PORT)
    mlflow = own_mlflow if config.mlflow.mode == "install" else None
    return Addresses(
        running=config.running,
        services={
            service.key: Address(
                namespace=find_namespace(config.layout, service), service=service.name, port=service.port
            )
            for service in names.MICROSERVICES
        }
        | {names.NEMO_PLATFORM.key: platform},
        nims={
            nim.name: Address(namespace=find_namespace(config.layout, nim), service=nim.name, port=names.NIM_PORT)
            for nim in config.nims
        },
        mlflow=mlflow,
        mlflow_url=mlflow.url if mlflow else config.mlflow.url,
        namespaces=list_workload_namespaces(config),
    )
