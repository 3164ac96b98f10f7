"""The whole pipeline on a GPU, as a user gets it: `nemostack up`, `doctor`, `run` with a load test, and `down`.

The stack has a name of its own. Its reports and the logs of its services stay when it is gone.
"""

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from nemostack.clone import ROOT

STACK = "bench-gpu"
SHOWN = 6000
"""Characters of what each command printed that are kept."""


def run(
    harness: Path, model: tuple[str, Path] | None, out: Path, *, base_port: int, device: str, limit: int
) -> dict[str, Any]:
    """Bring a stack up, run the pipeline, take the stack down; for each command its exit code, seconds and output.

    `model` is the id and the folder of the base model; None: the stack's default.
    """
    chosen = {"local.base_port": base_port, "local.accelerator": device}
    if model is not None:
        chosen |= {"local.base_model.id": model[0], "local.base_model.path": model[1]}
    settings = [part for key, value in chosen.items() for part in ("--config", f"{key}={value}")]
    objectives = str(ROOT / "examples" / "slo.local.yaml")
    working = ("run", "--new", "--limit", str(limit), "--load-slo", objectives, "--runs", str(out / "runs"))
    steps: dict[str, Any] = {}
    try:
        for command in (("up", "--yes", *settings), ("doctor",), working):
            steps[command[0]] = _nemostack(harness, command)
            if command[0] == "up" and steps["up"]["exit_code"]:
                break
    finally:
        for log in (ROOT / ".nemostack" / STACK).rglob("*.log"):
            (out / "logs").mkdir(parents=True, exist_ok=True)
            shutil.copy(log, out / "logs")
        steps["down"] = _nemostack(harness, ("down", "--yes", "--purge"))
    return steps


def _nemostack(harness: Path, command: tuple[str, ...]) -> dict[str, Any]:
    started = time.time()
    full = [str(harness), "-m", "cli", command[0], "--stack", STACK, *command[1:]]
    done = subprocess.run(full, cwd=ROOT, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    seconds = round(time.time() - started, 1)
    text = done.stdout.decode(errors="replace")[-SHOWN:]
    print(f"{text}\n==> nemostack {command[0]}: exit code {done.returncode} after {seconds} s", flush=True)
    return {"exit_code": done.returncode, "seconds": seconds, "output": text}
