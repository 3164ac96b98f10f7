"""GPU pools that cannot work: refused by their cloud, without a driver or device plugin, or with two that collide.

Rules as in rules.py: each yields problems, `path: what is wrong: what to do`.
"""

from collections.abc import Iterator, Sequence

from infra.config.clusters import AdoptedCluster, AksSettings, CloudCluster, EksSettings, GkeSettings
from infra.config.gpus import MACHINES, MIG_MEMORY_GB, Machine, accelerator, mig_profiles
from infra.config.pools import GpuPool
from infra.config.section import repeated
from infra.config.stack import ClusterStackConfig


def pools(config: ClusterStackConfig) -> Iterator[str]:
    """GPU pools that the cloud would refuse."""
    cluster = config.cluster
    if not isinstance(cluster, CloudCluster):
        yield from node_labels(config, cluster)
        return
    for index, pool in enumerate(cluster.gpu_pools):
        path = f"{config.target}.gpu_pools.{index}"
        try:
            machine = pool.resolve(config.target)
        except ValueError as error:
            yield f"{path}: {error}"
            continue
        yield from partitions(path, cluster, pool, machine)
        if isinstance(cluster, GkeSettings):
            if accelerator(machine.gpu) is None:
                kinds = sorted({known.gpu for known in MACHINES["gke"]})
                yield f"{path}.gpu: GKE has no {machine.gpu}: choose one of {', '.join(kinds)}"
            yield from gke_zones(path, cluster, pool, machine)
        if isinstance(cluster, AksSettings) and max(map(len, agent_pools(pool))) > 12:
            longest = max(agent_pools(pool), key=len)
            yield f"{path}.name: AKS allows 12 letters and digits, {longest!r} has more: shorten it"
        sliced = "time_slicing" if pool.time_slicing else "mig"
        by_operator = (isinstance(cluster, EksSettings) and pool.mig) or (
            isinstance(cluster, EksSettings | AksSettings) and pool.time_slicing
        )
        if by_operator and config.gpu_software != "gpu-operator":
            image = "" if config.lacks_device_plugin else "eks.ami: AL2023_x86_64_NVIDIA and "
            yield f"{path}.{sliced}: the GPU operator sets it here: {image}prerequisites.gpu.software: gpu-operator"
        if isinstance(cluster, EksSettings) and pool.driver == "none":
            yield f"{path}.driver: the NVIDIA images of EKS include the driver: driver: cloud"
        if isinstance(cluster, EksSettings | AksSettings) and len(pool.zones) > pool.max:
            yield (
                f"{path}.zones: each of {len(pool.zones)} zones needs a node of its own, and max is {pool.max}: fewer "
                "zones, or a higher max"
            )
        if pool.name == "system" and not isinstance(cluster, EksSettings):
            yield f"{path}.name: 'system' is the pool without GPUs: choose another name"
    if isinstance(cluster, GkeSettings):
        yield from zones_of_region("gke.system_pool", cluster, cluster.system_pool.zones)
    if isinstance(cluster, AksSettings):
        named_once = {pool.name: pool for pool in cluster.gpu_pools}.values()
        for name in repeated(name for pool in named_once for name in agent_pools(pool)):
            yield (
                f"aks.gpu_pools: two names become {name!r} on AKS, which allows no hyphens and gets one for each zone: "
                "rename one"
            )
    for name in repeated(pool.name for pool in cluster.gpu_pools):
        yield f"{config.target}.gpu_pools: duplicate name {name!r}: names must be unique"
    yield from software(config, cluster)


def node_labels(config: ClusterStackConfig, cluster: AdoptedCluster) -> Iterator[str]:
    """Nodes with GPUs are labelled; those whose GPUs this run makes allocatable would be labelled by the next run."""
    if cluster.label_nodes and config.installs_gpu_software:
        yield (
            f"{config.target}.label_nodes: no node has GPUs before {config.gpu_software} of this stack runs: leave it "
            "out (its feature discovery labels the nodes), or prerequisites.gpu.mode: adopt for one that runs already"
        )


def gke_zones(path: str, cluster: GkeSettings, pool: GpuPool, machine: Machine) -> Iterator[str]:
    """GKE refuses a pool in a zone that lacks its GPU, even at zero nodes; few GPUs are in every zone of a region."""
    if cluster.location == cluster.region and not pool.zones:
        listed = f"gcloud compute accelerator-types list --filter=name={accelerator(machine.gpu)}"
        lacks = f"missing, and not every zone of {cluster.region} has {machine.gpu}"
        yield f"{path}.zones: {lacks}: name those that do, `{listed}`"
    yield from zones_of_region(path, cluster, pool.zones)


