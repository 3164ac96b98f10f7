"""GPU pools and what runs on them: the table of machines, partitions, and the pool of each NIM."""

from typing import Any

import pytest
import yaml

from infra import config
from infra.config.fit import nim_pool, training_pool
from infra.config.gpus import MACHINES, MEMORY_GB, MIG_MEMORY_GB, mig_profiles
from nemostack.clone import ROOT
from tests.unit.infra.cluster_settings import A100, L4, NIM, P5, load


@pytest.mark.parametrize("cloud", list(MACHINES))
def test_table_of_machines_answers_for_itself(cloud: str) -> None:
    names_there = [machine.name for machine in MACHINES[cloud]]
    assert len(set(names_there)) == len(names_there)
    pairs = [(machine.gpu, machine.count) for machine in MACHINES[cloud]]
    assert len(set(pairs)) == len(pairs), "a kind and count must name one machine"
    assert cloud != "gke" or all(machine.accelerator for machine in MACHINES[cloud])


@pytest.mark.parametrize("gpu", MIG_MEMORY_GB)
def test_partitions_of_a_gpu_fit_into_it(gpu: Any) -> None:
    profiles = mig_profiles(gpu)
    assert len(profiles) == 6
    for profile, times in profiles.items():
        slices, memory = profile.removesuffix("gb").split("g.")
        assert int(slices) * times <= 7
        assert (int(memory) - 1) * times < MEMORY_GB[gpu]  # NVIDIA rounds up in names
    assert f"7g.{MEMORY_GB[gpu]}gb" in profiles


def test_pools_that_were_cut_serve_and_train() -> None:
    """What NVIDIA supports on partitions is not refused."""
    cut = A100 | {"max": 1, "mig": {"profile": "3g.40gb"}}  # two of 40 GB: one serves, one trains
    assert load("gke", gke={"gpu_pools": [cut]}, nims=[NIM | {"tag": "1.13.0"}]).pools[0].max == 1


@pytest.mark.parametrize("target", ["gke", "eks", "aks"])
def test_a_nim_stays_out_of_the_pool_of_training(target: str) -> None:
    """With the pools as shipped, at zero, the autoscaler would otherwise choose between the two."""
    shipped = yaml.safe_load((ROOT / "examples" / "stacks" / f"{target}.yaml").read_text())["config"]
    settings = load(target, **{target: shipped[f"nemostack:{target}"]})
    serving, training = (pool.name for pool in settings.pools)
    home, jobs = nim_pool(settings, settings.nims[0]), training_pool(settings)
    assert (home and home.name, jobs and jobs.name) == (serving, training)


def test_a_nim_shares_the_pool_of_training_only_where_no_other_can_carry_it() -> None:
    small = L4 | {"name": "small", "max": 1}
    settings = load("gke", gke={"gpu_pools": [small, A100]}, nims=[NIM | {"tag": "1.8.3", "min_gpu_memory_gb": 60}])
    home = nim_pool(settings, settings.nims[0])
    assert home is not None
    assert home.name == "a100"
    alone = load("gke", gke={"gpu_pools": [small, A100]}, services={"customizer": False}, customizer={"targets": []})
    assert nim_pool(alone, alone.nims[0]) is None, "any pool does, since nobody trains"


def test_nims_go_to_the_smallest_pool_that_has_room() -> None:
    pools = [A100, {"name": "big", "gpu": "A100-80GB", "count": 2, "max": 9}, L4 | {"max": 2}]
    nims = [NIM | {"tag": "1.8.3", "name": name} for name in ("one", "two", "three")]
    settings = load("gke", gke={"gpu_pools": pools}, nims=nims, customizer={"pool": "a100"})
    homes = [nim_pool(settings, nim) for nim in settings.nims]
    assert [home and home.name for home in homes] == ["l4", "l4", "big"]
    nims[2]["pool"] = "l4"
    settings = load("gke", gke={"gpu_pools": pools}, nims=nims, customizer={"pool": "a100"})
    homes = [nim_pool(settings, nim) for nim in settings.nims]
    assert [home and home.name for home in homes] == ["l4", "big", "l4"], "a NIM that names its pool comes first"


