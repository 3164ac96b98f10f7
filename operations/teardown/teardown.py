"""Takes a stack down in an order in which nothing is left hanging, and says what is left all the same.

1. The outputs are read while there are any: afterwards nobody knows the cluster.
2. Jobs and NIMs made at run time go while their operators live; without them their finalizers would hold namespaces.
3. Volumes of claims that a chart wants kept are set to Retain, since their namespace goes and takes the claims along.
   Not with `delete_data`. All other volumes go with their namespace, data included, unless their policy is Retain.
4. `pulumi destroy`.
5. A look at what is left, as a table and a JSON file. With `delete_data` volumes and claims that are left go too.

Refuses to take finalizers away: whoever owns one still has something to clean up.
"""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nemostack.errors import NemostackError, ServiceError, Unreachable
from nemostack.kubectl.client import Kubectl, Object
from nemostack.models import Model
from nemostack.outputs import ClusterOutputs, StackOutputs
from operations.doctor.check import ident
from operations.helm_releases import read_releases
from operations.teardown.leftovers import (
    ClusterInventory,
    Leftover,
    claim_of,
    find_leftovers,
    gone_with_the_cluster,
    is_kept,
    volumes,
)

KINDS = (
    *("namespaces", "persistentvolumes", "persistentvolumeclaims", "services"),
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
)
# Objects with finalizers whose controllers are part of the stack, in the order in which they go.
RUN_TIME = (
    *("nemotrainingjobs.nvidia.com", "nemoentityhandlers.nvidia.com", "jobs.batch.volcano.sh"),
    *("nimpipelines.apps.nvidia.com", "nimservices.apps.nvidia.com", "nimcaches.apps.nvidia.com"),
)
STOP_S = 180
SETTLE_S = 90.0
POLL_S = 2.0
Say = Callable[[str], None]


class Report(Model):
    """What became of a stack; the JSON file. `cluster` serves a later `--delete-data`, when the outputs are gone."""

    stack: str
    target: str
    finished: datetime
    destroyed: bool
    cluster_seen: bool
    cluster: ClusterOutputs
    retained: list[str]
    left: list[Leftover]

    @property
    def unexpected(self) -> list[Leftover]:
        """What should not be there."""
        return [one for one in self.left if not one.on_purpose]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a teardown would do. `retains`, `deletes`: volumes that outlive the stack, and that go with their data."""

    stops: list[str]
    releases: list[str]
    namespaces: list[str]
    retains: list[str]
    deletes: list[str]


def observe(kubectl: Kubectl) -> ClusterInventory:
    """Look at what a stack can leave behind. Raises ServiceError."""
    objects, refused = kubectl.objects(KINDS, "--all-namespaces")
    if refused:
        raise ServiceError(f"the cluster does not show everything that may be left: {refused}")
    names = kubectl.run("get", "customresourcedefinitions.apiextensions.k8s.io", "-o", "name")
    return ClusterInventory(
        seen=datetime.now(UTC),
        objects=objects,
        releases=read_releases(kubectl),
        definitions=[line.partition("/")[2] for line in names.splitlines() if "/" in line],
    )


def run_time(kubectl: Kubectl, cluster: ClusterOutputs, before: ClusterInventory) -> list[Object]:
    """Jobs and NIMs in the stack's namespaces."""
    kinds = [name for name in RUN_TIME if name in set(before.definitions)]
    if not kinds:
        return []
    objects, _refused = kubectl.objects(kinds, "--all-namespaces")
    return [thing for thing in objects if thing["metadata"]["namespace"] in cluster.namespaces]


def split(before: ClusterInventory, cluster: ClusterOutputs, *, delete_data: bool) -> tuple[list[Object], list[Object]]:
    """Volumes of the stack that outlive it (a chart wants the claim kept, or Retain), and those that go with it."""
    kept = {ident(claim) for claim in before.all("PersistentVolumeClaim") if is_kept(claim)}
    stay: list[Object] = []
    go: list[Object] = []
    for volume in volumes(before, cluster):
        keep = claim_of(volume) in kept or volume["spec"].get("persistentVolumeReclaimPolicy") == "Retain"
        (stay if keep and not delete_data else go).append(volume)
    return stay, go


def plan(outputs: StackOutputs, *, delete_data: bool) -> Plan:
    """Say what `teardown` would do, and change nothing."""
    with Kubectl.opened(outputs) as kubectl:
        cluster = _cluster(outputs)
        before = observe(kubectl)
        stay, go = split(before, cluster, delete_data=delete_data)
        going = set(cluster.namespaces) - set(cluster.adopted_namespaces)
        return Plan(
            stops=[f"{thing['kind']} {ident(thing)}" for thing in run_time(kubectl, cluster, before)],
            releases=[f"{r.namespace}/{r.name}" for r in before.releases if r.namespace in cluster.namespaces],
            namespaces=[ident(n) for n in before.all("Namespace") if ident(n) in going],
            retains=[_described(volume) for volume in stay],
            deletes=[_described(volume) for volume in go],
        )


