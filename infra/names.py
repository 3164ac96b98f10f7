"""Names, ports and paths of the services and of what they stand on. Constants only: nothing here knows the settings.

Which of them a stack uses, and in which namespace, follows from its settings: `infra/topology/addresses.py`.
"""

from dataclasses import dataclass

RELEASE = "nemo"
"""Helm release of the umbrella chart in layout single, and the prefix of its Services in any layout."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service of the umbrella chart: its alias there, its Service, and its paths on the shared host."""

    key: str
    alias: str
    name: str
    port: int
    namespace: str
    """In layout per-service."""
    health: str
    prefixes: tuple[str, ...] = ()

    @property
    def database(self) -> str:
        """Database and user of the service."""
        return self.alias


DATA_STORE = Service(
    key="data_store",
    alias="data-store",
    name="nemo-data-store",
    port=3000,
    namespace="nemo-datastore",
    health="/v1/health",
    prefixes=("/v1/hf", "/v1/datastore"),
)
ENTITY_STORE = Service(
    key="entity_store",
    alias="entity-store",
    name="nemo-entity-store",
    port=8000,
    namespace="nemo-entity-store",
    health="/health",
    prefixes=("/v1/namespaces", "/v1/projects", "/v1/datasets", "/v1/repos", "/v1/models"),
)
CUSTOMIZER = Service(
    key="customizer",
    alias="customizer",
    name="nemo-customizer",
    port=8000,
    namespace="nemo-customizer",
    health="/v1/health/ready",
    prefixes=("/v1/customization",),
)
EVALUATOR = Service(
    key="evaluator",
    alias="evaluator",
    name="nemo-evaluator",
    port=7331,
    namespace="nemo-evaluator",
    health="/health",
    prefixes=("/v1/evaluation", "/v2/evaluation"),
)
CORE = Service(
    key="core",
    alias="core",
    name="nemo-core-api",
    port=8000,
    namespace="nemo-evaluator",
    health="/health",
    prefixes=("/v1/jobs", "/v2/inference", "/v2/models"),
)
GUARDRAILS = Service(
    key="guardrails",
    alias="guardrails",
    name="nemo-guardrails",
    port=7331,
    namespace="nemo-guardrails",
    health="/v1/health",
    prefixes=("/v1/guardrail",),
)
DEPLOYMENT_MANAGEMENT = Service(
    key="deployment_management",
    alias="deployment-management",
    name="nemo-deployment-management",
    port=8000,
    namespace="nemo-deployment-management",
    health="/health",
    prefixes=("/v1/deployment",),
)
NIM_PROXY = Service(
    key="nim_proxy",
    alias="nim-proxy",
    name="nemo-nim-proxy",
    port=8000,
    namespace="nemo-nim-proxy",
    health="/health",
)

NEMO_PLATFORM = Service(
    key="platform",
    alias="nemo-platform",
    name="nemo-platform-api",  # as the chart calls it in a release `nemo-platform`
    port=8080,
    namespace="nemo-platform",
    health="/health/ready",
    prefixes=("/apis", "/studio", "/cluster-info", "/status", "/health"),
)
"""The NeMo Platform, the other product line: all its services are one. Its paths collide with none of the above."""
NEMO_PLATFORM_MODELS = "nemo-platform-models"
"""Job of ours that makes the NIMs known to the platform."""
NEMO_PLATFORM_ENVOY = "nemo-platform-envoy"
"""Service of the chart's own proxy, which keeps identities of the inside outside. It is there with OIDC."""

MICROSERVICES: tuple[Service, ...] = (
    DATA_STORE,
    ENTITY_STORE,
    CUSTOMIZER,
    EVALUATOR,
    CORE,
    GUARDRAILS,
    DEPLOYMENT_MANAGEMENT,
    NIM_PROXY,
)

