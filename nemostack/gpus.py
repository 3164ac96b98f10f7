"""The NVIDIA GPUs of this machine, as `nvidia-smi` tells them: no package, and no CUDA context, is needed to ask.

Only the GPUs that CUDA_VISIBLE_DEVICES leaves visible are listed, in its order; their numbers stay the machine's own.
Refuses nothing: whoever asks decides which GPU is good enough.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

QUERY_TIMEOUT_S = 20.0
_GPU_FIELDS = "index,uuid,name,driver_version,memory.total,memory.used,compute_cap"
_PROCESS_FIELDS = "gpu_uuid,pid,used_memory,process_name"
WSL_PROGRAM = "/usr/lib/wsl/lib/nvidia-smi"  # where Windows' driver puts it, outside of PATH


class GpuQueryError(Exception):
    """The GPUs cannot be listed; the text says why: no driver, a driver that does not answer, an unknown answer."""


@dataclass(frozen=True)
class Gpu:
    """One GPU, at the moment it was asked."""

    index: int
    uuid: str
    name: str
    driver: str
    memory_mib: int
    used_mib: int
    capability: tuple[int, int]

    @property
    def free_mib(self) -> int:
        """Memory that nobody has taken."""
        return self.memory_mib - self.used_mib

    def __str__(self) -> str:
        return f"GPU {self.index} ({self.name}, {self.memory_mib / 1024:.0f} GiB, driver {self.driver})"


@dataclass(frozen=True)
class GpuProcess:
    """A process that holds memory of a GPU. `memory_mib` is None where the driver does not tell, as in containers."""

    gpu_uuid: str
    pid: int
    memory_mib: int | None
    program: str


def query() -> list[Gpu]:
    """List the visible GPUs. GpuQueryError when there is no driver that answers."""
    return visible([_gpu(row) for row in _ask(f"--query-gpu={_GPU_FIELDS}")], os.environ.get("CUDA_VISIBLE_DEVICES"))


def processes() -> list[GpuProcess]:
    """List what holds memory of any GPU. GpuQueryError as for `query`."""
    found = []
    for row in _ask(f"--query-compute-apps={_PROCESS_FIELDS}"):
        uuid, pid, memory, program = _columns(row, 4)
        used = int(memory) if memory.isdigit() else None
        if pid.isdigit():
            found.append(GpuProcess(uuid, int(pid), used, program))
    return found


def visible(gpus: Iterable[Gpu], restriction: str | None) -> list[Gpu]:
    """Keep the GPUs that a value of CUDA_VISIBLE_DEVICES names, in its order; None restricts nothing.

    As CUDA reads it: numbers or beginnings of UUIDs, and the first name that fits nothing ends the list.
    """
    gpus = list(gpus)
    if restriction is None:
        return gpus
    chosen: list[Gpu] = []
    for name in restriction.split(","):
        match = next((gpu for gpu in gpus if _is_named(gpu, name.strip())), None)
        if match is None:
            break
        chosen.append(match)
    return chosen


def _is_named(gpu: Gpu, name: str) -> bool:
    return name == str(gpu.index) if name.isdigit() else bool(name) and gpu.uuid.startswith(name)


def _gpu(row: str) -> Gpu:
    index, uuid, name, driver, total, used, capability = _columns(row, 7)
    try:
        major, _, minor = capability.partition(".")
        return Gpu(int(index), uuid, name, driver, int(total), int(used), (int(major), int(minor or 0)))
    except ValueError as error:
        raise GpuQueryError(f"nvidia-smi tells of a GPU what cannot be read: {row!r}") from error


def _columns(row: str, count: int) -> list[str]:
    columns = [column.strip() for column in row.split(",", count - 1)]
    if len(columns) != count:
        raise GpuQueryError(f"nvidia-smi answered with what cannot be read: {row!r}")
    return columns


def _ask(query_option: str) -> list[str]:
    program = shutil.which("nvidia-smi") or shutil.which(WSL_PROGRAM)
    if program is None:
        raise GpuQueryError("nvidia-smi is not on PATH, so there is no NVIDIA driver")
    try:
        done = subprocess.run(
            [program, query_option, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=QUERY_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GpuQueryError(f"{program} does not answer: {error}") from error
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).split())[:300]
        raise GpuQueryError(f"{program} failed (exit {done.returncode}): {said}")
    return [line for line in done.stdout.splitlines() if line.strip()]
