"""Combinations of settings that cannot work are refused with one line: path, what is wrong, remedy."""

from typing import Any

import pytest

from infra import names
from infra.topology import resolve_topology
from tests.unit.infra.cluster_settings import A100, L4, LLAMA, NIM, P5, TEMPLATE, load, refusal

HOLIDAYS = {"name": "holidays", "first_day": "2026-12-20", "last_day": "2026-12-31"}


@pytest.mark.parametrize("target", ["gke", "eks", "aks", "existing", "minikube"])
@pytest.mark.parametrize("layout", ["per-service", "single"])
def test_least_settings_work(target: str, layout: str) -> None:
    assert load(target, layout=layout).layout == layout


@pytest.mark.parametrize(
    ("target", "sections", "path", "remedy"),
    [
        ("aks", {"prerequisites": {"gpu": {"software": "gpu-operator"}}}, "aks.gpu_pools.0.driver", "driver: none"),
        ("aks", {"aks": {"gpu_pools": [A100 | {"driver": "none"}]}}, "aks.gpu_pools.0.driver", "driver: cloud"),
        ("aks", {"aks": {"gpu_pools": [A100 | {"name": "thirteen-letters"}]}}, "aks.gpu_pools.0.name", "shorten"),
        (
            "aks", {"aks": {"gpu_pools": [A100 | {"time_slicing": {"replicas": 4}}]}},
            "aks.gpu_pools.0.time_slicing", "prerequisites.gpu.software: gpu-operator",
        ),
        ("gke", {"gke": {"gpu_pools": [L4]}}, "customizer.targets.0.templates.0.gpu_memory_gb", "larger GPU"),
        ("gke", {"gke": {"gpu_pools": [A100 | {"count": 3}]}}, "gke.gpu_pools.0", "2xA100-80GB"),
        ("gke", {"gke": {"gpu_pools": [A100, A100]}}, "gke.gpu_pools", "names must be unique"),
        ("gke", {"judge": {"url": "https://h/v1", "model": "m"}}, "judge", "ends in /v1, which clients add"),
        ("gke", {"judge": {"url": "https://h/v1/chat/completions", "model": "m"}}, "judge", "/v1/chat/completions"),
        (
            "gke", {"postgres": {"operator_namespace": "openshift-operators"}},
            "postgres.operator_namespace", "cnpg-system: leave it out",
        ),
        (
            "gke", {"prerequisites": {"nim_operator": "install", "nim_operator_namespace": "nvidia-nim"}},
            "prerequisites.nim_operator_namespace", "nim-operator: leave it out",
        ),
        ("gke", {"gke": {"location": "us-central1"}}, "gke.gpu_pools.0.zones", "--filter=name=nvidia-a100-80gb"),
        (
            "existing", {"object_store": {"kind": "azure", "account": "blobs"}},
            "object_store.kind", "workload identity of an AKS cluster",
        ),
        (
            "aks", {"object_store": {"kind": "azure", "account": "blobs", "resource_group": "data"}},
            "mlflow.image", "azure-identity",
        ),
        (
            "gke", {"nims": [NIM | {"tag": "1.8.3", "lora": {"existing_claim": "tuned"}}]},
            "nims.0.lora", "absolute path",
        ),
        (
            "gke", {"nims": [NIM | {"tag": "1.8.3", "deploy": "operator",
                                    "lora": {"existing_claim": "tuned", "peft_source": "/adapters"}}]},
            "nims.0", "deploy: chart",
        ),
        ("gke", {"nims": [NIM | {"tag": "1.8.3", "cache": {"engine": "vllm"}}]}, "nims.0", "deploy: operator"),
        (
            "gke", {"nims": [NIM | {"tag": "1.8.3", "cache": {"engine": "vllm", "profiles": ["a"]}}]},
            "nims.0.cache", "either engine or profiles",
        ),
        ("gke", {"gke": {"gpu_pools": [A100 | {"zones": ["us-east5-b"]}]}}, "gke.gpu_pools.0.zones", "us-central1"),
        ("gke", {"gke": {"gpu_pools": [{"name": "x", "machine": "g9-new-8"}]}}, "gke.gpu_pools.0", "gpu and count"),
        (
            "gke", {"gke": {"gpu_pools": [{"name": "x", "machine": "g2-standard-8", "gpu": "H100"}]}},
            "gke.gpu_pools.0", "1xL4",
        ),
        (
            "gke", {"gke": {"gpu_pools": [A100, {"name": "x", "machine": "g2-standard-8", "mig": {"profile": "1g.5gb"}}]}},
            "gke.gpu_pools.1.mig", "time_slicing",
        ),
        (
            "gke", {"gke": {"gpu_pools": [{"name": "x", "machine": "new-8", "gpu": "L40S", "count": 1}]}},
            "gke.gpu_pools.0.gpu", "choose one of A100-40GB",
        ),
        (
            "gke", {"gke": {"gpu_pools": [A100 | {"mig": {"profile": "3g.40gb", "strategy": "mixed"}}]}},
            "gke.gpu_pools.0.mig.strategy", "single, or driver: none",
        ),
        (
            "gke", {"gke": {"gpu_pools": [A100 | {"labels": {"feature.node.kubernetes.io/x": "y"}}]}},
            "gke.gpu_pools.0", "remove it",
        ),
        (
            "gke", {"gke": {"gpu_pools": [A100 | {"mig": {"profile": "9g.999gb"}}]}},
            "gke.gpu_pools.0.mig.profile", "one of 1g.10gb, 1g.20gb, 2g.20gb, 3g.40gb, 4g.40gb, 7g.80gb",
        ),
        (
            "aks", {"aks": {"gpu_pools": [A100, A100 | {"name": "cut", "mig": {"profile": "1g.20gb"}}]}},
            "aks.gpu_pools.1.mig.profile", "one of 1g.10gb, 2g.20gb, 3g.40gb, 4g.40gb, 7g.80gb",
        ),
        (
            "aks", {"aks": {"gpu_pools": [A100, {"name": "cut", "machine": "Standard_NC40ads_H100_v5",
                                                 "mig": {"profile": "1g.10gb"}}]}},
            "aks.gpu_pools.1.mig.profile", "one of 1g.12gb",
        ),
        # drivers and device plugins: one of each on a node, never two, never none
        ("gke", {"gke": {"gpu_pools": [A100 | {"driver": "none"}]}}, "gke.gpu_pools.0.driver", "driver: cloud"),
        ("gke", {"prerequisites": {"gpu": {"software": "gpu-operator"}}}, "gke.gpu_pools.0.driver", "driver: none"),
        (
            "gke", {"prerequisites": {"gpu": {"software": "gpu-operator"}},
                    "gke": {"gpu_pools": [A100 | {"driver": "none"}, L4]}},
            "gke.gpu_pools.1.driver", "driver: none",
        ),
        (
            "gke", {"prerequisites": {"gpu": {"software": "device-plugin"}}},
            "prerequisites.gpu.software", "provided, or gpu-operator",
        ),
        (
            "eks", {"eks": {"ami": "BOTTLEROCKET_x86_64_NVIDIA"}, "prerequisites": {"gpu": {"software": "device-plugin"}}},
            "prerequisites.gpu.software", "provided, or eks.ami",
        ),
        (
            "eks", {"eks": {"ami": "BOTTLEROCKET_x86_64_NVIDIA"}, "prerequisites": {"gpu": {"software": "gpu-operator"}}},
            "prerequisites.gpu.software", "provided, or eks.ami",
        ),
        (
            "eks", {"eks": {"ami": "BOTTLEROCKET_x86_64_NVIDIA",
                            "gpu_pools": [P5 | {"time_slicing": {"replicas": 2}}, P5 | {"name": "train"}]}},
            "eks.gpu_pools.0.time_slicing", "eks.ami: AL2023_x86_64_NVIDIA and prerequisites.gpu.software: gpu-operator",
        ),
        (
            "aks", {"prerequisites": {"gpu": {"software": "provided"}}},
            "prerequisites.gpu.software", "device-plugin, or gpu-operator",
        ),
        (
            "eks", {"prerequisites": {"gpu": {"software": "provided"}}},
            "prerequisites.gpu.software", "device-plugin, or gpu-operator",
        ),
        # each zone is a group of nodes of its own
        ("eks", {"eks": {"gpu_pools": [P5 | {"zones": ["us-east-1a", "us-east-1b", "us-east-1c"]}]}}, "eks.gpu_pools.0.zones", "fewer zones"),
        ("aks", {"aks": {"gpu_pools": [A100 | {"zones": ["1", "2", "3"]}]}}, "aks.gpu_pools.0.zones", "a higher max"),
        ("aks", {"aks": {"gpu_pools": [A100 | {"name": "twelveletter", "zones": ["1", "2"]}]}}, "aks.gpu_pools.0.name", "twelveletter2"),
        ("aks", {"aks": {"gpu_pools": [A100 | {"zones": ["1", "2"]}, A100 | {"name": "a1002"}]}}, "aks.gpu_pools", "'a1002'"),
        ("gke", {"gke": {"system_pool": {"machine": "e2-standard-8", "zones": ["us-east5-a"]}}}, "gke.system_pool.zones", "us-central1"),
        ("gke", {"gke": {"maintenance": {"hours": 6}}}, "gke.maintenance.hours", "12 hours a week"),
        ("gke", {"gke": {"maintenance": {"exclusions": [HOLIDAYS, HOLIDAYS]}}}, "gke.maintenance", "listed twice"),
        (
            "gke", {"gke": {"maintenance": {"exclusions": [HOLIDAYS | {"last_day": "2026-12-19"}]}}},
            "gke.maintenance.exclusions.0", "last_day (2026-12-19) must not be below first_day (2026-12-20)",
        ),
        (
            "gke", {"gke": {"maintenance": {"exclusions": [HOLIDAYS | {"last_day": "2026-13-01"}]}}},
            "gke.maintenance.exclusions.0.last_day", "no day of the calendar",
        ),
        (
            "gke", {"gke": {"maintenance": {"exclusions": [HOLIDAYS | {"scope": "patches"}]}}},
            "gke.maintenance.exclusions.0.scope", "no_minor_or_node_upgrades",
        ),
        ("aks", {"aks": {"maintenance": {"exclusions": [HOLIDAYS]}}}, "aks.maintenance.exclusions", "unknown key"),
        ("aks", {"aks": {"maintenance": {"hours": 2}}}, "aks.maintenance.hours", "greater than or equal to 4"),
        ("aks", {"aks": {"admins": [{"id": "me@example.com", "type": "User"}]}}, "aks.admins.0.id", "should match pattern"),
        ("eks", {"eks": {"admins": ["platform"]}}, "eks.admins.0", "should match pattern"),
        ("gke", {"gke": {"admins": ["user:a@example.com"] * 2}}, "gke.admins", "list it once"),
        # A10 machines of Azure are virtual GPUs, with a driver that only AKS installs
        (
            "aks", {"prerequisites": {"gpu": {"software": "gpu-operator"}},
                    "aks": {"gpu_pools": [A100 | {"driver": "none"}, {"name": "a10", "gpu": "A10", "count": 1}]}},
            "aks.gpu_pools.1", "gpu: T4 or A100-80GB",
        ),
        (
            "aks", {"prerequisites": {"gpu": {"software": "gpu-operator"}},
                    "aks": {"gpu_pools": [A100 | {"driver": "none"},
                                          {"name": "a10", "gpu": "A10", "count": 1, "driver": "none"}]}},
            "aks.gpu_pools.1", "prerequisites.gpu.software: device-plugin",
        ),
        ("aks", {"prerequisites": {"gpu": {"mode": "skip"}}}, "prerequisites.gpu.mode", "install"),
        (
            "aks", {"prerequisites": {"gpu": {"software": "gpu-operator", "mode": "adopt"}},
                    "aks": {"gpu_pools": [A100 | {"driver": "none"}]}},
            "prerequisites.gpu.mode", "install",
        ),
        (
            "existing", {"existing": {"label_nodes": {"team": "ml"}}, "prerequisites": {"gpu": {"software": "device-plugin"}}},
            "existing.label_nodes", "leave it out",
        ),
        # partitions and turns are less than a GPU
        (
            "gke", {"gke": {"gpu_pools": [A100 | {"mig": {"profile": "1g.10gb"}}]}, "nims": [NIM | {"tag": "1.13.0"}]},
            "customizer.targets.0.templates.0.gpu_memory_gb", "the most is 10: a pool with a larger GPU",
        ),
        (
            "gke", {"gke": {"gpu_pools": [A100, A100 | {"name": "cut", "mig": {"profile": "3g.40gb"}}]},
                    "nims": [NIM | {"tag": "1.13.0", "min_gpu_memory_gb": 60, "pool": "cut"}]},
            "nims.0", "the most is 40: a larger GPU",
        ),
        (
            "gke", {"gke": {"gpu_pools": [A100, A100 | {"name": "cut", "mig": {"profile": "3g.40gb"}}]},
                    "nims": [NIM | {"tag": "1.13.0", "gpus": 2, "pool": "cut"}]},
            "nims.0.gpus", "a pod gets one partition",
        ),
        (
            "gke", {"gke": {"gpu_pools": [A100 | {"mig": {"profile": "7g.80gb"}}]}, "nims": [NIM | {"tag": "1.12.0"}]},
            "nims.0.tag", "1.13 or later, or a pool without mig",
        ),
        (
            "eks", {"eks": {"gpu_pools": [P5, P5 | {"name": "cut", "mig": {"profile": "3g.40gb", "strategy": "mixed"}}]},
                    "prerequisites": {"gpu": {"software": "gpu-operator"}}, "customizer": {"pool": "cut"}},
            "customizer.targets.0.templates.0", "single, or a pool without mig",
        ),
        (
            "gke", {"gke": {"gpu_pools": [A100, A100 | {"name": "sliced", "count": 2, "time_slicing": {"replicas": 4}}]},
                    "nims": [NIM | {"tag": "1.8.3", "gpus": 2, "pool": "sliced"}]},
            "nims.0.gpus", "a pod gets one partition or turn",
        ),
        (
            "gke", {"gke": {"gpu_pools": [A100 | {"time_slicing": {"replicas": 4}}]}},
            "nims.0.pool", "another pool here, or for customizer.pool",
        ),
        (
            "gke", {"gke": {"gpu_pools": [A100 | {"time_slicing": {"replicas": 4}}, L4]},
                    "nims": [NIM | {"tag": "1.8.3", "pool": "a100"}]},
            "nims.0.pool", "another pool here, or for customizer.pool",
        ),
        # NIMs and a training job at the same time
        ("gke", {"gke": {"gpu_pools": [A100 | {"max": 1}]}}, "gke.gpu_pools", "a higher max, or services.customizer: false"),
        ("gke", {"nims": [NIM | {"tag": "1.8.3", "replicas": 3}]}, "gke.gpu_pools", "a higher max, or fewer replicas"),
        (
            "gke", {"gke": {"gpu_pools": [L4 | {"max": 9}, A100]},
                    "nims": [NIM | {"tag": "1.8.3", "replicas": 2, "min_gpu_memory_gb": 60}]},
            "gke.gpu_pools.1.max", "a higher max, or services.customizer: false",
        ),
        (
            "gke", {"customizer": {"targets": [LLAMA | {"templates": [TEMPLATE | {"nodes": 3}]}]}},
            "customizer.targets.0.templates.0.nodes", "fewer nodes, or a higher max",
        ),
        ("gke", {"gke": {"network": "vpc"}}, "gke", "both network and subnetwork, or neither"),
        ("gke", {"gke": {"authorized_networks": ["10.0.0.1/8"]}}, "gke.authorized_networks.0", "host bits"),
        ("gke", {"object_store": {"kind": "azure", "account": "a"}}, "object_store.kind", "s3, or in-cluster"),
        ("aks", {"object_store": {"kind": "azure", "account": "a"}}, "object_store.resource_group", "set the account's"),
        ("eks", {"eks": {"gpu_pools": [{"name": "p5", "machine": "p5.4xlarge", "driver": "none"}]}},
         "eks.gpu_pools.0.driver", "driver: cloud"),
        ("gke", {"gke": {"gpu_pools": [A100 | {"name": "system"}]}}, "gke.gpu_pools.0.name", "another name"),
        ("aks", {"aks": {"gpu_pools": [A100 | {"name": "a-b"}, A100 | {"name": "ab"}]}}, "aks.gpu_pools", "rename one"),
        ("eks", {"eks": {"vpc_cidr": "10.0.0.0/24"}}, "eks.vpc_cidr", "16|17|18|19|20"),
        ("existing", {"storage": {"rwx_class_name": None}}, "storage.rwx_class_name", "storage.rwx_class_name"),
        ("eks", {"eks": {"rwx": "none"}}, "storage.rwx_class_name", "storage.rwx_class_name"),
        (
            "existing", {"routes": {"kind": "gateway", "domain": "a.b", "hosts": {"nim": "nemo.a.b"}}},
            "routes.hosts.nim", "its own host",
        ),
        ("existing", {"routes": {"kind": "ingress"}}, "routes.hosts.nemo", "routes.domain"),
        (
            "existing", {"routes": {"kind": "gateway", "domain": "a.b", "hosts": {"mlflow": "nemo.a.b"}}},
            "routes.hosts", "its own host",
        ),
        (
            "aks", {"routes": {"kind": "gateway", "domain": "a.b", "gateway": {"controller": "gke"}}},
            "routes.gateway.controller", "envoy",
        ),
        (
            "gke", {"routes": {"kind": "ingress", "domain": "a.b", "gateway": {"model_aliases": True}}},
            "routes.gateway.model_aliases", "routes.kind: gateway, or false",
        ),
        (
            "gke", {"routes": {"kind": "gateway", "domain": "a.b",
                               "gateway": {"controller": "istio", "model_aliases": True}}},
            "routes.gateway.model_aliases", "controller: envoy",
        ),
        (
            "existing", {"product": "platform", "routes": {"kind": "gateway", "domain": "a.b",
                                                           "gateway": {"model_aliases": True}}},
            "routes.gateway.model_aliases", "the NeMo Platform's own gateway has aliases",
        ),
        (
            "gke", {"routes": {"kind": "ingress", "domain": "a.b", "ingress": {"controller": "alb"}}},
            "routes.ingress.controller", "traefik",
        ),
        ("gke", {"nims": [NIM | {"tag": "2.0.1"}]}, "nims.0.lora.peft_source", "a 1.x tag"),
        ("gke", {"nims": [NIM | {"tag": "1.8.3", "gpus": 2}]}, "nims.0.gpus", "fewer gpus"),
        ("gke", {"nims": [NIM | {"tag": "1.8.3", "min_gpu_memory_gb": 100}]}, "nims.0", "larger GPU"),
        ("gke", {"nims": [NIM | {"tag": "1.8.3", "deploy": "operator"}]}, "prerequisites.nim_operator", "install"),
        ("gke", {"nims": [NIM | {"tag": "1.8.3", "pool": "l4"}]}, "nims.0.pool", "a100"),
        ("existing", {"nims": [NIM | {"tag": "1.8.3", "pool": "l4"}]}, "nims.0.pool", "leave it out"),
        ("gke", {"nims": [NIM | {"tag": "1.8.3", "name": "mlflow"}]}, "nims.0.name", "another name"),
        ("gke", {"nims": [NIM | {"tag": "1.8.3", "name": "monitoring"}]}, "nims.0.name", "another name"),
        (
            "gke", {"nims": [NIM | {"tag": "1.8.3", "name": "watch"}], "observability": {"namespace": "watch"}},
            "nims.0.name", "another name",
        ),
        (
            "gke", {"nims": [NIM | {"tag": "1.8.3", "name": "edge"}], "routes": {"proxy_namespace": "edge"}},
            "nims.0.name", "another name",
        ),
        (
            "gke", {"nims": [NIM | {"tag": "1.8.3", "name": "gateways"}],
                    "routes": {"gateway": {"existing": "gateways/public"}}},
            "nims.0.name", "another name",
        ),
        (
            "gke", {"nims": [NIM | {"tag": "1.8.3", "name": "notebooks"}], "security": {"clients": ["notebooks"]}},
            "nims.0.name", "another name",
        ),
        (
            "gke", {"routes": {"kind": "gateway", "domain": "a.b", "gateway": {"controller": "gke"}}},
            "routes.load_balancer_cidrs", "security.network_policies: false",
        ),
        (
            "gke", {"routes": {"kind": "gateway", "domain": "a.b", "internal": False,
                               "gateway": {"controller": "gke", "class_name": "gke-l7-regional-external-managed"}}},
            "routes.load_balancer_cidrs", "security.network_policies: false",
        ),
        ("gke", {"observability": {"namespace": "postgres"}}, "observability.namespace", "Prometheus and Grafana alone"),
        (
            "gke", {"observability": {"namespace": "kube-system", "prometheus": "install"}},
            "observability.namespace", "Prometheus and Grafana alone",
        ),
        ("gke", {"nims": [NIM | {"tag": "1.8.3", "model": "meta/other"}]}, "customizer.targets.0.base_model", "add a NIM"),
        (
            "gke", {"nims": [NIM | {"tag": "1.8.3", "autoscaling": {"max": 3}}]},
            "nims.0.autoscaling", "observability.prometheus",
        ),
        (
            "existing", {"nims": [NIM | {"tag": "1.8.3", "cache": {"access_mode": "ReadWriteMany"}}],
                         "services": {"evaluator": False, "customizer": False}, "storage": {"rwx_class_name": None}},
            "nims.0.cache.access_mode", "ReadWriteOnce",
        ),
        (
            "gke", {"nims": [NIM | {"tag": "1.8.3", "deploy": "operator", "replicas": 2}],
                    "prerequisites": {"nim_operator": "install"}},
            "nims.0.cache.access_mode", "ReadWriteMany",
        ),
        ("gke", {"prerequisites": {"volcano": "skip"}}, "prerequisites.volcano", "install"),
        (
            "gke", {"charts": {"source": "oci://mirror.example.com/charts"},
                    "routes": {"kind": "gateway", "domain": "example.com"}},
            "prerequisites.gateway_api", "set adopt, or name a directory",
        ),
        (
            "gke", {"charts": {"source": "oci://mirror.example.com/charts"}, "prerequisites": {"gateway_api": "adopt"},
                    "routes": {"kind": "gateway", "domain": "example.com"}},
            "routes.gateway.install", "set false, or name a directory",
        ),
        (
            "gke", {"prerequisites": {"nim_operator": "install", "cert_manager": "skip"}},
            "prerequisites.cert_manager", "install",
        ),
        ("gke", {"services": {"data_store": False}}, "services.customizer", "data_store"),
        ("gke", {"postgres": {"kind": "bundled"}}, "postgres.kind", "layout: single"),
        ("gke", {"object_store": {"kind": "s3", "region": "us-east-1"}}, "object_store.secret", "--secret"),
        (
            "gke", {"object_store": {"kind": "none"}, "mlflow": {"replicas": 2}}, "mlflow.replicas", "object_store.kind",
        ),
        (
            "gke", {"layout": "single", "postgres": {"kind": "bundled"}, "mlflow": {"replicas": 2}},
            "mlflow.replicas", "cloudnative-pg",
        ),
        ("gke", {"security": {"internet_cidrs": ["10.0.0.0/99"]}}, "security.internet_cidrs.0", "10.0.0.0/99"),
        ("gke", {"secrets": ()}, "ngc_api_key", "pulumi config set --secret nemostack:ngc_api_key"),
    ],
)  # fmt: skip
def test_impossible_combinations(target: str, sections: dict[str, Any], path: str, remedy: str) -> None:
    lines = refusal(target, **sections)
    found = [line for line in lines if line.startswith(f"nemostack:{path}: ")]
    assert found, lines
    assert remedy in found[0]


