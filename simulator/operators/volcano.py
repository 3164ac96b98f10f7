"""Volcano's job controller and the `enqueue` action of its scheduler, from the source of v1.9.0.

A Job gets a PodGroup, and no pod as long as that is Pending (`job_controller_actions.go`: syncTask). The scheduler lets
a PodGroup out if its configuration's plugins do (`session_plugins.go`: JobEnqueueable): tier by tier, one rejection is
the end, and a permission without a rejection is enough, without a look at the next tier. Here are the plugins that
vote: `overcommit`, `proportion` (queues without a guarantee) and `sla`. The configuration is the ConfigMap that the
chart makes; it is read at each look, as Volcano does. Pods are then left to Kubernetes' own scheduler, one by one.
"""

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import yaml

from simulator import quantities
from simulator.api import Object
from simulator.operators.rounds import CONFIG_MAPS, NODES, PODS, Round

JOBS = "/apis/batch.volcano.sh/v1alpha1/jobs"
POD_GROUPS = "/apis/scheduling.volcano.sh/v1beta1/podgroups"
QUEUES = "/apis/scheduling.volcano.sh/v1beta1/queues"
CONFIGURATION = "volcano-scheduler.conf"
CONFIG_MAP_SUFFIX = "-scheduler-configmap"
GROUP = "scheduling.k8s.io/group-name"
WAITING_TIME = "sla-waiting-time"
DEFAULT_FACTOR = Decimal("1.2")
PERMIT, ABSTAIN, REJECT = 1, 0, -1
DURATION = re.compile(r"([0-9.]+)(ns|us|µs|ms|s|m|h)")
SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
ENDED = ("Succeeded", "Failed")


def volcano_job(seen: Round, job: Object) -> Object:
    """A PodGroup; once that is enqueued, the pods of all tasks."""
    metadata, spec = job["metadata"], job["spec"]
    pods = [
        (f"{metadata['name']}-{task['name']}-{number}", task["template"])
        for task in spec["tasks"]
        for number in range(task.get("replicas", 1))
    ]
    least = spec.get("minAvailable") or len(pods)
    needed = quantities.total(quantities.requested(template["spec"]) for _, template in pods[:least])
    group = seen.child(
        job,
        POD_GROUPS,
        "PodGroup",
        group_name(job),
        {
            "spec": {
                "minMember": least,
                "minResources": {name: str(number) for name, number in needed.items()},
                "queue": spec.get("queue", "default"),
            }
        },
        notes={key: text for key, text in metadata.get("annotations", {}).items() if key == WAITING_TIME},
    )
    if group.get("status", {}).get("phase", "Pending") == "Pending":
        return {"state": {"phase": "Pending"}, "pending": 0, "running": 0}
    phases = [
        seen.child(job, PODS, "Pod", name, {"spec": {"restartPolicy": "Never"} | template["spec"]})
        .get("status", {})
        .get("phase", "Pending")
        for name, template in pods
    ]
    counts = {name.lower(): phases.count(name) for name in ("Pending", "Running", "Succeeded")}
    if counts["succeeded"] >= least:  # kwok lets the pods of any Job succeed as soon as they are scheduled
        return {"state": {"phase": "Completed"}} | counts
    return {"state": {"phase": "Running" if counts["running"] >= least else "Pending"}} | counts


def group_name(job: Object) -> str:
    """Return the name of the PodGroup of a Job."""
    return f"{job['metadata']['name']}-{job['metadata']['uid']}"


def pod_group(seen: Round, group: Object) -> Object | None:
    """Pending until the scheduler enqueues it. Without a scheduler's configuration there is no scheduler."""
    phase = group.get("status", {}).get("phase")
    if phase is None:
        return {"phase": "Pending"}
    configuration = read_configuration(seen)
    if phase != "Pending" or configuration is None:
        return None
    if "enqueue" not in configuration["actions"].replace(" ", "").split(","):
        return {"phase": "Inqueue"}
    return {"phase": "Inqueue"} if is_enqueueable(configuration, look(seen, group)) else None


def read_configuration(seen: Round) -> dict[str, Any] | None:
    """Return the scheduler's configuration as the cluster has it, None if there is none."""
    for (_, name), config_map in seen.collection(CONFIG_MAPS).items():
        text = (config_map.get("data") or {}).get(CONFIGURATION)
        if name.endswith(CONFIG_MAP_SUFFIX) and text:
            configuration: dict[str, Any] = yaml.safe_load(text)
            return configuration
    return None


@dataclass(frozen=True)
class Session:
    """What the plugins see of a PodGroup and of the cluster."""

    group: Object
    needed: quantities.Resources
    capacity: quantities.Resources
    used: quantities.Resources
    inqueue: quantities.Resources
    queued: quantities.Resources
    capability: quantities.Resources | None
    age_s: float


