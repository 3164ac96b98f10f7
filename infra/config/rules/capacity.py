"""NIMs and training jobs that no GPU pool can carry: too small, cut into the wrong pieces, or too few GPUs for all.

Rules as in rules.py: each yields problems, `path: what is wrong: what to do`. Refuses only what cannot work at all;
whether other workloads, or several jobs at a time, leave a GPU is for the scheduler. The GPUs of an adopted cluster are
counted while the program runs.
"""

from collections.abc import Iterator

from infra.config.clusters import AdoptedCluster
from infra.config.fit import PoolCapacity, gpus_of, nim_pool, pool_capacity, training_pool
from infra.config.nemo import CustomizationTemplate, Nim
from infra.config.pools import GpuPool
from infra.config.stack import ClusterStackConfig
from infra.names import GPU_RESOURCE

Offers = list[tuple[GpuPool, PoolCapacity]]


def gpus(config: ClusterStackConfig) -> Iterator[str]:
    """All rules about what fits. The pools must have been found good."""
    if isinstance(config.cluster, AdoptedCluster):
        yield from adopted(config, config.cluster.gpu_memory_gb)
        return
    offers = [(pool, pool_capacity(config.target, pool)) for pool in config.pools]
    problems = [
        problem for index, nim in enumerate(config.nims) for problem in nim_problems(offers, f"nims.{index}", nim)
    ]
    for path, template in templates(config):
        candidates = [(pool, offered) for pool, offered in offers if config.customizer.pool in (None, pool.name)]
        problems += template_problems(candidates, path, template)
    # who cannot be anywhere need not be counted
    yield from problems or [*turns(config), *counts(config)]


def templates(config: ClusterStackConfig) -> Iterator[tuple[str, CustomizationTemplate]]:
    """Path and template of every kind of training job; none without the Customizer."""
    for number, target in enumerate(config.customizer.targets if config.services.customizer else ()):
        for index, template in enumerate(target.templates):
            yield f"customizer.targets.{number}.templates.{index}", template


def nim_problems(offers: Offers, path: str, nim: Nim) -> Iterator[str]:
    """A replica needs GPUs of one node, large enough, and whole ones if it does not know partitions."""
    candidates = [(pool, offered) for pool, offered in offers if nim.pool in (None, pool.name)]
    if not candidates:
        return  # naming() says that there is no such pool
    with_gpus = [(pool, offered) for pool, offered in candidates if offered.per_pod >= nim.gpus]
    with_memory = [(pool, offered) for pool, offered in with_gpus if offered.memory_gb >= nim.min_gpu_memory_gb]
    if not with_gpus:
        yield f"{path}.gpus: {too_few(candidates, nim.gpus)}: fewer gpus, or a larger machine"
    elif not with_memory:
        yield f"{path}: needs {nim.min_gpu_memory_gb} GB on a GPU, {most_memory(with_gpus)}: a larger GPU"
    elif not nim.runs_on_mig and all(pool.mig for pool, _ in with_memory):
        yield f"{path}.tag: NIM {nim.tag} does not start on MIG partitions: 1.13 or later, or a pool without mig"


def template_problems(candidates: Offers, path: str, template: CustomizationTemplate) -> Iterator[str]:
    """A job needs GPUs of each of its nodes, large enough, under the name that the Customizer asks for."""
    if not candidates:
        return  # naming() says that there is no such pool
    requestable = [(pool, offered) for pool, offered in candidates if pool.resource == GPU_RESOURCE]
    with_gpus = [(pool, offered) for pool, offered in requestable if offered.per_pod >= template.gpus]
    with_memory = [(pool, offered) for pool, offered in with_gpus if offered.memory_gb >= template.gpu_memory_gb]
    if not requestable:
        yield (
            f"{path}: training jobs request {GPU_RESOURCE}, but nodes offer only {candidates[0][0].resource}: "
            "mig.strategy: single, or a pool without mig"
        )
    elif not with_gpus:
        yield f"{path}.gpus: {too_few(requestable, template.gpus)}: fewer gpus, or a larger machine"
    elif not with_memory:
        yield (
            f"{path}.gpu_memory_gb: LoRA needs {template.gpu_memory_gb} GB on a GPU, {most_memory(with_gpus)}: a pool "
            "with a larger GPU"
        )
    elif all(pool.max < template.nodes for pool, _ in with_memory):
        most = max(pool.max for pool, _ in with_memory)
        yield f"{path}.nodes: no pool grows to {template.nodes} nodes, the most is {most}: fewer nodes, or a higher max"