@pytest.mark.parametrize(
    "taken",
    sorted(
        {service.namespace for service in names.MICROSERVICES}
        | {value for key, value in vars(names).items() if key.endswith("_NAMESPACE")}
        | {*names.PROXY_NAMESPACES.values(), names.RELEASE, "nemo-anything", "default", "kube-system"}
    ),
)
def test_a_nim_cannot_take_the_namespace_of_something_else(taken: str) -> None:
    [line] = refusal("gke", nims=[NIM | {"tag": "1.8.3", "name": taken}])
    assert line.startswith("nemostack:nims.0.name: ")


def test_prometheus_of_others_may_be_anywhere() -> None:
    watched = {"prometheus": "adopt", "namespace": "kube-system"}
    assert load("existing", observability=watched).observability.namespace == "kube-system"


@pytest.mark.parametrize(
    ("target", "sections", "line"),
    [
        ("gke", {"gke": {"gpu_pools": [A100 | {"minn": 1}]}}, "nemostack:gke.gpu_pools.0.minn: unknown key (did you mean min?)"),
        (
            "gke", {"gke": {"gpu_pools": [{"name": "a"}]}},
            "nemostack:gke.gpu_pools.0: needs either machine, or gpu and count",
        ),
        (
            "gke", {"gke": {"gpu_pools": [A100 | {"min": 3, "max": 2}]}},
            "nemostack:gke.gpu_pools.0: max (2) must not be below min (3)",
        ),
        (
            "gke", {"nims": [NIM | {"tag": "1.8.3", "replicas": 2, "disruption_budget": 2}]},
            "nemostack:nims.0: disruption_budget (2) must be below the replicas (2): otherwise no node can be drained",
        ),
        (
            "gke", {"gke": {"system_pool": {"machine": "e2-standard-8", "min": 5}}},
            "nemostack:gke.system_pool: max (4) must not be below min (5)",
        ),
        (
            "gke", {"nims": [NIM | {"tag": "1.8.3", "autoscaling": {"min": 3, "max": 2}}]},
            "nemostack:nims.0.autoscaling: max (2) must not be below min (3)",
        ),
        (
            "gke", {"nims": [NIM | {"tag": "1.8.3", "lora": {"max_gpu_loras": 20}}]},
            "nemostack:nims.0.lora: max_cpu_loras (16) must not be below max_gpu_loras (20)",
        ),
        ("gke", {"routes": {"tls": {"kind": "letsencrypt"}}}, "nemostack:routes.tls: kind: letsencrypt needs email"),
        ("gke", {"gke": {"gpu_pools": []}}, "nemostack:gke.gpu_pools: tuple should have at least 1 item after validation, not 0"),
    ],
)  # fmt: skip
def test_wrong_sections(target: str, sections: dict[str, Any], line: str) -> None:
    assert refusal(target, **sections) == [line]