def look(seen: Round, group: Object) -> Session:
    """Add up what the nodes have, what pods use, and what other PodGroups were promised."""
    nodes = seen.collection(NODES).values()
    pods = [
        pod
        for pod in seen.collection(PODS).values()
        if pod["spec"].get("nodeName") and pod["status"].get("phase") not in ENDED
    ]
    queue = group["spec"].get("queue", "default")
    promised = [
        other
        for other in seen.collection(POD_GROUPS).values()
        if other.get("status", {}).get("phase") == "Inqueue" and not has_pods(seen, other)
    ]
    settings = seen.collection(QUEUES).get(("", queue), {}).get("spec", {})
    created = dt.datetime.fromisoformat(group["metadata"]["creationTimestamp"])
    return Session(
        group=group,
        needed=quantities.resources(group["spec"].get("minResources")),
        capacity=quantities.total(quantities.resources(node["status"].get("allocatable")) for node in nodes),
        used=quantities.total(quantities.requested(pod["spec"]) for pod in pods),
        inqueue=quantities.total(quantities.resources(other["spec"].get("minResources")) for other in promised),
        queued=quantities.total(
            quantities.resources(other["spec"].get("minResources"))
            for other in seen.collection(POD_GROUPS).values()
            if other["spec"].get("queue", "default") == queue
            and other.get("status", {}).get("phase", "Pending") != "Pending"
        ),
        capability=quantities.resources(settings["capability"]) if settings.get("capability") else None,
        age_s=(dt.datetime.now(dt.UTC) - created).total_seconds(),
    )


def has_pods(seen: Round, group: Object) -> bool:
    """Return whether pods of the PodGroup's owner are on nodes: they count as used, no longer as promised."""
    owners = {owner["uid"] for owner in group["metadata"].get("ownerReferences", [])}
    return any(
        pod["spec"].get("nodeName")
        for pod in seen.collection(PODS).values()
        for owner in pod["metadata"].get("ownerReferences", [])
        if owner["uid"] in owners
    )


def is_enqueueable(configuration: dict[str, Any], session: Session) -> bool:
    """Return the verdict of the plugins, see the module."""
    if session.group["spec"].get("minResources") is None:
        return True
    for tier in configuration.get("tiers", []):
        permitted = False
        for plugin in tier.get("plugins", []):
            vote = PLUGINS.get(plugin["name"])
            if vote is None or plugin.get("enableJobEnqueued") is False:
                continue
            verdict = vote(session, plugin.get("arguments") or {})
            if verdict == REJECT:
                return False
            permitted |= verdict == PERMIT
        if permitted:
            return True
    return True


def overcommit(session: Session, arguments: dict[str, Any]) -> int:
    """Reject what is more than 1.2 times the cluster less what is used. What the cluster lacks counts as 0."""
    factor = Decimal(str(arguments.get("overcommit-factor", DEFAULT_FACTOR)))
    factor = DEFAULT_FACTOR if factor < 1 else factor
    wanted = quantities.total([session.inqueue, session.needed])
    for name, number in wanted.items():
        idle = session.capacity.get(name, Decimal(0)) * factor - session.used.get(name, Decimal(0))
        if number > idle:
            return REJECT
    return PERMIT


def proportion(session: Session, _arguments: dict[str, Any]) -> int:
    """Reject what is more than the queue may have, by default the whole cluster. What it lacks counts as endless."""
    bound = dict(session.capacity) | (session.capability or {})
    for name, number in quantities.total([session.queued, session.needed]).items():
        if name in bound and number > min(bound[name], session.capacity.get(name, bound[name])):
            return REJECT
    return PERMIT


def sla(session: Session, arguments: dict[str, Any]) -> int:
    """Permit what has waited long enough, by the job's annotation or the plugin's argument; abstain otherwise."""
    notes = session.group["metadata"].get("annotations", {})
    limit = seconds(notes.get(WAITING_TIME)) or seconds(arguments.get(WAITING_TIME))
    return PERMIT if limit is not None and session.age_s >= limit else ABSTAIN


def seconds(duration: Any) -> float | None:
    """Return the seconds of a duration as Go writes it, None for what Volcano ignores: none, a wrong one, or 0."""
    parts = DURATION.findall(str(duration or ""))
    if not parts or "".join(number + unit for number, unit in parts) != str(duration):
        return None
    return sum(float(number) * SECONDS[unit] for number, unit in parts) or None


PLUGINS: dict[str, Callable[[Session, dict[str, Any]], int]] = {
    "overcommit": overcommit,
    "proportion": proportion,
    "sla": sla,
}
