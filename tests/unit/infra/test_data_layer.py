"""Postgres, object store and MLflow: what each setting makes, where the Secrets are, and that no secret lies open."""

import json
import re
from fnmatch import fnmatch
from typing import Any

import pulumi
import pytest

from infra.platform import object_store, postgres
from infra.platform.mlflow import Mlflow, MlflowArgs
from infra.platform.object_store import ObjectStore, ObjectStoreArgs
from infra.platform.postgres import Postgres, PostgresArgs
from infra.topology import resolve_topology
from tests.unit.infra.cluster_support import chart_store, cluster, config_for, every, of_type, run
from tests.unit.infra.from_settings import mlflow_values

KEYS = {"ngc_api_key": "k", "object_store_access_key": "AKIA", "object_store_secret_key": "of-the-settings"}
EXTERNAL: Any = {
    "kind": "external",
    "external": {"host": "pg.example.com", "databases": {"mlflow": {"secret": "theirs", "name": "tracking"}}},
}
BUNDLED: Any = {"layout": "single", "postgres": {"kind": "bundled"}}
PASSWORDS = {"pulumi-python:dynamic/nemostack:GeneratedPassword": {"value": "p" * 32}}
OF_SETTINGS = {"object_store": {"kind": "s3", "region": "eu-central-1"}, "secrets": KEYS}


def built(target="gke", annotations=None, **sections):
    """Run the three components as the stack does."""
    ready = {}

    def make():
        config = config_for(target, **sections)
        opts = pulumi.ResourceOptions(provider=cluster().provider)
        given = {key: pulumi.Output.secret(value) for key, value in sections.get("secrets", KEYS).items()}
        charts = chart_store()
        topology = resolve_topology(config)
        databases = Postgres(
            "postgres",
            PostgresArgs(
                settings=config.postgres,
                databases=topology.databases,
                mlflow_logins=config.mlflow.basic_auth,
                charts=charts,
                storage_class="fast",
            ),
            opts,
        )
        bucket = ObjectStore(
            "object-store",
            ObjectStoreArgs(
                settings=config.object_store,
                bucket=topology.bucket,
                charts=charts,
                secrets=given,
                storage_class="fast",
            ),
            opts,
        )
        after = [*databases.ready, *bucket.ready]
        tracking = Mlflow(
            "mlflow",
            MlflowArgs(
                settings=config.mlflow,
                observability=config.observability,
                topology=topology,
                charts=charts,
                storage_class="fast",
                annotations=annotations or {},
                after=after,
            ),
            opts,
        )
        for key, made in (("postgres", databases), ("object_store", bucket), ("mlflow", tracking)):
            ready[key] = [resource._name for resource in made.ready]

    return run(make, outputs=PASSWORDS), ready


def secrets_in(found):
    """(namespace, name) -> the Secret."""
    where = ((made.inputs["metadata"], made) for made in of_type(found, ":Secret").values())
    return {(metadata["namespace"], metadata["name"]): made for metadata, made in where}


SERVICES = {
    "data-store": "nemo-datastore",
    "entity-store": "nemo-entity-store",
    "customizer": "nemo-customizer",
    "evaluator": "nemo-evaluator",
    "core": "nemo-evaluator",
    "mlflow": "mlflow",
}


def test_each_service_has_a_database_a_user_and_secrets_on_both_sides():
    found, ready = built()
    there = secrets_in(found)
    (servers,) = of_type(found, ":Cluster").values()
    roles = {role["name"]: role["passwordSecret"]["name"] for role in servers.inputs["spec"]["managed"]["roles"]}
    databases = {made.inputs["spec"]["name"]: made for made in of_type(found, ":Database").values()}
    assert set(roles) == set(databases) == set(SERVICES)
    for service, namespace in SERVICES.items():
        assert databases[service].inputs["spec"]["owner"] == service
        role, login = there["postgres", roles[service]], there[namespace, f"{service}-postgres"]
        assert role.inputs["type"] == "kubernetes.io/basic-auth"
        assert set(role.inputs["stringData"]) == {"username", "password"}
        assert set(login.inputs["stringData"]) == {"username", "password", "dbname", "host", "port", "uri"}
        assert login.inputs["stringData"]["host"] == "nemo-postgres-rw.postgres.svc.cluster.local"
        assert f"database-{service}" in ready["postgres"]
        assert login.name in ready["postgres"]


