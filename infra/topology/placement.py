"""The placement of pods with a GPU: tolerations, node selectors, the name of the GPU resource. Pure.

Every pod of ours that needs a GPU, and every job that prepares a volume for one, gets its placement here, so that a
taint in the settings is tolerated everywhere or nowhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra import names
from infra.config.clusters import AdoptedCluster, AksSettings
from infra.config.fit import nim_pool, training_pool
from infra.config.nemo import Nim
from infra.config.pools import GpuPool, Taint
from infra.config.stack import ClusterStackConfig

ANY_NODE = {"kubernetes.io/os": "linux"}
AKS_SPOT = Taint(key="kubernetes.azure.com/scalesetpriority", value="spot")  # which AKS puts on spot nodes by itself

Selector = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NimPlacement:
    """Where a NIM runs."""

    selector: Selector
    """Empty: any node."""
    resource: str
    """What it asks for; MIG partitions have their own name under strategy `mixed`."""
    cache_selector: Selector | None
    """Of the job that fills the cache; None: the NIM operator's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where pods with a GPU run."""

    taints: tuple[Taint, ...]
    """Of the nodes that they may run on."""
    nims: Mapping[str, NimPlacement]
    """By name."""
    training: Selector
    """Node selector of training jobs."""
    platform_jobs: Selector
    """Node selector of the NeMo Platform's jobs with a GPU."""

    @property
    def tolerations(self) -> list[dict[str, Any]]:
        """Tolerations of a pod that may run on any GPU pool."""
        return list({str(entry): entry for entry in map(toleration, self.taints)}.values())


def toleration(taint: Taint) -> dict[str, Any]:
    """Return what tolerates a taint: any value of nvidia.com/gpu, whose values differ by cloud, else exactly it."""
    if taint.key == names.GPU_TAINT_KEY:
        return {"key": taint.key, "operator": "Exists", "effect": taint.effect}
    return {"key": taint.key, "operator": "Equal", "value": taint.value, "effect": taint.effect}


def resolve_placement(config: ClusterStackConfig) -> Placement:
    """Return the placement of a stack."""
    spot = isinstance(config.cluster, AksSettings) and any(pool.spot for pool in config.pools)
    return Placement(
        taints=(Taint(key=names.GPU_TAINT_KEY), *config.gpu_taints, *([AKS_SPOT] if spot else [])),
        nims={nim.name: place_nim(config, nim) for nim in config.nims},
        training=node_selector(training_pool(config)),
        platform_jobs={names.POOL_LABEL: config.platform.jobs.pool} if config.platform.jobs.pool else {},
    )


def place_nim(config: ClusterStackConfig, nim: Nim) -> NimPlacement:
    """Place a NIM, and the job that fills its cache, whose volume must be where the NIM can run.

    The job goes to the NIM's pool, or to the first where any will do. On a cluster that is not ours the operator's
    selector, NFD's label, serves if something puts that label there; else no node would match, and any node must do.
    """
    pool = nim_pool(config, nim)
    if config.pools:
        home = pool or config.pools[0]
        return NimPlacement(selector=node_selector(pool), resource=home.resource, cache_selector=node_selector(home))
    labelled = isinstance(config.cluster, AdoptedCluster) and names.NFD_LABEL in config.cluster.label_nodes
    by_operator = labelled or config.gpu_software == "gpu-operator"
    return NimPlacement(
        selector=node_selector(pool), resource=names.GPU_RESOURCE, cache_selector=None if by_operator else ANY_NODE
    )


def node_selector(pool: GpuPool | None) -> Selector:
    """Node selector for a pool; empty: any node."""
    return {names.POOL_LABEL: pool.name} if pool else {}
