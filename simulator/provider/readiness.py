"""Readiness of objects: the rule for each kind, the lack that is reported, and the reason why pods do not run.

Per kind the rules are the official plugin's. Custom resources are ready when they exist, unless the annotation
`pulumi.com/waitFor` names a condition (`condition=Ready`) or a field (`jsonpath={.status.phase}=Running`).
"""

import json
import re
from collections.abc import Callable
from typing import Any

from simulator.provider.cluster import ApiError, Cluster

Json = dict[str, Any]
SKIP = "pulumi.com/skipAwait"
WAIT_FOR = "pulumi.com/waitFor"
JSONPATH = re.compile(r"jsonpath=\{?\.?([^}=]+)\}?(?:=(.*))?")
MAX_REASONS = 5
NOT_SCHEDULED = "is not scheduled"


class FailedError(Exception):
    """The object will not become ready; waiting longer is of no use."""


def reported(obj: Json, lack: str) -> list[str]:
    """Return the errors that the official plugin reports of an object that is not ready.

    As `awaiters` of the plugin do: why a pod was not scheduled is shown while it is waited for, and is no error.
    """
    head, _, _ = lack.partition("\n")
    if obj["kind"] == "Deployment":
        available = _is_true(obj, "Available")
        rolled_out = _condition(obj, "Progressing").get("reason") == "NewReplicaSetAvailable"
        first = int(obj["metadata"].get("generation") or 1) == 1
        if not available:
            head = "Minimum number of live Pods was not attained"
        elif first or not rolled_out:
            head = "Minimum number of Pods to consider the application live was not attained"
        else:
            head = "Attempted to roll forward to new ReplicaSet, but minimum number of Pods did not become live"
    return [head, *container_troubles(lack)]


def container_troubles(lack: str) -> list[str]:
    """Return what is wrong with containers, of all that an object lacks."""
    lines = (line.removeprefix("  - ") for line in lack.splitlines()[1:])
    return [line for line in lines if NOT_SCHEDULED not in line]


def annotations(obj: Json) -> dict[str, str]:
    """Return the annotations of an object, {} if it has none."""
    return (obj.get("metadata") or {}).get("annotations") or {}


def lacking(obj: Json, cluster: Cluster) -> str | None:
    """Say in a few words what the object lacks to be ready, None if nothing. Raises FailedError if it never will be."""
    notes = annotations(obj)
    if notes.get(SKIP) == "true":
        return None
    if WAIT_FOR in notes:
        return _lacking_as_annotated(obj, notes[WAIT_FOR])
    check = CHECKS.get((obj["apiVersion"], obj["kind"]))
    return check(obj, cluster) if check else None


def _condition(obj: Json, kind: str) -> Json:
    for condition in (obj.get("status") or {}).get("conditions") or []:
        if condition.get("type") == kind:
            return dict(condition)
    return {}


def _is_true(obj: Json, kind: str) -> bool:
    return str(_condition(obj, kind).get("status")) == "True"


def _lacking_as_annotated(obj: Json, annotation: str) -> str | None:
    try:
        wishes = json.loads(annotation)
    except ValueError:
        wishes = [annotation]
    for wish in wishes if isinstance(wishes, list) else [annotation]:
        if wish.startswith("condition="):
            kind, _, status = wish.removeprefix("condition=").partition("=")
            if str(_condition(obj, kind).get("status", "")).lower() != (status or "true").lower():
                return f"waiting for {wish}"
        elif match := JSONPATH.fullmatch(wish):
            value: Any = obj
            for part in match[1].strip(".").split("."):
                value = value.get(part) if isinstance(value, dict) else None
            text = value if isinstance(value, str) else json.dumps(value)
            if value is None or (match[2] is not None and text != match[2]):
                return f"waiting for {wish}"
        else:
            raise FailedError(f'{WAIT_FOR} expects "condition=" or "jsonpath=", got {wish!r}')
    return None