def test_the_jobs_service_can_open_the_entity_store_s_database():
    found, _ = built()
    assert ("nemo-evaluator", "entity-store-postgres") in secrets_in(found)
    found, _ = built(layout="single")
    assert [where for where, name in secrets_in(found) if name == "entity-store-postgres"] == ["postgres", "nemo"]


def test_secrets_are_secret_and_nowhere_else():
    found, _ = built(mlflow={"basic_auth": True}, routes={"kind": "ingress", "domain": "example.com"})
    password = PASSWORDS["pulumi-python:dynamic/nemostack:GeneratedPassword"]["value"]
    seen = 0
    for made in found.values():
        if made.type.endswith(":Secret"):
            for key, value in made.inputs["stringData"].items():
                if password in value:
                    seen += 1
                    assert {"stringData", f"stringData.{key}"} & made.secrets
        else:
            assert password not in json.dumps(made.inputs)
    # six services on both sides with a URI each on theirs, the jobs service's copy, bucket, its config, flask, admin
    assert seen >= 6 * 3 + 2 + 3 + 2


def test_secrets_come_before_their_users():
    found, _ = built()
    (servers,) = of_type(found, ":Cluster").values()
    assert "cloudnative-pg" in servers.dependencies
    assert "postgres-data-store-postgres" in servers.dependencies
    assert all("nemo-postgres" in made.dependencies for made in every(found, ":Database"))
    releases = of_type(found, ":Release")
    assert {"database-mlflow", "mlflow-mlflow-postgres", "mlflow-object-store", "object-store"} <= releases[
        "mlflow"
    ].dependencies
    assert "object-store-object-store-config" in releases["object-store"].dependencies


def test_waits_for_servers_and_databases():
    found, _ = built()
    notes = {
        made.type.split(":")[-1]: made.inputs["metadata"]["annotations"]["pulumi.com/waitFor"]
        for made in [*of_type(found, ":Cluster").values(), *of_type(found, ":Database").values()]
    }
    assert notes == {"Cluster": "condition=Ready", "Database": "jsonpath={.status.applied}=true"}


def test_an_adopted_operator_is_verified():
    found, _ = built(postgres={"operator": "adopt"})
    assert "cloudnative-pg" not in of_type(found, ":Release")
    (read,) = of_type(found, ":CustomResourceDefinition").values()
    assert (read.name, read.inputs["id"]) == ("postgres.operator.adopt", "clusters.postgresql.cnpg.io")
    (servers,) = of_type(found, ":Cluster").values()
    assert read.name in servers.dependencies


@pytest.mark.parametrize("sections", [{"postgres": EXTERNAL}, BUNDLED])
def test_databases_of_others_need_nothing(sections):
    found, ready = built(**sections)
    assert ready["postgres"] == []
    assert not [name for _, name in secrets_in(found) if name.endswith("-postgres")]
    assert "cloudnative-pg" not in of_type(found, ":Release")


def test_postgres_has_an_image_of_a_kind_that_stays():
    """CloudNativePG stops making its images `system`, with Barman inside, and those without a name of a Debian."""
    image = postgres.cluster_spec(config_for("gke").postgres, [], None)["imageName"]
    assert re.search(r":\d+\.\d+-standard-(bookworm|trixie)$", image)


def test_one_server_does_not_keep_a_node_from_being_drained():
    for instances, budget in ((1, False), (3, True)):
        config = config_for("gke", postgres={"instances": instances})
        assert postgres.cluster_spec(config.postgres, [], None)["enablePDB"] is budget


def test_storage_class_is_said_only_where_there_is_one():
    config = config_for("gke", postgres={"size": "7Gi"})
    assert postgres.cluster_spec(config.postgres, [], None)["storage"] == {"size": "7Gi"}
    assert postgres.cluster_spec(config.postgres, [], "fast")["storage"]["storageClass"] == "fast"


