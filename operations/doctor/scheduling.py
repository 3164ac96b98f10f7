"""Checks of pods that find no node: GPUs, taints, labels, groups that wait, volumes that are not made."""

import re
from collections.abc import Iterator

from infra.clusters.storage_classes import ONE_NODE_ONLY, is_default
from infra.names import GPU_RESOURCE, NFD_LABEL
from nemostack.kubectl.client import Object
from operations.cluster_snapshot import Snapshot
from operations.doctor.check import Check, Evidence, brief, condition, ident, pending
from operations.doctor.inventory import gpus, wanted_gpus

MAX_PENDING_VARIABLE, MAX_PENDING_DEFAULT = "MAX_PENDING_JOB_MINUTES", 30
ADMISSION_MINUTES = 3
"""Minutes within which a scheduler with plugin sla (sla-waiting-time: 1m) has let a job in."""
_INSUFFICIENT = re.compile(r"Insufficient (nvidia\.com/[\w.-]*\w)")
_SELECTOR = re.compile(r"didn't match (?:Pod's )?node (?:affinity/)?selector")


def _too_few_gpus(snapshot: Snapshot) -> Iterator[Evidence]:
    total = sum(gpus(node["status"].get("allocatable")) for node in snapshot.all("Node"))
    largest = max((gpus(node["status"].get("allocatable")) for node in snapshot.all("Node")), default=0)
    for pod, message in pending(snapshot):
        if match := _INSUFFICIENT.search(message):
            want = wanted_gpus(pod)
            note = f"wants {want} {match[1]}; the cluster has {total}, at most {largest} on a node"
            fix = (
                "no node is that large: choose a larger machine, or fewer GPUs a replica" if want > largest > 0 else ""
            )
            yield Evidence(ident(pod), f"{note}. {brief(message)}", fix=fix)


def _no_plugin(snapshot: Snapshot) -> Iterator[Evidence]:
    for node in snapshot.all("Node"):
        labels = node["metadata"].get("labels", {})
        marked = labels.get("nvidia.com/gpu.present") == "true" or labels.get(NFD_LABEL) == "true"
        marked = marked or "cloud.google.com/gke-accelerator" in labels or "k8s.amazonaws.com/accelerator" in labels
        if marked and not gpus(node["status"].get("allocatable")):
            yield Evidence(ident(node), f"has a GPU by its labels, but no allocatable {GPU_RESOURCE}")
    for thing in snapshot.all("DaemonSet"):
        status = thing.get("status") or {}
        desired, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
        if "nvidia" in thing["metadata"]["name"] and ready < desired:
            yield Evidence(ident(thing), f"{ready} of {desired} pods ready")


def tolerates(pod: Object, taint: Object) -> bool:
    """Whether a pod may run on nodes with this taint."""
    for one in pod["spec"].get("tolerations") or []:
        same_key = one.get("key") in {None, "", taint["key"]}
        same_value = one.get("operator") == "Exists" or one.get("value", "") == taint.get("value", "")
        if same_key and same_value and one.get("effect") in {None, "", taint["effect"]}:
            return True
    return False


def _taints(snapshot: Snapshot) -> Iterator[Evidence]:
    for pod, message in pending(snapshot):
        if "untolerated taint" not in message:
            continue
        want = wanted_gpus(pod)
        held: dict[str, int] = {}
        for node in snapshot.all("Node"):
            if gpus(node["status"].get("allocatable")) < want:
                continue  # it could not run there anyway
            for taint in node["spec"].get("taints") or []:
                lasting = not taint["key"].startswith(("node-role.kubernetes.io/", "node.kubernetes.io/"))
                if lasting and taint["effect"] != "PreferNoSchedule" and not tolerates(pod, taint):
                    text = f"{taint['key']}={taint.get('value', '')}:{taint['effect']}"
                    held[text] = held.get(text, 0) + 1
        for taint, nodes in held.items():
            yield Evidence(ident(pod), f"does not tolerate {taint} of {nodes} nodes. {brief(message)}")


def _labels(snapshot: Snapshot) -> Iterator[Evidence]:
    marked = [node for node in snapshot.all("Node") if node["metadata"].get("labels", {}).get(NFD_LABEL) == "true"]
    for pod, message in pending(snapshot):
        if not _SELECTOR.search(message):
            continue
        selector = pod["spec"].get("nodeSelector") or {}
        text = ", ".join(f"{key}={value}" for key, value in selector.items()) or "its affinity"
        fix = ""
        if NFD_LABEL in selector and not marked:
            fix = (
                "no node has this label: install node feature discovery (GPU operator), or set nodeSelector of NIMCache"
            )
        yield Evidence(ident(pod), f"no free node has {text}. {brief(message)}", fix=fix)


def _elsewhere(snapshot: Snapshot) -> Iterator[Evidence]:
    """What no other check explains."""
    for pod, message in pending(snapshot):
        known = "untolerated taint" in message and any(seen.where == ident(pod) for seen in _taints(snapshot))
        if not (known or _INSUFFICIENT.search(message) or _SELECTOR.search(message) or "PersistentVolume" in message):
            yield Evidence(ident(pod), f"no node for it: {brief(message)}")


