"""Node pools as data: the GPU pools and the system pool of a cluster that the program creates."""

from typing import Literal, Self

from pydantic import Field, model_validator

from infra.config.gpus import MACHINES, GpuKind, Machine, machine_for, machine_named
from infra.config.section import DnsLabel, Section
from infra.names import GPU_RESOURCE, GPU_TAINT_KEY, MIG_RESOURCE_PREFIX

RESERVED_DOMAINS = ("kubernetes.io", "k8s.io")


class Taint(Section):
    """A taint on the nodes of a pool. All GPU pods of the stack tolerate the taints of the GPU pools."""

    key: str = Field(min_length=1, description="Taint key, e.g. nvidia.com/gpu")
    value: str = Field(default="", description="Taint value, e.g. present")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        default="NoSchedule", description="Effect on pods that do not tolerate the taint"
    )


class Mig(Section):
    """Multi-Instance GPU: split each GPU of the pool into partitions (A100 and later)."""

    profile: str = Field(pattern=r"^\d+g\.\d+gb$", description="Profile of all partitions, e.g. 3g.40gb")
    strategy: Literal["single", "mixed"] = Field(
        default="single", description="single: pods request nvidia.com/gpu; mixed: nvidia.com/mig-<profile>"
    )

    @property
    def memory_gb(self) -> int:
        """Memory of a partition."""
        return int(self.profile.split(".")[1].removesuffix("gb"))


class TimeSlicing(Section):
    """Pods take turns on a GPU, without memory isolation. Not for a pool that runs both NIM and training."""

    replicas: int = Field(ge=2, le=48, description="Number of pods that share one GPU")


class GpuPool(Section):
    """A pool of identical GPU nodes that scales between `min` and `max`.

    Set either `machine`, a machine type of the cloud, or `gpu` and `count`, from which infra/config/gpus.py chooses
    one. A machine type that is not in that file needs all three.
    """

    name: DnsLabel = Field(description="Name of the pool, at most 12 letters and digits on AKS")
    machine: str | None = Field(default=None, description="Machine type, e.g. g2-standard-8, g6.2xlarge")
    gpu: GpuKind | None = Field(default=None, description="GPU type, instead of a machine type")
    count: int | None = Field(default=None, ge=1, le=16, description="GPUs per node")
    min: int = Field(
        default=0, ge=0, description="Minimum number of nodes over all zones; 0: the pool may scale to zero"
    )
    max: int = Field(default=1, ge=1, description="Maximum number of nodes over all zones")
    zones: tuple[str, ...] = Field(
        default=(),
        description="Zones of the nodes. Required on a regional GKE cluster. On EKS and AKS each zone gets a group of "
        "nodes of its own; []: one zone on EKS, no zones on AKS (nodes anywhere in the region)",
    )
    spot: bool = Field(default=False, description="Use spot nodes, which are cheaper and may be reclaimed at any time")
    disk_gib: int = Field(default=200, ge=100, description="Boot disk size; NIM and training images exceed 50 GiB")
    labels: dict[str, str] = Field(default={}, description="Node labels")
    taints: tuple[Taint, ...] = Field(
        default=(Taint(key=GPU_TAINT_KEY, value="present"),),
        description="Node taints; the default keeps pods without a GPU away",
    )
    mig: Mig | None = None
    time_slicing: TimeSlicing | None = None
    driver: Literal["cloud", "none"] = Field(
        default="cloud",
        description="none: the GPU operator installs the driver (prerequisites.gpu.software: gpu-operator)",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.machine is None and (self.gpu is None or self.count is None):
            raise ValueError("needs either machine, or gpu and count")
        self._in_order("min", "max")
        if self.mig and self.time_slicing:
            raise ValueError("set either mig or time_slicing, not both")
        for label in self.labels:
            domain = label.rpartition("/")[0]
            if any(f".{domain}".endswith(f".{reserved}") for reserved in RESERVED_DOMAINS):
                raise ValueError(f"labels: clusters reject nodes that set {label} themselves: remove it")
        return self

    @property
    def resource(self) -> str:
        """What a pod asks for to get a GPU of the pool, or a part of one."""
        mixed = self.mig is not None and self.mig.strategy == "mixed"
        return f"{MIG_RESOURCE_PREFIX}{self.mig.profile}" if mixed and self.mig else GPU_RESOURCE

    def resolve(self, cloud: str) -> Machine:
        """The machine type with its GPUs. Raises ValueError with the remedy where the table has no answer."""
        if self.machine is None:
            assert self.gpu is not None
            assert self.count is not None
            if machine := machine_for(cloud, self.gpu, self.count):
                return machine
            known = sorted({f"{m.count}x{m.gpu}" for m in MACHINES[cloud]})
            raise ValueError(f"{cloud} has no machine with {self.count}x{self.gpu}; available: {', '.join(known)}")
        machine = machine_named(cloud, self.machine)
        if machine is None:
            if self.gpu is None or self.count is None:
                raise ValueError(f"machine {self.machine} is not in infra/config/gpus.py: set its gpu and count too")
            return Machine(self.machine, self.gpu, self.count)
        for key, named, actual in (("gpu", self.gpu, machine.gpu), ("count", self.count, machine.count)):
            if named is not None and named != actual:
                raise ValueError(f"machine {self.machine} carries {machine.count}x{machine.gpu}, not {key}: {named}")
        return machine


class SystemPool(Section):
    """The node pool without GPUs, which runs everything else."""

    machine: str = Field(description="Machine type")
    min: int = Field(default=2, ge=1, description="Minimum number of nodes over all zones")
    max: int = Field(default=4, ge=1, description="Maximum number of nodes over all zones")
    zones: tuple[str, ...] = Field(
        default=(),
        description="Zones of the nodes. []: all zones of the cluster on GKE, three on EKS, no zones on AKS (nodes "
        "anywhere in the region). On AKS only for a new cluster",
    )
    disk_gib: int = Field(default=100, ge=50, description="Boot disk size")

    @model_validator(mode="after")
    def _range(self) -> Self:
        self._in_order("min", "max")
        return self
