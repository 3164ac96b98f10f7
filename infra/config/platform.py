"""The platform below the NeMo services: charts, credentials, prerequisites, storage, Postgres, object store, MLflow."""

from typing import Literal, Self

from pydantic import Field, model_validator

from infra.config.section import DnsLabel, Quantity, Section

Mode = Literal["install", "adopt", "skip"]
"""install: this stack installs it. adopt: must already be installed; checked. skip: not used, not checked."""


GpuSoftwareKind = Literal["gpu-operator", "device-plugin", "provided"]
"""What makes GPUs allocatable. provided: part of the cloud or the cluster."""


class Charts(Section):
    """Where Helm charts come from, and overrides of their pinned versions."""

    source: str | None = Field(
        default=None,
        description="Directory with <chart>/ or <chart>-<version>.tgz, or an oci:// registry path, used instead of the "
        "public repositories; for clusters without internet access",
    )
    versions: dict[str, str] = Field(default={}, description="Chart name -> version, instead of the pinned one")


class Namespaces(Section):
    """Namespaces of the stack. The stack creates and deletes them, except those listed here."""

    adopt: tuple[DnsLabel, ...] = Field(
        default=(),
        description="Existing namespaces, for example with your Secrets. The stack checks that they exist, sets its "
        "Pod Security labels on them, and keeps them when it is destroyed",
    )


class Credentials(Section):
    """Names of existing Secrets, present in every namespace that uses them. Default: created from secret settings."""

    ngc_secret: DnsLabel | None = Field(
        default=None, description="Secret with the key NGC_API_KEY; default: created from nemostack:ngc_api_key"
    )
    image_pull_secret: DnsLabel | None = Field(
        default=None, description="Image pull Secret for nvcr.io; default: created from nemostack:ngc_api_key"
    )
    hf_secret: DnsLabel | None = Field(
        default=None,
        description="Secret with the key HF_TOKEN; default: created from nemostack:hf_token, if that is set",
    )


class GpuSoftware(Section):
    """The software that makes GPUs allocatable."""

    software: GpuSoftwareKind | None = Field(
        default=None,
        description="provided: part of the cloud or the cluster. Default: provided on gke, minikube and existing, "
        "device-plugin on eks (AL2023) and aks",
    )
    mode: Mode = Field(default="install", description="adopt: the CRDs of the GPU operator must exist")


class Prerequisites(Section):
    """Cluster-wide software.

    install: this stack installs it. adopt: it must already be installed, which is checked. skip: not used.
    """

    gpu: GpuSoftware = GpuSoftware()
    volcano: Mode = Field(default="install", description="Gang scheduler for training jobs; the Customizer needs it")
    cert_manager: Mode = Field(default="install", description="Certificates for webhooks and routes")
    nim_operator: Mode = Field(
        default="skip", description="Needed by NIMs with deploy: operator and by deployment_management"
    )
    nim_operator_namespace: DnsLabel | None = Field(
        default=None,
        description="Namespace of a NIM operator that this stack does not install, for network policies; default: "
        "nim-operator",
    )
    gateway_api: Mode = Field(default="install", description="Gateway API CRDs, for routes.kind: gateway")


class Storage(Section):
    """Storage classes."""

    class_name: str | None = Field(
        default=None, description="For ReadWriteOnce volumes; default: the cluster's default class"
    )
    rwx_class_name: str | None = Field(
        default=None, description="For ReadWriteMany volumes; cloud targets create one unless their `rwx` is none"
    )


class ExternalDatabase(Section):
    """The database of one service on an external server."""

    name: str | None = Field(default=None, min_length=1, description="Name of the database; default: <service>")
    user: str | None = Field(default=None, min_length=1, description="User that owns the database; default: <service>")
    secret: DnsLabel | None = Field(
        default=None,
        description="Existing Secret in the namespace of the service, with the key password; default: "
        "<service>-postgres",
    )


class ExternalDatabases(Section):
    """The databases on an external server, one for each service. Default names have hyphens, such as entity-store."""

    data_store: ExternalDatabase = ExternalDatabase()
    entity_store: ExternalDatabase = ExternalDatabase()
    customizer: ExternalDatabase = ExternalDatabase()
    evaluator: ExternalDatabase = ExternalDatabase()
    core: ExternalDatabase = ExternalDatabase()
    guardrails: ExternalDatabase = ExternalDatabase()
    platform: ExternalDatabase = ExternalDatabase()
    mlflow: ExternalDatabase = ExternalDatabase()


