"""Facts about this machine's processor that decide how fast a number format is."""

from pathlib import Path
from typing import Literal

CPUINFO = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last one as Arm calls it


def multiplies_bfloat16(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the processor has instructions that multiply bfloat16; elsewhere float32 is about three times as fast."""
    try:
        text = cpuinfo.read_text(encoding="utf-8")
    except OSError:
        return False
    lines = (line.partition(":") for line in text.splitlines())
    flags = {flag for name, _, value in lines if name.strip() in {"flags", "Features"} for flag in value.split()}
    return bool(flags & BFLOAT16_FLAGS)


def fastest_precision(accelerator: Literal["cpu", "cuda"]) -> Literal["fp32", "bf16"]:
    """Return the number format in which a model's frozen weights are computed fastest on this machine."""
    return "bf16" if accelerator == "cuda" or multiplies_bfloat16() else "fp32"
