"""Monitors find what they watch; the dashboard asks for metrics that exist, and Grafana can read it."""

import json
import re
from typing import Any

import pulumi
import pytest

from infra.nemo.nim_values import pod_labels
from infra.platform.monitoring import (
    Monitoring,
    MonitoringArgs,
    Prometheus,
    PrometheusArgs,
    dashboard,
    monitors,
)
from infra.topology import resolve_topology
from tests.unit.infra.cluster_support import chart_store, cluster, config_for, of_type, run
from tests.unit.infra.from_settings import prometheus_values

ON = {"prometheus": "install"}

# docs.nvidia.com/nim/large-language-models/latest/observability.html, the page of NIM 1.x
HISTOGRAMS_OF_NIM_1 = {
    "time_to_first_token_seconds",
    "time_per_output_token_seconds",
    "e2e_request_latency_seconds",
    "request_prompt_tokens",
    "request_generation_tokens",
}
OTHERS_OF_NIM_1 = {
    "gpu_cache_usage_perc",
    "num_requests_running",
    "num_requests_waiting",
    "num_request_max",
    "prompt_tokens_total",
    "generation_tokens_total",
    "request_success_total",
}
# vllm/v1/metrics/loggers.py of vLLM 0.32, which NIM 2.x passes on; counters end in _total on the page
HISTOGRAMS_OF_VLLM = {
    "vllm:time_to_first_token_seconds",
    "vllm:inter_token_latency_seconds",
    "vllm:request_time_per_output_token_seconds",
    "vllm:e2e_request_latency_seconds",
}
OTHERS_OF_VLLM = {
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:num_preemptions_total",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:lora_requests_info",
}
# etc/default-counters.csv of NVIDIA/dcgm-exporter
DCGM = {
    "DCGM_FI_DEV_SM_CLOCK",
    "DCGM_FI_DEV_MEM_CLOCK",
    "DCGM_FI_DEV_MEMORY_TEMP",
    "DCGM_FI_DEV_GPU_TEMP",
    "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_MEM_COPY_UTIL",
    "DCGM_FI_DEV_XID_ERRORS",
    "DCGM_FI_DEV_FB_FREE",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
    "DCGM_FI_PROF_DRAM_ACTIVE",
}
KNOWN = (
    {f"{name}_{part}" for name in HISTOGRAMS_OF_NIM_1 | HISTOGRAMS_OF_VLLM for part in ("bucket", "sum", "count")}
    | OTHERS_OF_NIM_1
    | OTHERS_OF_VLLM
    | DCGM
)
WORDS = {"histogram_quantile", "sum", "max", "topk", "by", "rate", "or"}