def teardown(stack: str, outputs: StackOutputs, destroy: Callable[[], int], say: Say, *, delete_data: bool) -> Report:
    """Take down a stack on a cluster. Raises ServiceError when the cluster cannot be looked at before anything is done.

    `destroy` returns the exit code of `pulumi destroy`; when that fails the report says so, with what is left.
    """
    cluster = _cluster(outputs)
    with Kubectl.opened(outputs) as kubectl:
        before = observe(kubectl)
        _stop(kubectl, run_time(kubectl, cluster, before), say)
        stay, _ = split(before, cluster, delete_data=delete_data)
        retained = [ident(volume) for volume in stay]
        for name in retained:
            _reclaim(kubectl, name, "Retain")
            say(f"volume {name} is kept: its disk outlives the stack")
        say(f"Destroying stack {stack}")
        code = destroy()
        try:
            remains, seen = _settled(kubectl, cluster, delete_data, say) if code == 0 else observe(kubectl), True
            leftovers = find_leftovers(remains, cluster)
        except Unreachable as error:
            say(f"the cluster does not answer any more: {error.args[0]}")
            seen, leftovers = False, gone_with_the_cluster(before, cluster, retained)
    return Report(
        stack=stack,
        target=outputs.target,
        finished=datetime.now(UTC),
        destroyed=code == 0,
        cluster_seen=seen,
        cluster=cluster,
        retained=retained,
        left=leftovers,
    )


def _cluster(outputs: StackOutputs) -> ClusterOutputs:
    if outputs.cluster is None:
        raise NemostackError(f"target {outputs.target} has no cluster")
    return outputs.cluster


def _described(volume: Object) -> str:
    size = (volume["spec"].get("capacity") or {}).get("storage", "?")
    return f"{ident(volume)} ({size}, of {claim_of(volume)})"


def _stop(kubectl: Kubectl, things: Iterable[Object], say: Say) -> None:
    """Delete in the background: NIMService does not survive foreground deletion well. What hangs shows later."""
    for thing in things:
        group = thing["apiVersion"].partition("/")[0]
        what = f"{thing['kind'].lower()}.{group}"
        say(f"Stopping {thing['kind']} {ident(thing)}")
        try:
            kubectl.run(
                *("delete", what, thing["metadata"]["name"], f"--namespace={thing['metadata']['namespace']}"),
                *("--cascade=background", "--ignore-not-found", f"--timeout={STOP_S}s"),
                timeout_s=STOP_S + 10,
            )
        except ServiceError as error:
            say(f"  {error.args[0]}")


def _reclaim(kubectl: Kubectl, volume: str, policy: str) -> None:
    patch = json.dumps({"spec": {"persistentVolumeReclaimPolicy": policy}})
    kubectl.run("patch", "persistentvolume", volume, "--type=merge", f"--patch={patch}")


def _settled(kubectl: Kubectl, cluster: ClusterOutputs, delete_data: bool, say: Say) -> ClusterInventory:
    """Look until only what stays is left, or for SETTLE_S: deleting goes on after `destroy` has ended."""
    deadline = time.monotonic() + SETTLE_S
    asked: set[str] = set()
    while True:
        remains = observe(kubectl)
        if delete_data:
            _delete_data(kubectl, remains, cluster, asked, say)
        going = [
            one for one in find_leftovers(remains, cluster) if not one.on_purpose and (delete_data or not one.data)
        ]
        if not going or time.monotonic() > deadline:
            return remains
        say(f"waiting for {len(going)} to go: {', '.join(f'{one.kind} {one.where}' for one in going[:3])}")
        time.sleep(POLL_S)


def _delete_data(
    kubectl: Kubectl, remains: ClusterInventory, cluster: ClusterOutputs, asked: set[str], say: Say
) -> None:
    """Delete claims; let the storage delete volumes that nobody claims any more, disk included."""
    for one in find_leftovers(remains, cluster):
        if one.kind == "PersistentVolumeClaim" and one.where not in asked:
            asked.add(one.where)
            say(f"Deleting {one.kind} {one.where}")
            which = (f"--namespace={one.namespace}", one.name)
            kubectl.run("delete", "persistentvolumeclaim", *which, "--ignore-not-found", "--wait=false")
    for volume in volumes(remains, cluster):
        name = ident(volume)
        kept = volume["spec"].get("persistentVolumeReclaimPolicy") == "Retain"
        if kept and name not in asked:
            asked.add(name)
            say(f"Deleting PersistentVolume {name}")
            _reclaim(kubectl, name, "Delete")


def look_again(report: Report, outputs: StackOutputs, say: Say, *, delete_data: bool) -> Report:
    """Look at what is left now of what an earlier teardown left, and delete the data if asked to."""
    with Kubectl.opened(outputs) as kubectl:
        remains = _settled(kubectl, report.cluster, delete_data, say)
    leftovers = find_leftovers(remains, report.cluster)
    return report.model_copy(update={"left": leftovers, "finished": datetime.now(UTC), "destroyed": True})


def write(report: Report, path: Path) -> None:
    """Write the JSON file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(report.model_dump_json(indent=2) + "\n")
