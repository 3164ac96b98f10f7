"""Simulated nodes: what a kubelet and NVIDIA's GPU operator would write on them, without either.

Sizes are those of common machines, so that the scheduler has something real to decide. A GPU node carries the taint
that clouds put on GPU pools; the labels are those of GPU feature discovery and node feature discovery.
"""

from simulator.api import Object

GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
PRODUCT = "NVIDIA-A100-SXM4-80GB"
MEMORY_MIB = 81920


def node(name: str, *, labels: dict[str, str], extra: dict[str, str], taints: list[Object]) -> Object:
    """Return a node with 32 cores and 256 GiB (a GPU node would have more; nothing here needs it), 110 pods."""
    resources = {"cpu": "32", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "110"} | extra
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/region": "simulated",
                **labels,
            },
        },
        "spec": {"taints": taints},
        "status": {"capacity": resources, "allocatable": resources},
    }


def cpu_node(name: str) -> Object:
    """Return a node without GPUs."""
    return node(name, labels={"topology.kubernetes.io/zone": "simulated-a"}, extra={}, taints=[])


def gpu_node(name: str, *, gpus: int, product: str, memory_mib: int, zone: str = "simulated-a") -> Object:
    """Return a node with `gpus` GPUs of `memory_mib` MiB each."""
    labels = {
        "topology.kubernetes.io/zone": zone,
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": product,
        "nvidia.com/gpu.memory": str(memory_mib),
        "nvidia.com/gpu.count": str(gpus),
        "feature.node.kubernetes.io/pci-10de.present": "true",
    }
    return node(name, labels=labels, extra={"nvidia.com/gpu": str(gpus)}, taints=[GPU_TAINT])


def is_ready(seen: Object) -> bool:
    """Whether a node is Ready and free of the taints that new nodes start with."""
    conditions = seen["status"].get("conditions", [])
    taints = seen["spec"].get("taints", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions) and not any(
        taint["key"].startswith("node.kubernetes.io/") for taint in taints
    )
