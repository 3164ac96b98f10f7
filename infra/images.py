"""Every image that a stack would pull: of charts with the stack's values, and of objects of the program itself.

Charts are rendered by the caller; here is what to render, and rendered_images.py reads the result. What is chosen at
run time is in no chart's objects: `unlisted` says what that is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra import names, versions
from infra.config.clusters import EksSettings
from infra.config.stack import ClusterStackConfig
from infra.nemo.nim_values import chart_values
from infra.nemo.platform_values import RELEASE, platform_values
from infra.nemo.values import Surroundings, releases, values
from infra.platform import gpu, mlflow, monitoring, object_store, operators
from infra.platform.credentials import credential_names
from infra.platform.routing import ai_gateway
from infra.platform.routing.component import envoy_values
from infra.topology import Topology
from infra.versions import Chart

EVALUATION_IMAGES = (
    *("agentic_eval", "bfcl", "bigcode-evaluation-harness", "lm-evaluation-harness", "rag_retriever_eval"),
    *("safety-harness", "simple-evals"),
)
"""Repositories that the Evaluator's chart names in its settings, without tags."""


@dataclass(frozen=True, kw_only=True)
class ChartUse:
    """A release of a stack: its name and namespace, its chart, the values that decide which images it pulls."""

    name: str
    namespace: str
    chart: Chart
    values: dict[str, Any]


def chart_uses(config: ClusterStackConfig, topology: Topology) -> list[ChartUse]:
    """Return the releases of a stack, without what only the running cluster tells."""
    around = Surroundings(
        credentials=credential_names(config.credentials, ["ngc_api_key"]),
        storage_class=config.storage.class_name,
        rwx_storage_class=config.storage.rwx_class_name,
    )
    uses = [*software(config, topology)]
    for release in releases(topology.addresses):
        filled = values(config, topology, release, around)
        uses.append(ChartUse(name=names.RELEASE, namespace=release.namespace, chart=versions.NEMO, values=filled))
    if topology.addresses.runs(names.NEMO_PLATFORM):
        filled = platform_values(config.platform, config.observability, topology, around)
        namespace = topology.addresses.namespace(names.NEMO_PLATFORM)
        uses.append(ChartUse(name=RELEASE, namespace=namespace, chart=versions.NEMO_PLATFORM, values=filled))
    for nim in config.nims:
        if nim.deploy == "chart":
            namespace, filled = topology.addresses.namespace(nim), chart_values(topology, nim, around)
            uses.append(ChartUse(name=nim.name, namespace=namespace, chart=versions.NIM_LLM, values=filled))
    return uses


