"""MLflow's tracking server: runs in Postgres, artifacts in the bucket, which clients reach through the server only.

Its Service has the name that NVIDIA's examples use. An adopted server is used as it is. Without Postgres or bucket
of the stack, runs or artifacts are on a volume, which keeps the server at one replica.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pulumi
import pulumi_kubernetes as kubernetes

from infra import names
from infra.config.network import Observability
from infra.config.platform import Mlflow as MlflowSettings
from infra.platform.helm import ChartStore
from infra.platform.operators import resources
from infra.platform.passwords import GeneratedPassword
from infra.topology import Topology
from infra.topology.addresses import Address
from infra.topology.bucket import ACCESS_KEY, ARTIFACTS, SECRET_KEY, Bucket
from infra.topology.databases import Database
from infra.versions import MLFLOW

FLASK_SECRET, FLASK_KEY = f"{names.MLFLOW_SERVICE}-flask-server-secret-key", "MLFLOW_FLASK_SERVER_SECRET_KEY"
"""The chart looks for a Secret of this name and makes a random one at each upgrade if there is none."""
ADMIN = "admin"
CLAIM, MOUNT, CLAIM_SIZE = "mlflow-data", "/mlflow/data", "20Gi"
METRICS = "/mlflow/metrics"
"""Where the chart lets the server collect metrics of its workers."""
USER = 1001
LOCAL_HOSTS = ("localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*")
PRIVATE_ADDRESSES = (
    *("10.*", "192.168.*", *(f"172.{second}.*" for second in range(16, 32)), "fc00:*", "fd00:*"),
    *("100.6[4-9].*", "100.[7-9][0-9].*", "100.1[01][0-9].*", "100.12[0-7].*"),  # 100.64.0.0/10, where clouds have pods
    *("[[]fc*", "[[]fd*"),  # IPv6 in a URL
)
"""Metrics are collected by address. The first line are MLflow's own defaults, which a list of ours replaces."""
WHEN_REQUIRED = {
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
}
"""Stores that are not Amazon's refuse the checksums that newer clients of AWS add."""


@dataclass(frozen=True, kw_only=True)
class MlflowArgs:
    """`annotations`: of the service account, for buckets of the cloud. `after`: database and bucket among it."""

    settings: MlflowSettings
    observability: Observability
    topology: Topology
    charts: ChartStore
    storage_class: str | None = None
    annotations: Mapping[str, pulumi.Input[str]]
    after: Sequence[pulumi.Resource] = ()


class Mlflow(pulumi.ComponentResource):
    """Release, Secrets of the web server, volume where needed. `ready` is empty where nothing is installed."""

    ready: list[pulumi.Resource]

    def __init__(self, name: str, args: MlflowArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nemostack:platform:Mlflow", name, None, opts)
        self.args, self.ready = args, []
        if args.settings.mode == "install":
            self.ready = [self._release()]
        self.register_outputs({})

    def _release(self) -> pulumi.Resource:
        args = self.args
        # the chart gives this Secret to the migration too, whose environment has no value of its own
        database = args.topology.databases.get("mlflow")
        tls = database.tls_environment if database else {}
        server = {key: pulumi.Output.from_input(value) for key, value in tls.items()}
        server[FLASK_KEY] = self._password("flask")
        before: list[pulumi.Resource] = [*args.after, self._secret(FLASK_SECRET, server)]
        if args.settings.basic_auth:
            login = {"username": pulumi.Output.from_input(ADMIN), "password": self._password("admin")}
            before.append(self._secret(names.MLFLOW_ADMIN_SECRET, login))
        if needs_volume(args.topology):
            before.append(self._claim())
        return args.charts.release(
            "mlflow",
            MLFLOW,
            namespace=names.MLFLOW_NAMESPACE,
            values=mlflow_values(args.settings, args.topology, args.observability, args.annotations),
            opts=pulumi.ResourceOptions(parent=self, depends_on=before),
        )

    def _password(self, name: str) -> pulumi.Output[str]:
        return GeneratedPassword(f"mlflow-{name}", opts=pulumi.ResourceOptions(parent=self)).value

    def _secret(self, name: str, content: dict[str, pulumi.Output[str]]) -> kubernetes.core.v1.Secret:
        return kubernetes.core.v1.Secret(
            name,
            metadata={"name": name, "namespace": names.MLFLOW_NAMESPACE},
            string_data=content,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(self.args.after)),
        )

    def _claim(self) -> kubernetes.core.v1.PersistentVolumeClaim:
        return kubernetes.core.v1.PersistentVolumeClaim(
            CLAIM,
            metadata={
                "name": CLAIM,
                "namespace": names.MLFLOW_NAMESPACE,
                "annotations": {"pulumi.com/skipAwait": "true"},  # many classes bind a volume only to a pod
            },
            spec=kubernetes.core.v1.PersistentVolumeClaimSpecArgs(
                access_modes=["ReadWriteOnce"],
                storage_class_name=self.args.storage_class,
                resources=kubernetes.core.v1.VolumeResourceRequirementsArgs(requests={"storage": CLAIM_SIZE}),
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(self.args.after)),
        )


def has_metrics(settings: MlflowSettings, observability: Observability) -> bool:
    """Tell whether Prometheus collects the server's metrics. They are behind the login, which the chart cannot give."""
    return observability.prometheus != "skip" and not settings.basic_auth


def needs_volume(topology: Topology) -> bool:
    """Tell whether runs or artifacts have no other place than a volume."""
    return "mlflow" not in topology.databases or topology.bucket is None


