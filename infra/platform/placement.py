"""The placement of pods with a GPU: tolerations, node selectors, the name of the GPU resource. Pure.

Every pod of ours that needs a GPU, and every job that prepares a volume for one, gets its placement here, so that a
taint in the settings is tolerated everywhere or nowhere.
"""

from typing import Any

from infra import names
from infra.config.clusters import AdoptedCluster
from infra.config.fit import nim_pool, training_pool
from infra.config.nemo import Nim
from infra.config.pools import GpuPool, Taint
from infra.config.stack import ClusterStackConfig

ANY_NODE = {"kubernetes.io/os": "linux"}
AKS_SPOT = Taint(key="kubernetes.azure.com/scalesetpriority", value="spot")  # which AKS puts on spot nodes by itself


def tolerations(config: ClusterStackConfig) -> list[dict[str, Any]]:
    """Tolerations of a pod that may run on any GPU pool."""
    spot = config.target == "aks" and any(pool.spot for pool in config.pools)
    taints = [Taint(key=names.GPU_TAINT_KEY), *config.gpu_taints, *([AKS_SPOT] if spot else [])]
    return list({str(entry): entry for entry in map(toleration, taints)}.values())


def toleration(taint: Taint) -> dict[str, Any]:
    """Return what tolerates a taint: any value of nvidia.com/gpu, whose values differ by cloud, else exactly it."""
    if taint.key == names.GPU_TAINT_KEY:
        return {"key": taint.key, "operator": "Exists", "effect": taint.effect}
    return {"key": taint.key, "operator": "Equal", "value": taint.value, "effect": taint.effect}


def node_selector(pool: GpuPool | None) -> dict[str, str]:
    """Node selector for a pool; empty: any node."""
    return {names.POOL_LABEL: pool.name} if pool else {}


def nim_selector(config: ClusterStackConfig, nim: Nim) -> dict[str, str]:
    """Node selector of a NIM."""
    return node_selector(nim_pool(config, nim))


def training_selector(config: ClusterStackConfig) -> dict[str, str]:
    """Node selector of training jobs."""
    return node_selector(training_pool(config))


def gpu_resource(config: ClusterStackConfig, nim: Nim) -> str:
    """Name of the resource that a NIM asks for; MIG partitions have their own under strategy `mixed`."""
    return (nim_pool(config, nim) or config.pools[0]).resource if config.pools else names.GPU_RESOURCE


def cache_node_selector(config: ClusterStackConfig, nim: Nim) -> dict[str, str] | None:
    """Node selector of the job that fills a NIM's cache, None for the NIM operator's own.

    The volume must be where the NIM can run, so the job goes to the NIM's pool, or to the first where any will do.
    On a cluster that is not ours the operator's selector, NFD's label, serves if something puts that label there;
    else no node would match, and any node must do.
    """
    if config.pools:
        return node_selector(nim_pool(config, nim) or config.pools[0])
    labelled = isinstance(config.cluster, AdoptedCluster) and names.NFD_LABEL in config.cluster.label_nodes
    return None if labelled or config.gpu_software == "gpu-operator" else ANY_NODE
