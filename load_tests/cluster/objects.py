"""The Kubernetes objects of one load test. Pure.

The master's Job owns all others, so that they go with it, also when nobody removes it: its pod ends some time after the
run, and Kubernetes removes a finished Job. Nothing is tried again: a worker that is lost must stay lost, since a second
one in its place would send what was sent already.

Pods meet Pod Security `restricted`. They lie in the namespace of what they load, where the stack's policies let them
speak to it and to each other; a policy of their own lets the workers of this run alone join its master, wherever no
other policy opens the namespace.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from load_tests.cluster.pod import FOLDER_VARIABLE, KEPT_S
from load_tests.options import API_KEY_VARIABLE

Object = dict[str, Any]
PORT: Final = 5557
APP: Final = "nemostack-load"
MASTER: Final = "master"
WORKER: Final = "worker"
JOURNEY: Final = "journey.py"
FOLDER: Final = "/tmp/nemostack"  # noqa: S108 - of a container
FILES: Final = "/tmp/nemostack-files"  # noqa: S108
JOURNEY_PATH: Final = f"{FILES}/{JOURNEY}"
_SCRATCH: Final = "/tmp"  # noqa: S108
MOST_S: Final = 24 * 3600
"""A run that takes longer ends."""
KEPT_AFTER_END_S: Final = 600
GRACE_S: Final = 10
USER: Final = 10001
RESOURCES: Final[Mapping[str, Object]] = {
    MASTER: {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}},
    # no limit of cores: a throttled client would measure itself
    WORKER: {"requests": {"cpu": "1", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a load test runs, and of what."""

    name: str
    namespace: str
    image: str
    workers: int
    pull_secret: str | None = None
    has_key: bool = False
    has_journey: bool = False

    @property
    def master(self) -> str:
        """Name of the master's Job and Service."""
        return f"{self.name}-{MASTER}"

    @property
    def workers_job(self) -> str:
        """Name of the workers' Job."""
        return f"{self.name}-{WORKER}s"

    def labels(self, component: str) -> dict[str, str]:
        """Labels of the objects of a component."""
        return {
            "app.kubernetes.io/name": APP,
            "app.kubernetes.io/instance": self.name,
            "app.kubernetes.io/component": component,
            "app.kubernetes.io/part-of": "nemostack",
        }

    @property
    def selector(self) -> str:
        """Selector of everything of this run."""
        return f"app.kubernetes.io/instance={self.name}"


def master_job(place: Place) -> Object:
    """Make the Job that owns all the rest."""
    spec = {"backoffLimit": 0, "activeDeadlineSeconds": MOST_S + int(KEPT_S)}
    return _job(place, place.master, MASTER, ["python", "-m", "load_tests.cluster.pod", "hold"], spec)


def owned_by(owner: Object, made: Object) -> Object:
    """Return an object that goes with its owner, which the API server has answered."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": True,
    }
    return {**made, "metadata": {**made["metadata"], "ownerReferences": [reference]}}


def helpers(place: Place, *, key: str | None, journey: str | None) -> list[Object]:
    """What the pods need: the Service by which workers find the master, a policy, NIM's key and the user's journey."""
    service = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": place.labels(MASTER),
        "ports": [{"name": "locust", "port": PORT}],
    }
    policy = {
        "podSelector": {"matchLabels": place.labels(MASTER)},
        "policyTypes": ["Ingress"],
        "ingress": [
            {
                "from": [{"podSelector": {"matchLabels": place.labels(WORKER)}}],
                "ports": [{"protocol": "TCP", "port": PORT}],
            }
        ],
    }
    made = [
        _object(place, "v1", "Service", place.master, {"spec": service}),
        _object(place, "networking.k8s.io/v1", "NetworkPolicy", place.master, {"spec": policy}),
    ]
    if key is not None:
        made.append(_object(place, "v1", "Secret", place.name, {"stringData": {API_KEY_VARIABLE: key}}))
    if journey is not None:
        made.append(_object(place, "v1", "ConfigMap", place.name, {"data": {JOURNEY: journey}}))
    return made


def workers_job(place: Place) -> Object:
    """Make the Job of the workers: one pod for each, and a failed one ends no other."""
    master = f"{place.master}.{place.namespace}.svc"
    command = ["python", "-m", "load_tests", "--worker", "--master-host", master, "--master-port", str(PORT)]
    command += ["--journey", JOURNEY_PATH] if place.has_journey else []
    spec = {
        "completionMode": "Indexed",
        "completions": place.workers,
        "parallelism": place.workers,
        "backoffLimitPerIndex": 0,
        "maxFailedIndexes": place.workers,
        "activeDeadlineSeconds": MOST_S,
    }
    return _job(place, place.workers_job, WORKER, command, spec)


def _object(place: Place, version: str, kind: str, name: str, content: Object, *, component: str = MASTER) -> Object:
    metadata = {"name": name, "namespace": place.namespace, "labels": place.labels(component)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


def _job(place: Place, name: str, component: str, command: Sequence[str], spec: Object) -> Object:
    template = {"metadata": {"labels": place.labels(component)}, "spec": _pod(place, component, command)}
    content = {"spec": {**spec, "ttlSecondsAfterFinished": KEPT_AFTER_END_S, "template": template}}
    return _object(place, "batch/v1", "Job", name, content, component=component)


def _pod(place: Place, component: str, command: Sequence[str]) -> Object:
    environment: list[Object] = [
        {"name": FOLDER_VARIABLE, "value": FOLDER},
        {"name": "HOME", "value": _SCRATCH},
        {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
        {"name": "PYTHONUNBUFFERED", "value": "1"},
    ]
    if place.has_key:
        reference = {"name": place.name, "key": API_KEY_VARIABLE}
        environment.append({"name": API_KEY_VARIABLE, "valueFrom": {"secretKeyRef": reference}})
    volumes: list[Object] = [{"name": "scratch", "emptyDir": {}}]
    mounts: list[Object] = [{"name": "scratch", "mountPath": _SCRATCH}]
    if place.has_journey:
        volumes.append({"name": "files", "configMap": {"name": place.name}})
        mounts.append({"name": "files", "mountPath": FILES, "readOnly": True})
    container = {
        "name": component,
        "image": place.image,
        "command": list(command),
        "workingDir": _SCRATCH,
        "env": environment,
        "resources": RESOURCES[component],
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": place.labels(component)},
    }
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_S,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"imagePullSecrets": [{"name": place.pull_secret}]} if place.pull_secret else {}),
        "topologySpreadConstraints": [spread],
        "containers": [container],
        "volumes": volumes,
    }
