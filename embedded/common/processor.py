"""Facts about this machine's processor that decide how fast a number format is, and how many threads pay."""

import os
from pathlib import Path
from typing import Literal

CPUINFO = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last one as Arm calls it
_TILES, _INTEL = "amx_bf16", "GenuineIntel"


def threads_beside_a_model() -> int:
    """Return the threads for work that goes on while NIM generates, which computes on every core.

    With as many threads as cores, those of both wait for one another: on two cores a hundred ratings cost 13 to 21 s
    of processor time with two threads and 4 s with one, and their evaluation took 44 to 52 s and 35 to 36 s.
    """
    return max(1, len(os.sched_getaffinity(0)) // 2)


def multiplies_bfloat16(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the processor has instructions that multiply bfloat16; elsewhere float32 is about three times as fast."""
    return bool(_facts(cpuinfo) & BFLOAT16_FLAGS)


def multiplies_bfloat16_faster(cpuinfo: Path = CPUINFO) -> bool:
    """Whether large products are faster in bfloat16 than in float32.

    Intel's AVX512-BF16 without AMX has one port for them where float32 has two: a product of 2,048 columns made 45
    GFLOP/s in bfloat16 and 66 in float32 on a virtual machine that hides AMX.
    """
    facts = _facts(cpuinfo)
    return bool(facts & BFLOAT16_FLAGS) and (_TILES in facts or _INTEL not in facts)


def fastest_precision(accelerator: Literal["cpu", "cuda"]) -> Literal["fp32", "bf16"]:
    """Return the number format in which a model's frozen weights are computed fastest on this machine."""
    return "bf16" if accelerator == "cuda" or multiplies_bfloat16_faster() else "fp32"


def _facts(cpuinfo: Path) -> set[str]:
    """Return the vendor and the flags."""
    try:
        text = cpuinfo.read_text(encoding="utf-8")
    except OSError:
        return set()
    lines = (line.partition(":") for line in text.splitlines())
    return {
        word for name, _, value in lines if name.strip() in {"vendor_id", "flags", "Features"} for word in value.split()
    }
