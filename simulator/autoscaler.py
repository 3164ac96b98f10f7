"""A simulated cluster autoscaler: a pool grows by a node when a pod that would fit on it cannot be scheduled.

As the real one, it sees pods that exist and that Kubernetes' scheduler has called unschedulable, and nothing else: a
job whose pods nobody creates does not make a pool grow. It asks for GPUs, taints and node selectors, adds one node at a
time, and never removes one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from simulator import nodes, quantities
from simulator.api import Api, Object

POOL = "simulated.nemostack.dev/pool"


@dataclass
class Pool:
    """Nodes that can be added. `make`: returns the node of a name."""

    name: str
    make: Callable[[str], Object]
    maximum: int
    created: list[str] = field(default_factory=list)


class Autoscaler:
    """Grows the pools that were added."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.pools: list[Pool] = []

    def once(self) -> bool:
        """Add a node to the first pool that helps an unschedulable pod; return whether there was one."""
        pools = [pool for pool in self.pools if len(pool.created) < pool.maximum]
        if not pools or self._starting():
            return False
        for pod in self._api.items("/api/v1/pods"):
            for pool in pools:
                name = f"{pool.name}-{len(pool.created)}"
                node = pool.make(name)
                if is_unschedulable(pod) and fits(pod["spec"], node):
                    node["metadata"]["labels"][POOL] = pool.name
                    self._api.create("/api/v1/nodes", node)
                    pool.created.append(name)
                    return True
        return False

    def _starting(self) -> bool:
        created = {name for pool in self.pools for name in pool.created}
        current = {node["metadata"]["name"]: node for node in self._api.items("/api/v1/nodes")}
        return any(name in current and not nodes.is_ready(current[name]) for name in created)


def is_unschedulable(pod: Object) -> bool:
    """Return whether the scheduler has found no node for a pod."""
    return any(
        condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable"
        for condition in pod["status"].get("conditions", [])
    )


def fits(spec: Object, node: Object) -> bool:
    """Return whether a pod could run on an empty node: resources, taints, node selector."""
    allocatable = quantities.resources(node["status"]["allocatable"])
    labels = node["metadata"]["labels"]
    return (
        all(number <= allocatable.get(name, 0) for name, number in quantities.requested(spec).items())
        and all(labels.get(key) == value for key, value in (spec.get("nodeSelector") or {}).items())
        and all(is_tolerated(taint, spec.get("tolerations") or []) for taint in node["spec"].get("taints", []))
    )


def is_tolerated(taint: Object, tolerations: list[Object]) -> bool:
    """Return whether one of the tolerations matches a taint."""
    return any(
        toleration.get("effect") in (None, "", taint["effect"])
        and toleration.get("key") in (None, "", taint["key"])
        and (toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", ""))
        for toleration in tolerations
    )
