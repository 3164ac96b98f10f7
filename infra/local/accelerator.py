"""What a local stack computes on, and who gets how much of it: the choice, with its reason, and the shares of GPUs.

Pure but for `choose`, which asks `nvidia-smi`. Refuses `cuda` on a machine without a GPU that can do it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from infra.config.local import LocalGpu
from nemostack import gpus as nvidia
from nemostack.errors import LocalServiceError
from nemostack.gpus import Gpu, GpuQueryError

MIN_CAPABILITY = (8, 0)  # bf16 in hardware
MIN_MEMORY_MIB = 12 * 1024 * 95 // 100  # cards sold as 12 GiB have a little less
SHARED_NIM_FRACTION = 0.5
OWN_FRACTION = 0.9
RESERVE = 0.06  # CUDA's contexts of NIM, of a job and of BERTScore
MIN_CUSTOMIZER_FRACTION = 0.05


@dataclass(frozen=True)
class Choice:
    """`reason` says in one sentence why it is that; `gpus` are those that can be used."""

    kind: Literal["cpu", "cuda"]
    reason: str
    gpus: tuple[Gpu, ...] = ()


@dataclass(frozen=True)
class Shares:
    """Which GPUs NIM and the Customizer compute on, and which part of their memory each may take."""

    nim_gpus: tuple[int, ...]
    nim_fraction: float
    customizer_gpus: tuple[int, ...]
    customizer_fraction: float

    def __str__(self) -> str:
        return (
            f"NIM {self.nim_fraction:.0%} of {_named(self.nim_gpus)}, "
            f"training {self.customizer_fraction:.0%} of {_named(self.customizer_gpus)}"
        )


def _named(indices: tuple[int, ...]) -> str:
    return f"GPU{'s' if len(indices) > 1 else ''} {', '.join(map(str, indices))}"


def choose(wanted: Literal["auto", "cpu", "cuda"], query: Callable[[], Sequence[Gpu]] = nvidia.query) -> Choice:
    """Choose CPU or GPUs. LocalServiceError for `cuda` where there is no GPU that can do it."""
    if wanted == "cpu":
        return Choice("cpu", "local.accelerator is cpu")
    try:
        found = query()
        unfit = [f"{gpu}: {why}" for gpu in found if (why := _shortcoming(gpu))]
        usable = tuple(gpu for gpu in found if not _shortcoming(gpu))
        trouble = "; ".join(unfit) or "the driver shows no GPU (look at CUDA_VISIBLE_DEVICES)"
    except GpuQueryError as error:
        usable, trouble = (), str(error)
    if usable:
        return Choice("cuda", f"found {', '.join(map(str, usable))}", usable)
    if wanted == "cuda":
        raise LocalServiceError(
            f"local.accelerator is cuda, but no GPU can be used: {trouble}. Repair the driver until nvidia-smi lists "
            "the GPU, or set local.accelerator to cpu"
        )
    return Choice("cpu", f"no NVIDIA GPU can be used: {trouble}")


def _shortcoming(gpu: Gpu) -> str | None:
    if gpu.capability < MIN_CAPABILITY:
        return f"compute capability {gpu.capability[0]}.{gpu.capability[1]} is below 8.0, which bf16 needs"
    if gpu.memory_mib < MIN_MEMORY_MIB:
        return f"{gpu.memory_mib} MiB of memory are fewer than {MIN_MEMORY_MIB}"
    return None


def share_out(gpus: Sequence[Gpu], settings: LocalGpu) -> Shares:
    """Share out GPUs. LocalServiceError for settings that leave nothing to training, or ask for more than there is."""
    indices = tuple(gpu.index for gpu in gpus)
    if settings.nim_gpus is not None and settings.nim_gpus > len(indices):
        raise LocalServiceError(f"local.gpu.nim_gpus is {settings.nim_gpus}, but there are {len(indices)} GPUs to use")
    nim_count = settings.nim_gpus or _largest_power_of_two(max(1, len(indices) // 2))
    own = indices[nim_count:]
    if own:
        nim_fraction = settings.nim_memory_fraction or OWN_FRACTION
        return Shares(indices[:nim_count], nim_fraction, own, settings.customizer_memory_fraction or OWN_FRACTION)
    nim_fraction = settings.nim_memory_fraction or SHARED_NIM_FRACTION
    left = round(1 - nim_fraction - RESERVE, 4)
    customizer_fraction = settings.customizer_memory_fraction or left
    if customizer_fraction < MIN_CUSTOMIZER_FRACTION or customizer_fraction > left + RESERVE:
        raise LocalServiceError(
            f"local.gpu.nim_memory_fraction {nim_fraction:g} leaves {max(left, 0):.0%} of the GPU to training, and "
            f"{customizer_fraction:.0%} are wanted: lower it, or local.gpu.customizer_memory_fraction"
        )
    return Shares(indices[:nim_count], nim_fraction, indices[:1] if nim_count == 1 else indices, customizer_fraction)


def _largest_power_of_two(limit: int) -> int:
    return 1 << (limit.bit_length() - 1)
