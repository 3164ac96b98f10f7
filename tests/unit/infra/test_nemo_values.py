"""Values of the umbrella chart, against facts written down by hand: addresses, Secrets, what is on and what is off."""

import json
import re
from typing import Any

import pytest

from infra import names
from infra.config import ClusterStackConfig
from infra.config.platform import ObjectStore
from infra.nemo.values import ALIASES, Surroundings
from infra.platform.credentials import CredentialNames
from simulator.charts import shapes
from tests.unit.infra.cluster_support import A100, CLOUDS, L4, SECRETS, config_for, unknown
from tests.unit.infra.from_settings import release_values

AROUND = Surroundings(
    credentials=CredentialNames(ngc="ngc-api", pull="nvcrimagepullsecret", hf="hf-token"),
    storage_class="fast",
    rwx_storage_class="shared",
)
ALL = {"guardrails": True, "deployment_management": True, "nim_proxy": True}
DATA_STORE = "http://nemo-data-store.nemo-datastore.svc.cluster.local:3000"
ENTITY_STORE = "http://nemo-entity-store.nemo-entity-store.svc.cluster.local:8000"
NIM = "http://llama3-2-3b-instruct.llama3-2-3b-instruct.svc.cluster.local:8000"


def test_what_another_vendor_added_to_the_chart_is_unknown() -> None:
    """The chart is public only in the collection of a vendor who added a key of its own."""
    chart = "nemo-microservices-helm-chart"
    assert shapes.unknown({"ezua": {"virtualService": {}}}, shapes.load(chart)) == ["ezua"]
    shape: dict[str, Any] = {"ezua": "map", "ingress": {"enabled": "bool"}}
    assert shapes.of_the_vendor(shape, chart) == {"ingress": {"enabled": "bool"}}


def by_namespace(config: ClusterStackConfig, around: Surroundings = AROUND) -> dict[str, dict[str, Any]]:
    """Values of each release."""
    return release_values(config, around)


def at(found: dict[str, Any], path: str) -> Any:
    """The value at a dotted path."""
    inner: Any = found
    for key in path.split("."):
        inner = inner[key]
    return inner


@pytest.fixture(scope="module")
def apart() -> dict[str, dict[str, Any]]:
    return by_namespace(config_for("gke"))


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return by_namespace(config_for("gke", layout="single", services=ALL, prerequisites={"nim_operator": "install"}))[
        "nemo"
    ]


@pytest.mark.parametrize(
    ("namespace", "on"),
    [
        ("nemo-datastore", {"data-store"}),
        ("nemo-entity-store", {"entity-store"}),
        ("nemo-customizer", {"customizer", "nemo-operator"}),
        ("nemo-evaluator", {"evaluator", "core"}),
    ],
)
def test_a_release_enables_its_service_only(apart: Any, namespace: str, on: set[str]) -> None:
    found = apart[namespace]
    assert {alias for alias in ALIASES if found[alias]["enabled"]} == on
    assert not any(found["tags"].values())


def test_operator_of_training_jobs_stays_in_its_namespace(apart: Any, whole: Any) -> None:
    for found in (apart["nemo-customizer"], whole):
        assert found["nemo-operator"]["enabled"] is True
        assert found["nemo-operator"]["watchAllNamespaces"] is False


def test_the_proxy_of_training_metrics_comes_from_a_registry_that_is_open(apart: Any) -> None:
    """The chart's default, gcr.io/kubebuilder, is closed: the Deployment would never become ready, nor the release."""
    proxy = apart["nemo-customizer"]["nemo-operator"]["controllerManager"]["kubeRbacProxy"]
    assert proxy["image"]["repository"] == "registry.k8s.io/kubebuilder/kube-rbac-proxy"


