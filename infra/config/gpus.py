"""Machine types of the clouds with the GPUs that they carry: the one table behind `gpu: L4, count: 1` in a pool.

A pool names either a machine type, or a kind of GPU and a count that this table resolves. Machine types that are
not here work as well, if the pool also says which GPUs they carry.
"""

from dataclasses import dataclass
from typing import Literal

GpuKind = Literal["T4", "L4", "A10", "L40S", "A100-40GB", "A100-80GB", "H100", "H100-94GB", "H200", "B200"]

MEMORY_GB: dict[GpuKind, int] = {
    "T4": 16,
    "L4": 24,
    "A10": 24,
    "L40S": 48,
    "A100-40GB": 40,
    "A100-80GB": 80,
    "H100": 80,
    "H100-94GB": 94,
    "H200": 141,
    "B200": 180,
}
"""Memory of one GPU in GB, as NVIDIA's data sheets give it. H100 with 94 GB is the H100 NVL of Azure's NC series."""

MIG_MEMORY_GB: dict[GpuKind, tuple[int, int, int, int]] = {
    "A100-40GB": (5, 10, 20, 40),
    "A100-80GB": (10, 20, 40, 80),
    "H100": (10, 20, 40, 80),
    "H100-94GB": (12, 24, 47, 94),
    "H200": (18, 35, 71, 141),
    "B200": (23, 45, 90, 180),
}
"""Memory of a partition with an eighth, a quarter, half and all of the memory (NVIDIA's MIG User Guide)."""


@dataclass(frozen=True)
class Machine:
    """A machine type with its GPUs."""

    name: str
    gpu: GpuKind
    count: int
    accelerator: str = ""
    """GKE's name of the GPU, which its node pools ask for besides the machine type."""
    on_demand: bool = True
    """Whether the cloud is known to sell it by the hour. Google has its smaller A3 High and its A4 as spot nodes or
    by reservation, by reports of users; its table of consumption options was not at hand."""


# Sources: AWS, Google Cloud and Azure product pages as of 2026-11; sizes of the newest families follow the
# providers' naming and were not tried against an account.
MACHINES: dict[str, tuple[Machine, ...]] = {
    "gke": (
        Machine("n1-standard-8", "T4", 1, "nvidia-tesla-t4"),
        Machine("g2-standard-8", "L4", 1, "nvidia-l4"),
        Machine("g2-standard-24", "L4", 2, "nvidia-l4"),
        Machine("g2-standard-48", "L4", 4, "nvidia-l4"),
        Machine("g2-standard-96", "L4", 8, "nvidia-l4"),
        Machine("a2-highgpu-1g", "A100-40GB", 1, "nvidia-tesla-a100"),
        Machine("a2-highgpu-2g", "A100-40GB", 2, "nvidia-tesla-a100"),
        Machine("a2-highgpu-4g", "A100-40GB", 4, "nvidia-tesla-a100"),
        Machine("a2-highgpu-8g", "A100-40GB", 8, "nvidia-tesla-a100"),
        Machine("a2-ultragpu-1g", "A100-80GB", 1, "nvidia-a100-80gb"),
        Machine("a2-ultragpu-2g", "A100-80GB", 2, "nvidia-a100-80gb"),
        Machine("a2-ultragpu-4g", "A100-80GB", 4, "nvidia-a100-80gb"),
        Machine("a2-ultragpu-8g", "A100-80GB", 8, "nvidia-a100-80gb"),
        Machine("a3-highgpu-1g", "H100", 1, "nvidia-h100-80gb", on_demand=False),
        Machine("a3-highgpu-2g", "H100", 2, "nvidia-h100-80gb", on_demand=False),
        Machine("a3-highgpu-4g", "H100", 4, "nvidia-h100-80gb", on_demand=False),
        Machine("a3-highgpu-8g", "H100", 8, "nvidia-h100-80gb"),
        Machine("a3-ultragpu-8g", "H200", 8, "nvidia-h200-141gb"),
        Machine("a4-highgpu-8g", "B200", 8, "nvidia-b200", on_demand=False),
    ),
    "eks": (
        Machine("g4dn.2xlarge", "T4", 1),
        Machine("g4dn.12xlarge", "T4", 4),
        Machine("g5.2xlarge", "A10", 1),
        Machine("g5.12xlarge", "A10", 4),
        Machine("g5.48xlarge", "A10", 8),
        Machine("g6.2xlarge", "L4", 1),
        Machine("g6.12xlarge", "L4", 4),
        Machine("g6.48xlarge", "L4", 8),
        Machine("g6e.2xlarge", "L40S", 1),
        Machine("g6e.12xlarge", "L40S", 4),
        Machine("g6e.48xlarge", "L40S", 8),
        Machine("p4d.24xlarge", "A100-40GB", 8),
        Machine("p4de.24xlarge", "A100-80GB", 8),
        Machine("p5.4xlarge", "H100", 1),
        Machine("p5.48xlarge", "H100", 8),
        Machine("p5en.48xlarge", "H200", 8),
        Machine("p6-b200.48xlarge", "B200", 8),
    ),
    "aks": (
        Machine("Standard_NC8as_T4_v3", "T4", 1),
        Machine("Standard_NC64as_T4_v3", "T4", 4),
        Machine("Standard_NV36ads_A10_v5", "A10", 1),
        Machine("Standard_NV72ads_A10_v5", "A10", 2),
        Machine("Standard_NC24ads_A100_v4", "A100-80GB", 1),
        Machine("Standard_NC48ads_A100_v4", "A100-80GB", 2),
        Machine("Standard_NC96ads_A100_v4", "A100-80GB", 4),
        Machine("Standard_ND96amsr_A100_v4", "A100-80GB", 8),
        Machine("Standard_NC40ads_H100_v5", "H100-94GB", 1),
        Machine("Standard_NC80adis_H100_v5", "H100-94GB", 2),
        Machine("Standard_ND96isr_H100_v5", "H100", 8),
        Machine("Standard_ND96isr_H200_v5", "H200", 8),
    ),
}


def mig_profiles(gpu: GpuKind) -> dict[str, int]:
    """MIG profile -> how many partitions one GPU is cut into; empty for GPUs that cannot."""
    if gpu not in MIG_MEMORY_GB:
        return {}
    eighth, quarter, half, whole = MIG_MEMORY_GB[gpu]
    return {
        f"1g.{eighth}gb": 7,
        f"1g.{quarter}gb": 4,
        f"2g.{quarter}gb": 3,
        f"3g.{half}gb": 2,
        f"4g.{half}gb": 1,
        f"7g.{whole}gb": 1,
    }


def machine_named(cloud: str, name: str) -> Machine | None:
    """The table's entry of a machine type."""
    return next((machine for machine in MACHINES[cloud] if machine.name == name), None)


def machine_for(cloud: str, gpu: GpuKind, count: int) -> Machine | None:
    """The machine type that carries exactly `count` GPUs of a kind."""
    return next((machine for machine in MACHINES[cloud] if (machine.gpu, machine.count) == (gpu, count)), None)


def accelerator(gpu: GpuKind) -> str | None:
    """GKE's name of a kind of GPU, None where GKE has no such GPU."""
    return next((machine.accelerator for machine in MACHINES["gke"] if machine.gpu == gpu), None)
