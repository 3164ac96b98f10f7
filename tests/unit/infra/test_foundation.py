"""The foundation: its namespaces, what makes GPUs allocatable, and values that the charts know."""

from typing import Any

import pytest

from infra.platform import object_store, operators
from infra.topology import resolve_topology
from simulator.charts import shapes
from tests.unit.infra.cluster_support import A100, CLOUDS, L4, config_for, unknown
from tests.unit.infra.from_settings import device_plugin_values, gpu_operator_values, mlflow_values, prometheus_values


@pytest.mark.parametrize(
    ("target", "sections", "software"),
    [
        ("gke", {}, "provided"),
        ("eks", {}, "device-plugin"),
        ("eks", {"eks": CLOUDS["eks"] | {"ami": "BOTTLEROCKET_x86_64_NVIDIA"}}, "provided"),
        ("aks", {}, "device-plugin"),
        ("existing", {}, "provided"),
        ("minikube", {}, "provided"),
        ("eks", {"prerequisites": {"gpu": {"software": "gpu-operator"}}}, "gpu-operator"),
    ],
)
def test_gpu_software_follows_the_nodes(target, sections, software):
    assert config_for(target, **sections).gpu_software == software


def test_everything_installed_has_a_namespace():
    config = config_for("eks", prerequisites={"nim_operator": "install"})
    assert resolve_topology(config).foundation == {
        "gpu-operator": "privileged",
        "volcano-system": "privileged",
        "cert-manager": "restricted",
        "nim-operator": "restricted",
        "cnpg-system": "restricted",
        "postgres": "restricted",
        "object-store": "restricted",
    }


def test_what_is_adopted_or_skipped_has_none():
    config = config_for(
        "gke",
        prerequisites={"volcano": "adopt", "cert_manager": "skip", "gateway_api": "skip"},
        postgres={"operator": "adopt"},
        object_store={"kind": "none"},
    )
    assert resolve_topology(config).foundation == {"postgres": "restricted"}


OPERATOR: dict[str, Any] = {"prerequisites": {"gpu": {"software": "gpu-operator"}}}
BARE = CLOUDS["gke"] | {"gpu_pools": [pool | {"driver": "none"} for pool in CLOUDS["gke"]["gpu_pools"]]}
SLICED = CLOUDS["eks"] | {"gpu_pools": [L4 | {"time_slicing": {"replicas": 4}}, A100 | {"count": 8}]}
CUT = CLOUDS["aks"] | {"gpu_pools": [L4 | {"gpu": "A10"}, A100 | {"mig": {"profile": "3g.40gb"}}]}
PUBLIC: dict[str, Any] = {
    "routes": {"kind": "gateway", "domain": "example.com"},
    "mlflow": {"basic_auth": True, "allowed_hosts": ["alias.example.com"]},
    "observability": {"prometheus": "adopt"},
}
AZURE: dict[str, Any] = {
    "object_store": {"kind": "azure", "account": "account1", "resource_group": "group-1"},
    "mlflow": {"image": "registry.example.com/mlflow:1"},
}
WATCHED: dict[str, Any] = {"observability": {"prometheus": "install"}}
BUNDLED: dict[str, Any] = {"layout": "single", "postgres": {"kind": "bundled"}, "object_store": {"kind": "none"}}


@pytest.mark.parametrize(
    ("chart", "values"),
    [
        ("gpu-operator", gpu_operator_values(config_for("eks", eks=SLICED, **OPERATOR))),
        ("gpu-operator", gpu_operator_values(config_for("gke", gke=BARE, **OPERATOR))),
        ("nvidia-device-plugin", device_plugin_values(config_for("aks", aks=CUT))),
        ("volcano", operators.volcano_values()),
        ("cert-manager", operators.cert_manager_values(gateway_api=True)),
        ("k8s-nim-operator", operators.nim_operator_values()),
        ("cloudnative-pg", operators.postgres_operator_values()),
        ("seaweedfs", object_store.seaweedfs_values(config_for("gke").object_store, "fast")),
        ("mlflow", mlflow_values(config_for("gke", **PUBLIC), {})),
        ("mlflow", mlflow_values(config_for("gke", **BUNDLED), {})),
        (
            "mlflow",
            mlflow_values(config_for("aks", **AZURE), {"azure.workload.identity/client-id": ""}),
        ),
        ("kube-prometheus-stack", prometheus_values(config_for("gke", **WATCHED), "fast")),
        ("kube-prometheus-stack", prometheus_values(config_for("existing", **WATCHED), None)),
    ],
)
def test_the_charts_know_every_value(chart, values):
    assert list(unknown(values, shapes.load(chart), chart)) == []


def test_values_of_grafana_are_judged_by_its_own_chart() -> None:
    """Grafana is a chart within that of Prometheus, to which another's values would be any mapping."""
    values = {
        "grafana": {"admin": {"existingSecrets": "x"}, "sidecar": {"dashboards": {"enabled": True, "lable": "y"}}}
    }
    found = shapes.unknown(values, shapes.load("kube-prometheus-stack"))
    assert found == ["grafana.admin.existingSecrets", "grafana.sidecar.dashboards.lable"]
