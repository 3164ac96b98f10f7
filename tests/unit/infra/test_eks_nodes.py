"""Node groups of EKS: as the settings say, one for each zone, running nodes kept, versions that follow the cluster."""

import ipaddress
import itertools
from typing import Any

import pulumi
import pytest

from infra.clusters.eks import network
from infra.config.clusters import EksSettings
from tests.unit.infra import from_settings
from tests.unit.infra.cluster_support import CLOUDS, L4, comes_after, config_for, every, of_type, run
from tests.unit.infra.eks_program import (
    CALLS,
    CLUSTER,
    GROUP,
    NAMES,
    OUTPUTS,
    THERE,
    TRAIN,
    as_shipped,
    connect,
    group_of,
    pool,
)

pytestmark = pytest.mark.xdist_group("eks")  # one process imports the SDK of this cloud


def test_a_pool_is_what_the_settings_say() -> None:
    group, template = pool(
        {
            "name": "l4",
            "machine": "g6.12xlarge",
            "min": 1,
            "max": 5,
            "zones": ["us-east-1f"],
            "spot": True,
            "disk_gib": 300,
            "labels": {"team": "x"},
            "taints": [
                {"key": "nvidia.com/gpu", "value": "present"},
                {"key": "team", "effect": "PreferNoSchedule"},
            ],
        }
    )
    assert (group["instanceTypes"], group["capacityType"]) == (["g6.12xlarge"], "SPOT")
    assert group["scalingConfig"] == {"desiredSize": 1, "minSize": 1, "maxSize": 5}
    assert group["subnetIds"] == ["private-us-east-1f-id"]
    assert group["amiType"] == "AL2023_x86_64_NVIDIA"
    assert group["labels"] == {
        "team": "x",
        "nemostack.io/pool": "l4",
        "nvidia.com/gpu.present": "true",
        "k8s.amazonaws.com/accelerator": "nvidia-l4",  # else the autoscaler takes a new node for one without GPUs
    }
    assert group["taints"] == [
        {"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"},
        {"key": "team", "value": "", "effect": "PREFER_NO_SCHEDULE"},
    ]
    assert "diskSize" not in group, "the launch template has it, and EKS takes one of the two"
    assert group["launchTemplate"] == {"id": "gpu-l4-id", "version": "3"}
    (disk,) = template["blockDeviceMappings"]
    assert disk["deviceName"] == "/dev/xvda"
    assert (disk["ebs"]["volumeSize"], disk["ebs"]["encrypted"]) == (300, "true")


def test_bottlerocket_keeps_images_on_its_second_disk() -> None:
    group, template = pool(L4, eks={"ami": "BOTTLEROCKET_x86_64_NVIDIA"})
    assert group["amiType"] == "BOTTLEROCKET_x86_64_NVIDIA"
    assert template["blockDeviceMappings"][0]["deviceName"] == "/dev/xvdb"
    _, registered = connect(eks={"ami": "BOTTLEROCKET_x86_64_NVIDIA"})
    assert of_type(registered, GROUP)["system"].inputs["amiType"] == "BOTTLEROCKET_x86_64"


def test_mig_and_time_slicing_are_the_operators() -> None:
    operator = {"prerequisites": {"gpu": {"software": "gpu-operator"}}}
    mig, _ = pool(TRAIN | {"name": "mig", "mig": {"profile": "3g.40gb"}}, **operator)
    assert mig["labels"]["nvidia.com/mig.config"] == "all-3g.40gb"
    shared, _ = pool(L4 | {"time_slicing": {"replicas": 4}}, **operator)
    assert shared["labels"]["nvidia.com/device-plugin.config"] == "l4"


def test_nodes_are_hard_to_misuse() -> None:
    _, registered = as_shipped()
    templates = of_type(registered, ":LaunchTemplate")
    assert len(templates) == 5
    for template in templates.values():
        assert template.inputs["metadataOptions"] == {
            "httpEndpoint": "enabled",
            "httpTokens": "required",
            "httpPutResponseHopLimit": 1,
        }
        assert template.inputs["blockDeviceMappings"][0]["ebs"]["encrypted"] == "true"


def test_addresses_of_zones_do_not_overlap_and_stay() -> None:
    zones = [f"x-1{letter}" for letter in network.LETTERS]
    taken = [ipaddress.IPv4Network(block) for zone in zones for block in network.blocks("10.40.0.0/16", zone)]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(taken, 2))
    assert all(block.subnet_of(ipaddress.IPv4Network("10.40.0.0/16")) for block in taken)
    assert network.blocks("10.40.0.0/16", "x-1a") == ("10.40.0.0/19", "10.40.224.0/22")