def _observed(obj: Json) -> bool:
    return int((obj.get("status") or {}).get("observedGeneration") or 0) >= int(obj["metadata"].get("generation") or 0)


def _deployment(obj: Json, cluster: Cluster) -> str | None:
    status, wanted = obj.get("status") or {}, obj["spec"].get("replicas", 1)
    progress = _condition(obj, "Progressing")
    if not _observed(obj):
        return "waiting for the controller to see the change"
    if progress.get("reason") == "ProgressDeadlineExceeded":
        raise FailedError(progress.get("message", "progress deadline exceeded") + _pods(obj, cluster))
    current = status.get("updatedReplicas", 0) == status.get("replicas", 0) == wanted
    if current and status.get("availableReplicas", 0) >= wanted:
        return None
    return f"{status.get('availableReplicas', 0)} of {wanted} replicas available" + _pods(obj, cluster)


def _stateful_set(obj: Json, cluster: Cluster) -> str | None:
    status, wanted = obj.get("status") or {}, obj["spec"].get("replicas", 1)
    if not _observed(obj):
        return "waiting for the controller to see the change"
    rolling = (obj["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate"
    rolled = not rolling or wanted == 0 or status.get("currentRevision") == status.get("updateRevision")
    if rolled and status.get("readyReplicas", 0) == wanted:
        return None
    ready = f"{status.get('readyReplicas', 0)} out of {wanted} replicas succeeded readiness checks"
    return ready + _pods(obj, cluster)


def _daemon_set(obj: Json, cluster: Cluster) -> str | None:
    status = obj.get("status") or {}
    wanted = status.get("desiredNumberScheduled", 0)
    if not _observed(obj):
        return "waiting for the controller to see the change"
    if status.get("updatedNumberScheduled", 0) == wanted == status.get("numberAvailable", 0):
        return None
    return f"{status.get('numberAvailable', 0)} of {wanted} pods available" + _pods(obj, cluster)


def _job(obj: Json, cluster: Cluster) -> str | None:
    failed = _condition(obj, "Failed")
    if str(failed.get("status")) == "True":
        raise FailedError(f"Job failed: {failed.get('reason')}: {failed.get('message')}" + _pods(obj, cluster))
    return None if _is_true(obj, "Complete") else "Job is not complete" + _pods(obj, cluster)


def _claim(obj: Json, cluster: Cluster) -> str | None:
    phase = (obj.get("status") or {}).get("phase")
    if phase == "Bound":
        return None
    classes = {entry["metadata"]["name"]: entry for entry in cluster.list("storage.k8s.io/v1", "StorageClass")}
    name = obj["spec"].get("storageClassName")
    if name and name not in classes:
        return f'PersistentVolumeClaim is {phase}: there is no StorageClass "{name}"'
    if (classes.get(name or "") or {}).get("volumeBindingMode") == "WaitForFirstConsumer":
        return None
    return f"PersistentVolumeClaim is {phase}"


def _service(obj: Json, cluster: Cluster) -> str | None:
    spec, metadata = obj["spec"], obj["metadata"]
    if spec.get("type") == "ExternalName" or spec.get("clusterIP") == "None":
        return None
    if spec.get("selector"):
        slices = cluster.list(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            metadata["namespace"],
            labelSelector=f"kubernetes.io/service-name={metadata['name']}",
        )
        endpoints = [endpoint for entry in slices for endpoint in entry.get("endpoints") or []]
        if not any((endpoint.get("conditions") or {}).get("ready") for endpoint in endpoints):
            return (
                "Service does not target any Pods. Selected Pods may not be ready, or field '.spec.selector' may not "
                "match labels on any Pods"
            )
    if spec.get("type") == "LoadBalancer" and not _addresses(obj):
        return "Service was not allocated an IP address; does your cloud provider support this?"
    return None


def _addresses(obj: Json) -> list[Json]:
    return ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []


def _ingress(obj: Json, _: Cluster) -> str | None:
    return None if _addresses(obj) else "Ingress was given no address: is its controller running?"


def _pod(obj: Json, _: Cluster) -> str | None:
    if (obj.get("status") or {}).get("phase") == "Succeeded" or _is_true(obj, "Ready"):
        return None
    return "Pod is not ready" + _listed(_reasons(obj))


def _namespace(obj: Json, _: Cluster) -> str | None:
    return None if (obj.get("status") or {}).get("phase") == "Active" else "Namespace is not active"


def _definition(obj: Json, _: Cluster) -> str | None:
    names = _condition(obj, "NamesAccepted")
    if str(names.get("status")) == "False":
        raise FailedError(f"names are not accepted: {names.get('message')}")
    return None if _is_true(obj, "Established") else "CustomResourceDefinition is not established"


CHECKS: dict[tuple[str, str], Callable[[Json, Cluster], str | None]] = {
    ("apps/v1", "Deployment"): _deployment,
    ("apps/v1", "StatefulSet"): _stateful_set,
    ("apps/v1", "DaemonSet"): _daemon_set,
    ("batch/v1", "Job"): _job,
    ("v1", "PersistentVolumeClaim"): _claim,
    ("v1", "Service"): _service,
    ("v1", "Pod"): _pod,
    ("v1", "Namespace"): _namespace,
    ("networking.k8s.io/v1", "Ingress"): _ingress,
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"): _definition,
}


def _pods(obj: Json, cluster: Cluster) -> str:
    """Collect why the pods of a workload do not run: waiting containers, scheduling, events of their makers."""
    selector = (obj["spec"].get("selector") or {}).get("matchLabels") or {}
    namespace = obj["metadata"]["namespace"]
    labels = ",".join(f"{key}={value}" for key, value in selector.items())
    try:
        pods = cluster.list("v1", "Pod", namespace, labelSelector=labels) if labels else []
        reasons = [reason for pod in pods for reason in _reasons(pod)]
        if not pods:
            reasons = _events(obj, cluster)
    except ApiError as error:
        reasons = [f"pods cannot be listed: {error}"]
    return _listed(reasons)


def _reasons(pod: Json) -> list[str]:
    name, status, reasons = pod["metadata"]["name"], pod.get("status") or {}, []
    scheduled = _condition(pod, "PodScheduled")
    if str(scheduled.get("status")) == "False":
        reasons.append(f"Pod {name} {NOT_SCHEDULED}: {scheduled.get('reason')}: {scheduled.get('message')}")
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        state = container.get("state") or {}
        trouble = state.get("waiting") or state.get("terminated") or {}
        if trouble.get("reason") not in (None, "ContainerCreating", "PodInitializing", "Completed"):
            detail = trouble.get("message") or f"exit code {trouble.get('exitCode')}"
            reasons.append(f"Pod {name}: container {container['name']}: {trouble['reason']}: {detail}")
    return reasons


def _events(obj: Json, cluster: Cluster) -> list[str]:
    """Without pods, their maker has said why in an event: a Deployment's ReplicaSets, or the set itself."""
    namespace, uid = obj["metadata"]["namespace"], obj["metadata"]["uid"]
    makers = {uid}
    if obj["kind"] == "Deployment":
        for replica_set in cluster.list("apps/v1", "ReplicaSet", namespace):
            if any(owner["uid"] == uid for owner in replica_set["metadata"].get("ownerReferences") or []):
                makers.add(replica_set["metadata"]["uid"])
    events = cluster.list("v1", "Event", namespace, fieldSelector="type=Warning")
    told = (event for event in events if (event.get("involvedObject") or {}).get("uid") in makers)
    return list(dict.fromkeys(f"{event.get('reason')}: {event.get('message')}" for event in told))


def _listed(reasons: list[str]) -> str:
    more = f"\n  - and {len(reasons) - MAX_REASONS} more" if len(reasons) > MAX_REASONS else ""
    return "".join(f"\n  - {reason}" for reason in reasons[:MAX_REASONS]) + more
