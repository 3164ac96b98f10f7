"""Values of the umbrella chart 25.12 for one release: one service of layout per-service, or all of layout single. Pure.

Key names, defaults and what the templates do with them were read in public copies of the chart (25.12.0 and 25.12.1 as
vendored by others), not in NVIDIA's own repository, which asks for a login; what could not be read is marked
UNVERIFIED. No value is a secret: passwords are in Secrets whose names stand here (services.py makes them).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra import names
from infra.config.nemo import CustomizerSettings, GuardrailsSettings
from infra.config.network import Observability
from infra.config.stack import ClusterStackConfig
from infra.names import Service
from infra.nemo.customization import customization
from infra.nemo.wiring import HF_API, wiring
from infra.platform.credentials import CredentialNames
from infra.topology import Topology
from infra.topology.addresses import Addresses
from infra.topology.bucket import ACCESS_KEY, SECRET_KEY, Bucket
from infra.topology.databases import PASSWORD_KEY, WITH_DATABASE, Database
from infra.topology.placement import Placement
from infra.versions import KUBE_RBAC_PROXY

Values = dict[str, Any]

ALIASES = (
    "data-store",
    "entity-store",
    "customizer",
    "nemo-operator",
    "evaluator",
    "core",
    "guardrails",
    "deployment-management",
    "nim-proxy",
    "nim-operator",
    "data-designer",
    "studio",
    "auditor",
    "safe-synthesizer",
    "intake",
    "nim",
    "volcano",
)
"""Sub-charts, each with a condition `<alias>.enabled` that overrides the tags."""
TAGS = (
    "platform",
    "customizer",
    "evaluator",
    "guardrails",
    "data-designer",
    "auditor",
    "studio",
    "safe-synthesizer",
    "core",
    "intake",
)

SMALL = {"requests": {"cpu": "100m", "memory": "256Mi"}}
MEDIUM = {"requests": {"cpu": "250m", "memory": "512Mi"}}
LARGE = {"requests": {"cpu": "250m", "memory": "1Gi"}}
"""What services request, our estimates: the chart requests nothing, so the scheduler would overfill nodes."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What values depend on besides the settings: the cluster's storage classes, names of credentials."""

    credentials: CredentialNames
    storage_class: str | None = None
    """For ReadWriteOnce volumes; None: the cluster's default."""
    rwx_storage_class: str | None = None
    """For ReadWriteMany volumes; None where one node makes any volume do."""

    @property
    def shared_mode(self) -> str:
        """Access mode of volumes that several pods mount."""
        return "ReadWriteMany" if self.rwx_storage_class else "ReadWriteOnce"

    @property
    def shared_class(self) -> str:
        """Class of volumes that several pods mount, empty for the default."""
        return self.rwx_storage_class or self.storage_class or ""


@dataclass(frozen=True, kw_only=True)
class UmbrellaRelease:
    """A release `nemo` of the umbrella chart: its namespace and the services in it."""

    namespace: str
    services: tuple[Service, ...]


def releases(addresses: Addresses) -> tuple[UmbrellaRelease, ...]:
    """Return the releases: one for each namespace that has services, in the order in which they need each other."""
    grouped: dict[str, list[Service]] = {}
    for service in addresses.running:
        if service is names.NEMO_PLATFORM:
            continue  # a chart of its own
        grouped.setdefault(addresses.namespace(service), []).append(service)
    return tuple(UmbrellaRelease(namespace=space, services=tuple(members)) for space, members in grouped.items())


def values(config: ClusterStackConfig, topology: Topology, release: UmbrellaRelease, around: Surroundings) -> Values:
    """Return the values of one release."""
    secrets = around.credentials
    chart_values: Values = {
        "tags": dict.fromkeys(TAGS, False),  # conditions decide alone
        "existingSecret": secrets.ngc,
        "existingImagePullSecret": secrets.pull,
        "global": {"imagePullSecrets": [{"name": secrets.pull}]},
        "ingress": {"enabled": False},  # routes are ours: HTTPRoutes, which the chart does not know
        "virtualService": {"enabled": False},
        # Volcano, the NIM operator and NIMs are releases of their own
        **{alias: {"enabled": False} for alias in ALIASES},
    }
    for service in release.services:
        chart_values[service.alias] = {
            "enabled": True,
            **service_values(config, topology, service, around),
            **database_values(topology.databases.get(service.key), service),
        }
        if service is names.CUSTOMIZER:
            # it starts the Customizer's training jobs, which are in this namespace
            chart_values["nemo-operator"] = nemo_operator()
    mine = {service.alias for service in release.services}
    for path, url in wiring(topology).items():
        if path.split(".")[0] in mine:
            put(chart_values, path, url)
    return chart_values


