"""One NIM by either way, against facts written down by hand. Names of keys are those of nim-llm and of the CRDs."""

import re
from typing import Any

import pytest

from infra.config import ClusterStackConfig
from infra.nemo.nim_values import cache_name, cache_spec, chart_values, pod_labels, service_spec
from infra.nemo.values import Surroundings
from infra.platform.credentials import CredentialNames
from infra.topology import resolve_topology
from simulator.charts import shapes
from tests.unit.infra.cluster_support import A100, CLOUDS, L4, config_for, unknown

AROUND = Surroundings(
    credentials=CredentialNames(ngc="ngc-api", pull="nvcrimagepullsecret", hf="hf-token"),
    storage_class="fast",
    rwx_storage_class="shared",
)
IMAGE = "nvcr.io/nim/meta/llama-3.2-3b-instruct"


def config_with(target: str = "gke", sections: Any = None, **nim: Any) -> ClusterStackConfig:
    """Settings with one NIM, which has all GPUs for itself."""
    said = {"name": "llama", "model": "meta/llama-3.2-3b-instruct", "image": IMAGE, "tag": "1.8.3"} | nim
    alone = {"services": {"customizer": False}, "prerequisites": {"nim_operator": "install"}}
    sections = alone | (sections or {})
    return config_for(target, nims=[said], **sections)


def chart(config: ClusterStackConfig) -> Any:
    return chart_values(resolve_topology(config), config.nims[0], AROUND)


def cache(config: ClusterStackConfig) -> Any:
    return cache_spec(resolve_topology(config).placement, config.nims[0], AROUND)


def service(config: ClusterStackConfig) -> Any:
    return service_spec(resolve_topology(config), config.nims[0], AROUND)


def environment(found: Any) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in found["env"]}


WAYS = pytest.mark.parametrize("way", [chart, service])


def test_chart() -> None:
    found = chart(config_with())
    assert found["image"] == {"repository": IMAGE, "tag": "1.8.3"}
    assert found["imagePullSecrets"] == [{"name": "nvcrimagepullsecret"}]
    assert found["model"] == {
        "name": "meta/llama-3.2-3b-instruct",
        "ngcAPISecret": "ngc-api",
        "openaiPort": 8000,
        "hfTokenSecret": "hf-token",
    }
    assert found["replicaCount"] == 1
    assert "autoscaling" not in found
    assert found["statefulSet"] == {"enabled": True}
    assert found["ingress"] == {"enabled": False}


def test_operator() -> None:
    config = config_with(deploy="operator")
    assert cache(config)["source"] == {
        "ngc": {
            "modelPuller": f"{IMAGE}:1.8.3",
            "pullSecret": "nvcrimagepullsecret",
            "authSecret": "ngc-api",
            "model": {"lora": True, "tensorParallelism": "1"},
        },
    }
    found = service(config)
    assert found["image"] == {
        "repository": IMAGE,
        "tag": "1.8.3",
        "pullPolicy": "IfNotPresent",
        "pullSecrets": ["nvcrimagepullsecret"],
    }
    assert found["authSecret"] == "ngc-api"
    assert found["replicas"] == 1
    assert "scale" not in found


@pytest.mark.parametrize(
    ("settings", "model"),
    [
        ({}, {"lora": True, "tensorParallelism": "1"}),
        ({"lora": None}, {"tensorParallelism": "1"}),
        ({"lora": None, "gpus": 8, "cache": {"engine": "vllm"}}, {"tensorParallelism": "8", "engine": "vllm"}),
        # the operator's webhook takes no further field beside profiles
        ({"gpus": 8, "cache": {"profiles": ["0a1b", "2c3d"]}}, {"profiles": ["0a1b", "2c3d"]}),
    ],
)
def test_the_operator_downloads_profiles_for_this_number_of_gpus(settings: Any, model: Any) -> None:
    assert cache(config_with("eks", deploy="operator", **settings))["source"]["ngc"]["model"] == model


