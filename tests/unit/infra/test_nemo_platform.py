"""The NeMo Platform on Kubernetes: the chart's values, what the platform is told of NIMs, routes, policies, outputs."""

import json
from typing import Any

import pytest

from infra.cluster.outputs import outputs
from infra.config import ClusterStackConfig, warnings
from infra.nemo.platform_models import registrations
from infra.nemo.platform_values import platform_values
from infra.nemo.values import Surroundings
from infra.platform.credentials import CredentialNames
from infra.recorded_images import recorded_images
from infra.topology import resolve_topology
from simulator.charts import shapes
from tests.unit.infra import cluster_settings
from tests.unit.infra.cluster_support import config_for

AROUND = Surroundings(
    credentials=CredentialNames(ngc="ngc-api", pull="nvcrimagepullsecret", hf=None),
    storage_class="fast",
    rwx_storage_class="shared",
)
OIDC = {"issuer": "https://id.example.com/realm", "client_id": "nemo", "admin_email": "admin@example.com"}
NIM = {"model": "meta/llama-3.2-3b-instruct", "image": "nvcr.io/nim/meta/llama-3.2-3b-instruct", "tag": "1.8.3"}
CHART = {**NIM, "name": "llama", "deploy": "chart"}
DEPLOYED = {**NIM, "name": "deployed", "model": "meta/llama-3.1-8b-instruct", "deploy": "platform"}
SAME = {**CHART, "deploy": "platform"}
S3 = {"kind": "s3", "bucket": "acme", "region": "eu-west-1", "secret": "keys"}
EXTERNAL = {"host": "10.1.2.3", "ssl_mode": "verify-full", "uri_key": "uri"}


def config(target: str = "gke", **sections: Any) -> ClusterStackConfig:
    return config_for(target, product="platform", **sections)


def values(settings: ClusterStackConfig) -> dict[str, Any]:
    return platform_values(settings.platform, settings.observability, resolve_topology(settings), AROUND)


def models(settings: ClusterStackConfig) -> list[dict[str, Any]]:
    return registrations(settings.nims, resolve_topology(settings))


SETTINGS: list[dict[str, Any]] = [
    {},
    {"postgres": {"kind": "bundled"}, "object_store": {"kind": "none"}, "mlflow": {"mode": "skip"}},
    {"postgres": {"kind": "external", "external": EXTERNAL}, "object_store": S3},
    {"platform": {"oidc": {**OIDC, "audience": "a", "scope_prefix": "api://x/"}, "jobs": {"backend": "volcano"}}},
    {
        "platform": {"jobs": {"backend": "kai", "pool": "train"}, "replicas": 3},
        "observability": {"prometheus": "adopt"},
    },
    {"platform": {"keep_microservices": True}, "nims": [CHART, DEPLOYED]},
]


@pytest.mark.parametrize("sections", SETTINGS)
def test_the_chart_knows_every_key(sections: dict[str, Any]) -> None:
    """Those of executors too, which are a list: as the defaults of their backend."""
    shape = shapes.load("nemo-platform")
    found = values(config(**sections))
    assert shapes.unknown(found, shape) == []
    assert isinstance(shape, dict)
    jobs: Any = shape["platformConfig"]["jobs"]
    for executor in found["platformConfig"]["jobs"]["executors"]:
        assert shapes.unknown(executor["config"], jobs["executor_defaults"][executor["backend"]]) == []


def test_an_unknown_key_would_be_found() -> None:
    shape = shapes.load("nemo-platform")
    wrong = {"api": {"replicas": 1}, "platformConfig": {"auth": {"oidc": {"isuer": ""}}, "files": {"default": {}}}}
    assert shapes.unknown(wrong, shape) == [
        "api.replicas",
        "platformConfig.auth.oidc.isuer",
        "platformConfig.files.default",
    ]


def test_nothing_is_reported_and_no_default_password_is_in_use() -> None:
    found = values(config(postgres={"kind": "bundled"}))
    assert found["telemetry"]["OTEL_SDK_DISABLED"] is True
    assert found["telemetry"]["OTEL_TRACES_EXPORTER"] == "none"
    assert found["platformConfig"]["studio"] == {"telemetry_enabled": False}
    assert found["postgresql"]["auth"] == {"existingSecret": "nemo-platform-postgres-bundled", "password": ""}
    key = found["secrets"]["defaultEncryptionKey"]
    assert key["existingSecret"]["name"] == "nemo-platform-encryption"
    assert key["generated"] == {"enabled": False}
    assert found["imagePullSecrets"] == [{"name": "nvcrimagepullsecret"}]
    assert found["existingSecret"] == "ngc-api"


