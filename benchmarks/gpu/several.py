"""Several GPUs: a Customizer's job on one and on all of them, and NIM with its model spread over them.

Training takes the same batches, a row to one GPU or to another; NIM has the same arguments, once with tensor
parallelism over all GPUs. Speeds are measured one after the other, not in turns: they say what several GPUs bring, and
no small difference can be read from them.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.gpu import load, serving
from benchmarks.gpu.models import Shape
from benchmarks.gpu.training import Case, make_rows, make_spec
from embedded.customizer import devices, replicas
from embedded.customizer.progress import Reporter
from embedded.customizer.spec import JobFolder, JobSpec
from nemostack import gpus as nvidia
from nemostack.clone import ROOT
from nemostack.ports import free_port

CASE = Case(16, 32, "equal")
WARM_UP = 2
"""Steps that are not counted."""


def train(shape: Shape, weights: Path, *, gpus: int, steps: int, length: int, device: str) -> dict[str, Any]:
    """Train in a process of its own, for a process sees its GPUs as they were when CUDA began."""
    terms = {"gpus": gpus, "steps": steps, "length": length, "device": device}
    task = json.dumps([vars(shape), str(weights), terms])
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu.several"],
        input=task,
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"training on {gpus} processes failed:\n{done.stderr[-3000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(measured, flush=True)
    return measured


def _train(shape: Shape, weights: Path, *, gpus: int, steps: int, length: int, device: str) -> dict[str, Any]:
    spec = make_spec(weights, CASE, device).model_copy(update={"processes": gpus, "threads": 4 * gpus})
    if device == "cuda":
        spec = spec.model_copy(update={"gpus": tuple(gpu.index for gpu in nvidia.query()[:gpus])})
    devices.prepare_environment(spec)
    devices.claim(spec)
    rows = make_rows(shape, CASE, CASE.batch_size * (steps + WARM_UP), length)
    with tempfile.TemporaryDirectory() as scratch:
        folder = JobFolder(Path(scratch) / "job")
        folder.create(spec)
        stamps, loss = _steps(spec, folder, rows)
    seconds = stamps[-1] - stamps[WARM_UP - 1]
    tokens = (len(stamps) - WARM_UP) * CASE.batch_size * length
    return {"gpus": gpus, "steps": len(stamps), "tokens_per_s": round(tokens / seconds), "validation_loss": loss}


def _steps(spec: JobSpec, folder: JobFolder, rows: list[Any]) -> tuple[list[float], float]:
    """Train on all rows; the moments at which steps ended, and the validation loss at the end."""
    import torch

    from embedded.customizer.model import TunedModel
    from embedded.customizer.training import Run

    stamps: list[float] = []
    reporter = Reporter(folder.progress)

    class Timed(Run):
        def one_step(self, batch: list[Any]) -> None:
            super().one_step(batch)
            if spec.device == "cuda":
                torch.cuda.synchronize()
            stamps.append(time.perf_counter())

    def fail(error: dict[str, Any]) -> NoReturn:
        print(error, file=sys.stderr, flush=True)
        os._exit(1)  # this thread watches; the main one may wait for the lost process inside of a system call

    held_out = rows[: CASE.batch_size]
    with replicas.started(spec, folder, rows, held_out, fail=fail) as group:
        model = TunedModel(spec, reporter)
        run = Timed(spec, folder, model, train=rows, validation=held_out, reporter=reporter, replicas=group)
        run.train()
    events = map(json.loads, folder.progress.read_text().splitlines())
    return stamps, [event["value"] for event in events if event["event"] == "val_loss"][-1]


def serve(
    shape: Shape, model: Path, folder: Path, *, gpus: int, streams: list[int], seconds: float, device: str
) -> dict[str, Any]:
    """Start NIM over the GPUs, and measure its tokens/s by streams."""
    folder.mkdir(parents=True, exist_ok=True)
    stores = serving.start_stores(folder)
    servers = list(stores.values())
    try:
        settings = serving.nim_settings(model, serving.store_urls(stores), device=device, rank=CASE.rank)
        if device == "cuda":
            settings |= {"gpus": [gpu.index for gpu in nvidia.query()[:gpus]]}
        port = free_port()
        command = serving.serve_command("nim", folder, port, **settings)
        nim = serving.start(serving.NIM, command, folder / "nim.log", port)
        servers.append(nim)
        serving.await_ready(nim)
        measured: dict[str, Any] = {"gpus": gpus, "ready_s": round(nim.ready_s, 1), "tokens_per_s": {}}
        with load.clients() as pool:
            for many in streams:
                for turn in range(3):  # the first one warms up
                    asked = serving.load_of(nim.url, (serving.BASE,), many, seconds=seconds, shape=shape, seed=turn)
                    one = load.run(asked, pool)
                    if turn:
                        measured["tokens_per_s"].setdefault(many, []).append(round(one.tokens_per_s))
        print(measured, flush=True)
        return measured
    finally:
        for server in reversed(servers):
            server.stop()


if __name__ == "__main__":
    shape_values, weights_path, task_terms = json.loads(sys.stdin.read())
    print(json.dumps(_train(Shape(**shape_values), Path(weights_path), **task_terms)))