def test_single_enables_all_that_run(whole: Any) -> None:
    assert {alias for alias in ALIASES if whole[alias]["enabled"]} == {
        "data-store",
        "entity-store",
        "customizer",
        "nemo-operator",
        "evaluator",
        "core",
        "guardrails",
        "deployment-management",
        "nim-proxy",
    }


@pytest.mark.parametrize(
    ("namespace", "path", "url"),
    [
        ("nemo-entity-store", "entity-store.appConfig.BASE_URL_DATASTORE", f"{DATA_STORE}/v1/hf"),
        ("nemo-entity-store", "entity-store.appConfig.BASE_URL_NIM", NIM),
        ("nemo-customizer", "customizer.customizerConfig.nemoDataStoreURL", DATA_STORE),
        ("nemo-customizer", "customizer.customizerConfig.entityStoreURL", ENTITY_STORE),
        (
            "nemo-customizer",
            "customizer.customizerConfig.mlflowURL",
            "http://mlflow-tracking.mlflow.svc.cluster.local:80",
        ),
        ("nemo-evaluator", "evaluator.external.dataStore.endpoint", f"{DATA_STORE}/v1/hf"),
        ("nemo-evaluator", "evaluator.external.entityStore.endpoint", ENTITY_STORE),
        (
            "nemo-evaluator",
            "evaluator.external.jobs.endpoint",
            "http://nemo-core-api.nemo-evaluator.svc.cluster.local:8000",
        ),
        ("nemo-evaluator", "evaluator.external.nimProxy.endpoint", NIM),
        ("nemo-datastore", "data-store.external.rootUrl", DATA_STORE),
        ("nemo-datastore", "data-store.external.domain", "nemo-data-store.nemo-datastore.svc.cluster.local"),
    ],
)
def test_addresses_across_namespaces(apart: Any, namespace: str, path: str, url: str) -> None:
    assert at(apart[namespace], path) == url


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("entity-store.appConfig.BASE_URL_DATASTORE", "http://nemo-data-store.nemo.svc.cluster.local:3000/v1/hf"),
        ("entity-store.appConfig.BASE_URL_NIM", "http://nemo-nim-proxy.nemo.svc.cluster.local:8000"),
        ("evaluator.external.nimProxy.endpoint", "http://nemo-nim-proxy.nemo.svc.cluster.local:8000"),
        ("guardrails.env.NIM_ENDPOINT_URL", "http://nemo-nim-proxy.nemo.svc.cluster.local:8000/v1"),
        ("guardrails.external.entityStore.endpoint", "http://nemo-entity-store.nemo.svc.cluster.local:8000"),
        ("deployment-management.dataStore.url", "http://nemo-data-store.nemo.svc.cluster.local:3000"),
        (
            "deployment-management.deployments.nimPeftSource",
            "http://nemo-entity-store.nemo.svc.cluster.local:8000",
        ),
        (
            "core.config.models.controller.backends.k8s-nim-operator.config.peft_source",
            "http://nemo-entity-store.nemo.svc.cluster.local:8000",
        ),
    ],
)
def test_addresses_in_one_namespace(whole: Any, path: str, url: str) -> None:
    assert at(whole, path) == url


def test_no_short_name_is_left(apart: Any, whole: Any) -> None:
    for found in [*apart.values(), whole]:
        hosts = re.findall(r"http://([^/:\"]+)", json.dumps(found))
        assert hosts
        assert all(host.endswith(".svc.cluster.local") for host in hosts), hosts


@pytest.mark.parametrize(
    ("tls", "url"), [("none", "http://data-store.ai.example.com"), ("self-signed", "https://data-store.ai.example.com")]
)
def test_links_to_files_use_the_public_host(tls: str, url: str) -> None:
    config = config_for("gke", routes={"kind": "gateway", "domain": "ai.example.com", "tls": {"kind": tls}})
    external = by_namespace(config)["nemo-datastore"]["data-store"]["external"]
    assert external == {"rootUrl": url, "domain": "data-store.ai.example.com"}