def test_prometheus_reads_metrics_and_traces_stay_off() -> None:
    found = values(config(observability={"prometheus": "adopt", "release_label": "mine"}))
    monitor = {"enabled": True, "labels": {"release": "mine"}}
    assert [found[part]["serviceMonitor"] for part in ("api", "core", "envoyProxy")] == [monitor] * 3
    assert found["telemetry"] == {
        "OTEL_SDK_DISABLED": False,
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "prometheus",
    }


def test_the_database_of_the_operator_and_an_external_one() -> None:
    own = values(config())
    assert own["postgresql"] == {"enabled": False}
    assert own["externalDatabase"] == {
        "host": "nemo-postgres-rw.postgres.svc.cluster.local",
        "port": 5432,
        "user": "nemo-platform",
        "database": "nemo-platform",
        "existingSecret": "nemo-platform-postgres",
        "existingSecretPasswordKey": "password",
    }
    assert own["env"]["PGSSLMODE"] == "require"
    databases = {"platform": {"name": "db", "user": "me", "secret": "mine"}}
    external = values(config(postgres={"kind": "external", "external": EXTERNAL | {"databases": databases}}))
    assert external["externalDatabase"]["uriSecret"] == {"name": "mine", "key": "uri"}
    assert external["env"]["PGSSLMODE"] == "verify-full"


def test_files_are_in_the_bucket_with_its_keys_or_on_the_volume() -> None:
    found = values(config(object_store=S3))
    assert found["platformConfig"]["files"]["default_storage_config"] == {
        "type": "s3",
        "bucket": "acme",
        "prefix": "nemo-platform/files",
        "region": "eu-west-1",
        "use_sdk_auth": True,
    }
    keys = found["api"]["env"]
    assert keys["AWS_SECRET_ACCESS_KEY"] == {"valueFrom": {"secretKeyRef": {"name": "keys", "key": "secret_key"}}}
    # nobody else would mount the claim, for which Helm waits
    claims = [one["persistentVolumeClaim"]["claimName"] for one in found["api"]["extraVolumes"]]
    assert claims == ["nemo-platform-core-storage"]
    on_volume = values(config(object_store={"kind": "none"}))
    assert "files" not in on_volume["platformConfig"]
    assert "extraVolumes" not in on_volume["api"]
    assert on_volume["api"]["env"] == {}
    assert on_volume["core"]["storage"] == {"storageClass": "shared", "accessModes": ["ReadWriteMany"], "size": "200Gi"}


@pytest.mark.parametrize(
    ("backend", "rbac", "providers"),
    [("kubernetes", False, ["gpu", "gpu"]), ("volcano", True, ["gpu", "gpu", "gpu_distributed"])],
)
def test_jobs_go_to_gpu_nodes(backend: str, rbac: bool, providers: list[str]) -> None:
    found = values(config(platform={"jobs": {"backend": backend, "pool": "train", "max_pending_minutes": 20}}))
    jobs = found["platformConfig"]["jobs"]
    assert found["rbac"] == {"volcanoEnabled": rbac}
    assert [one["provider"] for one in jobs["executors"]] == providers
    for executor in jobs["executors"]:
        assert executor["config"]["node_selector"] == {"nemostack.io/pool": "train"}
        assert executor["config"]["tolerations"][0]["key"] == "nvidia.com/gpu"
    for defaults in jobs["executor_defaults"].values():
        assert defaults["ttl_seconds_before_active"] == 1200
        assert defaults["env"] == {"MLFLOW_TRACKING_URI": "http://mlflow-tracking.mlflow.svc.cluster.local:80"}


def test_kai_schedules_jobs_with_a_gpu() -> None:
    jobs = values(config(platform={"jobs": {"backend": "kai", "queue": "research"}}))["platformConfig"]["jobs"]
    for executor in jobs["executors"]:
        assert executor["config"]["scheduler_name"] == "kai-scheduler"
        labels = {"labels": {"kai.scheduler/queue-name": "research"}}
        assert executor["config"]["job_metadata"] == executor["config"]["pod_metadata"] == labels


def test_users_of_an_identity_provider_come_through_the_charts_proxy() -> None:
    routes = {"kind": "gateway", "domain": "ai.example.com", "tls": {"kind": "self-signed"}}
    settings = config("existing", routes=routes, platform={"oidc": OIDC})
    found, topology = values(settings), resolve_topology(settings)
    auth = found["platformConfig"]["auth"]
    assert (auth["enabled"], auth["admin_email"], auth["allow_unsigned_jwt"]) == (True, "admin@example.com", False)
    assert auth["oidc"]["issuer"] == OIDC["issuer"]
    assert "audience" not in auth["oidc"]
    assert found["envoyProxy"]["enabled"] is True
    (route,) = [one for one in topology.routing.routes if one.name == "nemo-platform-api"]
    assert (route.service, route.port, route.host) == ("nemo-platform-envoy", 8080, "nemo.ai.example.com")
    issuers = [edge for edge in topology.connections.edges if "identity provider" in edge.why]
    assert [(edge.consumer.namespace, 443 in edge.ports) for edge in issuers] == [("nemo-platform", True)]
    assert list(warnings(settings)) == []
    assert values(config())["envoyProxy"]["enabled"] is False


