"""Every chart with its repository and pinned version, every manifest, every image of ours. Nothing else names one.

The versions are those of the charts' own repositories in August 2026; `charts.versions` in a stack's settings
overrides any chart's. NGC's index cannot be read without a login, so that `nim-llm` is as NVIDIA's pages name it.
"""

from dataclasses import dataclass

NGC = "https://helm.ngc.nvidia.com"


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A Helm chart: where it is, which version, whether its repository asks for the NGC key."""

    name: str
    repository: str
    version: str
    ngc_login: bool = False


NEMO = Chart(
    name="nemo-microservices-helm-chart",
    repository=f"{NGC}/nvidia/nemo-microservices",
    version="25.12.0",
    ngc_login=True,
)  # the last with the services of this stack; its successor has another API
NEMO_PLATFORM = Chart(
    name="nemo-platform", repository=f"{NGC}/nvidia/nemo-platform", version="0.3.0", ngc_login=True
)  # of the same version as the package that the local stack runs
NIM_LLM = Chart(name="nim-llm", repository=f"{NGC}/nim", version="1.15.5", ngc_login=True)
NIM_OPERATOR = Chart(name="k8s-nim-operator", repository=f"{NGC}/nvidia", version="3.1.2")
GPU_OPERATOR = Chart(name="gpu-operator", repository=f"{NGC}/nvidia", version="v26.7.0")
DEVICE_PLUGIN = Chart(
    name="nvidia-device-plugin", repository="https://nvidia.github.io/k8s-device-plugin", version="0.20.0"
)  # the one that the GPU operator above brings
VOLCANO = Chart(
    name="volcano", repository="https://volcano-sh.github.io/helm-charts", version="1.9.0"
)  # not the newest: the one that NVIDIA's Customizer is tested with
CERT_MANAGER = Chart(name="cert-manager", repository="https://charts.jetstack.io", version="v1.21.1")
ENVOY_GATEWAY = Chart(name="gateway-helm", repository="oci://docker.io/envoyproxy", version="v1.9.0")
AI_GATEWAY = Chart(name="ai-gateway-helm", repository="oci://docker.io/envoyproxy", version="v1.1.0")
CLOUDNATIVE_PG = Chart(name="cloudnative-pg", repository="https://cloudnative-pg.github.io/charts", version="0.29.0")
SEAWEEDFS = Chart(name="seaweedfs", repository="https://seaweedfs.github.io/seaweedfs/helm", version="4.44.0")
MLFLOW = Chart(name="mlflow", repository="https://community-charts.github.io/helm-charts", version="1.11.5")
PROMETHEUS = Chart(
    name="kube-prometheus-stack", repository="https://prometheus-community.github.io/helm-charts", version="88.5.3"
)
CLUSTER_AUTOSCALER = Chart(
    name="cluster-autoscaler", repository="https://kubernetes.github.io/autoscaler", version="9.59.0"
)

CHARTS: tuple[Chart, ...] = (
    NEMO,
    NEMO_PLATFORM,
    NIM_LLM,
    NIM_OPERATOR,
    GPU_OPERATOR,
    DEVICE_PLUGIN,
    VOLCANO,
    CERT_MANAGER,
    ENVOY_GATEWAY,
    AI_GATEWAY,
    CLOUDNATIVE_PG,
    SEAWEEDFS,
    MLFLOW,
    PROMETHEUS,
    CLUSTER_AUTOSCALER,
)

NEMO_PLATFORM_REPOSITORY = "nvcr.io/nvidia/nemo-platform/nmp-api"
"""The platform's own image, whose tag is the chart's version."""

POSTGRES_IMAGE = "ghcr.io/cloudnative-pg/postgresql:17.6-standard-trixie"
"""NVIDIA's charts bundle 16 and 17; the operator's default would be 18. CloudNativePG gives up its images `system`."""


KUBE_RBAC_PROXY = "registry.k8s.io/kubebuilder/kube-rbac-proxy"
"""Repository that replaces gcr.io/kubebuilder/kube-rbac-proxy in the umbrella chart; the chart's tag is the same."""


ENVOY_PROXY_IMAGE = "docker.io/envoyproxy/envoy:distroless-v1.39.0"
"""Built into Envoy Gateway of the version above (DefaultEnvoyProxyImage in api/v1alpha1/shared_types.go)."""

AI_GATEWAY_PROXY_REPOSITORY = "docker.io/envoyproxy/ai-gateway-extproc"
"""What the controller of Envoy AI Gateway puts beside each Envoy, with the version of its chart as tag."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A file of Kubernetes objects, pinned by its digest. A mirror keeps it under `file`."""

    file: str
    url: str
    sha256: str


