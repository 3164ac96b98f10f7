"""The whole pipeline on a GPU, with the services that `nemostack up` would start: the same settings, without Pulumi.

MLflow is left out. The services run in this interpreter's environment; the pipeline, `nemostack run`, in that of the
command (`--harness`).
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.serving import Server, await_ready, start, start_up
from infra.config import LocalSettings
from infra.local.accelerator import choose, share_out
from infra.local.folders import StackFolder
from infra.local.services import Plan
from nemostack.clone import ROOT


def run(
    harness: Path, model: Path, name: str, folder: Path, *, base_port: int, device: str, limit: int
) -> dict[str, Any]:
    """Start the stack, run the pipeline, stop the stack; what the pipeline printed, and seconds."""
    wanted = {"base_port": base_port, "base_model": {"id": name, "path": str(model)}, "accelerator": device}
    settings = LocalSettings.model_validate(wanted)
    choice = choose(settings.accelerator)
    shares = share_out(choice.gpus, settings.gpu) if choice.kind == "cuda" else None
    plan = Plan(root=ROOT, folder=StackFolder(folder / "stack"), settings=settings, shares=shares)
    plan.folder.create()
    print(f"accelerator {choice.kind}: {choice.reason}; {shares}", flush=True)
    servers: dict[str, Server] = {}
    try:
        for spec in plan.services():
            if spec.name != "mlflow":
                config = plan.folder.config / f"{spec.name}.json"
                config.write_text(json.dumps(spec.settings))
                (plan.folder.data / spec.name).mkdir(parents=True, exist_ok=True)
                command = [sys.executable, "-m", "embedded.serve", spec.name, str(config)]
                log, port = plan.folder.log(spec.name), plan.ports[spec.name]
                servers[spec.name] = start(spec.name, command, log, port, plan.environment)
        for server in servers.values():
            await_ready(server)
            print(f"{server.name} is ready after {server.ready_s:.1f} s", flush=True)
        outputs = folder / "outputs.json"
        outputs.write_text(json.dumps(plan.outputs().model_dump() | {"mlflow_url": ""}))
        command = [str(harness), "-m", "cli", "run", "--outputs", str(outputs), "--runs", str(folder / "runs"), "--new"]
        started = time.time()
        done = subprocess.run(
            [*command, "--limit", str(limit)], cwd=ROOT, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        text = done.stdout.decode(errors="replace")
        print(text[-6000:], flush=True)
        return {
            "accelerator": f"{choice.kind}: {choice.reason}",
            "shares": str(shares),
            "exit_code": done.returncode,
            "seconds": round(time.time() - started, 1),
            "ready_s": {server.name: round(server.ready_s, 1) for server in servers.values()},
            "start": start_up(servers["nim"]),
            "output": text[-6000:],
        }
    finally:
        for server in servers.values():
            server.stop()
