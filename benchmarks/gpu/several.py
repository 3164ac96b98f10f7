"""Several GPUs: a Customizer's job on one and on all of them, and NIM with its model spread over them.

Training takes the same batches, a row to one GPU or to another; NIM has the same arguments, once with tensor
parallelism over all GPUs. Speeds are measured one after the other, not in turns: they say what several GPUs bring, and
no small difference can be read from them.
"""

import hashlib
import json
import os
import signal
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
TRAINED_WITHIN_S = 240


def train(shape: Shape, weights: Path, log: Path, *, gpus: int, steps: int, length: int, device: str) -> dict[str, Any]:
    """Train in a process of its own, for a process sees its GPUs as they were when CUDA began.

    What it and the job's other processes write goes into `log`; if they take too long, so does what each is doing.
    """
    terms = {"gpus": gpus, "steps": steps, "length": length, "device": device}
    result = log.with_suffix(".result.json")  # not the last line of the log: NCCL writes until the process has ended
    result.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONFAULTHANDLER": "1", "NCCL_DEBUG": "INFO"}
    command = [sys.executable, "-m", "benchmarks.gpu.several", str(result)]
    with log.open("w") as out:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=out,
            text=True,
            start_new_session=True,
        )
        try:
            process.communicate(json.dumps([vars(shape), str(weights), terms]), timeout=TRAINED_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGABRT)  # each process writes the stacks of its threads
            process.wait()
    if process.returncode:
        end = log.read_text()[-3000:]
        raise RuntimeError(f"training on {gpus} processes failed ({process.returncode}):\n{end}")
    measured: dict[str, Any] = json.loads(result.read_text())
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
        stamps, loss, adapter = _steps(spec, folder, rows)
    seconds = stamps[-1] - stamps[WARM_UP - 1]
    tokens = (len(stamps) - WARM_UP) * CASE.batch_size * length
    speed = {"gpus": gpus, "steps": len(stamps), "tokens_per_s": round(tokens / seconds)}
    return speed | {"validation_loss": loss, "adapter_sha256": adapter}


def _steps(spec: JobSpec, folder: JobFolder, rows: list[Any]) -> tuple[list[float], float, str]:
    """Train on all rows; the moments at which steps ended, the validation loss at the end, the adapter's digest."""
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
        tensors = model.tensors()
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].cpu().contiguous().view(torch.uint8).numpy().tobytes())
    events = map(json.loads, folder.progress.read_text().splitlines())
    return stamps, [event["value"] for event in events if event["event"] == "val_loss"][-1], digest.hexdigest()


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
    Path(sys.argv[1]).write_text(json.dumps(_train(Shape(**shape_values), Path(weights_path), **task_terms)))