def service_values(config: ClusterStackConfig, topology: Topology, service: Service, around: Surroundings) -> Values:
    """Return the values of one service, but for its database and its wiring."""
    database, placement = topology.databases.get(service.key), topology.placement
    values_of: dict[Service, Callable[[], Values]] = {
        names.DATA_STORE: lambda: data_store(topology.bucket, config.observability, around),
        names.ENTITY_STORE: lambda: entity_store(database),
        names.CUSTOMIZER: lambda: customizer(config.customizer, database, placement, around),
        names.EVALUATOR: lambda: evaluator(database),
        names.CORE: lambda: core(topology, around, nim_operator=config.prerequisites.nim_operator != "skip"),
        names.GUARDRAILS: lambda: guardrails(config.guardrails, database),
        names.DEPLOYMENT_MANAGEMENT: lambda: deployment_management(around),
        names.NIM_PROXY: lambda: nim_proxy(one_namespace=config.layout == "single"),
    }
    return values_of[service]()


def nemo_operator() -> Values:
    """Values of the operator of training jobs.

    The chart takes the proxy before its metrics from gcr.io/kubebuilder, which Google has closed. The community of
    Kubernetes serves the same tags from its own registry.
    """
    proxy = {"image": {"repository": KUBE_RBAC_PROXY}}
    return {"enabled": True, "watchAllNamespaces": False, "controllerManager": {"kubeRbacProxy": proxy}}


def put(target: Values, path: str, value: str) -> None:
    """Set a value by its dotted path; no key of the chart on these paths has a dot itself."""
    *parents, last = path.split(".")
    for key in parents:
        target = target.setdefault(key, {})
    target[last] = value


def external_database(database: Database) -> Values:
    """Say where a database outside of a chart is, in keys that NVIDIA's charts share. Its password is in a Secret."""
    return {
        "host": database.host,
        "port": database.port,
        "user": database.user,
        "database": database.name,
        "existingSecret": database.secret,
        "existingSecretPasswordKey": PASSWORD_KEY,
    }


def database_values(database: Database | None, service: Service) -> Values:
    """Where a service's database is. The password is in a Secret; the chart's default passwords are never in use."""
    if service.key not in WITH_DATABASE:
        return {}
    if database is None:
        auth: Values = {"existingSecret": bundled_secret(service), "password": ""}
        if service is names.DATA_STORE:  # its templates read both places
            return {"postgresql": {"auth": auth, "global": {"postgresql": {"auth": auth}}}}
        return {"postgresql": {"auth": auth}}
    external = external_database(database)
    if service is names.DATA_STORE:
        external["sslMode"] = database.ssl_mode
    elif database.uri_key:
        external["uriSecret"] = {"name": database.secret, "key": database.uri_key}
    return {"postgresql": {"enabled": False}, "externalDatabase": external}


def bundled_secret(service: Service) -> str:
    """Secret with the passwords of a database that a chart brings along."""
    return f"{service.database}-postgres"


def driver_env(database: Database | None) -> dict[str, str]:
    """Environment that makes libpq use TLS as said. That every service's driver follows it is UNVERIFIED."""
    return database.tls_environment if database else {}


def data_store(bucket: Bucket | None, observability: Observability, around: Surroundings) -> Values:
    """Values of the Data Store."""
    watched = observability.prometheus != "skip"
    chart_values: Values = {
        "resources": MEDIUM,
        "persistence": {"storageClass": around.storage_class} if around.storage_class else {},
        "admin": {"existingSecret": names.DATA_STORE_ADMIN_SECRET, "password": ""},  # the default is public
        "jwtSecret": {"existingSecret": names.LFS_SECRET, "existingSecretKey": names.LFS_KEY},
        "objectStore": {"enabled": False},
        # files pass through the Data Store: who may reach it needs no way to the bucket
        "serveDirect": False,
    }
    if watched:
        chart_values["metrics"] = {
            "enabled": True,
            "serviceMonitor": {"enabled": True, "additionalLabels": {"release": observability.release_label}},
        }
        chart_values["env"] = {"GITEA__metrics__ENABLED": "true"}
    if bucket is not None and bucket.s3:
        endpoint = bucket.endpoint or f"https://s3.{bucket.region}.amazonaws.com"
        scheme, _, host = endpoint.rstrip("/").rpartition("://")
        chart_values["objectStore"] = {
            "enabled": True,
            "endpoint": host,
            "ssl": scheme != "http",
            "bucketName": bucket.name,
            # Amazon's word for "no particular one"; in-cluster stores do not care; Google's is UNVERIFIED
            "region": bucket.region or "us-east-1",
            "existingSecret": bucket.secret,
            "existingSecretAccessKey": ACCESS_KEY,
            "existingSecretAccessSecret": SECRET_KEY,
        }
    return chart_values


def entity_store(database: Database | None) -> Values:
    """Values of the Entity Store."""
    return {
        "resources": SMALL,
        "serviceAccount": {"create": True, "automount": False},
        "env": driver_env(database),
    }


