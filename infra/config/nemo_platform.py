"""The NeMo Platform on Kubernetes: its replicas, its shared volume, its jobs, and who may use it."""

from typing import Literal

from pydantic import Field

from infra.config.section import DnsLabel, Quantity, Section


class Oidc(Section):
    """Users of your identity provider. The chart's proxy then stands before the platform, which refuses all others."""

    issuer: str = Field(
        pattern=r"^https://[^\s?#]+$", description="URL of the issuer, as its discovery document has it"
    )
    client_id: str = Field(min_length=1, description="Client ID of the platform; the client allows the device flow")
    admin_email: str = Field(
        pattern=r"^\S+@\S+$", description="E-mail address of the first administrator, who gives roles to the others"
    )
    audience: str | None = Field(
        default=None, min_length=1, description="Audience that tokens must have; default: any is accepted"
    )
    additional_issuers: tuple[str, ...] = Field(
        default=(), description="Further issuers to accept, e.g. that of Azure AD's access tokens of version 1"
    )
    scopes: str = Field(
        default="openid profile email offline_access", description="Scopes that clients ask for, separated by blanks"
    )
    scope_prefix: str | None = Field(
        default=None, min_length=1, description="Prefix that the provider puts before scopes, e.g. api://<client>/"
    )
    subject_claim: str = Field(default="sub", min_length=1, description="Claim with the ID of the user")
    email_claim: str = Field(default="email", min_length=1, description="Claim with the e-mail address")
    groups_claim: str = Field(default="groups", min_length=1, description="Claim with the groups")


class PlatformJobs(Section):
    """Jobs of the platform: training, evaluation and the others."""

    backend: Literal["kubernetes", "volcano", "kai"] = Field(
        default="kubernetes",
        description="kubernetes: Jobs of one node. volcano: also jobs of several nodes, which prerequisites.volcano "
        "schedules. kai: Jobs of one node, scheduled by a KAI Scheduler that is there already",
    )
    queue: DnsLabel = Field(default="default", description="Queue of Volcano or KAI for jobs with a GPU")
    pool: DnsLabel | None = Field(default=None, description="GPU pool for jobs; default: any")
    max_pending_minutes: int = Field(
        default=60,
        ge=1,
        description="Jobs that wait longer for a node are cancelled; allow time for the autoscaler to add one",
    )


class NemoPlatform(Section):
    """The NeMo Platform, with product: platform."""

    keep_microservices: bool = Field(
        default=False,
        description="During a migration: run the microservices as well, as `services` says, in their own namespaces. "
        "They share Postgres, the bucket, MLflow and the routes' host with the platform",
    )
    replicas: int = Field(default=1, ge=1, description="Number of replicas of the API")
    storage_size: Quantity = Field(
        default="200Gi", description="Size of the ReadWriteMany volume for jobs, and for files without an S3 bucket"
    )
    jobs: PlatformJobs = PlatformJobs()
    oidc: Oidc | None = None