NIM_PORT = 8000
NIM_PREFIXES = ("/v1/completions", "/v1/chat", "/v1/embeddings", "/v1/classify", "/v1/models", "/v1/health")
"""What a NIM or the NIM proxy serves to clients; its metrics and management stay inside."""
NIM_MODEL_PREFIXES = ("/v1/completions", "/v1/chat", "/v1/embeddings")
"""Those of them whose requests name a model in a body that Envoy AI Gateway can read."""
NIM_HEALTH = "/v1/health/ready"
POOL_LABEL = "nemostack.io/pool"
"""Label of the nodes of a GPU pool that we make; its value is the pool's name."""
GPU_RESOURCE = "nvidia.com/gpu"
"""What a pod asks for; partitions by MIG under strategy mixed have a resource for each profile instead."""
MIG_RESOURCE_PREFIX = "nvidia.com/mig-"
GPU_TAINT_KEY = GPU_RESOURCE
"""Taint of GPU nodes, called like the resource, by which clouds and NVIDIA keep other pods away."""
NFD_LABEL = "feature.node.kubernetes.io/pci-10de.present"
"""Label of Node Feature Discovery: the node has a PCI device of NVIDIA."""
MLFLOW_NAMESPACE = "mlflow"
MLFLOW_SERVICE = "mlflow-tracking"
MLFLOW_PORT = 80
MLFLOW_ADMIN_SECRET = "mlflow-admin"
MLFLOW_AUTH_DATABASE = "mlflow-auth"
MLFLOW_POD_PORT = 5000
MLFLOW_HEALTH = "/health"

# Namespaces of what the stack stands on.
GPU_NAMESPACE = "gpu-operator"
VOLCANO_NAMESPACE = "volcano-system"
CERT_MANAGER_NAMESPACE = "cert-manager"
NIM_OPERATOR_NAMESPACE = "nim-operator"
POSTGRES_OPERATOR_NAMESPACE = "cnpg-system"
POSTGRES_NAMESPACE = "postgres"
POSTGRES_CLUSTER = "nemo-postgres"
OBJECT_STORE_NAMESPACE = "object-store"
OBJECT_STORE = "object-store"
OBJECT_STORE_SERVICE = f"{OBJECT_STORE}-all-in-one"  # as the chart calls it
OBJECT_STORE_PORT = 8333
ENVOY_NAMESPACE = "envoy-gateway-system"
GATEWAY_NAMESPACE = "nemo-gateway"
GATEWAY = "nemo"
PROXY_NAMESPACES = {"traefik": "traefik", "nginx-f5": "nginx-ingress", "nginx": "ingress-nginx"}
"""Controller of routes -> the namespace in which its own instructions put it; proxies of others run elsewhere."""

OWN_NAMESPACES = frozenset(
    {
        RELEASE,
        *(service.namespace for service in (*MICROSERVICES, NEMO_PLATFORM)),
        MLFLOW_NAMESPACE,
        GPU_NAMESPACE,
        VOLCANO_NAMESPACE,
        CERT_MANAGER_NAMESPACE,
        NIM_OPERATOR_NAMESPACE,
        POSTGRES_OPERATOR_NAMESPACE,
        POSTGRES_NAMESPACE,
        OBJECT_STORE_NAMESPACE,
        ENVOY_NAMESPACE,
        GATEWAY_NAMESPACE,
    }
)
"""Every namespace that stacks make, whichever their settings, besides those that the settings name."""

LOCAL_PORTS = {"nemo": 18080, "data_store": 18081, "nim": 18082, "mlflow": 18083}
"""Ports on 127.0.0.1 that `nemostack port-forward` listens on: those of the local stack."""

NGC_REGISTRY = "nvcr.io"
NGC_USER = "$oauthtoken"
"""Literally: NGC tells a key by this user name."""

# Secrets that we make, the same name in every namespace.
NGC_SECRET, NGC_KEY = "ngc-api", "NGC_API_KEY"
PULL_SECRET = "nvcrimagepullsecret"
HF_SECRET, HF_KEY = "hf-token", "HF_TOKEN"
OBJECT_STORE_SECRET = "object-store"
ENCRYPTION_SECRET, ENCRYPTION_KEY = "nemo-platform-encryption", "NMP_SECRETS_DEFAULT_ENCRYPTION_KEY"
DATA_STORE_ADMIN_SECRET = "data-store-admin"
LFS_SECRET, LFS_KEY = "data-store-lfs", "jwtSecret"
WANDB_SECRET, WANDB_KEY = "customizer-wandb", "encryption_key"