def test_the_bucket_in_the_cluster():
    found, ready = built()
    there = secrets_in(found)
    login = there["nemo-datastore", "object-store"].inputs["stringData"]
    assert login == there["mlflow", "object-store"].inputs["stringData"]
    config = json.loads(there["object-store", "object-store-config"].inputs["stringData"]["seaweedfs_s3_config"])
    (user,) = config["identities"]
    assert user["credentials"] == [{"accessKey": login["access_key"], "secretKey": login["secret_key"]}]
    assert all(action.endswith(":nemostack") for action in user["actions"])
    assert {"object-store", "nemo-datastore-object-store", "mlflow-object-store"} == set(ready["object_store"])
    values = of_type(found, ":Release")["object-store"].inputs["values"]
    assert values["allInOne"]["s3"]["createBuckets"] == [{"name": "nemostack"}]
    assert values["allInOne"]["s3"]["existingConfigSecret"] == "object-store-config"
    # the chart's Service is <fullname>-all-in-one
    service = f"{values['fullnameOverride']}-all-in-one"
    bucket = resolve_topology(config_for("gke")).bucket
    assert bucket is not None
    assert bucket.endpoint == f"http://{service}.object-store.svc.cluster.local:8333"


def test_keys_of_the_settings():
    found, ready = built(**OF_SETTINGS)
    for namespace in ("nemo-datastore", "mlflow"):
        login = secrets_in(found)[namespace, "object-store"]
        assert login.inputs["stringData"] == {"access_key": "AKIA", "secret_key": "of-the-settings"}
        assert {"stringData", "stringData.secret_key"} & login.secrets
    assert "object-store" not in of_type(found, ":Release")
    assert len(ready["object_store"]) == 2


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("gke", {"kind": "s3", "region": "eu-central-1", "secret": "mine"}),
        ("aks", {"kind": "azure", "account": "account1", "resource_group": "group1"}),
        ("gke", {"kind": "none"}),
    ],
)
def test_buckets_of_others_need_nothing(target, said):
    found, ready = built(target, object_store=said, mlflow={"image": "registry.example.com/mlflow:1"})
    assert ready["object_store"] == []
    assert not [name for _, name in secrets_in(found) if "object-store" in name]


def values(annotations=None, target="gke", **sections):
    return mlflow_values(config_for(target, **sections), annotations)


def test_mlflow_is_where_everybody_looks_for_it():
    found, _ = built()
    release = of_type(found, ":Release")["mlflow"]
    made = release.inputs["values"]
    where = release.inputs["namespace"]
    assert resolve_topology(config_for("gke")).addresses.mlflow_url == (
        f"http://{made['fullnameOverride']}.{where}.svc.cluster.local:{made['service']['port']}"
    )


def test_mlflow_keeps_runs_in_postgres_and_artifacts_in_the_bucket():
    made = values()
    assert made["backendStore"]["postgres"] == {
        "enabled": True,
        "host": "nemo-postgres-rw.postgres.svc.cluster.local",
        "port": 5432,
        "database": "mlflow",
    }
    assert made["backendStore"]["existingDatabaseSecret"]["name"] == "mlflow-postgres"
    assert made["artifactRoot"]["proxiedArtifactStorage"] is True
    assert made["artifactRoot"]["s3"]["bucket"] == "nemostack"
    assert made["artifactRoot"]["s3"]["existingSecret"] == {
        "name": "object-store",
        "keyOfAccessKeyId": "access_key",
        "keyOfSecretAccessKey": "secret_key",
    }
    assert made["extraEnvVars"]["PGSSLMODE"] == "require"
    assert made["extraEnvVars"]["MLFLOW_S3_ENDPOINT_URL"].endswith(":8333")
    assert "strategy" not in made


def test_amazon_s3_needs_no_endpoint():
    made = values(**OF_SETTINGS)
    assert made["extraEnvVars"] == {"PGSSLMODE": "require", "AWS_DEFAULT_REGION": "eu-central-1"}


def test_google_s_bucket_by_workload_identity_else_by_keys():
    google: Any = {"object_store": {"kind": "gcs", "bucket": "mine"}, "secrets": KEYS}
    native = values({"iam.gke.io/gcp-service-account": "x@y"}, **google)
    assert native["artifactRoot"]["gcs"] == {"enabled": True, "bucket": "mine", "path": "mlflow"}
    assert "s3" not in native["artifactRoot"]
    assert native["serviceAccount"] == {
        "automount": False,
        "annotations": {"iam.gke.io/gcp-service-account": "x@y"},
    }
    by_keys = values(**google)
    assert by_keys["extraEnvVars"]["MLFLOW_S3_ENDPOINT_URL"] == "https://storage.googleapis.com"
    assert by_keys["extraEnvVars"]["AWS_REQUEST_CHECKSUM_CALCULATION"] == "when_required"


