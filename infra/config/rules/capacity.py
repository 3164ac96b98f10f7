"""NIMs and training jobs that no GPU pool can carry: too small, cut into the wrong pieces, or too few GPUs for all.

Rules as in rules.py: each yields problems, `path: what is wrong: what to do`. Refuses only what cannot work at all;
whether other workloads, or several jobs at a time, leave a GPU is for the scheduler. The GPUs of an adopted cluster are
counted while the program runs.
"""

from collections.abc import Iterator

from infra.config.clusters import AdoptedCluster
from infra.config.fit import Share, gpus_of, nim_pool, share, training_pool
from infra.config.nemo import CustomizationTemplate, Nim
from infra.config.pools import GpuPool
from infra.config.stack import ClusterStackConfig
from infra.names import GPU_RESOURCE

Offers = list[tuple[GpuPool, Share]]


def gpus(config: ClusterStackConfig) -> Iterator[str]:
    """All rules about what fits. The pools must have been found good."""
    if isinstance(config.cluster, AdoptedCluster):
        yield from adopted(config, config.cluster.gpu_memory_gb)
        return
    offers = [(pool, share(config, pool)) for pool in config.pools]
    problems = [problem for index, nim in enumerate(config.nims) for problem in of_nim(offers, f"nims.{index}", nim)]
    for path, template in templates(config):
        on = [(pool, offered) for pool, offered in offers if config.customizer.pool in (None, pool.name)]
        problems += of_template(on, path, template)
    # who cannot be anywhere need not be counted
    yield from problems or [*turns(config), *counts(config)]


def templates(config: ClusterStackConfig) -> Iterator[tuple[str, CustomizationTemplate]]:
    """Path and template of every kind of training job; none without the Customizer."""
    for number, target in enumerate(config.customizer.targets if config.services.customizer else ()):
        for index, template in enumerate(target.templates):
            yield f"customizer.targets.{number}.templates.{index}", template


def of_nim(offers: Offers, path: str, nim: Nim) -> Iterator[str]:
    """A replica needs GPUs of one node, large enough, and whole ones if it does not know partitions."""
    on = [(pool, offered) for pool, offered in offers if nim.pool in (None, pool.name)]
    if not on:
        return  # naming() says that there is no such pool
    roomy = [(pool, offered) for pool, offered in on if offered.per_pod >= nim.gpus]
    large = [(pool, offered) for pool, offered in roomy if offered.memory_gb >= nim.min_gpu_memory_gb]
    if not roomy:
        yield f"{path}.gpus: {too_few(on, nim.gpus)}: fewer gpus, or a larger machine"
    elif not large:
        yield f"{path}: needs {nim.min_gpu_memory_gb} GB on a GPU, {most_memory(roomy)}: a larger GPU"
    elif not nim.runs_on_mig and all(pool.mig for pool, _ in large):
        yield f"{path}.tag: NIM {nim.tag} does not start on MIG partitions: 1.13 or later, or a pool without mig"


def of_template(on: Offers, path: str, template: CustomizationTemplate) -> Iterator[str]:
    """A job needs GPUs of each of its nodes, large enough, under the name that the Customizer asks for."""
    if not on:
        return  # naming() says that there is no such pool
    plain = [(pool, offered) for pool, offered in on if pool.resource == GPU_RESOURCE]
    roomy = [(pool, offered) for pool, offered in plain if offered.per_pod >= template.gpus]
    large = [(pool, offered) for pool, offered in roomy if offered.memory_gb >= template.gpu_memory_gb]
    if not plain:
        yield (
            f"{path}: training jobs request {GPU_RESOURCE}, but nodes offer only {on[0][0].resource}: mig.strategy: "
            "single, or a pool without mig"
        )
    elif not roomy:
        yield f"{path}.gpus: {too_few(plain, template.gpus)}: fewer gpus, or a larger machine"
    elif not large:
        yield (
            f"{path}.gpu_memory_gb: LoRA needs {template.gpu_memory_gb} GB on a GPU, {most_memory(roomy)}: a pool "
            "with a larger GPU"
        )
    elif all(pool.max < template.nodes for pool, _ in large):
        most = max(pool.max for pool, _ in large)
        yield f"{path}.nodes: no pool grows to {template.nodes} nodes, the most is {most}: fewer nodes, or a higher max"


def too_few(on: Offers, wanted: int) -> str:
    """Say that no pod gets so many GPUs."""
    most = max(offered.per_pod for _, offered in on)
    why = ", for a pod gets one partition or turn" if all(pool.mig or pool.time_slicing for pool, _ in on) else ""
    return f"no node has {wanted} GPUs for a pod, the most is {most}{why}"


def most_memory(on: Offers) -> str:
    """Say how much memory there is at most."""
    return f"the most is {max(offered.memory_gb for _, offered in on)}"


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
    room = {pool.name: share(config, pool).per_node * pool.max for pool in config.pools}
    homes = [(nim_pool(config, nim), gpus_of(nim)) for nim in config.nims]
    training = training_pool(config)
    jobs = [(path, template.gpus * template.nodes) for path, template in templates(config)]
    if problem := short(f"{config.target}.gpu_pools", sum(room.values()), sum(gpus for _, gpus in homes), jobs):
        yield problem
        return
    for index, pool in enumerate(config.pools):
        taken = sum(gpus for home, gpus in homes if home == pool)
        here = jobs if training == pool else []
        if problem := short(f"{config.target}.gpu_pools.{index}.max", room[pool.name], taken, here):
            yield problem


def short(path: str, room: int, taken: int, jobs: list[tuple[str, int]]) -> str | None:
    """Say that there are fewer GPUs than must be in use at the same time."""
    most, job = max(((gpus, path) for path, gpus in jobs), default=(0, ""))
    there = f"at most {room} {'GPU' if room == 1 else 'GPUs'}"
    if taken > room:
        return f"{path}: {there}, and NIMs take {taken}: a higher max, or fewer replicas"
    if taken + most > room:
        return (
            f"{path}: {there}, NIMs take {taken}, and a job of {job} needs {most}: a higher max, or "
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
