"""Monitoring of the stack: monitors that the charts leave out, a Grafana dashboard, Prometheus and Grafana on wish.

Charts make monitors of their own for the Data Store, MLflow and the GPU operator's DCGM exporter. The other services
(Entity Store, Customizer, Evaluator, jobs, Guardrails) have no page of metrics: they can only push them by
OpenTelemetry. Prometheus comes before every other release, because monitors need its definitions; one that is adopted
must have them, else the run fails and names the kind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from infra import names
from infra.config.clusters import CloudCluster, ClusterSettings, GkeSettings
from infra.config.network import Observability
from infra.platform.helm import ChartStore
from infra.platform.passwords import GeneratedPassword
from infra.platform.routing.objects import Object, build_object
from infra.topology import Topology
from infra.topology.addresses import Addresses
from infra.versions import PROMETHEUS

API = "monitoring.coreos.com/v1"
TELLING_KIND = "servicemonitors.monitoring.coreos.com"
"""CustomResourceDefinition by which an adopted Prometheus operator is known."""
ADMIN_SECRET, ADMIN = "grafana-admin", "admin"
DASHBOARD = "nemostack-nim"
SIDECAR_LABEL = {"grafana_dashboard": "1"}
"""By which Grafana's sidecar finds dashboards, as the chart has it by default."""
METRICS_SIZE = "50Gi"


@dataclass(frozen=True, kw_only=True)
class PrometheusArgs:
    """`storage_class`: of the metrics, None: the cluster's default. `after`: the namespaces."""

    settings: Observability
    cluster: ClusterSettings
    charts: ChartStore
    storage_class: str | None = None
    after: Sequence[pulumi.Resource] = ()


class Prometheus(pulumi.ComponentResource):
    """kube-prometheus-stack with a password of our making for Grafana, or a look for what is adopted.

    `ready` is empty without Prometheus.
    """

    ready: list[pulumi.Resource]

    def __init__(self, name: str, args: PrometheusArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nemostack:platform:Prometheus", name, None, opts)
        observability = args.settings
        self.ready, below = [], pulumi.ResourceOptions(parent=self)
        if observability.prometheus == "adopt":
            get = kubernetes.apiextensions.v1.CustomResourceDefinition.get
            self.ready = [get("observability.prometheus.adopt", TELLING_KIND, below)]
        if observability.prometheus == "install":
            login = kubernetes.core.v1.Secret(
                ADMIN_SECRET,
                metadata={"name": ADMIN_SECRET, "namespace": observability.namespace},
                string_data={"admin-user": ADMIN, "admin-password": GeneratedPassword("grafana", opts=below).value},
                opts=pulumi.ResourceOptions(parent=self, depends_on=[*args.after]),
            )
            release = args.charts.release(
                observability.release_label,
                PROMETHEUS,
                namespace=observability.namespace,
                values=prometheus_values(observability, args.cluster, args.storage_class),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[*args.after, login]),
            )
            self.ready = [release]
        self.register_outputs({})


@dataclass(frozen=True, kw_only=True)
class MonitoringArgs:
    """`after`: Prometheus, and what is watched."""

    settings: Observability
    topology: Topology
    after: Sequence[pulumi.Resource] = ()