def test_a_changed_cache_is_another_cache() -> None:
    """The operator refuses a change of a NIMCache; a name by content lets Pulumi fill a second one first."""
    names: dict[str, str] = {}
    cases: dict[str, dict[str, Any]] = {
        "first": {},
        "again": {},
        "tag": {"tag": "1.8.4"},
        "size": {"cache": {"size": "80Gi"}},
        "lora": {"lora": None},
        "other": {"env": {"NIM_LOG_LEVEL": "INFO"}},
    }
    for case, settings in cases.items():
        config = config_with(deploy="operator", **settings)
        names[case] = service(config)["storage"]["nimCache"]["name"]
        assert names[case] == cache_name(config.nims[0], cache(config))
    assert names["first"] == names["again"] == names["other"]
    assert len({names["first"], names["tag"], names["size"], names["lora"]}) == 4
    assert all(re.fullmatch("llama-[0-9a-f]{8}", name) for name in names.values())


def test_the_cache_s_name_leaves_room_for_the_operator() -> None:
    config = config_with(deploy="operator", name="n" * 60)
    assert len(f"{cache_name(config.nims[0], cache(config))}-job") <= 63


def test_adapters_from_a_volume() -> None:
    lora = {"peft_source": "/adapters", "existing_claim": "tuned"}
    found = chart(config_with(lora=lora))
    assert found["extraVolumes"] == {"adapters": {"persistentVolumeClaim": {"claimName": "tuned"}}}
    assert found["extraVolumeMounts"] == {"adapters": {"mountPath": "/adapters"}}
    assert {"name": "NIM_PEFT_SOURCE", "value": "/adapters"} in found["env"]
    assert "extraVolumes" not in chart(config_with())


def test_service_is_called_like_the_nim_either_way() -> None:
    by_chart, by_operator = chart(config_with())["service"], service(config_with())["expose"]["service"]
    assert (by_chart["name"], by_chart["openaiPort"]) == (by_operator["name"], by_operator["port"]) == ("llama", 8000)


def test_proxy_finds_the_service_by_its_label() -> None:
    label = {"app.nvidia.com/nim-type": "inference"}
    assert chart(config_with())["service"]["labels"] == label
    assert service(config_with())["labels"] == label


@WAYS
def test_adapters_from_the_entity_store(way: Any) -> None:
    lora = {"refresh_interval_s": 60, "max_gpu_loras": 4, "max_cpu_loras": 12, "max_rank": 64}
    assert environment(way(config_with(lora=lora))) == {
        "NIM_PEFT_SOURCE": "http://nemo-entity-store.nemo-entity-store.svc.cluster.local:8000",
        "NIM_PEFT_REFRESH_INTERVAL": "60",
        "NIM_MAX_GPU_LORAS": "4",
        "NIM_MAX_CPU_LORAS": "12",
        "NIM_MAX_LORA_RANK": "64",
    }


@WAYS
def test_adapters_from_the_entity_store_in_one_namespace(way: Any) -> None:
    found = environment(way(config_with(sections={"layout": "single"})))
    assert found["NIM_PEFT_SOURCE"] == "http://nemo-entity-store.nemo.svc.cluster.local:8000"


@WAYS
def test_adapters_from_a_folder_and_further_environment(way: Any) -> None:
    said: Any = {
        "lora": {"peft_source": "/model-store/loras"},
        "relax_memory": True,
        "env": {"NIM_MAX_MODEL_LEN": "4096"},
    }
    found = environment(way(config_with(**said)))
    assert found["NIM_PEFT_SOURCE"] == "/model-store/loras"
    assert found["NIM_RELAX_MEM_CONSTRAINTS"] == "1"
    assert found["NIM_MAX_MODEL_LEN"] == "4096"


@WAYS
def test_without_adapters(way: Any) -> None:
    assert environment(way(config_with(lora=None))) == {}
    assert "lora" not in cache(config_with(lora=None))["source"]["ngc"]["model"]


TAINTED: Any = {
    "gpu_pools": [
        L4 | {"taints": [{"key": "nvidia.com/gpu", "value": "present"}, {"key": "team", "value": "ml"}]},
        A100 | {"taints": [{"key": "batch", "value": "yes", "effect": "NoExecute"}]},
    ]
}


@pytest.mark.parametrize("way", [chart, service, cache])
def test_nim_and_cache_job_tolerate_every_taint_of_gpu_pools(way: Any) -> None:
    config = config_with(sections={"gke": CLOUDS["gke"] | TAINTED})
    tolerated = {(found["key"], found.get("value"), found["effect"]) for found in way(config)["tolerations"]}
    taints = [taint for pool in config.pools for taint in pool.taints]
    assert len(taints) == 3
    for taint in taints:
        value = None if taint.key == "nvidia.com/gpu" else taint.value
        assert (taint.key, value, taint.effect) in tolerated


