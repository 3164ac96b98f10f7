"""The whole pipeline on a GPU, with the services that `nemostack up` would start: the same settings, without Pulumi.

MLflow is left out. The services run in this interpreter's environment; the pipeline is `nemostack run`, told of them by
a file of outputs.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.serving import Server, await_ready, start
from infra.config import LocalSettings
from infra.local.accelerator import choose, share_out
from infra.local.folders import StackFolder
from infra.local.services import Plan
from nemostack.clone import ROOT


def plan_for(model: Path, name: str, folder: Path, base_port: int, device: str) -> Plan:
    """Plan a stack for a model, as `nemostack up` does."""
    wanted: dict[str, Any] = {"base_port": base_port, "base_model": {"id": name, "path": str(model)}}
    settings = LocalSettings.model_validate(wanted | {"accelerator": device})
    choice = choose(settings.accelerator)
    shares = share_out(choice.gpus, settings.gpu) if choice.kind == "cuda" else None
    print(f"accelerator {choice.kind}: {choice.reason}; {shares}", flush=True)
    return Plan(root=ROOT, folder=StackFolder(folder), settings=settings, shares=shares)


def start_services(plan: Plan) -> dict[str, Server]:
    """Start all but MLflow, NIM included, and wait until they answer."""
    plan.folder.create()
    servers = {}
    for spec in plan.services():
        if spec.name == "mlflow":
            continue
        config = plan.folder.config / f"{spec.name}.json"
        config.write_text(json.dumps(spec.settings))
        (plan.folder.data / spec.name).mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "embedded.serve", spec.name, str(config)]
        log = plan.folder.log(spec.name)
        servers[spec.name] = start(spec.name, command, log, plan.ports[spec.name], plan.environment)
    for server in servers.values():
        await_ready(server)
        print(f"{server.name} is ready after {server.ready_s:.1f} s", flush=True)
    return servers


def run(model: Path, name: str, folder: Path, *, base_port: int, device: str, limit: int) -> dict[str, Any]:
    """Start the stack, run the pipeline, stop the stack; the report of the run, and seconds by stage."""
    plan = plan_for(model, name, folder / "stack", base_port, device)
    servers: dict[str, Server] = {}
    try:
        servers = start_services(plan)
        outputs = folder / "outputs.json"
        outputs.write_text(json.dumps(plan.outputs().model_dump() | {"mlflow_url": ""}))
        runs = folder / "runs"
        command = [sys.executable, "-m", "cli", "run", "--outputs", str(outputs), "--runs", str(runs)]
        options = ["--limit", str(limit), "--new"]
        started = time.time()
        done = subprocess.run(
            [*command, *options],
            cwd=ROOT,
            env=dict(os.environ),
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        text = done.stdout.decode(errors="replace")
        print(text[-6000:], flush=True)
        return {
            "exit_code": done.returncode,
            "seconds": round(time.time() - started, 1),
            "ready_s": {server.name: round(server.ready_s, 1) for server in servers.values()},
            "shares": str(plan.shares),
            "output": text[-6000:],
        }
    finally:
        for server in servers.values():
            server.stop()
