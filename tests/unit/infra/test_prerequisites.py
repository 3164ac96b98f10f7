"""Prerequisites: each mode of each, the order in which they come, and values that their charts understand."""

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from infra.config.rules.warnings import warnings
from infra.platform import manifests, operators
from infra.platform.prerequisites import Prerequisites, PrerequisitesArgs
from infra.topology import resolve_topology
from tests.unit.infra.cluster_support import A100, CLOUDS, L4, chart_store, cluster, config_for, of_type, run
from tests.unit.infra.from_settings import device_plugin_values, gpu_operator_values, pool_labels

GATEWAY: dict[str, Any] = {"routes": {"kind": "gateway", "domain": "example.com"}}
DEFINITION = b"""
kind: CustomResourceDefinition
metadata: {name: NAME.GROUP, annotations: {channel: standard}}
spec: {group: GROUP, names: {kind: NAME, plural: NAME}, scope: Namespaced, versions: []}
"""


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch):
    def small(manifest):
        group, name = manifest.file.removesuffix(".yaml").split("_")
        return DEFINITION.replace(b"NAME", name.encode()).replace(b"GROUP", group.encode())

    def read(manifest, folder=None):
        asked.append(folder)
        return small(manifest)

    asked: list[Path | None] = []
    monkeypatch.setattr(manifests, "read", read)
    return asked


def args(config):
    return PrerequisitesArgs(config=config, topology=resolve_topology(config), charts=chart_store(config.charts))


def registered(target, **sections):
    """Run the component; also returns the names that each attribute holds."""
    ready = {}

    def make():
        made = Prerequisites(
            "prerequisites",
            args(config_for(target, **sections)),
            pulumi.ResourceOptions(provider=cluster().provider),
        )
        for key in ("gpu", "gateway_api", "volcano", "cert_manager", "nim_operator"):
            ready[key] = [resource._name for resource in getattr(made, key)]

    return run(make), ready


def test_what_a_cloud_lacks_is_installed():
    found, ready = registered("eks", prerequisites={"nim_operator": "install"}, **GATEWAY)
    releases = of_type(found, ":Release")
    assert {release.inputs["chart"]: release.inputs["namespace"] for release in releases.values()} == {
        "nvidia-device-plugin": "gpu-operator",
        "volcano": "volcano-system",
        "cert-manager": "cert-manager",
        "k8s-nim-operator": "nim-operator",
    }
    assert all(release.inputs["version"] for release in releases.values())
    assert {"httproutes.gateway.networking.k8s.io", "gateways.gateway.networking.k8s.io"} <= set(ready["gateway_api"])
    assert all(ready.values())


def test_order():
    found, _ = registered("eks", prerequisites={"nim_operator": "install"}, **GATEWAY)
    releases = of_type(found, ":Release")
    # cert-manager looks for Gateways only if their kinds are there when it starts
    assert "httproutes.gateway.networking.k8s.io" in releases["cert-manager"].dependencies
    assert "cert-manager" in releases["k8s-nim-operator"].dependencies
    # GKE admits no pod of a system priority before its quota
    assert "volcano-system-critical-pods" in releases["volcano"].dependencies
    assert "gpu-operator-critical-pods" in releases["nvidia-device-plugin"].dependencies


def test_volcano_counts_as_installed_when_its_certificate_is_made():
    found, _ = registered("gke")
    assert of_type(found, ":Release")["volcano"].inputs["waitForJobs"] is True


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("volcano", "podgroups.scheduling.volcano.sh"),
        ("cert_manager", "certificates.cert-manager.io"),
        ("nim_operator", "nimservices.apps.nvidia.com"),
        ("gateway_api", "httproutes.gateway.networking.k8s.io"),
    ],
)
def test_adopted_software_is_read_under_the_name_of_its_setting(key, kind):
    found, ready = registered("gke", prerequisites={key: "adopt"}, **GATEWAY)
    assert [name for name in ready[key] if "envoyproxy" not in name] == [f"prerequisites.{key}.adopt"]
    read = found["kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition", f"prerequisites.{key}.adopt"]
    assert read.inputs == {"id": kind}


def test_an_adopted_gpu_operator_is_verified_by_its_policy():
    software: Any = {"gpu": {"software": "gpu-operator", "mode": "adopt"}}
    found, ready = registered("existing", prerequisites=software)
    assert ready["gpu"] == ["prerequisites.gpu.adopt"]
    assert not [name for name in of_type(found, ":Release") if "gpu" in name]


def test_skipped_software_leaves_nothing():
    skipped = {"volcano": "skip", "cert_manager": "skip", "gateway_api": "skip"}
    services = {"customizer": False, "evaluator": False}
    found, ready = registered("gke", prerequisites=skipped, services=services)
    assert not any(ready.values())
    assert not of_type(found, ":Release")
    assert not of_type(found, ":ResourceQuota")


def test_no_gateway_no_definitions():
    _, ready = registered("gke")
    assert ready["gateway_api"] == []


