"""What the NeMo services stand on: charts, credentials, prerequisites, storage, Postgres, object store, MLflow."""

from typing import Literal, Self

from pydantic import Field, model_validator

from infra.config.section import DnsLabel, Quantity, Section

Mode = Literal["install", "adopt", "skip"]
"""install: a release of ours. adopt: must be there, which is verified. skip: not needed, not looked for."""


class Charts(Section):
    """Where Helm charts come from, and other versions than the pinned ones."""

    source: str | None = Field(
        default=None,
        description="Folder with <chart>/ or <chart>-<version>.tgz, or an oci:// registry path, in place of the "
        "public repositories: for clusters without internet access",
    )
    versions: dict[str, str] = Field(default={}, description="Chart name -> version, in place of the pinned one")


class Credentials(Section):
    """Names of Secrets that exist already in every namespace; where absent, they are made from secret settings."""

    ngc_secret: DnsLabel | None = Field(
        default=None, description="Secret with key NGC_API_KEY; default: made from nemostack:ngc_api_key"
    )
    image_pull_secret: DnsLabel | None = Field(
        default=None, description="dockerconfigjson for nvcr.io; default: made from nemostack:ngc_api_key"
    )
    hf_secret: DnsLabel | None = Field(
        default=None, description="Secret with key HF_TOKEN; default: made from nemostack:hf_token, if that is set"
    )


class GpuSoftware(Section):
    """What makes GPUs allocatable."""

    software: Literal["gpu-operator", "device-plugin", "provided"] | None = Field(
        default=None,
        description="provided: by the cloud or the cluster. Default: provided on gke, minikube and existing, "
        "device-plugin on eks (AL2023) and aks",
    )
    mode: Mode = Field(default="install", description="adopt: the kinds of the GPU operator must be there")


class Prerequisites(Section):
    """Cluster-wide software. adopt verifies that it is there, install makes a release, skip does nothing."""

    gpu: GpuSoftware = GpuSoftware()
    volcano: Mode = Field(default="install", description="Gang scheduler of training jobs; the Customizer needs it")
    cert_manager: Mode = Field(default="install", description="Certificates of webhooks and of the routes")
    nim_operator: Mode = Field(
        default="skip", description="Needed by NIMs with deploy: operator and by deployment_management"
    )
    gateway_api: Mode = Field(default="install", description="CRDs of Gateway API, for routes.kind: gateway")


class Storage(Section):
    """Storage classes."""

    class_name: str | None = Field(
        default=None, description="For ReadWriteOnce volumes; default: the cluster's default"
    )
    rwx_class_name: str | None = Field(
        default=None, description="For ReadWriteMany volumes; clouds make one unless their `rwx` is none"
    )


class ExternalPostgres(Section):
    """A server that you run or rent, with a database and a user for each service."""

    host: str = Field(min_length=1, description="As pods reach it")
    port: int = Field(default=5432, ge=1, le=65535, description="TCP port")
    ssl_mode: Literal["disable", "require", "verify-ca", "verify-full"] = Field(
        default="require", description="As libpq has it; verify-*: by the CAs of the image"
    )
    secrets: dict[str, DnsLabel] = Field(
        default={},
        description="Service -> Secret in its namespace with keys username, password, dbname and uri. "
        "Default: <service>-postgres",
    )


class Postgres(Section):
    """Databases of the services."""

    kind: Literal["cloudnative-pg", "external", "bundled"] = Field(
        default="cloudnative-pg", description="bundled: the charts' own unmaintained images, for trials only"
    )
    operator: Mode = Field(default="install", description="CloudNativePG's operator")
    instances: int = Field(
        default=2, ge=1, le=9, description="Servers of the cluster: one primary, the others replicas"
    )
    size: Quantity = Field(default="20Gi", description="Volume of each server")
    external: ExternalPostgres | None = None

    @model_validator(mode="after")
    def _sections(self) -> Self:
        if (self.kind == "external") != (self.external is not None):
            raise ValueError("kind: external and the section `external` go together: say both, or neither")
        return self


class ObjectStore(Section):
    """Buckets for files of the Data Store and artifacts of MLflow.

    The Data Store speaks S3 only: with azure its files stay on a volume, with gcs it uses the S3-compatible API.
    """

    kind: Literal["in-cluster", "s3", "gcs", "azure", "none"] = Field(
        default="in-cluster", description="none: volumes only"
    )
    bucket: str = Field(default="nemostack", pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="Or container")
    endpoint: str | None = Field(default=None, description="URL of an S3-compatible store; default: the cloud's own")
    region: str | None = Field(default=None, description="Of an S3 bucket, e.g. us-east-1")
    account: str | None = Field(default=None, description="Azure storage account")
    resource_group: str | None = Field(
        default=None, description="Of the Azure storage account; default: that of an AKS cluster that is there"
    )
    secret: DnsLabel | None = Field(
        default=None,
        description="Existing Secret with keys access_key and secret_key in the namespaces of Data Store and MLflow; "
        "default: made from nemostack:object_store_access_key and nemostack:object_store_secret_key",
    )
    size: Quantity = Field(default="100Gi", description="Volume of the in-cluster store")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "azure" and self.account is None:
            raise ValueError("kind: azure needs account, the storage account's name")
        if self.kind == "s3" and self.endpoint is None and self.region is None:
            raise ValueError("kind: s3 needs region, or endpoint for a store that is not Amazon's")
        return self


class Mlflow(Section):
    """The tracking server."""

    mode: Mode = Field(default="install", description="adopt: use the server at `url`; skip: no MLflow")
    url: str | None = Field(default=None, pattern=r"^https?://", description="Of an adopted server")
    replicas: int = Field(default=1, ge=1, description="More than one needs an object store")
    allowed_hosts: tuple[str, ...] = Field(default=(), description="Besides those of Service and route")
    basic_auth: bool = Field(default=False, description="Login for people; the Customizer cannot log in")

    @model_validator(mode="after")
    def _url(self) -> Self:
        if (self.mode == "adopt") != (self.url is not None):
            raise ValueError("mode: adopt and url go together: say both, or neither")
        return self
