"""The doctor's look at the NVIDIA GPUs of a local stack: driver, memory, who holds it, and the shares of the stack.

Changes nothing and takes no memory of a GPU. Refuses nothing: a driver that does not answer is a finding where the
stack computes on GPUs. A stack on the CPU of a machine without a GPU has no findings.
"""

import re
from collections.abc import Iterator

from nemostack import gpus
from nemostack.gpus import Gpu, GpuProcess, GpuQueryError
from nemostack.outputs import StackOutputs
from nemostack.service_checks import Finding

_DRIVER_FIX = "repair the driver until nvidia-smi lists the GPU, then run `nemostack up`, which chooses again"
_CPU_FIX = "if the stack is to use it: set local.accelerator to cuda and run `nemostack up`, which says what is missing"
_NAMED = re.compile(r"\bGPUs? (\d+(?:, \d+)*)\b")
_CHOSEN_CPU = "local.accelerator is cpu"


def look(outputs: StackOutputs) -> list[Finding]:
    """Look at the GPUs of this machine, for a stack that was brought up on it."""
    computes_on, _, reason = (outputs.accelerator or "cpu").partition(": ")
    try:
        found = gpus.query()
        holders = gpus.processes() if found else []
    except GpuQueryError as error:
        return [_finding("driver", str(error), _DRIVER_FIX)] if computes_on == "cuda" else []
    if computes_on == "cuda":
        return [*_each(found, holders), _shares(reason.rpartition("; ")[2], found)]
    if not found:
        return []
    why = f"the stack computes on the CPU: {reason or 'its outputs do not say why'}"
    own_choice = reason == _CHOSEN_CPU
    return [
        *_each(found, holders),
        Finding(
            service="GPU",
            check="shares",
            level="ok" if own_choice else "warn",
            evidence=why,
            fix="" if own_choice else _CPU_FIX,
        ),
    ]


def _each(found: list[Gpu], holders: list[GpuProcess]) -> Iterator[Finding]:
    for gpu in found:
        memory = f"{gpu.used_mib / 1024:.1f} of {gpu.memory_mib / 1024:.1f} GiB in use"
        users = ", ".join(_user(one) for one in holders if one.gpu_uuid == gpu.uuid)
        by = f" by {users}" if users else "; the driver names no process (inside a container it does not)"
        evidence = f"{gpu.name}, driver {gpu.driver}, {memory}{by}"
        yield Finding(service=f"GPU {gpu.index}", check="memory", level="ok", evidence=evidence)


def _user(process: GpuProcess) -> str:
    memory = "" if process.memory_mib is None else f", {process.memory_mib / 1024:.1f} GiB"
    return f"{process.program} (pid {process.pid}{memory})"


def _shares(shares: str, found: list[Gpu]) -> Finding:
    named = {int(number) for group in _NAMED.findall(shares) for number in group.split(", ")}
    gone = sorted(named - {gpu.index for gpu in found})
    if gone:
        missing = f"{shares}, but the driver no longer lists GPU {', '.join(map(str, gone))}"
        return _finding("shares", missing, f"look at CUDA_VISIBLE_DEVICES of this shell; otherwise {_DRIVER_FIX}")
    return Finding(service="GPU", check="shares", level="ok", evidence=shares)


def _finding(check: str, evidence: str, fix: str) -> Finding:
    return Finding(service="GPU", check=check, level="bad", evidence=evidence, fix=fix)