def test_azure_s_container_by_workload_identity():
    said: Any = {"kind": "azure", "account": "account1", "bucket": "mine", "resource_group": "group1"}
    made = values(
        {"azure.workload.identity/client-id": "id"},
        target="aks",
        object_store=said,
        mlflow={"image": "registry.example.com/mlflow:1"},
    )
    assert made["artifactRoot"]["azureBlob"] == {
        "enabled": True,
        "container": "mine",
        "storageAccount": "account1",
        "path": "mlflow",
    }
    assert made["extraPodLabels"] == {"azure.workload.identity/use": "true"}
    assert "AWS_DEFAULT_REGION" not in made["extraEnvVars"]


def answers(host, made):
    """Whether the server answers to a Host header: its own rule, written down anew."""
    return any(fnmatch(host, one) if "*" in one else host == one for one in made["serverAllowedHosts"])


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("mlflow-tracking", True),
        ("mlflow-tracking:80", True),
        ("mlflow-tracking.mlflow", True),
        ("mlflow-tracking.mlflow.svc", True),
        ("mlflow-tracking.mlflow.svc.cluster.local", True),
        ("mlflow-tracking.mlflow.svc.cluster.local:80", True),
        ("mlflow.example.com", True),
        ("mlflow.example.com:8443", True),
        ("alias.example.com", True),
        ("localhost:30090", True),  # port-forward
        ("127.0.0.1:30090", True),
        ("10.12.0.7:5000", True),  # Prometheus asks pods by address
        ("100.64.0.9:5000", True),
        ("100.79.0.9:5000", True),
        ("100.119.0.9:5000", True),
        ("100.127.0.9:5000", True),
        ("[fd00:10:244::7]:5000", True),
        ("100.63.0.9", False),
        ("100.128.0.9", False),
        ("[2001:db8::1]:5000", False),
        ("evil.example.com", False),
        ("mlflow.example.com.evil.org", False),
        ("203.0.113.9", False),
    ],
)
def test_hosts_that_mlflow_answers_to(host, known):
    made = values(
        routes={"kind": "ingress", "domain": "example.com"},
        mlflow={"allowed_hosts": ["alias.example.com"]},
    )
    assert answers(host, made) is known


@pytest.mark.parametrize(("tls", "scheme"), [({}, "http"), ({"kind": "secret", "name": "wildcard"}, "https")])
def test_pages_of_its_own_host_may_change_things(tls, scheme):
    routes = {"kind": "ingress", "domain": "example.com", "tls": tls}
    assert values(routes=routes)["corsAllowedOrigins"] == [f"{scheme}://mlflow.example.com"]
    assert values()["corsAllowedOrigins"] == []


def test_without_routes_no_public_host_is_known():
    assert not answers("mlflow.example.com", values(routes={"kind": "none", "domain": "example.com"}))


def test_logins_are_in_a_database_of_their_own():
    found, _ = built(mlflow={"basic_auth": True})
    auth = of_type(found, ":Release")["mlflow"].inputs["values"]["auth"]
    assert auth["enabled"] is True
    assert auth["existingAdminSecret"] == {"name": "mlflow-admin"}
    login = secrets_in(found)["mlflow", "mlflow-admin"]
    assert set(login.inputs["stringData"]) == {"username", "password"}
    database = auth["postgres"]["database"]
    made = found["kubernetes:postgresql.cnpg.io/v1:Database", f"database-{database}"].inputs["spec"]
    assert (made["name"], made["owner"]) == (database, "mlflow")
    assert database != "mlflow"
    # the key that signs sessions is ours, else the chart makes a new one at each upgrade
    assert ("mlflow", "mlflow-tracking-flask-server-secret-key") in secrets_in(found)


def test_logins_without_postgres_are_in_a_file_on_the_volume():
    made = values(**BUNDLED, mlflow={"basic_auth": True})
    mounts = {mount["name"]: mount["mountPath"] for mount in made["extraVolumeMounts"]}
    # the chart takes one slash off the front and puts the name of the file directly behind what is left
    file = f"sqlite:////{made['auth']['sqliteFullPath'].removeprefix('/')}basic_auth.db"
    assert file == f"sqlite:///{mounts['data']}/basic_auth.db"
    assert "sqliteFullPath" not in values(mlflow={"basic_auth": True})["auth"]