@pytest.mark.parametrize(
    ("target", "changed", "warned"),
    [
        ("eks", {"min": 0}, True),
        ("eks", {"min": 1}, True),  # the second node is as new as the first was
        ("eks", {"min": 2}, False),
        ("gke", {"driver": "none"}, True),
        ("gke", {}, False),
        ("aks", {"driver": "none"}, False),
    ],
)
def test_partitions_that_the_operator_cuts_on_nodes_that_come_and_go(
    target: str, changed: dict[str, Any], warned: bool
) -> None:
    by_operator = target == "eks" or "driver" in changed
    cut = {"name": "cut", "gpu": "A100-80GB", "count": 8 if target == "eks" else 1, "max": 2} | changed
    train = (P5 if target == "eks" else A100) | {"name": "train"} | ({"driver": "none"} if "driver" in changed else {})
    sections: dict[str, Any] = {target: {"gpu_pools": [train, cut | {"mig": {"profile": "3g.40gb"}}]}}
    if by_operator:
        sections["prerequisites"] = {"gpu": {"software": "gpu-operator"}}
    settings = load(target, **sections)
    said = [warning for warning in config.warnings(settings) if ".gpu_pools.1.min: " in warning]
    assert bool(said) is warned


@pytest.mark.parametrize(
    ("target", "pool", "warned"),
    [
        ("gke", {"machine": "a3-highgpu-1g"}, True),
        ("gke", {"gpu": "H100", "count": 2}, True),
        ("gke", {"machine": "a3-highgpu-4g"}, True),
        ("gke", {"gpu": "B200", "count": 8}, True),
        ("gke", {"gpu": "H100", "count": 1, "spot": True}, False),
        ("gke", {"machine": "a3-highgpu-8g"}, False),
        ("gke", {"gpu": "A100-80GB", "count": 1}, False),
        ("aks", {"machine": "Standard_NC40ads_H100_v5"}, False),
        ("eks", {"machine": "p6-b200.48xlarge"}, False),
    ],
)
def test_machines_that_google_does_not_offer_on_demand(target: str, pool: dict[str, Any], warned: bool) -> None:
    train = P5 if target == "eks" else A100
    sections: dict[str, Any] = {target: {"gpu_pools": [train, {"name": "other"} | pool]}}
    settings = load(target, **sections)
    said = [warning for warning in config.warnings(settings) if "on demand" in warning]
    assert bool(said) is warned
    assert all(warning.startswith("gke.gpu_pools.1.spot: ") for warning in said)


@pytest.mark.parametrize(("tag", "warned"), [("1.13.0", False), ("2.0.0", True)])
@pytest.mark.parametrize("target", ["gke", "existing"])
def test_the_metric_of_an_autoscaler_that_nim_calls_otherwise(target: str, tag: str, warned: bool) -> None:
    scaled = NIM | {"tag": tag, "autoscaling": {"max": 3, "metric": "num_requests_waiting"}, "lora": None}
    fixed = NIM | {"name": "fixed", "tag": tag, "lora": None}
    pools: dict[str, Any] = {"gke": {"gpu_pools": [A100 | {"max": 9}]}} if target == "gke" else {}
    settings = load(target, nims=[fixed, scaled], observability={"prometheus": "install"}, **pools)
    said = [warning for warning in config.warnings(settings) if "vllm:" in warning]
    assert [warning.split(": ")[0] for warning in said] == ["nims.1.autoscaling.metric"] * warned
    assert all("vllm:num_requests_waiting" in warning for warning in said)


def test_training_stays_out_of_a_pool_that_a_nim_names() -> None:
    """A job would take the only node of a NIM that restarts."""
    pools = [A100 | {"max": 1}, A100 | {"name": "other", "max": 1}]
    settings = load("gke", gke={"gpu_pools": pools}, nims=[NIM | {"tag": "1.8.3", "pool": "a100"}])
    jobs = training_pool(settings)
    assert jobs is not None
    assert jobs.name == "other"
    settings = load("gke", gke={"gpu_pools": pools})
    assert training_pool(settings) is None, "nobody names one"
    both = [NIM | {"tag": "1.8.3", "name": name, "pool": name} for name in ("a100", "other")]
    settings = load("gke", gke={"gpu_pools": [A100, A100 | {"name": "other"}]}, nims=both)
    assert training_pool(settings) is None, "each is named"
    alone = load("gke", gke={"gpu_pools": [A100]}, nims=[NIM | {"tag": "1.8.3", "pool": "a100"}])
    assert training_pool(alone) is None, "there is no other"
