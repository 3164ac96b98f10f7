"""Settings that work and deserve a word before `up`: each is one line, `path: what may happen: what to do`.

What cannot work is refused by the rules (rules.py).
"""

from collections.abc import Iterator
from datetime import date

from infra.config import kubernetes_versions
from infra.config.clusters import CloudCluster, EksSettings, GkeSettings
from infra.config.fit import training_pool
from infra.config.stack import ClusterStackConfig

NAMES_IN_NIM_2 = {
    "num_requests_running": "vllm:num_requests_running",
    "num_requests_waiting": "vllm:num_requests_waiting",
    "gpu_cache_usage_perc": "vllm:kv_cache_usage_perc",
}
"""What NIM 2.x, which is vLLM, calls the metrics of NIM 1.x that replicas may be scaled by."""


def warnings(config: ClusterStackConfig, today: date | None = None) -> Iterator[str]:
    """Yield the warnings of a configuration. `today`: the date to judge versions by; default: the current one."""
    cluster = config.cluster
    yield from open_platform(config)
    yield from renamed_metrics(config)
    if not isinstance(cluster, CloudCluster):
        return
    if cluster.create:
        yield from kubernetes_versions.version_warnings(
            config.target, cluster.kubernetes_version, today or kubernetes_versions.current_date()
        )
    yield from not_on_demand(config, cluster)
    yield from partitions_from_zero(config, cluster)
    yield from training_from_zero(config, cluster)


def open_platform(config: ClusterStackConfig) -> Iterator[str]:
    """Yield a platform with routes and without users, and one whose users would send their tokens in the clear."""
    if config.product != "platform" or config.routes.kind == "none":
        return
    if config.platform.oidc is None:
        yield (
            "platform.oidc: missing: whoever reaches the routes may read and delete everything, secrets and datasets "
            "among it: set it, or let nobody reach them"
        )
    elif config.routes.scheme == "http":
        yield "routes.tls.kind: none: users send their tokens to the platform in the clear: another kind"


def renamed_metrics(config: ClusterStackConfig) -> Iterator[str]:
    """Yield autoscalers by a metric that the NIM has under another name, so that they would never see it."""
    for index, nim in enumerate(config.nims):
        if nim.autoscaling and nim.major >= 2:
            metric = nim.autoscaling.metric
            yield (
                f"nims.{index}.autoscaling.metric: NIM {nim.major}.x calls it {NAMES_IN_NIM_2[metric]}: have your "
                f"custom-metrics adapter rename it to {metric}, or the autoscaler sees no metric"
            )


def not_on_demand(config: ClusterStackConfig, cluster: CloudCluster) -> Iterator[str]:
    """Yield pools of ordinary nodes on machines that the cloud sells as spot nodes or by reservation only."""
    for index, pool in enumerate(cluster.gpu_pools):
        machine = pool.resolve(config.target)
        if not machine.on_demand and not pool.spot:
            yield (
                f"{config.target}.gpu_pools.{index}.spot: {machine.name} is sold as spot nodes or by reservation, "
                "as far as is known, and not on demand, so the pool may get no node: spot: true, or another machine"
            )


def training_from_zero(config: ClusterStackConfig, cluster: CloudCluster) -> Iterator[str]:
    """Yield the training pool if a Volcano that this stack does not configure may never wake it (docs/adr/0009)."""
    pool = training_pool(config) if config.services.customizer else None
    if config.prerequisites.volcano != "adopt" or pool is None or pool.min > 0:
        return
    index = cluster.gpu_pools.index(pool)
    yield (
        f"{config.target}.gpu_pools.{index}.min: with its default configuration the adopted Volcano makes no pod of a "
        "training job while the pool has no node, so the autoscaler adds none: min: 1, or put plugin sla with "
        "sla-waiting-time: 1m into the first tier of its scheduler"
    )


def partitions_from_zero(config: ClusterStackConfig, cluster: CloudCluster) -> Iterator[str]:
    """Yield pools whose GPUs the GPU operator cuts after a pod may already have got a whole one.

    Reported by users of pools that scale from zero (NVIDIA/gpu-operator 2670): the pod that woke the node is placed
    before the node is partitioned, and the device plugin then fails. AKS, and GKE with its own driver, cut GPUs first.
    """
    for index, pool in enumerate(cluster.gpu_pools):
        by_operator = isinstance(cluster, EksSettings) or (isinstance(cluster, GkeSettings) and pool.driver == "none")
        if pool.mig and by_operator and pool.min < pool.max:
            yield (
                f"{config.target}.gpu_pools.{index}.min: the GPU operator partitions a new node only after it is "
                f"ready, and a pod may get a whole GPU of it before: min: {pool.max}, so that nodes with MIG stay"
            )
