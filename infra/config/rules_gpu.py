"""Combinations of GPU settings that cannot work: pools that the cloud refuses, GPUs too few or too small.

Rules as in rules.py: each yields problems, `path: what is wrong: what to do`.
"""

from collections.abc import Iterator

from infra.config.clusters import AksSettings, CloudCluster, EksSettings, GkeSettings
from infra.config.gpus import GIB_PER_GPU, MACHINES, MIG_CAPABLE, Machine, accelerator
from infra.config.pools import GpuPool
from infra.config.section import repeated
from infra.config.stack import ClusterStackConfig


def gpu_rules(config: ClusterStackConfig) -> Iterator[str]:
    """All rules about GPUs. GPUs of broken pools cannot be judged."""
    broken = list(pools(config))
    yield from broken or gpus(config)


def pools(config: ClusterStackConfig) -> Iterator[str]:
    """GPU pools that the cloud would refuse."""
    cluster = config.cluster
    if not isinstance(cluster, CloudCluster):
        return
    for index, pool in enumerate(cluster.gpu_pools):
        path = f"{config.target}.gpu_pools.{index}"
        try:
            machine = pool.resolve(config.target)
        except ValueError as error:
            yield f"{path}: {error}"
            continue
        if pool.mig and machine.gpu not in MIG_CAPABLE:
            yield f"{path}.mig: {machine.gpu} has no MIG: take one of {', '.join(sorted(MIG_CAPABLE))}, or time_slicing"
        if isinstance(cluster, GkeSettings):
            if accelerator(machine.gpu) is None:
                there = sorted({known.gpu for known in MACHINES["gke"]})
                yield f"{path}.gpu: GKE has no {machine.gpu}: take one of {', '.join(there)}"
            if pool.mig and pool.mig.strategy == "mixed" and pool.driver == "cloud":
                yield f"{path}.mig.strategy: GKE offers partitions as nvidia.com/gpu: single, or driver: none"
            yield from gke_zones(path, cluster, pool, machine)
        if isinstance(cluster, AksSettings) and len(pool.name.replace("-", "")) > 12:
            yield f"{path}.name: AKS allows 12 letters and digits, {pool.name!r} has more: shorten it"
        sliced = "time_slicing" if pool.time_slicing else "mig"
        by_operator = (isinstance(cluster, EksSettings) and pool.mig) or (
            isinstance(cluster, EksSettings | AksSettings) and pool.time_slicing
        )
        if by_operator and config.prerequisites.gpu.software != "gpu-operator":
            yield f"{path}.{sliced}: the GPU operator sets it here: prerequisites.gpu.software: gpu-operator"
        if isinstance(cluster, EksSettings) and pool.driver == "none":
            yield f"{path}.driver: the NVIDIA images of EKS bring it, the GPU operator must not: driver: cloud"
        if pool.name == "system" and not isinstance(cluster, EksSettings):
            yield f"{path}.name: 'system' is the pool without GPU: take another name"
    if isinstance(cluster, AksSettings):
        for name in repeated({pool.name: pool.name.replace("-", "") for pool in cluster.gpu_pools}.values()):
            yield f"aks.gpu_pools: two names are both {name!r} on AKS, which knows no hyphens: rename one"
    for name in repeated(pool.name for pool in cluster.gpu_pools):
        yield f"{config.target}.gpu_pools: {name!r} is there twice: give each pool a name of its own"
    if isinstance(cluster, AksSettings):
        yield from aks_drivers(config, cluster)


def gke_zones(path: str, cluster: GkeSettings, pool: GpuPool, machine: Machine) -> Iterator[str]:
    """GKE refuses a pool in a zone that lacks its GPU, even asleep, and hardly any GPU is in every zone of a region."""
    if cluster.location == cluster.region and not pool.zones:
        listed = f"gcloud compute accelerator-types list --filter=name={accelerator(machine.gpu)}"
        lacks = f"missing, and not every zone of {cluster.region} has {machine.gpu}"
        yield f"{path}.zones: {lacks}: name those that do, `{listed}`"
    for zone in pool.zones:
        if not zone.startswith(f"{cluster.region}-"):
            yield f"{path}.zones: {zone} is not in {cluster.region}, the cluster's region: name zones of it"


def aks_drivers(config: ClusterStackConfig, cluster: AksSettings) -> Iterator[str]:
    """On AKS either the node image or the GPU operator installs the driver, never both, never neither."""
    operator = config.prerequisites.gpu.software == "gpu-operator"
    for index, pool in enumerate(cluster.gpu_pools):
        path = f"aks.gpu_pools.{index}.driver"
        if operator and pool.driver != "none":
            yield f"{path}: the GPU operator on AKS brings the driver and collides with the cloud's: driver: none"
        if not operator and pool.driver == "none":
            yield f"{path}: nothing installs the driver: driver: cloud, or prerequisites.gpu.software: gpu-operator"


def machines(config: ClusterStackConfig) -> list[tuple[GpuPool, Machine]]:
    """The pools with the machine types they resolve to. Raises ValueError for a pool that has none."""
    return [(pool, pool.resolve(config.target)) for pool in config.pools]


def gpus(config: ClusterStackConfig) -> Iterator[str]:
    """GPUs that are too few on a node, or too small."""
    there = [(pool.name, machine.count, GIB_PER_GPU[machine.gpu]) for pool, machine in machines(config)]
    cluster = config.cluster
    if not isinstance(cluster, CloudCluster):
        if cluster.gpu_memory_gb is None:
            return  # judged by node labels while the program runs
        there = [("the cluster", 16, cluster.gpu_memory_gb)]
    for index, nim in enumerate(config.nims):
        fits = [(name, count, memory) for name, count, memory in there if nim.pool in (None, name)]
        if not fits:
            continue  # names() says that there is no such pool
        if all(count < nim.gpus for _, count, _ in fits):
            most = max(count for _, count, _ in fits)
            yield f"nims.{index}.gpus: no node has {nim.gpus} GPUs, the most is {most}: fewer gpus, or a bigger machine"
        elif all(memory < nim.min_gpu_memory_gb for _, _, memory in fits):
            most = max(memory for _, _, memory in fits)
            yield f"nims.{index}: needs {nim.min_gpu_memory_gb} GB on a GPU, the most is {most}: a bigger GPU"
    if not config.services.customizer:
        return
    fits = [(name, count, memory) for name, count, memory in there if config.customizer.pool in (None, name)]
    if not fits:
        return
    for number, target in enumerate(config.customizer.targets):
        for index, template in enumerate(target.templates):
            path = f"customizer.targets.{number}.templates.{index}"
            if all(memory < template.gpu_memory_gb for _, _, memory in fits):
                most = max(memory for _, _, memory in fits)
                yield (
                    f"{path}.gpu_memory_gb: LoRA needs {template.gpu_memory_gb} GB on a GPU, the most is {most}: "
                    "a pool with a bigger GPU"
                )
            elif all(count < template.gpus for _, count, _ in fits):
                yield f"{path}.gpus: no node has {template.gpus} GPUs: fewer gpus, or a bigger machine"