@pytest.mark.parametrize(
    ("namespace", "alias", "database"),
    [
        ("nemo-datastore", "data-store", "data-store"),
        ("nemo-entity-store", "entity-store", "entity-store"),
        ("nemo-customizer", "customizer", "customizer"),
        ("nemo-evaluator", "evaluator", "evaluator"),
        ("nemo-evaluator", "core", "core"),
    ],
)
def test_databases_are_ours(apart: Any, namespace: str, alias: str, database: str) -> None:
    found = apart[namespace][alias]
    assert found["postgresql"] == {"enabled": False}
    external = {key: value for key, value in found["externalDatabase"].items() if key != "sslMode"}
    assert external == {
        "host": "nemo-postgres-rw.postgres.svc.cluster.local",
        "port": 5432,
        "user": database,
        "database": database,
        "existingSecret": f"{database}-postgres",
        "existingSecretPasswordKey": "password",
    }


def test_jobs_service_reads_the_entity_stores_database(apart: Any) -> None:
    assert at(apart["nemo-evaluator"], "core.config.models.database") == {
        "host": "nemo-postgres-rw.postgres.svc.cluster.local",
        "port": 5432,
        "user": "entity-store",
        "name": "entity-store",
        "password": "",
        "passwordExistingSecret": {"name": "entity-store-postgres", "key": "password"},
    }


def test_external_server_with_secrets_of_the_user() -> None:
    login = {"name": "entities", "user": "nemo_entities", "secret": "our-entity-db"}
    server = {"host": "db.example.com", "ssl_mode": "verify-full", "databases": {"entity_store": login}}
    found = by_namespace(config_for("gke", postgres={"kind": "external", "external": server}))
    assert found["nemo-datastore"]["data-store"]["externalDatabase"]["sslMode"] == "verify-full"
    assert found["nemo-entity-store"]["entity-store"]["externalDatabase"] == {
        "host": "db.example.com",
        "port": 5432,
        "user": "nemo_entities",
        "database": "entities",
        "existingSecret": "our-entity-db",
        "existingSecretPasswordKey": "password",
    }
    assert at(found["nemo-evaluator"], "core.config.models.database") == {
        "host": "db.example.com",
        "port": 5432,
        "user": "nemo_entities",
        "name": "entities",
        "password": "",
        "passwordExistingSecret": {"name": "our-entity-db", "key": "password"},
    }
    assert found["nemo-customizer"]["customizer"]["externalDatabase"]["user"] == "customizer"
    assert found["nemo-customizer"]["customizer"]["env"]["PGSSLMODE"] == "verify-full"


def test_whole_uris_of_the_user_go_to_the_services_that_take_one() -> None:
    server = {"host": "db.example.com", "uri_key": "dsn", "databases": {"evaluator": {"secret": "our-login"}}}
    found = by_namespace(config_for("gke", postgres={"kind": "external", "external": server}))
    uris = {
        alias: values["externalDatabase"].get("uriSecret")
        for namespace in found.values()
        for alias, values in namespace.items()
        if isinstance(values, dict) and "externalDatabase" in values
    }
    assert uris == {
        "data-store": None,
        "entity-store": {"name": "entity-store-postgres", "key": "dsn"},
        "customizer": {"name": "customizer-postgres", "key": "dsn"},
        "evaluator": {"name": "our-login", "key": "dsn"},
        "core": {"name": "core-postgres", "key": "dsn"},
    }


def test_guardrails_have_the_key_for_hosted_models_only_where_it_is_named() -> None:
    def hosted(**sections: Any) -> Any:
        found = by_namespace(config_for("gke", services={"guardrails": True}, **sections))
        return found["nemo-guardrails"]["guardrails"].get("guardrails")

    assert hosted() is None
    assert hosted(guardrails={"nvidia_api_secret": "nvidia-api"}) == {"nvcfAPIKeySecretName": "nvidia-api"}


