"""Agent pools of AKS: as the settings say, one for each zone, running nodes kept, raised after the control plane."""

import pulumi
import pytest

from tests.unit.infra.aks_program import A10, CLUSTER, POOL, TRAIN, as_shipped, connect, pool, pool_state, running
from tests.unit.infra.cluster_support import comes_after, every, of_type

pytestmark = pytest.mark.xdist_group("aks")  # one process imports the SDK of this cloud


def test_a_pool_is_what_the_settings_say() -> None:
    inputs = pool(
        {
            "name": "a10-big",
            "machine": "Standard_NV72ads_A10_v5",
            "min": 1,
            "max": 5,
            "zones": ["3"],
            "disk_gib": 300,
            "labels": {"team": "x"},
            "taints": [
                {"key": "nvidia.com/gpu", "value": "present"},
                {"key": "team", "value": "x", "effect": "NoExecute"},
            ],
        }
    )
    assert (inputs["agentPoolName"], inputs["vmSize"]) == ("a10big", "Standard_NV72ads_A10_v5")
    assert (inputs["minCount"], inputs["maxCount"], inputs["count"]) == (1, 5, 1)
    assert inputs["enableAutoScaling"] is True
    assert inputs["availabilityZones"] == ["3"]
    assert inputs["osDiskSizeGB"] == 300
    assert inputs["nodeLabels"] == {"team": "x", "nemostack.io/pool": "a10-big", "nvidia.com/gpu.present": "true"}
    assert inputs["nodeTaints"] == ["nvidia.com/gpu=present:NoSchedule", "team=x:NoExecute"]
    assert inputs["gpuProfile"] == {"driver": "Install"}
    assert inputs["mode"] == "User"
    assert not {"gpuInstanceProfile", "scaleSetPriority", "spotMaxPrice"} & set(inputs)


def test_spot_has_the_taint_that_azure_puts_there() -> None:
    inputs = pool(A10 | {"spot": True})
    assert (inputs["scaleSetPriority"], inputs["scaleSetEvictionPolicy"], inputs["spotMaxPrice"]) == (
        "Spot",
        "Delete",
        -1,
    )
    assert inputs["nodeTaints"] == [
        "nvidia.com/gpu=present:NoSchedule",
        "kubernetes.azure.com/scalesetpriority=spot:NoSchedule",
    ]
    assert "upgradeSettings" not in inputs


def test_mig_is_azures() -> None:
    assert (
        pool(TRAIN | {"mig": {"profile": "3g.40gb"}}, beside=[TRAIN | {"name": "whole"}])["gpuInstanceProfile"]
        == "MIG3g"
    )


def test_the_gpu_operator_brings_the_driver() -> None:
    operator = {"prerequisites": {"gpu": {"software": "gpu-operator"}}}
    bare = {"name": "t4", "gpu": "T4", "count": 1, "max": 8, "driver": "none", "time_slicing": {"replicas": 4}}
    inputs = pool(bare, beside=[TRAIN | {"driver": "none"}], **operator)
    assert inputs["gpuProfile"] == {"driver": "None"}
    assert inputs["nodeLabels"]["nvidia.com/device-plugin.config"] == "t4"


def test_a_change_keeps_running_nodes() -> None:
    """Azure is told the number of nodes with every change, and that of the creation would stop those of a NIM."""
    now = running(pool_state("system", 3), pool_state("a10", 2), pool_state("train", 0))
    _, registered = connect(now, creator="me", aks={"gpu_pools": [A10 | {"max": 1}, TRAIN | {"min": 1}]})
    pools = of_type(registered, POOL)
    assert (pools["gpu-a10"].inputs["count"], pools["gpu-a10"].inputs["maxCount"]) == (1, 1)
    assert (pools["gpu-train"].inputs["count"], pools["gpu-train"].inputs["minCount"]) == (1, 1)
    (system,) = registered[CLUSTER, "nemostack"].inputs["agentPoolProfiles"]
    assert system["count"] == 3
    _, registered = connect(now, creator="me")
    assert of_type(registered, POOL)["gpu-a10"].inputs["count"] == 2
    for registration in (registered[CLUSTER, "nemostack"], *every(registered, POOL)):
        assert not list(registration.options.ignoreChanges), "an ignored input is sent as it was at first"