def test_latest_is_no_version() -> None:
    [line] = refusal("gke", nims=[NIM | {"tag": "latest"}])
    assert line.startswith("nemostack:nims.0.tag: string should match pattern")


def test_secrets_are_not_repeated_in_errors() -> None:
    lines = refusal("gke", hf_tokn="s3cr3t-token", prerequisites={"volcano": "skip"})
    assert lines == ["nemostack:hf_tokn: unknown key (did you mean hf_token?)"]


def test_charts_from_a_mirror_need_no_key_of_ngc_for_them() -> None:
    lines = refusal("gke", secrets=(), charts={"source": "charts"})
    assert [line.split(": ")[0] for line in lines] == [
        "nemostack:credentials.ngc_secret",
        "nemostack:credentials.image_pull_secret",
    ]


def test_google_s_global_load_balancer_is_let_in_without_being_named() -> None:
    routes = {"kind": "gateway", "domain": "a.b", "internal": False, "gateway": {"controller": "gke"}}
    assert load("gke", routes=routes).routes.load_balancer_cidrs == ()


def test_existing_clusters_may_have_a_plugin_of_their_own() -> None:
    adopted = {"create": False, "gpu_pools": [A100]}
    assert load("aks", aks=adopted, prerequisites={"gpu": {"software": "provided"}}).gpu_software == "provided"
    assert load("aks", aks=adopted, prerequisites={"gpu": {"mode": "skip"}}).gpu_software == "device-plugin"


def test_namespaces_of_the_guide() -> None:
    assert set(resolve_topology(load("existing")).addresses.namespaces) == {
        "nemo-datastore",
        "nemo-entity-store",
        "nemo-evaluator",
        "nemo-customizer",
        "llama3-2-3b-instruct",
        "mlflow",
    }
    assert resolve_topology(load("existing", layout="single")).addresses.namespaces == ("nemo", "mlflow")


def test_databases_and_bucket() -> None:
    found = resolve_topology(load("existing")).databases
    assert set(found) == {"data_store", "entity_store", "customizer", "evaluator", "core", "mlflow"}
    assert len({database.name for database in found.values()}) == len(found)
    assert resolve_topology(load("existing", layout="single", postgres={"kind": "bundled"})).databases == {}
    external = {
        "kind": "external",
        "external": {"host": "pg.acme.example", "databases": {"mlflow": {"secret": "tracking-db"}}},
    }
    assert resolve_topology(load("existing", postgres=external)).databases["mlflow"].secret == "tracking-db"
    settings = load("existing", object_store={"kind": "azure", "account": "acme"}, mlflow={"mode": "skip"})
    azure = resolve_topology(settings).bucket
    assert azure is not None
    assert not azure.s3