def test_bundled_databases_have_no_default_password() -> None:
    found = by_namespace(
        config_for(
            "gke",
            layout="single",
            services=ALL,
            postgres={"kind": "bundled"},
            prerequisites={"nim_operator": "install"},
        )
    )["nemo"]
    for alias in ("data-store", "entity-store", "customizer", "evaluator", "core", "guardrails"):
        auth = found[alias]["postgresql"]["auth"]
        assert auth == {"existingSecret": f"{alias}-postgres", "password": ""}
        assert "externalDatabase" not in found[alias]
    assert at(found, "data-store.postgresql.global.postgresql.auth.existingSecret") == "data-store-postgres"
    assert at(found, "core.config.models.database.passwordExistingSecret.name") == "entity-store-postgres"


def test_public_passwords_of_the_chart_are_overridden(apart: Any) -> None:
    store, customizer = apart["nemo-datastore"]["data-store"], apart["nemo-customizer"]["customizer"]
    assert store["admin"] == {"existingSecret": "data-store-admin", "password": ""}
    assert store["jwtSecret"] == {"existingSecret": "data-store-lfs", "existingSecretKey": "jwtSecret"}
    # the chart refuses a Secret beside its default
    assert customizer["wandb"] == {
        "secretValue": "",
        "existingSecret": "customizer-wandb",
        "existingSecretKey": "encryption_key",
    }


@pytest.mark.parametrize("target", ["gke", "eks", "aks", "existing", "minikube"])
@pytest.mark.parametrize("layout", ["per-service", "single"])
def test_no_secret_is_a_value(target: str, layout: str) -> None:
    for found in by_namespace(config_for(target, layout=layout)).values():
        for secret in SECRETS.values():
            assert secret not in json.dumps(found)


def test_credentials_by_name(apart: Any) -> None:
    for found in apart.values():
        assert found["existingSecret"] == "ngc-api"
        assert found["existingImagePullSecret"] == "nvcrimagepullsecret"
        assert found["global"]["imagePullSecrets"] == [{"name": "nvcrimagepullsecret"}]
    customizer = apart["nemo-customizer"]["customizer"]
    assert (customizer["ngcAPISecret"], customizer["ngcAPISecretKey"]) == ("ngc-api", "NGC_API_KEY")
    assert (customizer["hfAPISecret"], customizer["hfAPISecretKey"]) == ("hf-token", "HF_TOKEN")


def test_other_names_of_secrets_reach_every_place() -> None:
    around = Surroundings(credentials=CredentialNames(ngc="our-ngc", pull="our-pull", hf=None))
    sections: Any = {"services": ALL, "prerequisites": {"nim_operator": "install"}}
    for found in by_namespace(config_for("gke", **sections), around).values():
        text = json.dumps(found)
        assert "ngc-api" not in text
        assert "nvcrimagepullsecret" not in text
        assert "hf-token" not in text


def test_bucket_of_the_data_store() -> None:
    store = by_namespace(config_for("gke"))["nemo-datastore"]["data-store"]
    assert store["objectStore"].pop("endpoint").endswith(".object-store.svc.cluster.local:8333")  # no scheme, no path
    assert store["objectStore"] == {
        "enabled": True,
        "ssl": False,
        "bucketName": "nemostack",
        "region": "us-east-1",
        "existingSecret": "object-store",
        "existingSecretAccessKey": "access_key",
        "existingSecretAccessSecret": "secret_key",
    }
    assert store["serveDirect"] is False


@pytest.mark.parametrize(
    ("bucket", "endpoint", "ssl"),
    [
        ({"kind": "s3", "region": "eu-west-1", "secret": "keys"}, "s3.eu-west-1.amazonaws.com", True),
        ({"kind": "s3", "endpoint": "http://minio:9000/", "secret": "keys"}, "minio:9000", False),
        ({"kind": "gcs", "secret": "keys"}, "storage.googleapis.com", True),
    ],
)
def test_external_buckets(bucket: Any, endpoint: str, ssl: bool) -> None:
    found = by_namespace(config_for("gke", object_store=bucket))["nemo-datastore"]["data-store"]["objectStore"]
    assert (found["endpoint"], found["ssl"], found["existingSecret"]) == (endpoint, ssl, "keys")