@pytest.mark.parametrize("target", ["gke", "eks", "aks", "existing", "minikube"])
@pytest.mark.parametrize("way", [chart, service, cache])
def test_the_usual_taint_is_tolerated_everywhere(way: Any, target: str) -> None:
    usual = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    assert usual in way(config_with(target))["tolerations"]


def test_a_nim_on_a_pool() -> None:
    config = config_with(pool="train")
    selector = {"nemostack.io/pool": "train"}
    assert chart(config)["nodeSelector"] == service(config)["nodeSelector"] == cache(config)["nodeSelector"] == selector


@pytest.mark.parametrize(
    ("target", "nim", "sections", "selector"),
    [
        ("gke", {}, {}, {"nemostack.io/pool": "l4"}),
        ("gke", {"min_gpu_memory_gb": 40}, {}, {"nemostack.io/pool": "train"}),
        ("eks", {"gpus": 8}, {}, {"nemostack.io/pool": "train"}),
        ("minikube", {}, {}, {"kubernetes.io/os": "linux"}),  # no NFD there, whose label the operator wants
        ("existing", {}, {}, {"kubernetes.io/os": "linux"}),
        (
            "existing",
            {},
            {"existing": {"label_nodes": {"feature.node.kubernetes.io/pci-10de.present": "true"}}},
            None,
        ),
        ("existing", {}, {"prerequisites": {"nim_operator": "install", "gpu": {"software": "gpu-operator"}}}, None),
    ],
)
def test_where_the_cache_is_filled(target: str, nim: Any, sections: Any, selector: Any) -> None:
    assert cache(config_with(target, sections, **nim)).get("nodeSelector") == selector


@WAYS
def test_gpus_are_request_and_limit(way: Any) -> None:
    found = way(config_with("eks", gpus=8))["resources"]
    assert found["limits"] == {"nvidia.com/gpu": "8"}
    assert found["requests"] == {"nvidia.com/gpu": "8", "cpu": "2", "memory": "8Gi"}


@WAYS
def test_mixed_partitions_are_a_resource_of_their_own(way: Any) -> None:
    pools = [L4, {"name": "train", "gpu": "A100-80GB", "count": 8, "mig": {"profile": "3g.40gb", "strategy": "mixed"}}]
    operators = {"nim_operator": "install", "gpu": {"software": "gpu-operator"}}
    sections = {"eks": CLOUDS["eks"] | {"gpu_pools": pools}, "prerequisites": operators}
    config = config_with("eks", sections, pool="train", tag="1.13.0")
    assert way(config)["resources"]["limits"] == {"nvidia.com/mig-3g.40gb": "1"}


@WAYS
def test_a_nim_without_a_pool_goes_where_it_fits(way: Any) -> None:
    assert way(config_with()).get("nodeSelector", {}) == {}  # both pools can carry it
    assert way(config_with(min_gpu_memory_gb=40))["nodeSelector"] == {"nemostack.io/pool": "train"}
    cut = {"name": "cut", "gpu": "A100-80GB", "count": 8, "mig": {"profile": "3g.40gb", "strategy": "mixed"}}
    operators = {"nim_operator": "install", "gpu": {"software": "gpu-operator"}}
    sections = {"eks": CLOUDS["eks"] | {"gpu_pools": [cut]}, "prerequisites": operators}
    assert way(config_with("eks", sections, tag="1.13.0"))["resources"]["limits"] == {"nvidia.com/mig-3g.40gb": "1"}
    sections["eks"] = CLOUDS["eks"] | {"gpu_pools": [cut, L4]}
    old = way(config_with("eks", sections, tag="1.12.0"))  # which no partition can carry
    assert (old["nodeSelector"], old["resources"]["limits"]) == ({"nemostack.io/pool": "l4"}, {"nvidia.com/gpu": "1"})


