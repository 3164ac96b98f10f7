"""Every chart with its repository and pinned version, and every manifest that is fetched. Nothing else names one.

A version marked UNVERIFIED was not seen in the chart's own index; `charts.versions` in a stack's settings overrides
any of them.
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
NIM_LLM = Chart(name="nim-llm", repository=f"{NGC}/nim", version="1.15.5", ngc_login=True)
NIM_OPERATOR = Chart(name="k8s-nim-operator", repository=f"{NGC}/nvidia", version="3.1.2")
GPU_OPERATOR = Chart(name="gpu-operator", repository=f"{NGC}/nvidia", version="v26.7.0")
DEVICE_PLUGIN = Chart(
    name="nvidia-device-plugin", repository="https://nvidia.github.io/k8s-device-plugin", version="0.19.0"
)  # UNVERIFIED
VOLCANO = Chart(name="volcano", repository="https://volcano-sh.github.io/helm-charts", version="1.9.0")
CERT_MANAGER = Chart(name="cert-manager", repository="https://charts.jetstack.io", version="v1.20.0")  # UNVERIFIED
ENVOY_GATEWAY = Chart(name="gateway-helm", repository="oci://docker.io/envoyproxy", version="v1.7.0")  # UNVERIFIED
CLOUDNATIVE_PG = Chart(name="cloudnative-pg", repository="https://cloudnative-pg.github.io/charts", version="0.29.0")
SEAWEEDFS = Chart(
    name="seaweedfs", repository="https://seaweedfs.github.io/seaweedfs/helm", version="4.0.400"
)  # UNVERIFIED
MLFLOW = Chart(name="mlflow", repository="https://community-charts.github.io/helm-charts", version="1.11.5")
PROMETHEUS = Chart(
    name="kube-prometheus-stack", repository="https://prometheus-community.github.io/helm-charts", version="80.0.0"
)  # UNVERIFIED

CHARTS: tuple[Chart, ...] = (
    NEMO, NIM_LLM, NIM_OPERATOR, GPU_OPERATOR, DEVICE_PLUGIN, VOLCANO, CERT_MANAGER, ENVOY_GATEWAY, CLOUDNATIVE_PG,
    SEAWEEDFS, MLFLOW, PROMETHEUS,
)  # fmt: skip
