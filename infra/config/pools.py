"""Node pools as data: what a GPU pool and the system pool of a cluster that we make look like."""

from typing import Literal, Self

from pydantic import Field, model_validator

from infra.config.gpus import MACHINES, MIG_CAPABLE, GpuKind, Machine, machine_for, machine_named
from infra.config.section import DnsLabel, Section
from infra.names import GPU_TAINT_KEY

RESERVED_DOMAINS = ("kubernetes.io", "k8s.io")


class Taint(Section):
    """A taint of a pool's nodes. Everything of ours that needs a GPU tolerates the taints of the GPU pools."""

    key: str = Field(min_length=1, description="e.g. nvidia.com/gpu")
    value: str = Field(default="", description="e.g. present")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        default="NoSchedule", description="What happens to pods that do not tolerate it"
    )


class Mig(Section):
    """Partitions of each GPU, for GPUs that can (A100 and later)."""

    profile: str = Field(pattern=r"^\d+g\.\d+gb$", description="e.g. 3g.40gb; every GPU is cut into these")
    strategy: Literal["single", "mixed"] = Field(
        default="single", description="single: resources stay nvidia.com/gpu; mixed: nvidia.com/mig-<profile>"
    )


class TimeSlicing(Section):
    """Several pods take turns on a GPU, without isolation of memory. Not for NIM and training on one pool."""

    replicas: int = Field(ge=2, le=48, description="Pods that share one GPU")


class GpuPool(Section):
    """A pool of equal GPU nodes that scales between min and max.

    Either `machine` (a machine type of the cloud), or `gpu` and `count`, which the table in gpus.py resolves.
    A machine type that is not in the table needs all three.
    """

    name: DnsLabel = Field(description="Name of the pool, at most 12 characters on AKS")
    machine: str | None = Field(default=None, description="Machine type, e.g. g2-standard-8, g6.2xlarge")
    gpu: GpuKind | None = Field(default=None, description="Kind of GPU, instead of a machine type")
    count: int | None = Field(default=None, ge=1, le=16, description="GPUs of one node")
    min: int = Field(default=0, ge=0, description="Nodes at least, in all zones together; 0: the pool may sleep")
    max: int = Field(default=1, ge=1, description="Nodes at most")
    zones: tuple[str, ...] = Field(default=(), description="Zones; empty: all of the cluster")
    spot: bool = Field(default=False, description="Cheaper nodes that may be taken away at any time")
    disk_gib: int = Field(default=200, ge=100, description="Boot disk; images of NIM and training exceed 50 GiB")
    labels: dict[str, str] = Field(default={}, description="Labels of the nodes")
    taints: tuple[Taint, ...] = Field(
        default=(Taint(key=GPU_TAINT_KEY, value="present"),), description="Keeps pods without a GPU away"
    )
    mig: Mig | None = None
    time_slicing: TimeSlicing | None = None
    driver: Literal["cloud", "none"] = Field(
        default="cloud", description="none: the GPU operator installs it (prerequisites.gpu.software: gpu-operator)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.machine is None and (self.gpu is None or self.count is None):
            raise ValueError("says neither machine nor gpu and count: name one of the two")
        if self.max < self.min:
            raise ValueError(f"max ({self.max}) must not be below min ({self.min})")
        if self.mig and self.time_slicing:
            raise ValueError("mig and time_slicing exclude each other: keep one")
        for label in self.labels:
            domain = label.rpartition("/")[0]
            if any(f".{domain}".endswith(f".{reserved}") for reserved in RESERVED_DOMAINS):
                raise ValueError(
                    f"labels: a node that claims {label} for itself is refused by its cluster: leave it out"
                )
        if self.mig and self.gpu and self.gpu not in MIG_CAPABLE:
            raise ValueError(f"{self.gpu} has no MIG: take one of {', '.join(sorted(MIG_CAPABLE))}, or time_slicing")
        return self

    def resolve(self, cloud: str) -> Machine:
        """The machine type with its GPUs. Raises ValueError with the remedy where the table has no answer."""
        if self.machine is None:
            assert self.gpu is not None
            assert self.count is not None
            if found := machine_for(cloud, self.gpu, self.count):
                return found
            known = sorted({f"{m.count}x{m.gpu}" for m in MACHINES[cloud]})
            raise ValueError(f"{cloud} has no machine with {self.count}x{self.gpu}; there are {', '.join(known)}")
        found = machine_named(cloud, self.machine)
        if found is None:
            if self.gpu is None or self.count is None:
                raise ValueError(f"machine {self.machine} is not in the table: say its gpu and count too")
            return Machine(self.machine, self.gpu, self.count)
        for key, said, true in (("gpu", self.gpu, found.gpu), ("count", self.count, found.count)):
            if said is not None and said != true:
                raise ValueError(f"machine {self.machine} carries {found.count}x{found.gpu}, not {key}: {said}")
        return found


class SystemPool(Section):
    """The pool of nodes without GPU that carries everything else."""

    machine: str = Field(description="Machine type")
    min: int = Field(default=2, ge=1, description="Nodes at least, in all zones together")
    max: int = Field(default=4, ge=1, description="Nodes at most")
    disk_gib: int = Field(default=100, ge=50, description="Boot disk")

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.max < self.min:
            raise ValueError(f"max ({self.max}) must not be below min ({self.min})")
        return self
