"""What the pods of a load test say of themselves: how many run, why one does not start, which were lost. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

Object = dict[str, Any]
INDEX: Final = "batch.kubernetes.io/job-completion-index"
_HOPELESS: Final = {"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}


@dataclass(frozen=True, slots=True)
class Sight:
    """The pods of a Job at one moment."""

    running: int
    ended: int
    """Successfully."""
    lost: dict[str, str]
    """Name -> why."""
    waiting: str
    """Why one does not run yet; empty where none waits."""
    hopeless: bool
    """Waiting for something that waiting does not bring."""


def look(pods: Sequence[Object]) -> Sight:
    """Sum up the pods of a Job."""
    waits = [one for pod in pods if (one := _waiting(pod))]
    phases = [pod.get("status", {}).get("phase") for pod in pods]
    hopeless = [text for reason, text in waits if reason in _HOPELESS]
    return Sight(
        running=sum(phase == "Running" for phase in phases),
        ended=phases.count("Succeeded"),
        lost={spoken(pod): _why_lost(pod) for pod in pods if pod.get("status", {}).get("phase") == "Failed"},
        waiting=(hopeless or [text for _, text in waits] or [""])[0],
        hopeless=bool(hopeless),
    )


def refusal(events: Sequence[Object]) -> str:
    """Return why Kubernetes makes no pod of a Job, from its events; empty when it says nothing of that kind."""
    said = [event.get("message", "") for event in events if event.get("reason") == "FailedCreate"]
    return str(said[-1]) if said else ""


def spoken(pod: Object) -> str:
    """Return the name of a pod for users: a worker by its number."""
    index = pod["metadata"].get("annotations", {}).get(INDEX)
    return pod["metadata"]["name"] if index is None else f"worker {index}"


def _states(pod: Object, kind: str) -> Iterator[Object]:
    for container in pod.get("status", {}).get("containerStatuses", ()):
        if found := container.get("state", {}).get(kind):
            yield found


def _waiting(pod: Object) -> tuple[str, str] | None:
    """Reason and sentence, None for a pod that does not wait."""
    if pod.get("status", {}).get("phase", "Pending") != "Pending":
        return None
    for state in _states(pod, "waiting"):
        reason = state.get("reason", "")
        if reason not in {"ContainerCreating", "PodInitializing"}:
            return reason, ": ".join(filter(None, (reason, state.get("message", ""))))
    for condition in pod.get("status", {}).get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return condition.get("reason", ""), condition.get("message") or condition.get("reason", "not scheduled")
    return "", "starting"


def _why_lost(pod: Object) -> str:
    status = pod["status"]
    if status.get("reason"):  # of the kubelet: Evicted, NodeLost, Preempting
        return ": ".join(filter(None, (status["reason"], status.get("message", ""))))
    for state in _states(pod, "terminated"):
        said = ": ".join(filter(None, (state.get("reason", ""), state.get("message", ""))))
        return f"{said or 'ended'} (exit {state.get('exitCode', '?')})"
    return "failed"
