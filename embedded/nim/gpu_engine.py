"""Checks and preparations that vLLM on NVIDIA GPUs needs before its engine is started.

The engine and its LoRA kernels are vLLM's, unchanged but for where its processes meet; nothing of this project's CPU
code is loaded. Refuses to start when a GPU has not as much free memory as NIM's share: vLLM would say so only after a
minute, and not who holds it.
"""

import importlib
import tempfile
from pathlib import Path

from embedded.nim.settings import Settings
from nemostack import gpus
from nemostack.gpus import Gpu, GpuProcess

FRACTION_SETTING = "local.gpu.nim_memory_fraction"
_RENDEZVOUS = "get_distributed_init_method"


class GpuMemoryError(RuntimeError):
    """The GPU has no room for NIM; the text says what to change."""


def check(settings: Settings) -> None:
    """GpuMemoryError when the memory that NIM may take is not free on each of its GPUs."""
    found = {gpu.index: gpu for gpu in gpus.query()}
    holders = gpus.processes()
    for index in settings.gpus:
        if index not in found:
            raise GpuMemoryError(
                f"there is no GPU {index} (there are: {', '.join(map(str, found.values())) or 'none'})"
            )
        if problem := shortage(found[index], settings.gpu_memory_fraction, holders):
            raise GpuMemoryError(problem)


def shortage(gpu: Gpu, fraction: float, holders: list[GpuProcess]) -> str | None:
    """Say what is wrong when less than `fraction` of the memory of `gpu` is free; None when it is enough."""
    wanted = gpu.memory_mib * fraction
    if gpu.free_mib >= wanted:
        return None
    held = [one for one in holders if one.gpu_uuid == gpu.uuid]
    by = ", ".join(
        f"process {one.pid} ({one.program}{'' if one.memory_mib is None else f', {one.memory_mib} MiB'})"
        for one in held
    )
    return (
        f"{gpu} has {gpu.free_mib / 1024:.1f} GiB free, and NIM's share is {wanted / 1024:.1f} GiB; in use by "
        f"{by or 'processes that the driver does not name'}. End what you do not need, or lower {FRACTION_SETTING} "
        f"(now {fraction:g})"
    )


def prepare() -> None:
    """Import what the engine's process needs, which vLLM forks from this one as long as CUDA is not in use here."""
    for module in ("vllm.v1.engine.core", "vllm.v1.worker.gpu_worker"):
        importlib.import_module(module)
    for name in ("uniproc_executor", "multiproc_executor"):
        executor = importlib.import_module(f"vllm.v1.executor.{name}")
        if hasattr(executor, _RENDEZVOUS):
            setattr(executor, _RENDEZVOUS, meet_in_a_file)


def meet_in_a_file(_ip: str, _port: int) -> str:
    """Where the engine's processes find each other, in the place of a port that every machine around could reach.

    PyTorch's store listens on all interfaces, whatever address it is given. Later releases of vLLM, such as the one for
    CPUs, meet in a file themselves.
    """
    return (Path(tempfile.mkdtemp(prefix="nim-engine-")) / "rendezvous").as_uri()


def explain(settings: Settings) -> str:
    """Say what to look for when the engine did not start: the reason is in the engine's own lines."""
    return (
        f"if the lines above speak of memory: the model and its KV cache have {settings.gpu_memory_fraction:g} of the "
        f"GPU's memory, which {FRACTION_SETTING} sets; raise it, lower local.nim.max_model_len, or take a smaller model"
    )