def test_googles_controller_brings_its_own_definitions():
    routes = GATEWAY["routes"] | {"gateway": {"controller": "gke"}, "load_balancer_cidrs": ["10.7.0.0/23"]}
    _, ready = registered("gke", routes=routes)
    assert ready["gateway_api"] == []


def test_a_mirror_of_charts_holds_the_kinds_too(no_downloads, tmp_path):
    config = config_for("gke", charts={"source": str(tmp_path)}, **GATEWAY)
    run(lambda: Prerequisites("prerequisites", args(config)))
    assert set(no_downloads) == {tmp_path}


def test_kinds_of_envoy_gateway_come_where_it_is_installed_and_only_there():
    def envoy(**sections):
        return [
            name for name in registered("gke", **sections)[1]["gateway_api"] if name.endswith("gateway.envoyproxy.io")
        ]

    gateway: dict[str, Any] = GATEWAY["routes"]
    assert "envoyproxies.gateway.envoyproxy.io" in envoy(**GATEWAY)
    assert envoy(prerequisites={"gateway_api": "adopt"}, **GATEWAY)
    assert not envoy(routes=gateway | {"gateway": {"controller": "istio"}})


@pytest.mark.parametrize(
    ("said", "made"), [({}, 0), ({"model_aliases": True}, 6), ({"model_aliases": True, "install": False}, 0)]
)
def test_kinds_of_envoy_ai_gateway_come_with_its_setting(said, made):
    _, ready = registered("gke", routes=GATEWAY["routes"] | {"gateway": said})
    assert len([name for name in ready["gateway_api"] if name.endswith("aigateway.envoyproxy.io")]) == made


def test_definitions_survive_the_stack():
    found, _ = registered("gke", **GATEWAY)
    definitions = of_type(found, ":CustomResourceDefinitionPatch")
    assert len(definitions) == 18
    assert all(made.options.retainOnDelete for made in definitions.values())
    assert {
        made.inputs["metadata"]["annotations"]["pulumi.com/patchFieldManager"] for made in definitions.values()
    } == {"nemostack"}, "under another name the next stack could not bring them to another version"


def test_volcano_hooks_into_no_pod():
    admissions = operators.volcano_values()["custom"]["enabled_admissions"].split(",")
    assert "/podgroups/mutate" in admissions
    assert not [path for path in admissions if path.startswith("/pods/")]


def test_cert_manager_watches_gateways_only_where_there_are_any():
    assert operators.cert_manager_values(gateway_api=True)["config"]["enableGatewayAPI"] is True
    assert "config" not in operators.cert_manager_values(gateway_api=False)


SPOT = {"key": "spot", "value": "yes", "effect": "NoExecute"}


def test_tolerations_are_those_of_the_taints():
    pool = L4 | {"taints": [{"key": "nvidia.com/gpu", "value": "present"}, SPOT]}
    config = config_for("eks", eks=CLOUDS["eks"] | {"gpu_pools": [pool, A100 | {"count": 8}]})
    tolerated = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}, SPOT | {"operator": "Equal"}]
    operator, plugin = gpu_operator_values(config), device_plugin_values(config)
    assert operator["daemonsets"]["tolerations"] == tolerated
    assert operator["node-feature-discovery"]["worker"]["tolerations"] == tolerated
    assert plugin["nfd"]["worker"]["tolerations"] == tolerated
    assert plugin["tolerations"][-2:] == tolerated


OPERATOR: dict[str, Any] = {"prerequisites": {"gpu": {"software": "gpu-operator"}}}


def eks(*pools):
    return config_for("eks", eks=CLOUDS["eks"] | {"gpu_pools": list(pools)}, **OPERATOR)


def test_time_slices_of_one_pool_leave_the_others_alone():
    config = eks(L4 | {"time_slicing": {"replicas": 4}}, A100 | {"count": 8})
    sliced, whole = config.pools
    plugin = gpu_operator_values(config)["devicePlugin"]["config"]
    assert plugin["default"] in plugin["data"]
    assert "sharing" not in json.loads(plugin["data"][plugin["default"]])
    resources = json.loads(plugin["data"]["l4"])["sharing"]["timeSlicing"]["resources"]
    assert resources == [{"name": "nvidia.com/gpu", "replicas": 4}]
    assert pool_labels(config, sliced)["nvidia.com/device-plugin.config"] == "l4"
    assert "nvidia.com/device-plugin.config" not in pool_labels(config, whole)


def test_mig_of_the_operator():
    cut = A100 | {"count": 8, "mig": {"profile": "3g.40gb", "strategy": "mixed"}}
    config = eks(A100 | {"name": "whole", "count": 8}, cut)
    assert pool_labels(config, config.pools[1]) == {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/device-plugin.config": "train",
        "nvidia.com/mig.config": "all-3g.40gb",
    }
    values = gpu_operator_values(config)
    assert values["mig"] == {"strategy": "mixed"}
    assert json.loads(values["devicePlugin"]["config"]["data"]["train"])["flags"] == {"migStrategy": "mixed"}