@pytest.mark.parametrize("bucket", [{"kind": "none"}, {"kind": "azure", "account": "account1"}])
def test_without_s3_files_stay_on_the_volume(bucket: Any) -> None:
    config = config_for("aks").model_copy(update={"object_store": ObjectStore(**bucket)})
    found = by_namespace(config)["nemo-datastore"]["data-store"]
    assert found["objectStore"] == {"enabled": False}
    assert found["persistence"] == {"storageClass": "fast"}


def test_volumes_that_several_pods_mount(apart: Any) -> None:
    customizer = apart["nemo-customizer"]["customizer"]
    assert customizer["modelsStorage"] == {
        "enabled": True,
        "size": "100Gi",
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "shared",
    }
    assert at(customizer, "customizerConfig.training.pvc") == {
        "size": "200Gi",
        "volumeAccessMode": "ReadWriteMany",
        "storageClass": "shared",
    }
    assert at(apart["nemo-evaluator"], "core.config.jobs.storage") == {
        "storageClass": "shared",
        "accessModes": ["ReadWriteMany"],
    }


def test_one_node_needs_no_shared_class() -> None:
    around = Surroundings(credentials=AROUND.credentials, storage_class="standard")
    found = by_namespace(config_for("minikube"), around)
    assert at(found["nemo-evaluator"], "core.config.jobs.storage") == {
        "storageClass": "standard",
        "accessModes": ["ReadWriteOnce"],
    }
    assert at(found["nemo-customizer"], "customizer.modelsStorage.accessModes") == ["ReadWriteOnce"]


TAINTED: Any = {
    "gpu_pools": [
        L4 | {"taints": [{"key": "nvidia.com/gpu", "value": "present"}, {"key": "team", "value": "ml"}]},
        A100 | {"taints": [{"key": "batch", "value": "yes", "effect": "NoExecute"}]},
    ]
}
TOLERATED = [
    {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "team", "operator": "Equal", "value": "ml", "effect": "NoSchedule"},
    {"key": "batch", "operator": "Equal", "value": "yes", "effect": "NoExecute"},
]


@pytest.mark.parametrize("layout", ["per-service", "single"])
def test_jobs_with_a_gpu_tolerate_every_taint_of_gpu_pools(layout: str) -> None:
    config = config_for("gke", layout=layout, gke=CLOUDS["gke"] | TAINTED)
    found = by_namespace(config)
    jobs = found.get("nemo", found.get("nemo-evaluator")), found.get("nemo", found.get("nemo-customizer"))
    assert jobs[0] is not None
    assert jobs[1] is not None
    executors = {executor["provider"]: executor for executor in at(jobs[0], "core.config.jobs.executors")}
    assert executors["gpu"]["config"]["tolerations"] == TOLERATED
    assert "config" not in executors["cpu"]
    started = at(jobs[0], "core.config.models.controller.backends.k8s-nim-operator.config.default_tolerations")
    assert started == TOLERATED
    assert at(jobs[1], "customizer.customizerConfig.tolerations") == TOLERATED


def test_spot_nodes_of_aks_have_a_taint_of_their_own() -> None:
    pools = [CLOUDS["aks"]["gpu_pools"][0] | {"spot": True}, CLOUDS["aks"]["gpu_pools"][1]]
    found = by_namespace(config_for("aks", aks=CLOUDS["aks"] | {"gpu_pools": pools}))
    assert at(found["nemo-customizer"], "customizer.customizerConfig.tolerations")[-1] == {
        "key": "kubernetes.azure.com/scalesetpriority",
        "operator": "Equal",
        "value": "spot",
        "effect": "NoSchedule",
    }


