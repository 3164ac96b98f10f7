"""Values of the chart nemo-platform for a stack. Pure.

The keys are those of NVIDIA's public chart (`k8s/helm` of NVIDIA-NeMo/nemo-platform), whose shape the simulator keeps;
`platformConfig` is merged over the chart's own configuration and holds keys of the platform's configuration reference
in version 0.3.0. The chart's default passwords and its generated encryption key are never in use, nothing is reported
to anybody outside of the cluster, and routes and network policies are the stack's own.
"""

from typing import Any

from infra import names
from infra.config.nemo_platform import NemoPlatform, Oidc, PlatformJobs
from infra.config.network import Observability
from infra.nemo.values import Surroundings, external_database
from infra.topology import Topology
from infra.topology.bucket import ACCESS_KEY, SECRET_KEY, Bucket
from infra.topology.databases import Database

Values = dict[str, Any]

RELEASE = "nemo-platform"
"""The chart names what it makes by it."""
FILES = "nemo-platform/files"
"""Folder of the platform's files in the bucket, which MLflow and the Data Store share."""
CLAIM = f"{RELEASE}-core-storage"
"""The shared volume, as the chart calls it."""
BUNDLED_SECRET = "nemo-platform-postgres-bundled"  # noqa: S105 - a Secret's name
KAI = "kai-scheduler"
QUEUE_LABEL = "kai.scheduler/queue-name"
GPU_PROFILES = ("default", "gpu")
"""Profiles for jobs with a GPU: the platform's default, and the one that its Customizer asks for."""
QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "ANONYMIZED_TELEMETRY": "false"}
"""Environment that keeps libraries from reporting, and from fetching what models cost."""
API = {"requests": {"cpu": "500m", "memory": "2Gi"}}
CONTROLLER = {"requests": {"cpu": "250m", "memory": "1Gi"}}
SMALL = {"requests": {"cpu": "100m", "memory": "256Mi"}}


def platform_values(
    settings: NemoPlatform, observability: Observability, topology: Topology, around: Surroundings
) -> Values:
    """Return the values of the release."""
    watched = observability.prometheus != "skip"
    database, secrets = topology.databases.get(names.NEMO_PLATFORM.key), around.credentials
    monitor = {"enabled": watched, "labels": {"release": observability.release_label}}
    return {
        "existingSecret": secrets.ngc,
        "imagePullSecrets": [{"name": secrets.pull}],
        "secrets": {
            "defaultEncryptionKey": {
                "existingSecret": {"name": names.ENCRYPTION_SECRET, "key": names.ENCRYPTION_KEY},
                "generated": {"enabled": False},
            }
        },
        "k8s-nim-operator": {"enabled": False},  # the platform makes Deployments; the operator is a release of its own
        "rbac": {"volcanoEnabled": settings.jobs.backend == "volcano"},
        "ingress": {"enabled": False},
        "httpRoute": {"enabled": False},
        "openshiftRoute": {"enabled": False},
        "env": QUIET | (database.tls_environment if database else {}),
        # traces go nowhere; metrics are shown to Prometheus where there is one
        "telemetry": {
            "OTEL_SDK_DISABLED": not watched,
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "prometheus" if watched else "none",
        },
        "api": {
            "replicaCount": settings.replicas,
            "resources": API,
            "env": bucket_environment(topology.bucket),
            **volume_for_jobs(topology.bucket),
            "serviceMonitor": monitor,
            "podDisruptionBudget": {"enabled": settings.replicas > 1},
        },
        "core": {
            "storage": {
                "storageClass": around.shared_class,
                "accessModes": [around.shared_mode],
                "size": settings.storage_size,
            },
            "controller": {"resources": CONTROLLER},
            "serviceMonitor": monitor,
        },
        "platformSeedJob": {"resources": SMALL},
        "envoyProxy": {"enabled": settings.oidc is not None, "resources": SMALL, "serviceMonitor": monitor},
        **database_values(database, around),
        "platformConfig": platform_config(settings, topology, around),
    }


def database_values(database: Database | None, around: Surroundings) -> Values:
    """Where the database is. Its password is in a Secret."""
    if database is None:
        storage = {"storageClass": around.storage_class} if around.storage_class else {}
        return {
            "postgresql": {
                "enabled": True,
                "auth": {"existingSecret": BUNDLED_SECRET, "password": ""},
                "persistence": storage,
            }
        }
    external = external_database(database)
    if database.uri_key:
        external["uriSecret"] = {"name": database.secret, "key": database.uri_key}
    return {"postgresql": {"enabled": False}, "externalDatabase": external}