def software(config: ClusterStackConfig, topology: Topology) -> Iterator[ChartUse]:
    """Yield the releases beneath the NeMo services."""
    prerequisites, storage, watched = config.prerequisites, config.storage.class_name, config.observability
    table: list[tuple[bool, Chart, str, dict[str, Any]]] = [
        (prerequisites.volcano == "install", versions.VOLCANO, names.VOLCANO_NAMESPACE, operators.volcano_values()),
        (
            prerequisites.cert_manager == "install",
            versions.CERT_MANAGER,
            names.CERT_MANAGER_NAMESPACE,
            operators.cert_manager_values(gateway_api=config.routes.kind == "gateway"),
        ),
        (
            prerequisites.nim_operator == "install",
            versions.NIM_OPERATOR,
            names.NIM_OPERATOR_NAMESPACE,
            operators.nim_operator_values(),
        ),
        (
            config.postgres.kind == "cloudnative-pg" and config.postgres.operator == "install",
            versions.CLOUDNATIVE_PG,
            names.POSTGRES_OPERATOR_NAMESPACE,
            operators.postgres_operator_values(),
        ),
        (
            config.object_store.kind == "in-cluster",
            versions.SEAWEEDFS,
            names.OBJECT_STORE_NAMESPACE,
            object_store.seaweedfs_values(config.object_store, storage),
        ),
        (
            watched.prometheus == "install",
            versions.PROMETHEUS,
            watched.namespace,
            monitoring.prometheus_values(watched, config.cluster, storage),
        ),
        (
            names.ENVOY_NAMESPACE in topology.foundation,
            versions.ENVOY_GATEWAY,
            names.ENVOY_NAMESPACE,
            envoy_values(config.routes.gateway),
        ),
        (
            names.ENVOY_NAMESPACE in topology.foundation and config.routes.gateway.model_aliases,
            versions.AI_GATEWAY,
            names.ENVOY_NAMESPACE,
            ai_gateway.controller_values(cert_manager=prerequisites.cert_manager != "skip"),
        ),
    ]
    if isinstance(config.cluster, EksSettings) and config.cluster.create:
        minor = ".".join(config.cluster.kubernetes_version.split(".")[:2])  # the autoscaler follows the cluster
        # without the name of a cluster the chart makes no Deployment
        filled = {"autoDiscovery": {"clusterName": names.RELEASE}, "image": {"tag": f"v{minor}.0"}}
        table.append((True, versions.CLUSTER_AUTOSCALER, "kube-system", filled))
    if topology.addresses.mlflow:
        filled = mlflow.mlflow_values(config.mlflow, topology, watched, {})
        table.append((True, versions.MLFLOW, names.MLFLOW_NAMESPACE, filled))
    if config.installs_gpu_software and config.gpu_software == "gpu-operator":
        filled = gpu.gpu_operator_values(config.cluster, config.pools, topology.placement, watched)
        table.append((True, versions.GPU_OPERATOR, names.GPU_NAMESPACE, filled))
    if config.installs_gpu_software and config.gpu_software == "device-plugin":
        filled = gpu.device_plugin_values(config.pools, topology.placement)
        table.append((True, versions.DEVICE_PLUGIN, names.GPU_NAMESPACE, filled))
    for installed, chart, namespace, filled in table:
        if installed:
            yield ChartUse(name=chart.name, namespace=namespace, chart=chart, values=filled)


def unlisted(topology: Topology) -> list[str]:
    """Say what a stack pulls besides, of which nothing outside of its services tells the images."""
    told = []
    if topology.addresses.runs(names.EVALUATOR):
        told.append(
            "jobs of the Evaluator that run benchmarks, of which only the Evaluator's own image knows the tags: "
            f"nvcr.io/nvidia/eval-factory/ with {', '.join(EVALUATION_IMAGES)}"
        )
    if topology.addresses.runs(names.DEPLOYMENT_MANAGEMENT):
        told.append("NIMs that are deployed through Deployment Management: those that its users name")
    if topology.addresses.runs(names.NEMO_PLATFORM):
        told.append("models that users of the NeMo Platform deploy through its API, and images of their own jobs")
    return told


def own_images(config: ClusterStackConfig, topology: Topology) -> dict[str, str]:
    """Return the images that the program names in its own objects, or an operator has built in -> what they are for."""
    images = {f"{nim.image}:{nim.tag}": f"NIM {nim.name}" for nim in config.nims}
    if config.postgres.kind == "cloudnative-pg":
        images[versions.POSTGRES_IMAGE] = "Postgres"
    for chart, image, purpose, used in (
        (versions.ENVOY_GATEWAY, versions.ENVOY_PROXY_IMAGE, "proxies of Envoy Gateway", True),
        (
            versions.AI_GATEWAY,
            f"{versions.AI_GATEWAY_PROXY_REPOSITORY}:{versions.AI_GATEWAY.version}",
            "Envoy AI Gateway, beside each proxy",
            config.routes.gateway.model_aliases,
        ),
    ):
        pinned = config.charts.versions.get(chart.name, chart.version) == chart.version
        if names.ENVOY_NAMESPACE in topology.foundation and used and pinned:
            images[image] = purpose
    return images