def test_aks_cuts_the_gpus_itself_and_the_plugin_must_know():
    pools = [A100 | {"mig": {"profile": "3g.40gb"}}, A100 | {"name": "whole", "max": 2}]
    config = config_for("aks", aks=CLOUDS["aks"] | {"gpu_pools": pools})
    assert json.loads(device_plugin_values(config)["config"]["map"]["train"])["flags"] == {"migStrategy": "single"}
    assert "nvidia.com/mig.config" not in pool_labels(config, config.pools[0])


def test_the_operator_cuts_what_google_does_not():
    bare = [pool | {"driver": "none"} for pool in CLOUDS["gke"]["gpu_pools"]]
    bare[1] |= {"mig": {"profile": "7g.80gb"}}
    config = config_for("gke", gke=CLOUDS["gke"] | {"gpu_pools": bare}, **OPERATOR)
    assert pool_labels(config, config.pools[1])["nvidia.com/mig.config"] == "all-7g.80gb"
    assert gpu_operator_values(config)["migManager"]["env"] == [{"name": "WITH_REBOOT", "value": "true"}]


def test_the_cloud_s_own_plugin_needs_no_labels():
    config = config_for("gke", gke=CLOUDS["gke"] | {"gpu_pools": [L4 | {"time_slicing": {"replicas": 2}}, A100]})
    assert [pool_labels(config, pool) for pool in config.pools] == [{}, {}]


def test_the_operator_leaves_alone_what_the_nodes_have():
    on_eks = gpu_operator_values(eks(L4, A100 | {"count": 8}))
    assert (on_eks["driver"]["enabled"], on_eks["toolkit"]["enabled"]) == (False, False)
    bare = [pool | {"driver": "none"} for pool in ({"name": "t4", "gpu": "T4", "count": 1}, A100)]
    on_aks = gpu_operator_values(config_for("aks", aks=CLOUDS["aks"] | {"gpu_pools": bare}, **OPERATOR))
    assert on_aks["driver"]["enabled"] is True
    assert "toolkit" not in on_aks
    bare = [pool | {"driver": "none"} for pool in CLOUDS["gke"]["gpu_pools"]]
    on_gke = gpu_operator_values(config_for("gke", gke=CLOUDS["gke"] | {"gpu_pools": bare}, **OPERATOR))
    assert on_gke["driver"]["enabled"] is True
    assert gpu_operator_values(config_for("existing", **OPERATOR))["driver"]["enabled"] is True


def test_gpu_metrics_are_collected_only_by_a_prometheus():
    monitored = config_for("existing", observability={"prometheus": "adopt", "release_label": "mine"}, **OPERATOR)
    monitor = gpu_operator_values(monitored)["dcgmExporter"]["serviceMonitor"]
    assert monitor == {"enabled": True, "honorLabels": True, "additionalLabels": {"release": "mine"}}
    unwatched = gpu_operator_values(config_for("existing", **OPERATOR))
    assert unwatched["dcgmExporter"]["serviceMonitor"]["enabled"] is False


def test_volcano_lets_a_job_in_before_its_gpus_are_there():
    """Read as YAML, not as text: the plugin that lets a job in must be asked before those that count GPUs."""
    found, ready = registered("gke")
    patch = found["kubernetes:core/v1:ConfigMapPatch", "volcano-scheduler"]
    assert "volcano-scheduler" in ready["volcano"]
    assert patch.inputs["metadata"]["namespace"] == "volcano-system"
    assert patch.inputs["metadata"]["name"] == "volcano-scheduler-configmap"
    assert patch.inputs["metadata"]["annotations"]["pulumi.com/patchForce"] == "true"
    assert "nemostack.io/revision" in patch.inputs["metadata"]["annotations"]
    scheduler = yaml.safe_load(patch.inputs["data"]["volcano-scheduler.conf"])
    first, second = scheduler["tiers"]
    assert {"name": "sla", "arguments": {"sla-waiting-time": "1m"}} in first["plugins"]
    assert {"overcommit", "proportion"} <= {plugin["name"] for plugin in second["plugins"]}
    assert "enqueue" in scheduler["actions"]


def test_a_volcano_of_others_is_not_configured():
    found, _ = registered("gke", prerequisites={"volcano": "adopt"})
    assert not of_type(found, ":ConfigMapPatch")


def test_an_adopted_volcano_is_warned_about_where_training_starts_at_zero():
    zero = config_for("gke", prerequisites={"volcano": "adopt"})
    lines = [line for line in warnings(zero) if "sla" in line]
    assert [line.split(":")[0] for line in lines] == ["gke.gpu_pools.1.min"]
    kept = CLOUDS["gke"] | {"gpu_pools": [L4, A100 | {"min": 1}]}
    for sections in ({"prerequisites": {"volcano": "adopt"}, "gke": kept}, {}):
        assert not [line for line in warnings(config_for("gke", **sections)) if "sla" in line]
