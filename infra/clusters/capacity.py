"""Offers of an adopted cluster, judged against what the stack needs, before anything is made in it.

Pure: works on nodes and storage classes as the API server returns them. A problem is one line,
`path: what was found: what to do`. GPUs that other workloads use are not known here: allocatable is not free.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from infra.clusters.storage_classes import ONE_NODE_ONLY, is_default
from infra.config.nemo import CustomizationTarget, Nim
from infra.config.platform import Storage
from infra.config.pools import Taint
from infra.names import GPU_RESOURCE, GPU_TAINT_KEY, MIG_RESOURCE_PREFIX

MEMORY_LABEL = "nvidia.com/gpu.memory"  # MiB of one GPU, set by GPU feature discovery
PRODUCT_LABEL = "nvidia.com/gpu.product"
MIB = 1024 * 1024
GB = 1000**3
SHOWN = 8
"""Nodes that a message lists; a thousand would hide what matters."""


@dataclass(frozen=True, kw_only=True)
class GpuNode:
    """A node with GPUs. `obstacle`: why our pods cannot use it, None where they can."""

    name: str
    gpus: int
    memory_gb: float | None
    product: str | None
    slices: tuple[str, ...] = ()
    """MIG partitions under strategy mixed, e.g. `2x nvidia.com/mig-3g.40gb`. They are no whole GPUs."""
    obstacle: str | None = None

    def __str__(self) -> str:
        """Describe the node for messages."""
        parts = [f"{self.name}: {self.gpus}x {self.product or 'GPU'}"]
        parts += [f"{self.memory_gb:.0f} GB"] if self.memory_gb else []
        parts += self.slices
        return ", ".join(parts) + (f" ({self.obstacle})" if self.obstacle else "")


@dataclass(frozen=True, kw_only=True)
class Demand:
    """GPUs that one pod needs on one node."""

    path: str
    gpus: int
    memory_gb: int


def gpu_nodes(nodes: Sequence[dict[str, Any]], tolerated: Collection[Taint]) -> list[GpuNode]:
    """Read the nodes that have GPUs or partitions of them. `tolerated`: taints besides nvidia.com/gpu."""
    with_gpus = []
    for node in nodes:
        allocatable = node.get("status", {}).get("allocatable", {})
        slices = tuple(
            f"{count}x {name}"
            for name, count in sorted(allocatable.items())
            if name.startswith(MIG_RESOURCE_PREFIX) and count != "0"
        )
        gpus = int(allocatable.get(GPU_RESOURCE, 0))
        if not gpus and not slices:
            continue
        labels = node["metadata"].get("labels", {})
        memory = labels.get(MEMORY_LABEL, "")
        with_gpus.append(
            GpuNode(
                name=node["metadata"]["name"],
                gpus=gpus,
                memory_gb=int(memory) * MIB / GB if memory.isdigit() else None,
                product=labels.get(PRODUCT_LABEL),
                slices=slices,
                obstacle=obstacle(node, tolerated),
            )
        )
    return with_gpus


def obstacle(node: dict[str, Any], tolerated: Collection[Taint]) -> str | None:
    """Say why pods of ours cannot run on a node."""
    conditions = node.get("status", {}).get("conditions", [])
    if any(condition["type"] == "Ready" and condition["status"] != "True" for condition in conditions):
        return "not ready"
    spec = node.get("spec", {})
    if spec.get("unschedulable"):
        return "cordoned"
    for taint in spec.get("taints", []):
        parsed = Taint.model_construct(key=taint["key"], value=taint.get("value", ""), effect=taint["effect"])
        is_gpu_taint = parsed.key == GPU_TAINT_KEY and parsed.effect == "NoSchedule"
        if parsed.effect != "PreferNoSchedule" and not is_gpu_taint and parsed not in tolerated:
            return f"taint {parsed.key}={parsed.value}:{parsed.effect}"
    return None


def demands(nims: Sequence[Nim], targets: Sequence[CustomizationTarget]) -> Iterator[Demand]:
    """Yield what each NIM and each training template needs."""
    for index, nim in enumerate(nims):
        yield Demand(path=f"nims.{index}", gpus=nim.gpus, memory_gb=nim.min_gpu_memory_gb)
    for number, target in enumerate(targets):
        for index, template in enumerate(target.templates):
            path = f"customizer.targets.{number}.templates.{index}"
            yield Demand(path=path, gpus=template.gpus, memory_gb=template.gpu_memory_gb)


def gpu_problems(nodes: Sequence[GpuNode], demanded: Iterable[Demand], target: str, min_gpus: int) -> list[str]:
    """Judge GPUs: as many as must be there, and for each demand a node that meets it. `target`: of the stack."""
    usable = [node for node in nodes if not node.obstacle]
    allocatable = sum(node.gpus for node in usable)
    if allocatable < min_gpus:
        remedy = "add nodes"
        if not nodes:
            remedy = "no node offers a GPU: install the device plugin (prerequisites.gpu), add nodes"
        elif any(node.obstacle and node.obstacle.startswith("taint") for node in nodes):
            remedy = f"add the taints to {target}.gpu_taints, add nodes"
        shortage = f"{min_gpus} allocatable GPUs are required, the cluster has {allocatable}{shown(nodes)}"
        return [f"{target}.min_gpus: {shortage}: {remedy}, or lower min_gpus"]
    if not min_gpus:
        return []  # the settings ask for no check
    problems = []
    for demand in demanded:
        enough = [node for node in usable if node.gpus >= demand.gpus]
        if not enough:
            problems.append(
                f"{demand.path}.gpus: no node has {demand.gpus} usable GPUs{shown(nodes)}: fewer gpus, or larger nodes"
            )
        elif all(node.memory_gb is not None and node.memory_gb < demand.memory_gb for node in enough):
            problems.append(
                f"{demand.path}: no GPU has the required {demand.memory_gb} GB{shown(nodes)}: use larger GPUs"
            )
    return problems


def shown(nodes: Sequence[GpuNode]) -> str:
    """List nodes for a message."""
    if not nodes:
        return ""
    more = f"; and {len(nodes) - SHOWN} more" if len(nodes) > SHOWN else ""
    return f" ({'; '.join(str(node) for node in nodes[:SHOWN])}{more})"


def storage_problems(classes: Sequence[dict[str, Any]], storage: Storage) -> list[str]:
    """Judge storage classes: those that the settings name exist and can do what is asked of them."""
    provisioners = {storage_class["metadata"]["name"]: storage_class["provisioner"] for storage_class in classes}
    remedy = f"available: {', '.join(sorted(provisioners))}" if provisioners else "create one"
    problems = []
    for key, name in (("class_name", storage.class_name), ("rwx_class_name", storage.rwx_class_name)):
        if name is not None and name not in provisioners:
            problems.append(f"storage.{key}: the cluster has no storage class {name!r}: {remedy}")
    rwx = storage.rwx_class_name
    if rwx is not None and provisioners.get(rwx) in ONE_NODE_ONLY:
        problems.append(
            f"storage.rwx_class_name: volumes of {rwx} ({provisioners[rwx]}) can be mounted by only one node: "
            "set a class with ReadWriteMany support, e.g. NFS"
        )
    if storage.class_name is None and not any(map(is_default, classes)):
        problems.append(f"storage.class_name: the cluster has no default storage class: set one, {remedy}")
    return problems