def metrics(expression: str) -> set[str]:
    """Names in a query that are neither functions nor labels."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\bby \([^)]*\)", " ", expression)
    return set(re.findall(r"[a-zA-Z_:][\w:]*", bare)) - WORDS


@pytest.fixture(scope="module")
def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(dashboard())["panels"]
    return found


def test_an_adopted_prometheus_is_verified_by_its_kind() -> None:
    config = config_for("gke", observability={"prometheus": "adopt"})
    ready: list[pulumi.Resource] = []

    def make() -> None:
        opts = pulumi.ResourceOptions(provider=cluster().provider)
        ready.extend(Prometheus("prometheus", args(config), opts).ready)

    found = run(make)
    (read,) = of_type(found, ":CustomResourceDefinition").values()
    assert (read.name, read.inputs) == (
        "observability.prometheus.adopt",
        {"id": "servicemonitors.monitoring.coreos.com"},
    )
    assert len(ready) == 1, "what comes after it waits for it"
    assert not of_type(found, ":Release")


def test_every_panel_asks_for_metrics_that_exist(panels: list[dict[str, Any]]) -> None:
    asked: set[str] = set()
    for panel in panels:
        if panel["type"] == "row":
            continue
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            names = metrics(target["expr"])
            assert names, target["expr"]
            assert names <= KNOWN, (panel["title"], names - KNOWN)
            asked |= names
    assert {"time_to_first_token_seconds_bucket", "vllm:kv_cache_usage_perc", "DCGM_FI_DEV_GPU_UTIL"} <= asked


def test_ids_and_places_are_taken_once(panels: list[dict[str, Any]]) -> None:
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23
    for panel in panels:
        references = [target["refId"] for target in panel.get("targets", [])]
        assert len(set(references)) == len(references)


def test_panels_use_the_variables_there_are(panels: list[dict[str, Any]]) -> None:
    there = {variable["name"] for variable in json.loads(dashboard())["templating"]["list"]}
    text = json.dumps(panels)
    used = set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval"}
    assert used == there == {"datasource", "namespace", "nim"}


def test_what_only_newer_nims_tell_is_said(panels: list[dict[str, Any]]) -> None:
    for panel in panels:
        names = {name for target in panel.get("targets", []) for name in metrics(target["expr"])}
        if names and all(name.startswith("vllm:") for name in names):
            assert "NIM 2.x" in panel["description"]


def by_name(config: Any) -> dict[str, dict[str, Any]]:
    return {
        monitor["metadata"]["name"]: monitor for monitor in monitors(config.observability, resolve_topology(config))
    }


def test_monitors() -> None:
    config = config_for(
        "gke",
        observability={"prometheus": "adopt", "namespace": "metrics", "release_label": "ours"},
        services={"nim_proxy": True},
        routes={"kind": "gateway", "domain": "a.b"},
    )
    found = by_name(config)
    assert set(found) == {"nemostack-nims", "nemostack-nim-proxy", "nemostack-postgres", "nemostack-gateway"}
    for monitor in found.values():
        assert monitor["metadata"]["namespace"] == "metrics"
        assert monitor["metadata"]["labels"] == {"release": "ours"}
    postgres = found["nemostack-postgres"]["spec"]
    assert postgres["selector"] == {"matchLabels": {"cnpg.io/cluster": "nemo-postgres"}}
    assert postgres["namespaceSelector"] == {"matchNames": ["postgres"]}
    proxy = found["nemostack-nim-proxy"]
    assert (proxy["kind"], proxy["spec"]["namespaceSelector"]) == ("ServiceMonitor", {"matchNames": ["nemo-nim-proxy"]})


@pytest.mark.parametrize("layout", ["per-service", "single"])
def test_all_nims_are_watched_by_whichever_way_they_are_deployed(layout: str) -> None:
    image = "nvcr.io/nim/meta/llama-3.2-3b-instruct"
    said = {"model": "meta/llama-3.2-3b-instruct", "image": image, "tag": "1.8.3"}
    config = config_for(
        "existing",
        layout=layout,
        observability=ON,
        prerequisites={"nim_operator": "install"},
        nims=[said | {"name": "one"}, said | {"name": "two", "deploy": "operator"}],
    )
    spec = by_name(config)["nemostack-nims"]["spec"]
    (expression,) = spec["selector"]["matchExpressions"]
    assert expression == {"key": "app.kubernetes.io/instance", "operator": "In", "values": ["one", "two"]}
    assert pod_labels(config.nims[0])[expression["key"]] == "one"
    assert spec["namespaceSelector"]["matchNames"] == (["nemo"] if layout == "single" else ["one", "two"])
    assert [way["port"] for way in spec["podMetricsEndpoints"]] == ["http-openai", "api"]
    assert {way["path"] for way in spec["podMetricsEndpoints"]} == {"/v1/metrics"}


def test_what_does_not_run_is_not_watched() -> None:
    config = config_for("existing", observability=ON, postgres={"kind": "external", "external": {"host": "db"}})
    assert set(by_name(config)) == {"nemostack-nims"}


def args(config: Any) -> PrometheusArgs:
    return PrometheusArgs(settings=config.observability, cluster=config.cluster, charts=chart_store())


def build(config: Any) -> Any:
    def make() -> None:
        opts = pulumi.ResourceOptions(provider=cluster().provider)
        prometheus = Prometheus("prometheus", args(config), opts)
        Monitoring(
            "monitoring",
            MonitoringArgs(settings=config.observability, topology=resolve_topology(config), after=prometheus.ready),
            opts,
        )

    return run(make)


def test_nothing_without_prometheus() -> None:
    found = build(config_for("existing"))
    assert {typ.split(":")[0] for typ, _ in found} == {"pulumi", "nemostack"}


def test_prometheus_is_released_with_a_password_of_its_own() -> None:
    found = build(config_for("gke", observability=ON))
    login = of_type(found, ":Secret")["grafana-admin"]
    assert any(path.startswith("stringData") for path in login.secrets)
    release = of_type(found, ":Release")["kube-prometheus-stack"]
    assert (release.inputs["namespace"], bool(release.inputs["version"])) == ("monitoring", True)
    grafana = release.inputs["values"]["grafana"]
    assert grafana["admin"]["existingSecret"] == "grafana-admin"
    assert "adminPassword" not in grafana
    assert "grafana-admin" in release.dependencies
    assert "kube-prometheus-stack" in of_type(found, ":PodMonitor")["monitoring/nemostack-nims"].dependencies


def test_dashboard_is_where_grafana_looks() -> None:
    found = build(config_for("existing", observability={"prometheus": "adopt", "namespace": "grafana"}))
    made = of_type(found, ":ConfigMap")["nemostack-nim"].inputs
    assert made["metadata"] == {
        "name": "nemostack-nim",
        "namespace": "grafana",
        "labels": {"grafana_dashboard": "1"},
    }
    assert json.loads(made["data"]["nemostack-nim.json"])["uid"] == "nemostack-nim"
    assert not of_type(found, ":Release")


def test_no_dashboard_where_none_is_wanted() -> None:
    assert not of_type(build(config_for("existing", observability=ON | {"dashboard": False})), ":ConfigMap")


@pytest.mark.parametrize(("target", "watched"), [("gke", False), ("eks", False), ("aks", False), ("minikube", True)])
def test_control_planes_of_clouds_are_not_watched(target: str, watched: bool) -> None:
    values = prometheus_values(config_for(target, observability=ON), "fast")
    for part in ("kubeControllerManager", "kubeScheduler", "kubeEtcd", "kubeProxy"):
        assert values[part] == {"enabled": watched}
    claim = values["prometheus"]["prometheusSpec"]["storageSpec"]["volumeClaimTemplate"]["spec"]
    assert claim["storageClassName"] == "fast"


def test_dns_of_gke_is_watched_where_it_is() -> None:
    on_gke = prometheus_values(config_for("gke", observability=ON), "fast")
    assert (on_gke["coreDns"], on_gke["kubeDns"]) == ({"enabled": False}, {"enabled": True})
    assert "kubeDns" not in prometheus_values(config_for("eks", observability=ON), "fast")