def customizer(
    settings: CustomizerSettings, database: Database | None, placement: Placement, around: Surroundings
) -> Values:
    """Values of the Customizer. Its chart has none for requests: the namespace's LimitRange gives them."""
    secrets = around.credentials
    chart_values: Values = {
        "ngcAPISecret": secrets.ngc,
        "ngcAPISecretKey": names.NGC_KEY,
        "nemoDataStoreTools": {"imagePullSecret": secrets.pull},
        "env": {
            "MAX_PENDING_JOB_MINUTES": str(settings.max_pending_minutes),
            **driver_env(database),
        },
        "opentelemetry-collector": {"enabled": False},  # which the chart would start, to no purpose
        "wandb": {"secretValue": "", "existingSecret": names.WANDB_SECRET, "existingSecretKey": names.WANDB_KEY},
        # before it answers it asks NGC for the files of each target, which is said to take up to nine minutes
        "livenessProbe": {"failureThreshold": 60 * max(1, len(settings.targets))},
        # the download job writes base models, training pods on other nodes read them
        "modelsStorage": {
            "enabled": True,
            "size": settings.models_size,
            "accessModes": [around.shared_mode],
            "storageClassName": around.shared_class,
        },
        "customizerConfig": {
            "openTelemetry": {"enabled": False},
            "tolerations": placement.tolerations,
            "nodeSelectors": dict(placement.training),
            "training": {
                "pvc": {
                    "size": settings.job_size,
                    "volumeAccessMode": around.shared_mode,
                    "storageClass": around.shared_class,
                }
            },
        },
        **customization(settings, hugging_face=secrets.hf is not None),
    }
    if secrets.hf:
        chart_values |= {"hfAPISecret": secrets.hf, "hfAPISecretKey": names.HF_KEY}
    return chart_values


def evaluator(database: Database | None) -> Values:
    """Values of the Evaluator. Its service account keeps its token, by which the jobs service knows it."""
    return {
        "resources": LARGE,
        "dbMigration": {"resources": SMALL},
        "env": driver_env(database),
        # it starts as soon as the jobs service answers, which may take longer than the chart's half minute
        "livenessProbe": {"initialDelaySeconds": 60, "failureThreshold": 30},
    }


def core(topology: Topology, around: Surroundings, *, nim_operator: bool) -> Values:
    """Values of the jobs service, which also reads the Entity Store's database."""
    secrets, databases, placement = around.credentials, topology.databases, topology.placement
    gpu_jobs = {"tolerations": placement.tolerations}
    operator = {
        "enabled": nim_operator,
        "config": {
            "auth_secret": secrets.ngc,
            "huggingface_model_puller_image_pull_secret": secrets.pull,
            "default_storage_class": around.storage_class or "",
            "default_tolerations": placement.tolerations,
        },
    }
    # The chart tells the jobs service where the Data Store is only if both are in one release. That it reads this
    # variable, as the Evaluator does, is UNVERIFIED.
    known = {"NEMO_MICROSERVICES_DATASTORE_URL": topology.addresses.url(names.DATA_STORE) + HF_API}
    env = [{"name": key, "value": value} for key, value in (known | driver_env(databases.get("core"))).items()]
    return {
        "config": {
            "jobs": {
                "storage": {"storageClass": around.shared_class, "accessModes": [around.shared_mode]},
                "executors": [
                    {"profile": "default", "backend": "kubernetes_job", "provider": "cpu"},
                    {"profile": "default", "backend": "kubernetes_job", "provider": "gpu", "config": gpu_jobs},
                ],
            },
            "models": {
                "database": entity_database(databases.get("entity_store")),
                "controller": {"backends": {"k8s-nim-operator": operator}},
            },
        },
        "api": {"resources": MEDIUM, "env": env},
        "controller": {"resources": SMALL, "env": env},
        "logcollector": {"resources": SMALL, "serviceAccount": {"automount": False}},
        "databaseMigrations": {"resources": SMALL},
    }


def entity_database(database: Database | None) -> Values:
    """Return where the jobs service finds the Entity Store's database; the Secret must be in its namespace too."""
    if database is None:  # bundled, in the same release
        secret = {"name": bundled_secret(names.ENTITY_STORE), "key": PASSWORD_KEY}
        return {"password": "", "passwordExistingSecret": secret}
    return {
        "host": database.host,
        "port": database.port,
        "user": database.user,
        "name": database.name,
        "password": "",
        "passwordExistingSecret": {"name": database.secret, "key": PASSWORD_KEY},
    }


def guardrails(settings: GuardrailsSettings, database: Database | None) -> Values:
    """Values of Guardrails."""
    chart_values: Values = {
        "resources": LARGE,
        "serviceAccount": {"automount": False},
        "env": driver_env(database),
    }
    if secret := settings.nvidia_api_secret:
        chart_values["guardrails"] = {"nvcfAPIKeySecretName": secret}
    return chart_values


def deployment_management(around: Surroundings) -> Values:
    """Values of Deployment Management. NIMs that it starts are in its namespace."""
    pull = around.credentials.pull
    return {
        "resources": SMALL,
        "deployments": {
            "defaultStorageClass": around.storage_class or "",
            "modelPullerPullSecret": pull,
            "nimImagePullSecrets": [pull],
        },
    }


def nim_proxy(*, one_namespace: bool) -> Values:
    """Values of the NIM proxy, which finds NIMs by a label of their Services, in one namespace or all."""
    return {
        "resources": SMALL,
        "nimNamespace": names.RELEASE if one_namespace else "",
        "monitoring": {"enabled": False},  # its label cannot be set: ours is in monitoring.py
    }