class Monitoring(pulumi.ComponentResource):
    """Monitors and the dashboard."""

    def __init__(self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nemostack:platform:Monitoring", name, None, opts)
        observability, below = args.settings, pulumi.ResourceOptions(parent=self, depends_on=[*args.after])
        for monitor in monitors(observability, args.topology):
            kubernetes.apiextensions.CustomResource(
                f"{observability.namespace}/{monitor['metadata']['name']}",
                api_version=monitor["apiVersion"],
                kind=monitor["kind"],
                metadata=monitor["metadata"],
                spec=monitor["spec"],
                opts=below,
            )
        if observability.dashboard and observability.prometheus != "skip":
            kubernetes.core.v1.ConfigMap(
                DASHBOARD,
                metadata={"name": DASHBOARD, "namespace": observability.namespace, "labels": SIDECAR_LABEL},
                data={f"{DASHBOARD}.json": dashboard()},
                opts=below,
            )
        self.register_outputs({})


def dashboard() -> str:
    """The dashboard of NIMs and GPUs, JSON."""
    return (files("infra.platform") / "dashboards" / "nim.json").read_text(encoding="utf-8")


def monitors(observability: Observability, topology: Topology) -> list[Object]:
    """PodMonitors of NIMs, databases and gateway proxies, and a ServiceMonitor of the NIM proxy."""
    if observability.prometheus == "skip":
        return []
    addresses, foundation = topology.addresses, topology.foundation
    monitors = [nims(observability, addresses)]
    if any(nim.namespace == names.NEMO_PLATFORM.namespace for nim in addresses.nims.values()):
        monitors.append(platform_nims(observability))
    if addresses.runs(names.NIM_PROXY):
        # the chart's own carries a fixed label, by which only a Prometheus called `prometheus` would find it
        labels = {"app.kubernetes.io/instance": names.RELEASE}
        spec = where([addresses.namespace(names.NIM_PROXY)], {"matchLabels": labels})
        endpoints = [{"port": "metrics", "path": "/v1/metrics"}]
        monitors.append(monitor(observability, "ServiceMonitor", "nim-proxy", spec | {"endpoints": endpoints}))
    if names.POSTGRES_NAMESPACE in foundation:
        spec = where([names.POSTGRES_NAMESPACE], {"matchLabels": {"cnpg.io/cluster": names.POSTGRES_CLUSTER}})
        monitors.append(monitor(observability, "PodMonitor", "postgres", spec | pods({"port": "metrics"})))
    if names.ENVOY_NAMESPACE in foundation:
        labels = {"app.kubernetes.io/name": "envoy", "app.kubernetes.io/component": "proxy"}
        spec = where([names.ENVOY_NAMESPACE], {"matchLabels": labels})
        monitors.append(
            monitor(
                observability, "PodMonitor", "gateway", spec | pods({"port": "metrics", "path": "/stats/prometheus"})
            )
        )
    return monitors


def nims(observability: Observability, addresses: Addresses) -> Object:
    """All NIMs at once, by pod: chart nim-llm has two Services with the same labels, which would count a pod twice.

    Their port is called http-openai by the chart and api by the operator; a pod is read by the one it has.
    """
    named = {
        "key": "app.kubernetes.io/instance",
        "operator": "In",
        "values": sorted(addresses.nims),
    }
    spec = where(sorted({nim.namespace for nim in addresses.nims.values()}), {"matchExpressions": [named]})
    instance = {"sourceLabels": ["__meta_kubernetes_pod_label_app_kubernetes_io_instance"], "targetLabel": "nim"}
    ways = [{"port": port, "path": "/v1/metrics", "relabelings": [instance]} for port in ("http-openai", "api")]
    return monitor(observability, "PodMonitor", "nims", spec | pods(*ways))


def platform_nims(observability: Observability) -> Object:
    """NIMs that the NeMo Platform deploys, by the labels that it gives them."""
    spec = where([names.NEMO_PLATFORM.namespace], {"matchLabels": {"nmp.nvidia.com/models-role": "server"}})
    instance = {"sourceLabels": ["__meta_kubernetes_pod_label_nmp_nvidia_com_deployment_name"], "targetLabel": "nim"}
    endpoint = {"port": "http", "path": "/v1/metrics", "relabelings": [instance]}
    return monitor(observability, "PodMonitor", "platform-nims", spec | pods(endpoint))


def where(namespaces: list[str], selector: Object) -> Object:
    """Namespaces and labels of what is watched."""
    return {"namespaceSelector": {"matchNames": namespaces}, "selector": selector}


def pods(*endpoints: Object) -> Object:
    """Ports of pods."""
    return {"podMetricsEndpoints": list(endpoints)}


def monitor(observability: Observability, kind: str, name: str, spec: Object) -> Object:
    """A monitor with the label that Prometheus selects."""
    monitor = build_object(API, kind, f"nemostack-{name}", observability.namespace, spec)
    monitor["metadata"]["labels"] = {"release": observability.release_label}
    return monitor


def prometheus_values(settings: Observability, cluster: ClusterSettings, storage_class: str | None) -> dict[str, Any]:
    """Values of kube-prometheus-stack. A cloud hides its control plane, so watching it would only ring alarms."""
    claim: Object = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": METRICS_SIZE}}}
    if storage_class:
        claim["storageClassName"] = storage_class
    adopted = not isinstance(cluster, CloudCluster)
    # GKE's DNS is kube-dns, which has its metrics elsewhere than CoreDNS
    dns = {"coreDns": {"enabled": False}, "kubeDns": {"enabled": True}} if isinstance(cluster, GkeSettings) else {}
    return {
        "fullnameOverride": settings.release_label,
        "grafana": {
            "admin": {
                "existingSecret": ADMIN_SECRET,
                "userKey": "admin-user",
                "passwordKey": "admin-password",
            },
            "sidecar": {"dashboards": {"enabled": True}},
        },
        "prometheus": {
            "prometheusSpec": {
                "retention": "15d",
                "resources": {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"memory": "4Gi"}},
                "storageSpec": {"volumeClaimTemplate": {"spec": claim}},
            }
        },
        **{part: {"enabled": adopted} for part in CONTROL_PLANE},
        **dns,
    }


CONTROL_PLANE = ("kubeControllerManager", "kubeScheduler", "kubeEtcd", "kubeProxy")