def test_each_zone_has_an_agent_pool_of_its_own() -> None:
    _, registered = connect(aks={"gpu_pools": [A10 | {"min": 1, "max": 3, "zones": ["1", "3"]}, TRAIN]})
    pools = {
        name: (
            one.inputs["agentPoolName"],
            one.inputs["availabilityZones"],
            one.inputs["minCount"],
            one.inputs["maxCount"],
        )
        for name, one in of_type(registered, POOL).items()
        if "a10" in name
    }
    assert pools == {"gpu-a10": ("a10", ["1"], 1, 2), "gpu-a10-3": ("a103", ["3"], 0, 1)}


def test_a_pool_over_several_zones_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", said.append)
    now = running(pool_state("system", 2), pool_state("a10", 1, zones=["1", "3"]))
    _, registered = connect(now, creator="me", aks={"gpu_pools": [A10 | {"zones": ["1", "3"]}, TRAIN]})
    pools = of_type(registered, POOL)
    assert set(pools) == {"gpu-a10", "gpu-train"}
    assert pools["gpu-a10"].inputs["availabilityZones"] == ["1", "3"]
    assert [text.split(":")[0] for text in said] == ["aks.gpu_pools.0.zones"]


def test_zones_of_the_system_pool() -> None:
    _, registered = as_shipped()
    assert "availabilityZones" not in registered[CLUSTER, "nemostack"].inputs["agentPoolProfiles"][0]
    system = {"machine": "Standard_D8s_v5", "zones": ["1", "2", "3"]}
    _, registered = connect(aks={"system_pool": system})
    assert registered[CLUSTER, "nemostack"].inputs["agentPoolProfiles"][0]["availabilityZones"] == ["1", "2", "3"]


def test_the_control_plane_is_raised_before_its_nodes() -> None:
    """Azure refuses both at once where there is a pool of spot nodes."""
    spot = {"kubernetes_version": "1.36", "gpu_pools": [A10 | {"spot": True}, TRAIN]}
    now = running(pool_state("system", 2), pool_state("a10", 1))
    _, registered = connect(now, creator="me", aks=spot)
    inputs = registered[CLUSTER, "nemostack"].inputs
    assert (inputs["kubernetesVersion"], inputs["agentPoolProfiles"][0]["orchestratorVersion"]) == ("1.36", "1.35")
    for one in every(registered, POOL):
        assert one.inputs["orchestratorVersion"] == "1.36", "a request of its own, after that of the cluster"
        assert (CLUSTER, "nemostack") in comes_after(registered, one)
    then = running(pool_state("system", 2), version="1.36")
    _, registered = connect(then, creator="me", aks=spot)
    inputs = registered[CLUSTER, "nemostack"].inputs
    assert inputs["agentPoolProfiles"][0]["orchestratorVersion"] == "1.36"


def test_the_autoscaler_chooses_the_pool_that_wastes_least() -> None:
    _, registered = as_shipped()
    assert registered[CLUSTER, "nemostack"].inputs["autoScalerProfile"]["expander"] == "least-waste"


def test_the_system_pool() -> None:
    _, registered = connect(aks={"system_pool": {"machine": "Standard_D16s_v5", "min": 1, "max": 7, "disk_gib": 150}})
    (system,) = registered[CLUSTER, "nemostack"].inputs["agentPoolProfiles"]
    assert (system["mode"], system["vmSize"], system["minCount"], system["maxCount"]) == (
        "System",
        "Standard_D16s_v5",
        1,
        7,
    )
    assert system["osDiskSizeGB"] == 150