def test_zones() -> None:
    pools = CLOUDS["eks"] | {"gpu_pools": [L4 | {"zones": ["us-east-1f"]}, TRAIN]}
    settings = EksSettings.model_validate(pools)
    everywhere = dict.fromkeys(("m6i.2xlarge", "g6.2xlarge", "p4de.24xlarge"), NAMES)
    assert network.choose_zones(NAMES, settings, everywhere) == [f"us-east-1{letter}" for letter in "abcf"]
    elsewhere = everywhere | {"p4de.24xlarge": ["us-east-1d"]}
    assert network.choose_zones(NAMES, settings, elsewhere) == [f"us-east-1{letter}" for letter in "abcdf"]
    with pytest.raises(
        pulumi.RunError, match=r"^eks\.gpu_pools\.0\.zones: the region has no usable us-east-1e: one of"
    ):
        connect(eks={"gpu_pools": [L4 | {"zones": ["us-east-1e"]}, TRAIN]})
    with pytest.raises(
        pulumi.RunError, match=r"^eks\.gpu_pools\.0\.zones: no subnet is in us-east-1f, only in us-east-1a"
    ):
        connect(eks=THERE | {"gpu_pools": [L4 | {"zones": ["us-east-1f"]}, TRAIN]})


def test_zones_in_which_a_cluster_cannot_be_are_left_out() -> None:
    asked: list[dict[str, Any]] = []

    def answer(question: dict[str, Any]) -> dict[str, Any]:
        asked.append(question)
        return {"names": NAMES}

    calls = CALLS | {"aws:index/getAvailabilityZones:getAvailabilityZones": answer}
    run(lambda: from_settings.connect(config_for("eks")) and None, outputs=OUTPUTS, calls=calls)
    assert set(asked[0]["excludeZoneIds"]) == {"use1-az3", "usw1-az2", "cac1-az3"}


def test_a_gpu_pool_is_in_a_zone_that_offers_its_machine() -> None:
    _, registered = as_shipped()
    groups = of_type(registered, GROUP)
    assert groups["gpu-l4"].inputs["subnetIds"] == ["private-us-east-1a-id"]
    assert groups["gpu-train"].inputs["subnetIds"] == ["private-us-east-1b-id"], "a has no p4de.24xlarge"
    wrong = TRAIN | {"zones": ["us-east-1a"]}
    refusal = r"^eks\.gpu_pools\.1\.zones: us-east-1a does not offer p4de\.24xlarge: one of us-east-1b, us-east-1c$"
    with pytest.raises(pulumi.RunError, match=refusal):
        connect(eks={"gpu_pools": [L4, wrong]})
    nowhere = r"^eks\.gpu_pools\.1: no zone with a subnet offers p4de\.24xlarge, of us-east-1a: one of us-east-1b"
    with pytest.raises(pulumi.RunError, match=nowhere):
        connect(eks={"vpc_id": "vpc-1", "subnet_ids": ["subnet-a"]})


def test_each_zone_has_a_group_of_its_own() -> None:
    """A volume is in one zone, and the autoscaler must know in which zone its node will be."""
    _, registered = connect(eks={"gpu_pools": [L4 | {"min": 2, "max": 5, "zones": NAMES[:3]}, TRAIN]})
    groups = of_type(registered, GROUP)
    found = {
        name: (
            group.inputs["subnetIds"],
            group.inputs["scalingConfig"]["minSize"],
            group.inputs["scalingConfig"]["maxSize"],
        )
        for name, group in groups.items()
        if name != "gpu-train"
    }
    assert found == {
        "gpu-l4": (["private-us-east-1a-id"], 1, 2),
        "gpu-l4-us-east-1b": (["private-us-east-1b-id"], 1, 2),
        "gpu-l4-us-east-1c": (["private-us-east-1c-id"], 0, 1),
        "system": (["private-us-east-1a-id"], 1, 2),
        "system-us-east-1b": (["private-us-east-1b-id"], 1, 1),
        "system-us-east-1c": (["private-us-east-1c-id"], 0, 1),
    }
    labels = [group.inputs["labels"]["nemostack.io/pool"] for name, group in groups.items() if "l4" in name]
    assert labels == ["l4"] * 3, "pods are sent to the pool, whatever its zone"


