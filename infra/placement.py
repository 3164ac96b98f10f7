"""Where pods with a GPU run: tolerations, node selectors, the name of the GPU resource. Pure.

Every pod of ours that needs a GPU, and every job that prepares a volume for one, gets its placement here, so that a
taint in the settings is tolerated everywhere or nowhere.
"""

from typing import Any

from infra import names
from infra.config.clusters import AdoptedCluster
from infra.config.gpus import GIB_PER_GPU
from infra.config.nemo import Nim
from infra.config.pools import GpuPool, Taint
from infra.config.stack import ClusterStackConfig

ANY_NODE = {"kubernetes.io/os": "linux"}
AKS_SPOT = Taint(key="kubernetes.azure.com/scalesetpriority", value="spot")  # which AKS puts on spot nodes by itself


def tolerations(config: ClusterStackConfig) -> list[dict[str, Any]]:
    """Tolerations of a pod that may run on any GPU pool."""
    spot = config.target == "aks" and any(pool.spot for pool in config.pools)
    taints = [Taint(key=names.GPU_TAINT_KEY), *config.gpu_taints, *([AKS_SPOT] if spot else [])]
    return list({str(found): found for found in map(toleration, taints)}.values())


def toleration(taint: Taint) -> dict[str, Any]:
    """Return what tolerates a taint: any value of nvidia.com/gpu, whose values differ by cloud, else exactly it."""
    if taint.key == names.GPU_TAINT_KEY:
        return {"key": taint.key, "operator": "Exists", "effect": taint.effect}
    return {"key": taint.key, "operator": "Equal", "value": taint.value, "effect": taint.effect}


def node_selector(pool: str | None) -> dict[str, str]:
    """Node selector for a pool by name; empty: any node."""
    return {names.POOL_LABEL: pool} if pool else {}


def gpu_resource(config: ClusterStackConfig, pool: str | None) -> str:
    """Name of the resource that a pod asks for; MIG partitions have their own under strategy `mixed`."""
    found = next((known for known in config.pools if known.name == pool), None)
    mixed = found is not None and found.mig is not None and found.mig.strategy == "mixed"
    return f"{names.MIG_RESOURCE_PREFIX}{found.mig.profile}" if mixed and found and found.mig else names.GPU_RESOURCE


def cache_node_selector(config: ClusterStackConfig, nim: Nim) -> dict[str, str] | None:
    """Node selector of the job that fills a NIM's cache, None for the NIM operator's own.

    The volume must be where the NIM can run, so the job goes to the NIM's pool, or to the first that can carry it.
    On a cluster that is not ours the operator's selector, NFD's label, serves if something puts that label there;
    else no node would match, and any node must do.
    """
    if config.pools:
        return node_selector(nim.pool or next((pool.name for pool in config.pools if carries(config, pool, nim)), None))
    labelled = isinstance(config.cluster, AdoptedCluster) and names.NFD_LABEL in config.cluster.label_nodes
    return None if labelled or config.gpu_software == "gpu-operator" else ANY_NODE


def carries(config: ClusterStackConfig, pool: GpuPool, nim: Nim) -> bool:
    """Whether a node of the pool has the GPUs of one replica."""
    machine = pool.resolve(config.target)
    return machine.count >= nim.gpus and GIB_PER_GPU[machine.gpu] >= nim.min_gpu_memory_gb