def keeps_files_in(bucket: Bucket | None) -> Bucket | None:
    """Return the bucket for files, None where the shared volume keeps them."""
    return bucket if bucket is not None and bucket.s3 else None


def bucket_environment(bucket: Bucket | None) -> Values:
    """Environment by which boto3 gets its keys."""
    if keeps_files_in(bucket) is None:
        return {}
    assert bucket is not None
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    return {
        variable: {"valueFrom": {"secretKeyRef": {"name": bucket.secret, "key": key}}} for variable, key in keys.items()
    }


def volume_for_jobs(bucket: Bucket | None) -> Values:
    """Mount the shared volume where files are in a bucket: else only jobs do.

    Helm waits for the claim, and many classes make a volume only when a pod wants it.
    """
    if keeps_files_in(bucket) is None:
        return {}  # the chart mounts it for the files
    claim = {"persistentVolumeClaim": {"claimName": CLAIM}}
    return {
        "extraVolumes": [{"name": "jobs", **claim}],
        "extraVolumeMounts": [{"name": "jobs", "mountPath": "/vol/jobs"}],
    }


def platform_config(settings: NemoPlatform, topology: Topology, around: Surroundings) -> Values:
    """Return what is merged over the chart's configuration of the platform."""
    config: Values = {"studio": {"telemetry_enabled": False}, "jobs": jobs(settings.jobs, topology)}
    if shared := around.shared_class:
        models = {"backends": {"deployments_plugin": {"default_storage_class": shared}}}
        config["models"] = {"controller": models}
    if bucket := keeps_files_in(topology.bucket):
        storage = {"type": "s3", "bucket": bucket.name, "prefix": FILES, "use_sdk_auth": True}
        storage["region"] = bucket.region or "us-east-1"  # Amazon's word for "no particular one"
        if bucket.endpoint:
            storage["endpoint_url"] = bucket.endpoint
        config["files"] = {"default_storage_config": storage}
    if settings.oidc:
        config["auth"] = auth(settings.oidc)
    return config


def jobs(settings: PlatformJobs, topology: Topology) -> Values:
    """Return the jobs service's configuration: what is merged over its own profiles for CPUs and GPUs."""
    waits: Values = {"ttl_seconds_before_active": settings.max_pending_minutes * 60}
    if url := topology.addresses.mlflow_url:
        waits["env"] = {"MLFLOW_TRACKING_URI": url}
    placed: Values = {"tolerations": topology.placement.tolerations}
    if selector := dict(topology.placement.platform_jobs):
        placed["node_selector"] = selector
    scheduled = dict(placed)
    if settings.backend == "kai":
        queued = {"labels": {QUEUE_LABEL: settings.queue}}
        scheduled |= {"scheduler_name": KAI, "job_metadata": queued, "pod_metadata": queued}
    executors = [
        {"provider": "gpu", "profile": profile, "backend": "kubernetes_job", "config": scheduled}
        for profile in GPU_PROFILES
    ]
    defaults: Values = {"kubernetes_job": waits}
    if settings.backend == "volcano":
        gang = placed | {"queue": settings.queue, "scheduler_name": "volcano"}
        executors.append(
            {"provider": "gpu_distributed", "profile": "default", "backend": "volcano_job", "config": gang}
        )
        defaults["volcano_job"] = waits
    return {"executor_defaults": defaults, "executors": executors}


def auth(oidc: Oidc) -> Values:
    """Return the configuration of authorization, decided within the API's own pod."""
    provider: Values = {
        "enabled": True,
        "issuer": oidc.issuer,
        "client_id": oidc.client_id,
        "additional_issuers": list(oidc.additional_issuers),
        "default_scopes": oidc.scopes,
        "subject_claim": oidc.subject_claim,
        "email_claim": oidc.email_claim,
        "groups_claim": oidc.groups_claim,
    }
    optional = {"audience": oidc.audience, "scope_prefix": oidc.scope_prefix}
    provider |= {key: value for key, value in optional.items() if value is not None}
    return {"enabled": True, "admin_email": oidc.admin_email, "allow_unsigned_jwt": False, "oidc": provider}