def zones_of_region(path: str, cluster: GkeSettings, zones: Sequence[str]) -> Iterator[str]:
    """Zones of a pool are those of the cluster's region."""
    for zone in zones:
        if not zone.startswith(f"{cluster.region}-"):
            yield f"{path}.zones: {zone} is not in {cluster.region}, the cluster's region: name zones of it"


def partitions(path: str, cluster: CloudCluster, pool: GpuPool, machine: Machine) -> Iterator[str]:
    """Partitions that the GPU does not have, or that the cloud cannot make."""
    if pool.mig is None:
        return
    profiles = list(mig_profiles(machine.gpu))
    if not profiles:
        able = ", ".join(MIG_MEMORY_GB)
        yield f"{path}.mig: {machine.gpu} has no MIG: choose one of {able}, or time_slicing"
        return
    if isinstance(cluster, AksSettings):  # names a profile by its slices alone, and gives the smaller of two
        profiles = list({profile.split(".")[0]: profile for profile in reversed(profiles)}.values())[::-1]
    if pool.mig.profile not in profiles:
        who = f"{machine.gpu} on AKS" if isinstance(cluster, AksSettings) else machine.gpu
        yield f"{path}.mig.profile: {who} has no partitions {pool.mig.profile}: one of {', '.join(profiles)}"
    if isinstance(cluster, GkeSettings) and pool.mig.strategy == "mixed" and pool.driver == "cloud":
        yield f"{path}.mig.strategy: GKE offers partitions as nvidia.com/gpu: single, or driver: none"


def software(config: ClusterStackConfig, cluster: CloudCluster) -> Iterator[str]:
    """Nodes need one driver and one device plugin: two of a kind collide, and without one no GPU is allocatable."""
    software_name, path = config.gpu_software, "prerequisites.gpu.software"
    new = cluster.create
    if isinstance(cluster, GkeSettings) and software_name == "device-plugin":
        yield f"{path}: GKE runs its own device plugin: provided, or gpu-operator with driver: none on each pool"
    elif isinstance(cluster, EksSettings) and software_name != "provided" and not config.lacks_device_plugin:
        yield f"{path}: Bottlerocket includes a device plugin: provided, or eks.ami: AL2023_x86_64_NVIDIA"
    elif new and software_name == "provided" and config.lacks_device_plugin:
        yield f"{path}: nothing makes the GPUs of a new cluster allocatable: device-plugin, or gpu-operator"
    if new and software_name != "provided" and config.prerequisites.gpu.mode != "install":
        yield f"prerequisites.gpu.mode: a new cluster has no {software_name} yet: install"
    if isinstance(cluster, EksSettings):
        return  # whose node images bring the driver
    for index, pool in enumerate(cluster.gpu_pools):
        path = f"{config.target}.gpu_pools.{index}.driver"
        if software_name == "gpu-operator" and is_virtual(cluster, pool):
            yield (
                f"{config.target}.gpu_pools.{index}: an A10 of Azure is a virtual GPU, which runs only with the driver "
                "that AKS installs, not with the GPU operator's: gpu: T4 or A100-80GB, or prerequisites.gpu.software: "
                "device-plugin"
            )
            continue
        if software_name == "gpu-operator" and pool.driver != "none":
            yield f"{path}: the GPU operator installs a driver, which conflicts with the cloud's: driver: none"
        if software_name != "gpu-operator" and pool.driver == "none":
            yield f"{path}: nothing installs the driver: driver: cloud, or prerequisites.gpu.software: gpu-operator"


def is_virtual(cluster: CloudCluster, pool: GpuPool) -> bool:
    """Tell whether a pool's GPUs are NVIDIA vGPUs, as those of Azure's NVadsA10_v5 machines are."""
    try:
        return isinstance(cluster, AksSettings) and pool.resolve("aks").gpu == "A10"
    except ValueError:
        return False  # the rule about the machine type says why


def agent_pools(pool: GpuPool) -> list[str]:
    """Return the names of a pool's agent pools on AKS, one for each zone: letters and digits without hyphens."""
    name = pool.name.replace("-", "")
    return [name, *(f"{name}{zone}" for zone in pool.zones[1:])]
