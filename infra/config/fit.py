"""GPU pools that can carry a NIM or a training job: what a pod gets of a pool's GPUs, against what it asks for.

The rules of the settings refuse what no pool can carry; placement sends pods to pools that can. Both ask here, so that
what is accepted is also scheduled. Pools of GPUs that clouds would refuse cannot be judged: their rules come first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from infra.config.gpus import MEMORY_GB, mig_profiles
from infra.config.nemo import CustomizationTemplate, Nim
from infra.config.pools import GpuPool
from infra.config.stack import ClusterStackConfig
from infra.names import GPU_RESOURCE


@dataclass(frozen=True, kw_only=True)
class PoolCapacity:
    """What the nodes of a pool offer to pods: whole GPUs, partitions of them (MIG), or turns on them (time slicing)."""

    per_node: int
    """How many a node has."""
    per_pod: int
    """How many one pod can use: CUDA sees one partition, and a second turn is on the same GPU."""
    memory_gb: int
    """Of one. Turns share the memory of their GPU."""


def pool_capacity(cloud: str, pool: GpuPool) -> PoolCapacity:
    """Return what a pool offers. Raises ValueError for a pool whose machine type is unknown."""
    machine = pool.resolve(cloud)
    memory = MEMORY_GB[machine.gpu]
    if pool.mig:
        partitions = mig_profiles(machine.gpu)[pool.mig.profile]
        return PoolCapacity(per_node=machine.count * partitions, per_pod=1, memory_gb=pool.mig.memory_gb)
    if pool.time_slicing:
        return PoolCapacity(per_node=machine.count * pool.time_slicing.replicas, per_pod=1, memory_gb=memory)
    return PoolCapacity(per_node=machine.count, per_pod=machine.count, memory_gb=memory)


def serves(cloud: str, pool: GpuPool, nim: Nim) -> bool:
    """Whether a node of the pool can carry a replica."""
    capacity = pool_capacity(cloud, pool)
    return (
        capacity.per_pod >= nim.gpus
        and capacity.memory_gb >= nim.min_gpu_memory_gb
        and (pool.mig is None or nim.runs_on_mig)
    )


def trains(cloud: str, pool: GpuPool, template: CustomizationTemplate) -> bool:
    """Whether nodes of the pool can carry a job. Jobs ask for nvidia.com/gpu and nothing else."""
    capacity = pool_capacity(cloud, pool)
    return (
        pool.resource == GPU_RESOURCE
        and capacity.per_pod >= template.gpus
        and capacity.memory_gb >= template.gpu_memory_gb
        and pool.max >= template.nodes
    )


def nim_pool(config: ClusterStackConfig, nim: Nim) -> GpuPool | None:
    """Pool of a NIM, which never is the pool of training jobs while another one can carry the NIM.

    The named one; else, where training has a pool of its own, the smallest other pool that has room; else None, which
    is any, if all pools can carry the NIM alike, or the first that can.
    """
    if nim.pool:
        return named(config.pools, nim.pool)
    training = training_pool(config) if config.services.customizer else None
    if training is not None and (home := pool_beside(config, nim, training)):
        return home
    capable = [pool for pool in config.pools if serves(config.target, pool, nim)]
    interchangeable = len({pool.resource for pool in capable}) == 1 and len(capable) == len(config.pools)
    return None if interchangeable or not capable else capable[0]


def pool_beside(config: ClusterStackConfig, nim: Nim, training: GpuPool) -> GpuPool | None:
    """Return the smallest pool but `training` that has room for a NIM, or that could carry it; None without one.

    Room is what NIMs that name the pool leave, and those NIMs without a pool that come earlier in the settings.
    """
    capacities = {pool.name: pool_capacity(config.target, pool) for pool in config.pools if pool != training}
    smallest_first = sorted(
        (pool for pool in config.pools if pool.name in capacities),
        key=lambda pool: (capacities[pool.name].memory_gb, capacities[pool.name].per_node),
    )
    free = {pool.name: capacities[pool.name].per_node * pool.max for pool in smallest_first}
    for other in config.nims:
        if other.pool in free:
            free[other.pool] -= gpus_of(other)
    for other in config.nims:
        if other.pool:
            continue
        capable = [pool for pool in smallest_first if serves(config.target, pool, other)]
        roomy = [pool for pool in capable if free[pool.name] >= gpus_of(other)]
        home = next(iter(roomy or capable), None)
        if other.name == nim.name:
            return home
        if home:
            free[home.name] -= gpus_of(other)
    return None


def gpus_of(nim: Nim) -> int:
    """Return how many GPUs the replicas of a NIM take together, at the least."""
    return nim.gpus * nim.least_replicas


def training_pool(config: ClusterStackConfig) -> GpuPool | None:
    """Pool of training jobs: the named one; else None, which is any, if all can carry them, or the first that can.

    All jobs have one node selector, so where no pool can carry the jobs of every template, it is any pool. Pools that
    NIMs name come after the others, because a job would take the node of a NIM that restarts. A time-sliced pool is the
    last choice: its GPUs may be those of NIMs, which take the whole memory.
    """
    if config.customizer.pool:
        return named(config.pools, config.customizer.pool)
    templates = [template for target in config.customizer.targets for template in target.templates]
    capable = [pool for pool in config.pools if all(trains(config.target, pool, template) for template in templates)]
    whole = [pool for pool in capable if not pool.time_slicing]
    of_nims = {nim.pool for nim in config.nims}
    free = [pool for pool in whole if pool.name not in of_nims]
    if len(whole) == len(config.pools) and len(free) in (0, len(whole)):
        return None
    return next(iter(free or whole or capable), None)


def named(pools: Sequence[GpuPool], name: str) -> GpuPool | None:
    """The pool of a name, None without one."""
    return next((pool for pool in pools if pool.name == name), None)