class ExternalPostgres(Section):
    """A Postgres server outside the stack, with a database and a user for each service."""

    host: str = Field(min_length=1, description="Host name or address, as pods reach it")
    port: int = Field(default=5432, ge=1, le=65535, description="TCP port")
    ssl_mode: Literal["disable", "require", "verify-ca", "verify-full"] = Field(
        default="require",
        description="sslmode of libpq; verify-* uses the CA certificates of the container image (Debian's path)",
    )
    uri_key: str | None = Field(
        default=None,
        min_length=1,
        description="Key of the Secrets that holds the whole URI, used by the services that accept one (all except "
        "Data Store and MLflow); default: the charts build it from host, port, user, database and password",
    )
    databases: ExternalDatabases = ExternalDatabases()


class Postgres(Section):
    """Databases of the services."""

    kind: Literal["cloudnative-pg", "external", "bundled"] = Field(
        default="cloudnative-pg", description="bundled: unmaintained images that the charts bring, for trials only"
    )
    operator: Mode = Field(default="install", description="The CloudNativePG operator")
    operator_namespace: DnsLabel | None = Field(
        default=None,
        description="Namespace of an operator that this stack does not install, for network policies; default: "
        "cnpg-system",
    )
    instances: int = Field(default=2, ge=1, le=9, description="Number of servers: one primary, the others replicas")
    size: Quantity = Field(default="20Gi", description="Volume size of each server")
    external: ExternalPostgres | None = None

    @model_validator(mode="after")
    def _sections(self) -> Self:
        if (self.kind == "external") != (self.external is not None):
            raise ValueError("set both kind: external and the section `external`, or neither")
        return self


class ObjectStore(Section):
    """Object storage for files of the Data Store or of the NeMo Platform, and artifacts of MLflow.

    Both support S3 only: with azure their files stay on a volume, with gcs they use the S3-compatible API.
    """

    kind: Literal["in-cluster", "s3", "gcs", "azure", "none"] = Field(
        default="in-cluster", description="none: volumes only"
    )
    bucket: str = Field(
        default="nemostack", pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="Bucket or Azure container"
    )
    endpoint: str | None = Field(default=None, description="URL of an S3-compatible store; default: the cloud's own")
    region: str | None = Field(default=None, description="Region of an S3 bucket, e.g. us-east-1")
    account: str | None = Field(default=None, description="Azure storage account")
    resource_group: str | None = Field(
        default=None, description="Resource group of the Azure storage account; default: that of an adopted AKS cluster"
    )
    secret: DnsLabel | None = Field(
        default=None,
        description="Existing Secret with the keys access_key and secret_key in the namespaces of Data Store and "
        "MLflow; default: created from nemostack:object_store_access_key and nemostack:object_store_secret_key",
    )
    size: Quantity = Field(default="100Gi", description="Volume size of the in-cluster store")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "azure" and self.account is None:
            raise ValueError("kind: azure needs account, the storage account's name")
        if self.kind == "s3" and self.endpoint is None and self.region is None:
            raise ValueError("kind: s3 needs region, or endpoint for a store that is not Amazon's")
        return self


class Mlflow(Section):
    """The MLflow tracking server."""

    mode: Mode = Field(default="install", description="adopt: use the existing server at `url`; skip: no MLflow")
    url: str | None = Field(default=None, pattern=r"^https?://", description="URL of an adopted server")
    image: str | None = Field(
        default=None,
        pattern=r"^[\w.-]+(:\d+)?(/[\w.-]+)+:[\w.-]+$",
        description="Image of the server, repository:tag, in place of the chart's; object_store.kind: azure needs one "
        "with the package azure-identity",
    )
    replicas: int = Field(default=1, ge=1, description="Number of replicas; more than one needs an object store")
    allowed_hosts: tuple[str, ...] = Field(
        default=(), description="Additional host names to accept, besides those of the Service and the route"
    )
    basic_auth: bool = Field(
        default=False, description="Require a login; the Customizer cannot log in, so its runs are lost"
    )

    @model_validator(mode="after")
    def _url(self) -> Self:
        if (self.mode == "adopt") != (self.url is not None):
            raise ValueError("set both mode: adopt and url, or neither")
        return self
