"""The cluster's own machinery: kinds that are missing, webhooks that block, pods refused, deletes that hang."""

import re
from collections.abc import Iterator

from nemostack.kubectl.client import Object
from operations.cluster_snapshot import Snapshot
from operations.doctor.check import Check, Evidence, brief, condition, ident
from operations.doctor.containers import POD_GROUP, in_log

POD_GROUPS = "podgroups.scheduling.volcano.sh"
STUCK_AFTER_S = 300.0
_WEBHOOK = re.compile(r"failed calling webhook \"?([\w.-]+)")


def _pod_group(snapshot: Snapshot) -> Iterator[Evidence]:
    trains = snapshot.service("customizer") is not None
    if trains and snapshot.served and not snapshot.serves(POD_GROUPS):
        yield Evidence("cluster", f"the API has no {POD_GROUPS}, which the Customizer's operator needs")
    yield from in_log(POD_GROUP)(snapshot)


def _refused_pods(snapshot: Snapshot) -> Iterator[tuple[Object, str]]:
    """Events that say why a pod was not made, each word once, latest first."""
    names, known = set(snapshot.cluster.namespaces), set()
    for event in reversed(snapshot.all("Event")):
        message = event.get("message", "")
        if event["reason"] in {"FailedCreate", "FailedCreatePodSandBox"} and event["metadata"]["namespace"] in names:
            key = (event["involvedObject"].get("name"), message[:80])
            if key not in known:
                known.add(key)
                yield event, message


def _calling_webhook(snapshot: Snapshot) -> Iterator[Evidence]:
    for event, message in _refused_pods(snapshot):
        if match := _WEBHOOK.search(message):
            about = event["involvedObject"]
            fix = ""
            if "volcano" in match[1]:
                fix = (
                    "wait for the Job volcano-admission-init and Deployment volcano-admission, or run the Job again; "
                    "if Volcano is gone, delete its webhook configurations"
                )
            yield Evidence(f"{event['metadata']['namespace']}/{about['name']}", brief(message), fix=fix)


def hooks(snapshot: Snapshot) -> Iterator[tuple[Object, Object]]:
    """Webhooks that point at a Service: configuration and webhook."""
    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        for configuration in snapshot.all(kind):
            for hook in configuration.get("webhooks") or []:
                if hook.get("clientConfig", {}).get("service"):
                    yield configuration, hook


def _dead_webhooks(snapshot: Snapshot) -> Iterator[Evidence]:
    for configuration, hook in hooks(snapshot):
        if hook.get("failurePolicy", "Fail") != "Fail":
            continue
        where = hook["clientConfig"]["service"]
        name = f"{where['namespace']}/{where['name']}"
        at = f"{ident(configuration)} {hook['name']}"
        if snapshot.find("Service", where["namespace"], where["name"]) is None:
            fix = (
                f"if its owner is gone for good: kubectl delete {configuration['kind'].lower()} {ident(configuration)}"
            )
            yield Evidence(at, f"its Service {name} does not exist, and everything it watches is refused", fix=fix)
        elif not snapshot.ready_addresses(where["namespace"], where["name"]):
            yield Evidence(at, f"no ready pod behind its Service {name}, and everything it watches is refused")
        elif not hook["clientConfig"].get("caBundle"):
            fix = "its certificate was not put in: look at cert-manager's cainjector, or at the operator's init job"
            yield Evidence(at, "has no caBundle: the API server will not trust it (x509)", fix=fix)


def _forbidden_pods(snapshot: Snapshot) -> Iterator[Evidence]:
    for event, message in _refused_pods(snapshot):
        if "violates PodSecurity" in message or "exceeded quota" in message or "forbidden" in message:
            if _WEBHOOK.search(message):
                continue
            yield Evidence(f"{event['metadata']['namespace']}/{event['involvedObject']['name']}", brief(message))


def stuck(snapshot: Snapshot, things: list[Object], after_s: float = STUCK_AFTER_S) -> Iterator[tuple[Object, str]]:
    """Objects that are being deleted for long, with who has not let go: finalizers, or what a namespace says."""
    for thing in things:
        meta = thing["metadata"]
        if not meta.get("deletionTimestamp") or snapshot.age_s(meta["deletionTimestamp"]) < after_s:
            continue
        holders = ", ".join([*(meta.get("finalizers") or []), *((thing.get("spec") or {}).get("finalizers") or [])])
        kinds = ("NamespaceFinalizersRemaining", "NamespaceContentRemaining", "NamespaceDeletionDiscoveryFailure")
        conditions = [condition(thing, kind) for kind in kinds]
        words = "; ".join(brief(one["message"]) for one in conditions if one.get("status") == "True")
        yield thing, words or f"finalizers: {holders or 'none'}"


def _stuck(snapshot: Snapshot) -> Iterator[Evidence]:
    names = set(snapshot.cluster.namespaces)
    things = [
        thing
        for thing in snapshot.objects
        if thing["metadata"].get("namespace") in names
        or (thing["kind"] == "Namespace" and thing["metadata"]["name"] in names)
    ]
    for thing, why in stuck(snapshot, things):
        minutes = snapshot.age_s(thing["metadata"]["deletionTimestamp"]) / 60
        yield Evidence(ident(thing), f"{thing['kind']} is being deleted for {minutes:.0f} minutes; {why}")


CHECKS = (
    Check(
        name="Volcano CRDs",
        symptom="nemo-operator CrashLoop, no matches for kind PodGroup",
        look=_pod_group,
        looks_at=f"whether {POD_GROUPS} exists; logs of failed containers",
        fix="install Volcano 1.9.0 before the Customizer (prerequisites.volcano), then restart nemo-operator",
    ),
    Check(
        name="webhook call",
        symptom="no pod can be created: failed calling webhook, x509",
        look=_calling_webhook,
        looks_at="events FailedCreate of Jobs, ReplicaSets and StatefulSets",
        fix="the pods of the webhook must run, and its configuration must contain its certificate; see `webhook dead`",
    ),
    Check(
        name="webhook dead",
        symptom="objects are rejected: no webhook, no certificate",
        look=_dead_webhooks,
        looks_at="webhooks with failurePolicy Fail: their Service, its ready pods, caBundle",
        fix="start its owner again (Volcano, NIM operator, cert-manager); install cert-manager first",
    ),
    Check(
        name="pod refused",
        symptom="a workload has no pods",
        look=_forbidden_pods,
        looks_at="events FailedCreate: Pod Security, quota",
        fix="raise the quota, or relax security.pod_security in the stack's settings",
    ),
    Check(
        name="delete hangs",
        symptom="objects or namespaces stay Terminating",
        look=_stuck,
        looks_at=f"deletionTimestamp older than {STUCK_AFTER_S / 60:.0f} minutes; finalizers; conditions of namespaces",
        fix="start the controller that owns the finalizer again; it cleans up and removes it. Delete NIMServices with "
        "--cascade=background. Remove a finalizer by hand only if its controller is gone for good",
    ),
)