def test_volumes_of_the_chart() -> None:
    found = chart(config_with())["persistence"]
    assert (found["accessMode"], found["storageClass"], found["size"]) == ("ReadWriteOnce", "fast", "50Gi")
    assert found["annotations"] == {"helm.sh/resource-policy": "keep"}
    shared = chart(config_with(cache={"access_mode": "ReadWriteMany", "size": "90Gi"}, replicas=3))["persistence"]
    assert (shared["accessMode"], shared["storageClass"], shared["size"]) == ("ReadWriteMany", "shared", "90Gi")
    brought = chart(config_with(cache={"existing_claim": "weights"}))["persistence"]
    assert brought == {"enabled": True, "existingClaim": "weights"}


def test_volumes_of_the_operator() -> None:
    assert cache(config_with())["storage"]["pvc"] == {
        "create": True,
        "size": "50Gi",
        "volumeAccessMode": "ReadWriteOnce",
        "storageClass": "fast",
    }
    brought = cache(config_with(cache={"existing_claim": "weights"}))["storage"]["pvc"]
    assert brought == {"create": False, "name": "weights"}


METRIC = [
    {
        "type": "Pods",
        "pods": {"metric": {"name": "num_requests_waiting"}, "target": {"type": "AverageValue", "averageValue": "5"}},
    },
]


def test_autoscaling_leaves_replicas_to_the_autoscaler() -> None:
    said: Any = {
        "autoscaling": {"min": 2, "max": 6, "metric": "num_requests_waiting", "target": "5"},
        "cache": {"access_mode": "ReadWriteMany"},
    }
    config = config_with(sections={"observability": {"prometheus": "install"}}, **said)
    by_chart, by_operator = chart(config), service(config)
    assert by_chart["autoscaling"] == {"enabled": True, "minReplicas": 2, "maxReplicas": 6, "metrics": METRIC}
    assert "replicaCount" not in by_chart
    assert by_operator["scale"] == {"enabled": True, "hpa": {"minReplicas": 2, "maxReplicas": 6, "metrics": METRIC}}
    assert "replicas" not in by_operator


@WAYS
@pytest.mark.parametrize(
    ("spread", "key"), [("zone", "topology.kubernetes.io/zone"), ("node", "kubernetes.io/hostname")]
)
def test_replicas_apart(way: Any, spread: str, key: str) -> None:
    config = config_with(topology_spread=spread, replicas=2)
    (preferred,) = way(config)["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert preferred["podAffinityTerm"] == {
        "topologyKey": key,
        "labelSelector": {"matchLabels": pod_labels(config.nims[0])},
    }


def test_labels_of_pods() -> None:
    assert pod_labels(config_with().nims[0]) == {
        "app.kubernetes.io/name": "nim-llm",
        "app.kubernetes.io/instance": "llama",
    }
    assert pod_labels(config_with(deploy="operator").nims[0]) == {"app": "llama"}


def test_startup_window() -> None:
    config = config_with(startup_minutes=45)
    by_chart = chart(config)["startupProbe"]
    by_operator = service(config)["startupProbe"]
    assert by_chart["periodSeconds"] * by_chart["failureThreshold"] == 45 * 60
    assert by_operator["enabled"] is True
    probe = by_operator["probe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 45 * 60
    assert probe["httpGet"] == {"path": "/v1/health/ready", "port": "api"}


def test_the_chart_meets_restricted_pod_security() -> None:
    found = chart(config_with())["containerSecurityContext"]
    assert found["allowPrivilegeEscalation"] is False
    assert found["runAsNonRoot"] is True
    assert found["capabilities"] == {"drop": ["ALL"]}
    assert found["seccompProfile"] == {"type": "RuntimeDefault"}


def test_nims_are_watched_by_pod_and_not_by_the_ways_own_monitors() -> None:
    config = config_with(sections={"observability": {"prometheus": "adopt"}})
    assert chart(config)["metrics"] == {"serviceMonitor": {"enabled": False}}
    assert "metrics" not in service(config)


@pytest.mark.parametrize(
    "nim",
    [
        {},
        {"replicas": 2, "topology_spread": "node", "cache": {"access_mode": "ReadWriteMany"}},
        {"lora": None, "relax_memory": True, "cache": {"existing_claim": "weights"}, "pool": "l4"},
        {"autoscaling": {"max": 3}},
    ],
)
def test_the_chart_knows_every_value(nim: Any) -> None:
    config = config_with(sections={"observability": {"prometheus": "install"}}, **nim)
    assert list(unknown(chart(config), shapes.load("nim-llm"), "")) == []
