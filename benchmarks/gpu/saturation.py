"""`nemostack load` on a GPU: what adapters and streams cost, and the highest rate that holds.

Bare vLLM serves a model of Llama-3.2-3B's shape with random weights and eight adapter slots. Base model alone, eight
adapters in turn and 32 by Zipf(1) are asked by more and more streams; then a search finds the highest rate that meets
the objectives, without adapters and with 32.
"""

import json
import subprocess
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu import serving
from nemostack.clone import ROOT

SLOTS = 8
OBJECTIVES = """version: 1
description: One H200, a model of three billion parameters
min_samples: 20
per_request: {ttft_ms: 500, tpot_ms: 30}
objectives:
  - {metric: error_rate, max: 0.01}
  - {metric: ttft_ms, stat: p95, max: 500}
  - {metric: tpot_ms, stat: p95, max: 30}
"""


def run(
    harness: Path, url: str, adapters: Sequence[str], out: Path, *, streams: Sequence[int], seconds: float
) -> dict[str, Any]:
    """Run all load tests one after the other; each leaves its report in a folder of `out`."""
    slo = out / "slo.yaml"
    slo.write_text(OBJECTIVES)
    mixes = {
        "base": ("--adapters", "none"),
        "8-adapters": ("--adapters", ",".join(adapters[:SLOTS]), "--base-share", "0", "--mix", "round-robin"),
        "32-adapters-zipf": ("--adapters", ",".join(adapters[:32]), "--base-share", "0", "--mix", "zipf"),
    }
    measured: dict[str, Any] = {}
    common = ("--nim-url", url, "--base-model", serving.BASE, "--input-tokens", str(serving.PROMPT_TOKENS))
    lengths = ("--output-tokens", f"{serving.MOST_TOKENS // 4}-{serving.MOST_TOKENS}", "--fixed-length")
    for many in streams:
        for name, chosen in mixes.items():
            window = ("-u", str(many), "--duration", f"{seconds:g}s", "--warmup", "4s", "--grace", "10s")
            processes = ("--processes", "4") if many > serving.MANY_STREAMS else ()
            arguments = (*common, *lengths, *chosen, *window, *processes, "--lora-slots", str(SLOTS))
            measured[f"{name}-{many}"] = _load(harness, out / f"{name}-{many}", arguments)
    for name, rate in (("base", "64"), ("32-adapters-zipf", "16")):
        search = ("--find-max", "--slo", str(slo), "--start-rate", rate, "--precision", "0.1", "--attempts", "2")
        window = ("--arrivals", "poisson", "--duration", f"{seconds:g}s", "--warmup", "3s", "--grace", "10s")
        arguments = (*common, *lengths, *mixes[name], *window, *search, "--lora-slots", str(SLOTS))
        measured[f"search-{name}"] = _load(harness, out / f"search-{name}", arguments)
    return measured


def _load(harness: Path, folder: Path, arguments: Sequence[str]) -> dict[str, Any]:
    started = time.time()
    seed = zlib.crc32(folder.name.encode())  # no run asks the prompts of another: they would be in the prefix cache
    command = [str(harness), "-m", "load_tests", *arguments, "--seed", str(seed), "--out", str(folder)]
    done = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = done.stdout.decode(errors="replace")
    result: dict[str, Any] = {
        "exit_code": done.returncode,
        "seconds": round(time.time() - started, 1),
        "output": text[-2500:],
    }
    report = folder / "report.json"
    if report.exists():
        whole = json.loads(report.read_text())["overall"]
        result["tokens_per_s"] = whole["scalars"]["output_token_throughput"]
        result |= {name: whole["latencies"][name]["percentiles"] for name in ("ttft_ms", "tpot_ms")}
    print(f"{folder.name}: {json.dumps({key: value for key, value in result.items() if key != 'output'})}", flush=True)
    return result