def test_training_on_a_pool() -> None:
    found = by_namespace(config_for("gke", customizer={"pool": "train"}))["nemo-customizer"]
    assert at(found, "customizer.customizerConfig.nodeSelectors") == {"nemostack.io/pool": "train"}


def test_training_without_a_pool_goes_where_it_fits() -> None:
    def pool_of(*pools: Any) -> Any:
        found = by_namespace(config_for("gke", gke=CLOUDS["gke"] | {"gpu_pools": list(pools)}))["nemo-customizer"]
        return at(found, "customizer.customizerConfig.nodeSelectors")

    large = A100 | {"max": 2}
    assert pool_of(large) == {}
    assert pool_of(L4, large) == {"nemostack.io/pool": "train"}  # 24 GB are too few
    sliced = large | {"name": "sliced", "time_slicing": {"replicas": 2}}
    assert pool_of(sliced, large) == {"nemostack.io/pool": "train"}  # NIMs may be on the other
    assert pool_of(large, large | {"name": "more"}) == {}


def test_targets_and_templates(apart: Any) -> None:
    customizer = apart["nemo-customizer"]["customizer"]
    targets = customizer["customizationTargets"]["targets"]
    assert {name for name, target in targets.items() if target["enabled"]} == {"meta/llama-3.2-3b-instruct@2.0"}
    assert targets["meta/llama-3.1-8b-instruct@2.0"] == {"enabled": False}  # on in the chart
    assert targets["meta/llama-3.2-3b-instruct@2.0"] == {
        "enabled": True,
        "namespace": "meta",
        "name": "llama-3.2-3b-instruct@2.0",
        "base_model": "meta/llama-3.2-3b-instruct",
        "model_uri": "ngc://nvidia/nemo/llama-3_2-3b-instruct:2.0",
        "model_path": "llama32_3b-instruct_2_0",
        "num_parameters": 3_000_000_000,
        "precision": "bf16-mixed",
    }
    templates = customizer["customizationConfigTemplates"]
    assert templates["overrideExistingTemplates"] is True
    assert templates["templates"] == {
        "meta/llama-3.2-3b-instruct@v1.0.0+40GB": {
            "namespace": "meta",
            "name": "llama-3.2-3b-instruct@v1.0.0+40GB",
            "target": "meta/llama-3.2-3b-instruct@2.0",
            "max_seq_length": 4096,
            "prompt_template": "{prompt} {completion}",
            "training_options": [
                {
                    "training_type": "sft",
                    "finetuning_type": "lora",
                    "num_gpus": 1,
                    "num_nodes": 1,
                    "tensor_parallel_size": 1,
                    "micro_batch_size": 1,
                },
            ],
        }
    }


@pytest.mark.parametrize(("hf", "allowed"), [("hf-token", True), (None, False)])
def test_hugging_face_downloads_need_a_token(hf: str | None, allowed: bool) -> None:
    around = Surroundings(credentials=CredentialNames(ngc="n", pull="p", hf=hf))
    customizer = by_namespace(config_for("gke"), around)["nemo-customizer"]["customizer"]
    assert customizer["customizationTargets"]["hfTargetDownload"] == {"enabled": allowed}
    assert ("hfAPISecret" in customizer) is allowed


