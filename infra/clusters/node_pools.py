"""What the node pools of all clouds have in common. Pure."""

import math

from infra import names
from infra.config.pools import GpuPool, SystemPool
from infra.config.stack import ClusterStackConfig
from infra.platform.gpu import pool_labels

EFFECTS = {"NoSchedule": "NO_SCHEDULE", "PreferNoSchedule": "PREFER_NO_SCHEDULE", "NoExecute": "NO_EXECUTE"}
"""Effects of taints as the APIs of Google Cloud and AWS call them."""


def labels(config: ClusterStackConfig, pool: GpuPool) -> dict[str, str]:
    """Labels of a pool's nodes: of our GPU software, of the settings, and the name by which pods are sent there."""
    return {**pool_labels(config, pool), **pool.labels, names.POOL_LABEL: pool.name}


def first_nodes(pool: GpuPool | SystemPool, zones: int) -> int:
    """Nodes in each zone at the start: the least that gives `min` without going over `max` in all zones together."""
    each = math.ceil(pool.min / zones)
    return each if each * zones <= pool.max else pool.min // zones