def test_the_platform_streams_takes_uploads_and_shares_the_host() -> None:
    routes = {"kind": "gateway", "domain": "ai.example.com"}
    settings = config("existing", routes=routes, platform={"keep_microservices": True}, nims=[CHART, DEPLOYED])
    routing = resolve_topology(settings).routing
    on_host = [one for one in routing.routes if one.host == "nemo.ai.example.com"]
    prefixes = [prefix for one in on_host for prefix in one.prefixes]
    assert len(prefixes) == len(set(prefixes))
    (route,) = [one for one in on_host if one.service == "nemo-platform-api"]
    assert route.streams
    assert route.uploads
    assert "/apis" in route.prefixes
    assert "/studio" in route.prefixes
    assert routing.platform_nim_url == "http://deployed.ai.example.com"
    assert routing.public_urls["nim_url"] == "http://nim.ai.example.com"


def test_policies_open_what_the_platform_needs() -> None:
    settings = config(
        "existing", observability={"prometheus": "adopt"}, routes={"kind": "gateway", "domain": "a.example"}
    )
    connections = resolve_topology(settings).connections
    out = {edge.provider.namespace for edge in connections.edges if edge.consumer.namespace == "nemo-platform"}
    assert out >= {"postgres", "object-store", "mlflow"}
    into = {
        edge.consumer.namespace: edge.ports for edge in connections.edges if edge.provider.namespace == "nemo-platform"
    }
    assert into == {"envoy-gateway-system": (8000, 8080), "monitoring": (8000, 8080)}
    assert "nemo-platform" in connections.controllers  # it makes pods and jobs
    assert "nemo-platform" in connections.closed


def test_a_nim_becomes_a_deployment_with_a_name_for_every_content() -> None:
    (first,) = models(config(nims=[{**NIM, "name": "llama", "pool": "l4", "env": {"A": "b"}}]))
    assert first["entity"]["name"] == "meta-llama-3-2-3b-instruct"
    chosen = first["config"]
    assert chosen["model_spec"] == {
        "model_namespace": "default",
        "model_name": "meta-llama-3-2-3b-instruct",
        "lora_enabled": True,
    }
    container = chosen["executor_config"]
    assert (container["image_name"], container["image_tag"], container["gpu"]) == (NIM["image"], "1.8.3", 1)
    assert container["additional_envs"]["NIM_MAX_LORA_RANK"] == "32"
    assert container["additional_envs"]["A"] == "b"
    assert "NIM_PEFT_SOURCE" not in container["additional_envs"]  # the platform says that
    assert container["k8s_nim_operator_config"]["node_selector"] == {"nemostack.io/pool": "l4"}
    assert first["deployment"] == {"name": "llama", "config": chosen["name"]}
    (changed,) = models(config(nims=[{**NIM, "name": "llama", "pool": "l4", "env": {"A": "c"}}]))
    assert changed["config"]["name"] != chosen["name"]
    assert changed["deployment"]["name"] == "llama"


def test_a_nim_that_runs_already_becomes_a_provider() -> None:
    first, second = models(config(platform={"keep_microservices": True}, nims=[CHART, DEPLOYED]))
    assert first["provider"]["host_url"] == "http://llama.llama.svc.cluster.local:8000"
    assert [first["kind"], second["kind"]] == ["provider", "deployment"]


def outputs_of(settings: ClusterStackConfig) -> Any:
    return outputs(settings, resolve_topology(settings), ["ngc_api_key"], None, None)


def test_outputs_are_those_of_the_local_platform() -> None:
    found = outputs_of(config())
    assert found.product == "platform"
    assert found.data_store_url == ""
    assert found.base_model == found.customization_config == "default/meta-llama-3-2-3b-instruct"
    assert found.studio_url == f"{found.nemo_url}/studio/"
    assert found.nim_internal_url == "http://llama3-2-3b-instruct.nemo-platform.svc.cluster.local:8000"
    inside = "http://nemo-platform-api.nemo-platform.svc.cluster.local:8080/apis/inference-gateway/"
    assert found.inference_internal_url.startswith(inside)
    forwarded = found.model_copy(update={"nemo_url": "http://127.0.0.1:8080"})
    assert forwarded.inference_url.startswith("http://127.0.0.1:8080/apis/inference-gateway/")
    assert forwarded.inference_internal_url == found.inference_internal_url  # a job does not reach this machine
    assert found.cluster.prefixes["/apis"] == "platform"
    assert "nemo-platform-encryption" in found.cluster.secrets["nemo-platform"]
    assert found.microservices is None
    assert not [name for name in found.cluster.namespaces if name.startswith("nemo-") and name != "nemo-platform"]