def too_few(candidates: Offers, gpus: int) -> str:
    """Say that no pod gets so many GPUs."""
    largest = max(offered.per_pod for _, offered in candidates)
    reason = (
        ", for a pod gets one partition or turn" if all(pool.mig or pool.time_slicing for pool, _ in candidates) else ""
    )
    return f"no node has {gpus} GPUs for a pod, the most is {largest}{reason}"


def most_memory(candidates: Offers) -> str:
    """Say how much memory there is at most."""
    return f"the most is {max(offered.memory_gb for _, offered in candidates)}"


def turns(config: ClusterStackConfig) -> Iterator[str]:
    """A NIM takes the whole memory of its GPU, so training cannot take turns with it."""
    pool = training_pool(config)
    if pool is None or not pool.time_slicing or not config.services.customizer:
        return
    for index, nim in enumerate(config.nims):
        if nim_pool(config, nim) in (None, pool):
            yield (
                f"nims.{index}.pool: NIM and training would take turns on a GPU of {pool.name}, and NIM takes all of "
                "its memory: another pool here, or for customizer.pool"
            )


def counts(config: ClusterStackConfig) -> Iterator[str]:
    """All NIMs run at the same time, and a training job besides them. Pools as large as they may grow."""
    capacities = {pool.name: pool_capacity(config.target, pool).per_node * pool.max for pool in config.pools}
    placements = [(nim_pool(config, nim), gpus_of(nim)) for nim in config.nims]
    training = training_pool(config)
    jobs = [(path, template.gpus * template.nodes) for path, template in templates(config)]
    if problem := shortage(
        f"{config.target}.gpu_pools", sum(capacities.values()), sum(gpus for _, gpus in placements), jobs
    ):
        yield problem
        return
    for index, pool in enumerate(config.pools):
        in_use = sum(gpus for home, gpus in placements if home == pool)
        jobs_of_pool = jobs if training == pool else []
        if problem := shortage(f"{config.target}.gpu_pools.{index}.max", capacities[pool.name], in_use, jobs_of_pool):
            yield problem


def shortage(path: str, gpus: int, in_use: int, jobs: list[tuple[str, int]]) -> str | None:
    """Say that there are fewer GPUs than must be in use at the same time."""
    largest_job, job_path = max(((gpus, path) for path, gpus in jobs), default=(0, ""))
    capacity = f"at most {gpus} {'GPU' if gpus == 1 else 'GPUs'}"
    if in_use > gpus:
        return f"{path}: {capacity}, and NIMs take {in_use}: a higher max, or fewer replicas"
    if in_use + largest_job > gpus:
        return (
            f"{path}: {capacity}, NIMs take {in_use}, and a job of {job_path} needs {largest_job}: a higher max, or "
            "services.customizer: false"
        )
    return None


def adopted(config: ClusterStackConfig, memory_gb: int | None) -> Iterator[str]:
    """Memory of the GPUs of a cluster that the settings name; else node labels tell it while the program runs."""
    if memory_gb is None:
        return
    for index, nim in enumerate(config.nims):
        if nim.min_gpu_memory_gb > memory_gb:
            yield f"nims.{index}: needs {nim.min_gpu_memory_gb} GB on a GPU, the most is {memory_gb}: a larger GPU"
    for path, template in templates(config):
        if template.gpu_memory_gb > memory_gb:
            yield (
                f"{path}.gpu_memory_gb: LoRA needs {template.gpu_memory_gb} GB on a GPU, the most is {memory_gb}: a "
                "larger GPU"
            )
