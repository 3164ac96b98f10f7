"""A check of the cluster: a symptom, the objects looked at, a remedy, and a pure function over a snapshot."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from nemostack.kubectl.client import Object
from nemostack.service_checks import Level
from operations.cluster_snapshot import Snapshot


@dataclass(frozen=True)
class Evidence:
    """Evidence: where, and what is there. `fix` replaces the check's own where more is known."""

    where: str
    what: str
    level: Level = "bad"
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One row of the doctor's table (docs/kubernetes/doctor.md). `look` yields nothing when all is well."""

    name: str
    symptom: str
    looks_at: str
    fix: str
    look: Callable[[Snapshot], Iterable[Evidence]]


def ident(thing: Object) -> str:
    """`namespace/name`, or `name` of what has no namespace."""
    meta = thing["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


def condition(thing: Object, kind: str) -> Object:
    """Return a condition of an object, empty if it has none of this type."""
    conditions: list[Object] = (thing.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == kind), {})


def pending(snapshot: Snapshot) -> Iterator[tuple[Object, str]]:
    """Pods of the stack for which the scheduler finds no node, with its words."""
    for pod in snapshot.ours("Pod"):
        scheduled = condition(pod, "PodScheduled")
        if scheduled.get("status") == "False":
            yield pod, scheduled.get("message", "")


def finished(pod: Object) -> bool:
    """Whether a pod has ended and holds nothing any more."""
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def is_training(pod: Object) -> bool:
    """Whether a pod belongs to a job of the Customizer: Volcano puts them into groups."""
    meta = pod["metadata"]
    marks = {*(meta.get("labels") or {}), *(meta.get("annotations") or {})}
    return bool(marks & {"volcano.sh/job-name", "scheduling.k8s.io/group-name", "scheduling.volcano.sh/group-name"})


def brief(text: str, limit: int = 300) -> str:
    """Text in one line, cut."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."
