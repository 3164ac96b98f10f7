"""Parts that the node pools of all clouds share: labels, numbers of nodes, division of a pool among zones."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from infra import names
from infra.config.clusters import ClusterSettings
from infra.config.platform import GpuSoftwareKind
from infra.config.pools import GpuPool, SystemPool
from infra.platform.gpu import pool_labels

EFFECTS = {"NoSchedule": "NO_SCHEDULE", "PreferNoSchedule": "PREFER_NO_SCHEDULE", "NoExecute": "NO_EXECUTE"}
"""Effects of taints as the APIs of Google Cloud and AWS call them."""


@dataclass(frozen=True, kw_only=True)
class ZoneShare:
    """What one zone gets of a pool."""

    zone: str
    first: bool
    """Whether it is the first zone, whose group of nodes has the name of the pool."""
    min: int
    max: int


def labels(software: GpuSoftwareKind, cluster: ClusterSettings, pool: GpuPool) -> dict[str, str]:
    """Labels of a pool's nodes: of our GPU software, of the settings, and the name by which pods are sent there."""
    return {**pool_labels(software, cluster, pool), **pool.labels, names.POOL_LABEL: pool.name}


def first_nodes(pool: GpuPool | SystemPool, zones: int) -> int:
    """Nodes in each zone at the start: the least that gives `min` without going over `max` in all zones together."""
    each = math.ceil(pool.min / zones)
    return each if each * zones <= pool.max else pool.min // zones


def divide(pool: GpuPool | SystemPool, zones: Sequence[str]) -> Iterator[ZoneShare]:
    """Divide a pool among zones, each of which becomes a group of nodes of its own.

    A volume is in one zone, and so must be the node of its pod: an autoscaler that scales a group over several zones
    does not know in which of them the next node will be. Zones beyond `max` get nothing.
    """
    used = list(dict.fromkeys(zones))[: pool.max]
    for index, zone in enumerate(used):
        yield ZoneShare(
            zone=zone,
            first=index == 0,
            min=pool.min // len(used) + (index < pool.min % len(used)),
            max=pool.max // len(used) + (index < pool.max % len(used)),
        )


def clamp(nodes: int, least: int, most: int) -> int:
    """Return the number of nodes that is nearest to `nodes` and within the limits."""
    return max(least, min(nodes, most))