def test_a_migration_has_the_outputs_of_both() -> None:
    both = outputs_of(config(platform={"keep_microservices": True}, nims=[CHART, DEPLOYED]))
    assert (both.product, both.base_model) == ("platform", "default/meta-llama-3-1-8b-instruct")
    other = both.microservices
    assert (other.product, other.base_model) == ("microservices", "meta/llama-3.2-3b-instruct")
    assert other.nim_internal_url == "http://llama.llama.svc.cluster.local:8000"
    assert other.data_store_url
    assert {"nemo-platform", "nemo-datastore", "nemo-evaluator"} <= set(both.cluster.namespaces)


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"product": "platform", "services": {"data_store": True}}, "services: are the microservices"),
    (
        {"product": "platform", "platform": {"keep_microservices": True}, "nims": [SAME]},
        "nims: the platform deploys",
    ),
    ({"product": "platform", "nims": [DEPLOYED | {"replicas": 2}]}, "nims.0.replicas: the platform's deployments"),
    ({"product": "platform", "nims": [DEPLOYED | {"cache": {"profiles": ["a"]}}]}, "nims.0.cache.profiles"),
    ({"product": "platform", "nims": [DEPLOYED, DEPLOYED | {"name": "b"}]}, "nims: two models make the same entity"),
    ({"product": "platform", "nims": [DEPLOYED | {"model": "-/-"}]}, "nims.0.model: '-/-' makes the entity name ''"),
    (
        {
            "product": "platform",
            "platform": {"jobs": {"backend": "volcano"}},
            "prerequisites": {"volcano": "skip"},
        },
        "prerequisites.volcano: platform.jobs.backend: volcano needs it",
    ),
    ({"product": "platform", "platform": {"jobs": {"pool": "none"}}}, "platform.jobs.pool: there is no GPU pool"),
    ({"product": "platform", "platform": {"oidc": {**OIDC, "issuer": "http://a"}}}, "platform.oidc.issuer"),
    ({"platform": {"replicas": 2}}, "platform: is of product: platform"),
    ({"nims": [SAME]}, "nims.0.deploy: platform needs product: platform"),
]


@pytest.mark.parametrize(("sections", "told"), BROKEN)
def test_what_cannot_work_is_refused(sections: dict[str, Any], told: str) -> None:
    (line,) = cluster_settings.refusal("gke", **sections)
    assert line.startswith(f"nemostack:{told}"), line


def test_a_shared_volume_is_needed() -> None:
    (line,) = cluster_settings.refusal("existing", product="platform", storage={"rwx_class_name": None})
    assert "the NeMo Platform's pods and jobs share a ReadWriteMany volume" in line


def test_mixed_partitions_are_refused() -> None:
    pool = {"name": "parts", "gpu": "H100", "count": 1, "mig": {"profile": "3g.40gb", "strategy": "mixed"}}
    gke = {"project": "acme-1", "location": "us-central1-a", "gpu_pools": [pool]}
    nim = DEPLOYED | {"pool": "parts", "tag": "1.13.1"}
    line = cluster_settings.refusal("gke", product="platform", gke=gke, nims=[nim])[0]
    assert "ask for nvidia.com/gpu, and parts offers nvidia.com/mig-3g.40gb" in line


def test_routes_without_users_are_warned_about() -> None:
    routes = {"kind": "gateway", "domain": "ai.example.com"}
    assert [line.split(":")[0] for line in warnings(config("existing", routes=routes))] == ["platform.oidc"]
    in_the_clear = config("existing", routes=routes, platform={"oidc": OIDC})
    assert [line.split(":")[0] for line in warnings(in_the_clear)] == ["routes.tls.kind"]
    assert list(warnings(config("existing"))) == []


def test_images_are_recorded() -> None:
    from infra import images, versions

    settings = config(platform={"oidc": OIDC}, postgres={"kind": "bundled"})
    (use,) = [
        one for one in images.chart_uses(settings, resolve_topology(settings)) if one.chart == versions.NEMO_PLATFORM
    ]
    assert recorded_images(use, "0.3.0") >= {
        "nvcr.io/nvidia/nemo-platform/nmp-api:0.3.0",
        "docker.io/envoyproxy/envoy:v1.37.0",
        "docker.io/library/postgres:18",
        "docker.io/library/busybox:stable",
    }
    json.dumps(use.values)  # no secret is among them