def mlflow_values(
    settings: MlflowSettings,
    topology: Topology,
    observability: Observability,
    annotations: Mapping[str, pulumi.Input[str]],
) -> dict[str, Any]:
    """Values of the community chart. No password is among them: each is in a Secret that they name."""
    address, database, bucket = topology.addresses.mlflow, topology.databases.get("mlflow"), topology.bucket
    assert address is not None, "the caller installs it"
    origin = topology.routing.public_urls["mlflow_url"] if topology.routing.routes else None
    public = urlsplit(origin).hostname if origin else None
    values: dict[str, Any] = {
        "fullnameOverride": names.MLFLOW_SERVICE,
        "replicaCount": settings.replicas,
        "service": {"port": names.MLFLOW_PORT},
        "serviceAccount": {"automount": False, "annotations": dict(annotations)},
        "podSecurityContext": {
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"image": image(settings.image)} if settings.image else {}),
        "resources": resources("250m", "1Gi", "2Gi"),
        "serverAllowedHosts": allowed_hosts(address, public, settings.allowed_hosts),
        "corsAllowedOrigins": [origin] if origin else [],
        "artifactRoot": artifacts(bucket, annotations),
        "extraEnvVars": environment(database, bucket, annotations),
        "serviceMonitor": {
            "enabled": has_metrics(settings, observability),
            "namespace": names.MLFLOW_NAMESPACE,
            "labels": {"release": observability.release_label},
            "useServicePort": True,  # the chart's other field compares the Service's port with the container's
        },
        **backend(database, basic_auth=settings.basic_auth),
    }
    if "azure.workload.identity/client-id" in annotations:
        values["extraPodLabels"] = {"azure.workload.identity/use": "true"}
    volumes: dict[str, dict[str, Any]] = {}
    if has_metrics(settings, observability):
        volumes[METRICS] = {"name": "metrics", "emptyDir": {}}  # the root file system is read-only
    if needs_volume(topology):
        values["strategy"] = {"type": "Recreate"}  # a second pod would wait for the first one's volume
        volumes[MOUNT] = {"name": "data", "persistentVolumeClaim": {"claimName": CLAIM}}
    values["extraVolumes"] = list(volumes.values())
    values["extraVolumeMounts"] = [{"name": volume["name"], "mountPath": path} for path, volume in volumes.items()]
    return values


def image(reference: str) -> dict[str, str]:
    """Return the chart's values of an image, given as repository:tag."""
    repository, _, tag = reference.rpartition(":")
    return {"repository": repository, "tag": tag}


def allowed_hosts(address: Address, public: str | None, further: Sequence[str]) -> list[str]:
    """Host headers that the server answers to; it refuses all others, to keep pages of other sites out."""
    service, namespace = address.service, address.namespace
    forms = [service, f"{service}.{namespace}", f"{service}.{namespace}.svc", address.host]
    hosts = [*forms, *([public] if public else []), *further]
    with_port = [f"{host}:*" for host in hosts if ":" not in host and "*" not in host]
    return list(dict.fromkeys([*hosts, *with_port, *LOCAL_HOSTS, *PRIVATE_ADDRESSES]))


def backend(database: Database | None, *, basic_auth: bool) -> dict[str, Any]:
    """Where runs are, and logins."""
    auth: dict[str, Any] = {"enabled": basic_auth}
    if basic_auth:
        auth["existingAdminSecret"] = {"name": names.MLFLOW_ADMIN_SECRET}
        if database is None:
            auth["sqliteFullPath"] = f"{MOUNT}/"  # the chart adds the name of the file without a slash between
    if database is None:
        return {"backendStore": {"defaultSqlitePath": f"{MOUNT}/mlflow.db"}, "auth": auth}
    server = {"enabled": True, "host": database.host, "port": database.port}
    if basic_auth:
        auth["postgres"] = {
            **server,
            "database": names.MLFLOW_AUTH_DATABASE,
            "existingSecret": {"name": database.secret},
        }
    store = {
        "databaseMigration": True,
        "postgres": {**server, "database": database.name},
        "existingDatabaseSecret": {"name": database.secret, "usernameKey": "username", "passwordKey": "password"},
    }
    return {"backendStore": store, "auth": auth}


def artifacts(bucket: Bucket | None, annotations: Mapping[str, Any]) -> dict[str, Any]:
    """Where artifacts are. Clients send them to the server, so that they need no keys."""
    proxied: dict[str, Any] = {"proxiedArtifactStorage": True}
    if bucket is None:
        return proxied | {"defaultArtifactsDestination": f"{MOUNT}/artifacts"}
    place = {"enabled": True, "path": ARTIFACTS}
    if bucket.kind == "azure":
        return proxied | {"azureBlob": place | {"container": bucket.name, "storageAccount": bucket.account}}
    if bucket.kind == "gcs" and annotations:
        return proxied | {"gcs": place | {"bucket": bucket.name}}
    if bucket.pod_identity == "eks":
        return proxied | {"s3": place | {"bucket": bucket.name}}
    keys = {
        "name": bucket.secret,
        "keyOfAccessKeyId": ACCESS_KEY,
        "keyOfSecretAccessKey": SECRET_KEY,
    }
    return proxied | {"s3": place | {"bucket": bucket.name, "existingSecret": keys}}


def environment(database: Database | None, bucket: Bucket | None, annotations: Mapping[str, Any]) -> dict[str, str]:
    """Environment of the server: how to speak to Postgres and the bucket."""
    variables: dict[str, str] = {}
    if database is not None:
        variables |= database.tls_environment
    if bucket is None or bucket.kind == "azure" or (bucket.kind == "gcs" and annotations):
        return variables
    if bucket.region or bucket.kind == "in-cluster":
        variables["AWS_DEFAULT_REGION"] = bucket.region or "us-east-1"
    if bucket.endpoint:
        variables |= {"MLFLOW_S3_ENDPOINT_URL": bucket.endpoint, **WHEN_REQUIRED}
    return variables