def _definitions(group: str, folder: str, digests: dict[str, str]) -> tuple[Manifest, ...]:
    """CustomResourceDefinitions of an API group: a file each in a folder on GitHub. `digests`: by plural."""
    return tuple(
        Manifest(
            file=(file := f"{group}_{plural}.yaml"),
            url=f"https://raw.githubusercontent.com/{folder}/{file}",
            sha256=sha256,
        )
        for plural, sha256 in digests.items()
    )


GATEWAY_API_VERSION = "v1.6.1"  # the one that Envoy Gateway above is built for

GATEWAY_API = _definitions(
    "gateway.networking.k8s.io",
    f"kubernetes-sigs/gateway-api/{GATEWAY_API_VERSION}/config/crd/standard",
    {
        "backendtlspolicies": "0d48c9e4b53dd9510cf615b9b1192d9d7afb07a1cc0498c9515627cb1c075419",
        "gatewayclasses": "53710048ba26f8620eed59d5e51b157ecf040daf5c6eef31a4b991e0808c4be5",
        "gateways": "25b885f5870b8fff1ae82efa2628b2761cef3745900c2aecf8fb76629a01255a",
        "grpcroutes": "53a8d029da8f07e55d3fa58a5cf6de5950dab19fbb8d6a8082fb5e51ca5ef6fc",
        "httproutes": "a424a0d6c953b162e71d1d97bb7e75012d8f1ac264e7274f2763d1b96ab39852",
        "listenersets": "bf4d4b02564999b2558b96e31465129895db9b3a8adfb90adb9c80eac52a3a70",
        "referencegrants": "8c645e9333cfa67790cc2a53e0c00076f88b2bd4230d2b49688c78bc34f9b2c3",
        "tcproutes": "d5104d0cf30e924f5e3c9e2e76abd46876401c34ca33b9e79321523eee78c7f6",
        "tlsroutes": "bb8b67926e5d9652cbfd2e19063b7c1d9e78806c9dd671608f57baef2f2e3bbb",
        "udproutes": "4b80684c2bf8ef4b0a2a3ab45164ac9f96258fc69912645ff50ced595b0aa6de",
    },
)
"""CustomResourceDefinitions of Gateway API, standard channel."""

ENVOY_API = _definitions(
    "gateway.envoyproxy.io",
    f"envoyproxy/gateway/{ENVOY_GATEWAY.version}/charts/gateway-helm/charts/crds/crds/generated",
    {
        "backends": "bb1901aea758d05458b853b07db04a96a1ea4346b177e392e5ce7398573805be",
        "backendtrafficpolicies": "cd75a4c222df5487aa9ca8957b48bcc3255eb25de02ed9153faf620bc160f786",
        "clienttrafficpolicies": "2c7eaa1ce30de626e9c362b8d9002281c2f435f970020fa81902ad7f30b38d5b",
        "envoyextensionpolicies": "92f4dfdd67be4b242511381d6175f517782e655233fdf5b5e28a400ea5601f79",
        "envoypatchpolicies": "8e9110c32b414ea5c43a85e272dc2dee8917ed0bfa36a9a2b72fde1f3fba6083",
        "envoyproxies": "3e9ea2f348445e3798b02daf02bf024b0d944227cf5ef8a18da7f675a1afd223",
        "httproutefilters": "ad46193dbec0a28cc97fa93a64bcd1f464858544d884eeac5e4d767526dcfd3d",
        "securitypolicies": "6412914ec5b7c48f58b85f60a80767ba15a50c8d374480cf5f2d872e4a764466",
    },
)
"""CustomResourceDefinitions of Envoy Gateway, which its chart would leave as they are at an upgrade."""

AI_GATEWAY_API = _definitions(
    "aigateway.envoyproxy.io",
    f"envoyproxy/ai-gateway/{AI_GATEWAY.version}/manifests/charts/ai-gateway-crds-helm/templates",
    {
        "aigatewayroutes": "c6ca0a06b214d93f1c7eefe8f9735fa551f23948088e0bf3c317b792ad68f162",
        "aiservicebackends": "35f6323a486a6f447be41fe1de4327f6e6e7254a0ca61d33186cb03fe11888f6",
        "backendsecuritypolicies": "b2a2cfef49fd3253c70339231eef1745562515488022dcedc0c732df1c96c8f3",
        "gatewayconfigs": "3e409ab57d85ee6c42b993ed869c7db28fde4b0e952c35c84a1240df09f21c1e",
        "mcproutes": "dd0a32cf5c7028eead8db0099ce2a959c72209dcc8043a14466d8290cf8e1a84",
        "quotapolicies": "0e8b899c520e6ff5b224b7e4e6064f959e8256e6949817615cde8cf37269eb85",
    },
)
"""CustomResourceDefinitions of Envoy AI Gateway: those of its chart ai-gateway-crds-helm, which has no other content.

Helm would take them away with the release, and all routes of others with them.
"""

MANIFESTS = (*GATEWAY_API, *ENVOY_API, *AI_GATEWAY_API)