def test_pending_jobs_outlast_a_cold_start() -> None:
    found = by_namespace(config_for("gke", customizer={"max_pending_minutes": 90}))["nemo-customizer"]
    assert at(found, "customizer.env.MAX_PENDING_JOB_MINUTES") == "90"


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_a_server_is_verified_by_the_authorities_of_the_image(mode: str) -> None:
    """Without a file of authorities libpq looks for one in the user's home, and refuses to connect."""
    config = config_for("gke", postgres={"kind": "external", "external": {"host": "db.example.com", "ssl_mode": mode}})
    found = by_namespace(config)
    tls = {"PGSSLMODE": mode, "PGSSLROOTCERT": "/etc/ssl/certs/ca-certificates.crt"}
    assert found["nemo-customizer"]["customizer"]["env"].items() >= tls.items()
    assert found["nemo-entity-store"]["entity-store"]["env"] == tls
    jobs = {variable["name"]: variable["value"] for variable in found["nemo-evaluator"]["core"]["api"]["env"]}
    assert jobs.items() >= tls.items()


def test_every_service_requests_something(apart: Any, whole: Any) -> None:
    for alias in ("data-store", "entity-store", "evaluator", "guardrails", "deployment-management", "nim-proxy"):
        assert set(whole[alias]["resources"]["requests"]) == {"cpu", "memory"}
    for part in ("api", "controller", "logcollector", "databaseMigrations"):
        assert set(apart["nemo-evaluator"]["core"][part]["resources"]["requests"]) == {"cpu", "memory"}


def test_tokens_are_off_where_no_one_calls_kubernetes(whole: Any) -> None:
    assert whole["entity-store"]["serviceAccount"] == {"create": True, "automount": False}
    assert whole["guardrails"]["serviceAccount"]["automount"] is False
    assert whole["core"]["logcollector"]["serviceAccount"]["automount"] is False


def test_proxy_looks_where_nims_are(whole: Any) -> None:
    assert whole["nim-proxy"]["nimNamespace"] == "nemo"
    apart = by_namespace(config_for("gke", services={"nim_proxy": True}))
    assert apart["nemo-nim-proxy"]["nim-proxy"]["nimNamespace"] == ""


def test_monitors_only_with_prometheus(apart: Any) -> None:
    assert "metrics" not in apart["nemo-datastore"]["data-store"]
    watched = by_namespace(config_for("gke", services={"nim_proxy": True}, observability={"prometheus": "install"}))
    assert watched["nemo-datastore"]["data-store"]["metrics"]["serviceMonitor"]["enabled"] is True
    assert watched["nemo-nim-proxy"]["nim-proxy"]["monitoring"] == {"enabled": False}  # monitoring.py has one


@pytest.mark.parametrize(
    ("changed", "release"),
    [
        ({"customizer": {"max_pending_minutes": 90}}, "nemo-customizer"),
        ({"object_store": {"bucket": "other"}}, "nemo-datastore"),
        ({"mlflow": {"mode": "skip"}}, "nemo-customizer"),
        ({"routes": {"kind": "gateway", "domain": "ai.example.com"}}, "nemo-datastore"),
    ],
)
def test_one_setting_changes_one_release(apart: Any, changed: Any, release: str) -> None:
    after = by_namespace(config_for("gke", **changed))
    assert {name for name in apart if after[name] != apart[name]} == {release}


def test_same_values_every_time(apart: Any) -> None:
    assert json.dumps(by_namespace(config_for("gke"))) == json.dumps(apart)


EVERYTHING: Any = {
    "services": ALL,
    "prerequisites": {"nim_operator": "install"},
    "observability": {"prometheus": "install"},
    "routes": {"kind": "gateway", "domain": "ai.example.com"},
}


@pytest.mark.parametrize(
    "sections",
    [{}, {"layout": "single"}, EVERYTHING, EVERYTHING | {"layout": "single", "postgres": {"kind": "bundled"}}],
)
def test_the_chart_knows_every_value(sections: Any) -> None:
    """The other route: keys and types as they were derived from a copy of the chart itself."""
    shape = shapes.load("nemo-microservices-helm-chart")
    for found in by_namespace(config_for("gke", **sections)).values():
        assert list(unknown(found, shape, "")) == []


def test_release_names_make_service_names() -> None:
    assert names.RELEASE == "nemo"  # bundled databases and the jobs service's names are built from it