def pending_limit(snapshot: Snapshot) -> int:
    """Minutes after which the Customizer cancels a job that waits."""
    for workload in (*snapshot.ours("Deployment"), *snapshot.ours("StatefulSet")):
        for container in workload["spec"]["template"]["spec"]["containers"]:
            for entry in container.get("env") or []:
                if entry["name"] == MAX_PENDING_VARIABLE and str(entry.get("value", "")).isdigit():
                    return int(entry["value"])
    return MAX_PENDING_DEFAULT


def _groups(snapshot: Snapshot) -> Iterator[Evidence]:
    limit = pending_limit(snapshot)
    for group in snapshot.ours("PodGroup"):
        if (group.get("status") or {}).get("phase", "Pending") not in {"Pending", "Inqueue"}:
            continue
        minutes = snapshot.age_s(group["metadata"]["creationTimestamp"]) / 60
        why = condition(group, "Unschedulable").get("message", "")
        text = f"waits for {minutes:.0f} of at most {limit} minutes ({MAX_PENDING_VARIABLE}). {brief(why)}".rstrip()
        fix = ""
        if (group.get("status") or {}).get("phase", "Pending") == "Pending" and minutes >= ADMISSION_MINUTES:
            text += " Volcano has not let it in, so it has no pods and no autoscaler adds a node"
            fix = (
                "put plugin sla with sla-waiting-time: 1m into the first tier of Volcano's scheduler (with "
                "prerequisites.volcano: install `pulumi up` does), or keep a node in the training pool (min: 1)"
            )
        yield Evidence(ident(group), text, "bad" if minutes >= limit / 2 else "warn", fix)


def _claims(snapshot: Snapshot) -> Iterator[Evidence]:
    classes = {storage["metadata"]["name"]: storage for storage in snapshot.all("StorageClass")}
    some = ", ".join(sorted(classes)) or "none"
    for claim in snapshot.ours("PersistentVolumeClaim"):
        if (claim.get("status") or {}).get("phase") != "Pending":
            continue
        name, modes = claim["spec"].get("storageClassName"), claim["spec"].get("accessModes") or []
        storage = classes.get(name or "")
        events = snapshot.events(claim)
        warning = brief(next((e["message"] for e in reversed(events) if e.get("type") == "Warning"), ""))
        if not name and not any(map(is_default, classes.values())):
            fix = "set the class of this volume in the stack's settings, or mark one as default"
            yield Evidence(
                ident(claim), f"names no class, and there is no default StorageClass; classes: {some}", fix=fix
            )
        elif name and storage is None:
            yield Evidence(ident(claim), f"StorageClass {name} does not exist; classes: {some}")
        elif storage and "ReadWriteMany" in modes and storage["provisioner"] in ONE_NODE_ONLY:
            fix = "use an RWX class for this volume: Filestore (GKE), EFS (EKS), Azure Files (AKS), NFS"
            what = (
                f"wants ReadWriteMany of {name}, whose volumes ({storage['provisioner']}) one node at a time can mount"
            )
            yield Evidence(ident(claim), what, fix=fix)
        elif not warning and any(e["reason"] == "WaitForFirstConsumer" for e in events):
            yield Evidence(
                ident(claim), "is made when its first pod is scheduled", "warn", "nothing, if its pod waits too"
            )
        else:
            yield Evidence(
                ident(claim), f"{'/'.join(modes)} of class {name}: {warning or 'its provisioner says nothing'}"
            )


CHECKS = (
    Check(
        name="GPUs short",
        symptom="NIM or training pod Pending, Insufficient nvidia.com/gpu",
        look=_too_few_gpus,
        looks_at="the scheduler's message; requested GPUs and those of the nodes",
        fix="raise the pool's maximum or the quota, wait for the autoscaler, or request fewer GPUs",
    ),
    Check(
        name="device plugin",
        symptom="GPU nodes without allocatable GPUs",
        look=_no_plugin,
        looks_at="nodes labelled as GPU nodes without nvidia.com/gpu; NVIDIA DaemonSets that are not ready",
        fix="install the GPU operator or the device plugin (EKS AL2023 and AKS have none); on new nodes wait for it",
    ),
    Check(
        name="taint",
        symptom="Pending, untolerated taint",
        look=_taints,
        looks_at="taints of the nodes with enough GPUs; the pod's tolerations",
        fix="add the toleration to the NIM and to its NIMCache, or to the Customizer's jobs",
    ),
    Check(
        name="node labels",
        symptom="Pending, no node matches the selector (NIMCache jobs)",
        look=_labels,
        looks_at=f"the pod's nodeSelector; whether any node has {NFD_LABEL}",
        fix="label the nodes, or change the selector in the stack's settings",
    ),
    Check(
        name="no node",
        symptom="Pending for another reason",
        look=_elsewhere,
        looks_at="the scheduler's message",
        fix="use larger nodes or more of them, or reduce the requests",
    ),
    Check(
        name="job waits",
        symptom="customization job pending, then cancelled",
        look=_groups,
        looks_at=f"age of Pending PodGroups; {MAX_PENDING_VARIABLE}",
        fix="free a GPU, or raise the autoscaler's maximum or max_pending_minutes in the stack's settings",
    ),
    Check(
        name="volume pending",
        symptom="PersistentVolumeClaim Pending although Helm reports deployed",
        look=_claims,
        looks_at="class of the PVC, default StorageClass, access mode and provisioner, events",
        fix="set an existing class in the stack's settings, or install its provisioner",
    ),
)