def test_a_volume_where_there_is_no_database_or_no_bucket():
    found, _ = built(**BUNDLED)
    (claim,) = of_type(found, ":PersistentVolumeClaim").values()
    assert claim.inputs["spec"]["storageClassName"] == "fast"
    release = of_type(found, ":Release")["mlflow"]
    made = release.inputs["values"]
    assert claim.name in release.dependencies
    assert made["extraVolumes"][0]["persistentVolumeClaim"] == {"claimName": claim.inputs["metadata"]["name"]}
    assert made["backendStore"]["defaultSqlitePath"].startswith(made["extraVolumeMounts"][0]["mountPath"])
    assert made["strategy"] == {"type": "Recreate"}
    only_files = values(object_store={"kind": "none"})
    assert only_files["artifactRoot"]["defaultArtifactsDestination"].startswith("/mlflow/data/")
    assert "PGSSLMODE" in only_files["extraEnvVars"]


def test_an_external_server_s_secret_is_used():
    made = values(postgres=EXTERNAL | {"external": EXTERNAL["external"] | {"ssl_mode": "verify-full"}})
    assert made["backendStore"]["postgres"]["host"] == "pg.example.com"
    assert made["backendStore"]["postgres"]["database"] == "tracking"
    assert made["backendStore"]["existingDatabaseSecret"]["name"] == "theirs"
    assert made["extraEnvVars"]["PGSSLMODE"] == "verify-full"
    assert made["extraEnvVars"]["PGSSLROOTCERT"] == "/etc/ssl/certs/ca-certificates.crt"


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_mlflow_s_migration_verifies_the_server_too(mode):
    """Its container takes no environment from values, but all keys of the Secret with the key of sessions."""
    found, _ = built(postgres=EXTERNAL | {"external": EXTERNAL["external"] | {"ssl_mode": mode}})
    secret = secrets_in(found)["mlflow", "mlflow-tracking-flask-server-secret-key"].inputs["stringData"]
    assert secret["PGSSLMODE"] == mode
    assert secret["PGSSLROOTCERT"] == "/etc/ssl/certs/ca-certificates.crt"
    assert len(secret) == 3


def test_metrics_are_collected_only_by_a_prometheus():
    unwatched = values()
    assert unwatched["serviceMonitor"]["enabled"] is False
    assert unwatched["extraVolumes"] == []
    watched = values(observability={"prometheus": "adopt", "release_label": "mine"})
    # by default the chart's monitor compares the name of the Service's port with that of the container's, which differ
    assert watched["serviceMonitor"] == {
        "enabled": True,
        "namespace": "mlflow",
        "labels": {"release": "mine"},
        "useServicePort": True,
    }
    # where the chart tells the server to collect them, which its read-only file system would not let it make
    (mount,), (volume,) = watched["extraVolumeMounts"], watched["extraVolumes"]
    assert (mount["mountPath"], mount["name"]) == ("/mlflow/metrics", volume["name"])


@pytest.mark.parametrize("said", [{"mode": "adopt", "url": "http://mlflow.example.com"}, {"mode": "skip"}])
def test_nothing_is_installed_where_mlflow_is_of_others(said):
    found, ready = built(mlflow=said)
    assert ready["mlflow"] == []
    assert "mlflow" not in of_type(found, ":Release")
    assert not [where for where, _ in secrets_in(found) if where == "mlflow"]


def test_metrics_behind_a_login_are_not_collected():
    """The chart's monitor has no place for a password: Prometheus would count a target that refuses it as down."""
    made = values(observability={"prometheus": "adopt"}, mlflow={"basic_auth": True})
    assert made["serviceMonitor"]["enabled"] is False
    assert made["extraVolumes"] == []


def test_an_image_of_ones_own():
    assert values(mlflow={"image": "registry.example.com:5000/mlflow:3.15.1"})["image"] == {
        "repository": "registry.example.com:5000/mlflow",
        "tag": "3.15.1",
    }
    assert "image" not in values()


def test_pods_have_requests_and_no_token_and_no_root():
    config = config_for("gke")
    server = object_store.seaweedfs_values(config.object_store, None)
    assert server["global"]["seaweedfs"]["automountServiceAccountToken"] is False
    assert server["allInOne"]["serviceAccountName"] == server["global"]["seaweedfs"]["serviceAccountName"]
    tracking = values()
    for made in (server["allInOne"], tracking):
        assert set(made["resources"]["requests"]) == {"cpu", "memory"}
        assert made["podSecurityContext"]["runAsNonRoot"] is True
    assert tracking["serviceAccount"]["automount"] is False