def test_subnets_of_one_zone_are_one_group() -> None:
    _, registered = connect(eks=THERE | {"gpu_pools": [L4 | {"zones": ["us-east-1b"]}, TRAIN]})
    assert of_type(registered, GROUP)["gpu-l4"].inputs["subnetIds"] == ["subnet-b", "subnet-b2"]


def test_a_group_over_several_zones_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its subnets cannot be changed, so that it would be replaced while a NIM runs on it."""
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", said.append)
    groups = {
        "gpu-l4": group_of(1, 0, 8, ("subnet-b", "subnet-a")),
        "system": group_of(2, 2, 4, ("subnet-b", "subnet-a")),
    }
    _, registered = connect(groups)
    made = of_type(registered, GROUP)
    assert set(made) == {"gpu-l4", "gpu-train", "system"}
    assert made["gpu-l4"].inputs["subnetIds"] == ["subnet-b", "subnet-a"]
    assert (made["system"].inputs["scalingConfig"]["minSize"], made["system"].inputs["scalingConfig"]["maxSize"]) == (
        2,
        4,
    )
    assert [text.split(":")[0] for text in said] == ["eks.gpu_pools.0", "eks.system_pool"]
    assert all("spans us-east-1a, us-east-1b" in text and "delete-nodegroup" in text for text in said)


@pytest.mark.parametrize(
    ("now", "limits", "desired", "ignored"),
    [
        (group_of(3, 0, 8), (0, 8), 3, True),  # the limits stay: the number is the autoscaler's
        (group_of(3, 0, 8), (0, 9), 3, False),  # 0, the number of the group's creation, would stop three nodes
        (group_of(0, 0, 8), (1, 8), 1, False),  # AWS refuses a minimum above the desired number
        (group_of(3, 0, 8), (0, 2), 2, False),
    ],
)
def test_a_change_of_limits_keeps_running_nodes(
    now: dict[str, Any], limits: tuple[int, int], desired: int, ignored: bool
) -> None:
    pools = [L4 | {"min": limits[0], "max": limits[1]}, TRAIN]
    _, registered = connect({"gpu-l4": now}, eks={"gpu_pools": pools})
    group = of_type(registered, GROUP)["gpu-l4"]
    assert group.inputs["scalingConfig"] == {"desiredSize": desired, "minSize": limits[0], "maxSize": limits[1]}
    assert list(group.options.ignoreChanges) == (["scalingConfig.desiredSize"] if ignored else [])


def test_nodes_and_add_ons_follow_the_control_plane() -> None:
    _, registered = connect(eks={"kubernetes_version": "1.36"})
    assert registered[CLUSTER, "nemostack"].inputs["version"] == "1.36"
    for group in every(registered, GROUP):
        assert group.inputs["version"] == "1.36"
        assert "releaseVersion" not in group.inputs
        assert (CLUSTER, "nemostack") in comes_after(registered, group), "the control plane is upgraded first"
    for name, addon in of_type(registered, ":Addon").items():
        assert addon.inputs["addonVersion"] == f"v1-{name}-for-1.36"
    (release,) = of_type(registered, ":Release").values()
    assert release.inputs["values"]["image"] == {"tag": "v1.36.0"}


def test_the_autoscaler_is_that_of_the_actual_control_plane() -> None:
    """AWS upgrades a control plane by itself when support of its version ends."""
    outputs = OUTPUTS | {CLUSTER: OUTPUTS[CLUSTER] | {"version": "1.36"}}
    registered = run(lambda: from_settings.connect(config_for("eks")) and None, outputs=outputs, calls=CALLS)
    (release,) = of_type(registered, ":Release").values()
    assert release.inputs["values"]["image"] == {"tag": "v1.36.0"}


@pytest.mark.parametrize(
    ("ami", "gpu", "system"),
    [
        (
            "AL2023_x86_64_NVIDIA",
            "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/nvidia/recommended/release_version",
            "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/standard/recommended/release_version",
        ),
        (
            "BOTTLEROCKET_x86_64_NVIDIA",
            "/aws/service/bottlerocket/aws-k8s-1.35-nvidia/x86_64/latest/image_version",
            "/aws/service/bottlerocket/aws-k8s-1.35/x86_64/latest/image_version",
        ),
    ],
)
def test_node_images_are_renewed_where_the_settings_ask(ami: str, gpu: str, system: str) -> None:
    _, registered = connect(eks={"update_node_image": True, "ami": ami})
    groups = of_type(registered, GROUP)
    assert groups["gpu-l4"].inputs["releaseVersion"] == f"newest of {gpu}"
    assert groups["system"].inputs["releaseVersion"] == f"newest of {system}"
