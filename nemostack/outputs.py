"""The outputs of a stack: one set of keys, the same on every target.

`pulumi stack output --json` is the only thing that workflows/, smoke_tests/ and load_tests/ know of
infrastructure. This module is that contract; it imports nothing of Pulumi, so that the harness can read it too.
Refuses unknown and missing keys.
"""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from nemostack.entity_names import WORKSPACE

_GATEWAY = "/apis/inference-gateway/"


def gateway_url(url: str, workspace: str = WORKSPACE) -> str:
    """Base URL of the OpenAI route of a NeMo Platform's inference gateway, to which clients add /v1."""
    return f"{url}{_GATEWAY}v2/workspaces/{workspace}/openai/-"


def is_gateway(url: str) -> bool:
    """Whether a URL is that of a NeMo Platform's inference gateway."""
    return _GATEWAY in urlsplit(url).path


class ClusterOutputs(BaseModel):
    """What `nemostack doctor`, `port-forward` and `teardown` need to know of a cluster."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kubeconfig: str | None = Field(description="Path; None: the secret output `kubeconfig`, or kubectl's default")
    context: str | None = Field(description="Context in it; None: the current one")
    namespaces: list[str] = Field(description="Namespaces of the stack")
    adopted_namespaces: list[str] = Field(default=[], description="Those among them that stay when the stack goes")
    existing_claims: list[str] = Field(default=[], description="namespace/name of volume claims that are the user's")
    services: dict[str, str] = Field(description="Key of a URL or service -> namespace/service:port in the cluster")
    prefixes: dict[str, str] = Field(description="Path prefix of nemo_url -> key in `services`, for port-forward")
    secrets: dict[str, list[str]] = Field(description="Namespace -> Secrets that must be there")
    nims: dict[str, str] = Field(description="NIM -> namespace")


class StackOutputs(BaseModel):
    """URLs carry no trailing slash and no API path (`/v1` is added by the clients)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    product: Literal["microservices", "platform"] = Field(
        default="microservices", description="Product line: NVIDIA's microservices 25.x, or the NeMo Platform"
    )
    target: str = Field(description="Kind of target: local, minikube, existing, gke, eks, aks")
    nemo_url: str = Field(
        description="Entity Store, Customizer and Evaluator, which share one path space; or the NeMo Platform"
    )
    nemo_internal_url: str = Field(
        default="", description="The NeMo Platform as its own jobs reach it (inside the cluster); empty: as everybody"
    )
    data_store_url: str = Field(
        description="Data Store; Hugging Face API at {data_store_url}/v1/hf; empty with the NeMo Platform"
    )
    nim_url: str = Field(description="NIM, OpenAI API at {nim_url}/v1")
    nim_internal_url: str = Field(description="NIM as the Evaluator reaches it (inside the cluster)")
    mlflow_url: str = Field(description="MLflow tracking server")
    judge_url: str = Field(description="OpenAI-compatible judge as the Evaluator reaches it, API at {judge_url}/v1")
    judge_model: str = Field(description="Model id of the judge")
    base_model: str = Field(description="Model id that NIM serves, e.g. meta/llama-3.2-3b-instruct")
    customization_config: str = Field(description="Customizer config for the base model, namespace/name@version")
    log_commands: dict[str, list[str]] = Field(
        description="Service name -> command (argv) that prints the end of its log; run by a test that failed"
    )
    studio_url: str = Field(default="", description="Studio, the NeMo Platform's web page; empty without it")
    microservices: "StackOutputs | None" = Field(
        default=None,
        description="Those of the microservices in the same stack, during a migration: --stack NAME:microservices",
    )
    accelerator: str | None = Field(
        default=None, description="What a local stack computes on, why, and who has how much"
    )
    cluster: ClusterOutputs | None = Field(default=None, description="Access to the cluster; None on the local stack")
    kubeconfig: str = Field(
        default="",
        repr=False,
        exclude=True,  # a secret: it must not land in a run's files
        description="Kubeconfig of a cluster that the stack made (secret), else empty",
    )

    @property
    def inference_url(self) -> str:
        """Where models are asked for by the names that clients use; clients add /v1."""
        return self.nim_url if self.product == "microservices" else gateway_url(self.nemo_url)

    @property
    def inference_internal_url(self) -> str:
        """The same as jobs reach it."""
        if self.product == "microservices":
            return self.nim_internal_url
        return gateway_url(self.nemo_internal_url or self.nemo_url)
