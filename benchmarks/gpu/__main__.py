"""`python -m benchmarks.gpu PART... --out FOLDER`: checks, pipeline, training, serving; see the package.

Every part writes `PART.json`; samples and plots lie beside it. A part that fails leaves its traceback in `PART.error`
and does not stop the others; the exit code is 1 then.
"""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gpu import models, report
from nemostack import sample_model
from nemostack.clone import ROOT
from nemostack.models import SAMPLE_MODEL

if TYPE_CHECKING:
    from benchmarks.gpu.serving import Server

RANK = 16  # of the adapters that are served
PARTS = ("checks", "pipeline", "training", "serving")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument(
        "--out", type=Path, default=Path("build/bench-gpu"), help="folder for reports, plots and samples"
    )
    parser.add_argument("--work", type=Path, default=Path("build/bench-gpu/work"), help="folder for models and logs")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a tiny shape in place of Llama-3.2-3B's, for rehearsals")
    model = sample_model.folder()
    parser.add_argument("--model", type=Path, default=model, help="folder of the model for checks and pipeline")
    parser.add_argument("--model-id", default=SAMPLE_MODEL)
    harness = ROOT / ".venv" / "bin" / "python"
    parser.add_argument("--harness", type=Path, default=harness, help="Python of the environment of the command")
    parser.add_argument("--base-port", type=int, default=24080)
    parser.add_argument("--limit", type=int, default=100, help="items of each evaluation of the pipeline")
    parser.add_argument("--steps", type=int, default=12, help="measured steps of each training case")
    parser.add_argument("--check-steps", type=int, default=30)
    parser.add_argument("--length", type=int, default=256, help="tokens of a training row")
    parser.add_argument("--ranks", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 64, 512])
    parser.add_argument("--adapters", type=int, nargs="+", default=[0, 1, 8, 32])
    parser.add_argument("--window", type=float, default=1.5, help="seconds that each sample counts")
    parser.add_argument("--within", type=float, default=900, help="seconds for the serving part, the start included")
    parser.add_argument("--keep", action="store_true", help="leave the servers running, for another run")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    return options


def checks(options: argparse.Namespace) -> dict[str, Any]:
    """Correctness of training."""
    from benchmarks.gpu import checks as part

    return part.run(options.model, options.device, options.check_steps)


def pipeline(options: argparse.Namespace) -> dict[str, Any]:
    """The whole pipeline."""
    from benchmarks.gpu import pipeline as part

    return part.run(
        options.harness,
        options.model,
        options.model_id,
        options.work / "pipeline",
        base_port=options.base_port,
        device=options.device,
        limit=options.limit,
    )


def shape_of(options: argparse.Namespace) -> models.Shape:
    """The shape that is measured."""
    return models.TINY if options.tiny else models.LLAMA_3B


def shell_of(options: argparse.Namespace) -> Path:
    """Its configuration and tokenizer, made once."""
    folder: Path = options.work / f"{shape_of(options).name}-shell"
    if not (folder / "config.json").exists():
        models.write_shell(shape_of(options), folder, options.model)
    return folder


def training(options: argparse.Namespace) -> dict[str, Any]:
    """Customizer beside a plain PEFT loop."""
    import gc

    from benchmarks.gpu import training as part

    shape = shape_of(options)
    weights = options.work / shape.name
    if not (weights / "model.safetensors").exists():
        models.write_weights(shape, shell_of(options), weights, options.device)
    table: list[dict[str, Any]] = []
    cases = [(batch, lengths) for lengths in ("equal", "mixed") for batch in options.batches]
    with (options.out / "training-samples.jsonl").open("a") as file:
        for rank in options.ranks:
            chosen = [part.Case(rank, batch, lengths) for batch, lengths in cases]
            found = part.measure(
                shape, weights, rank, chosen, steps=options.steps, length=options.length, device=options.device
            )
            for outcome in found:
                samples = {"step_seconds": outcome.step_seconds, "tokens_per_step": outcome.tokens_per_step}
                file.write(json.dumps(vars(outcome.case) | samples) + "\n")
            table += part.summarize(shape, found, options.length)
            (options.out / "training.json").write_text(json.dumps(table, indent=1))
            gc.collect()
            if options.device == "cuda":
                import torch

                torch.cuda.empty_cache()
    return {"shape": shape.name, "weights": "random", "device": options.device, "cases": table}


def serving(options: argparse.Namespace) -> dict[str, Any]:
    """NIM beside bare vLLM. With --keep the servers stay, and another run measures more rounds on them."""
    from benchmarks.gpu import serving as part

    shape, folder = shape_of(options), options.work / "serving"
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.time() + options.within
    kept = folder / "servers.json"
    servers: list[part.Server] = []
    try:
        if kept.exists():
            servers = [part.Server(**one | {"log": Path(one["log"])}) for one in json.loads(kept.read_text())]
        else:
            servers = start_servers(options, shape, folder)
            kept.write_text(json.dumps([vars(one) | {"log": str(one.log)} for one in servers]))
        named = {server.name: server for server in servers}
        samples = options.out / "serving-samples.jsonl"
        part.measure(
            {name: named[name].url for name in (part.NIM, part.VLLM)},
            adapter_names(max(options.adapters)),
            shape,
            streams=options.streams,
            mixes=options.adapters,
            seconds=options.window,
            deadline=deadline,
            out=samples,
        )
        return {
            "shape": shape.name,
            "weights": "random",
            "device": options.device,
            "start": {name: part.start_up(named[name]) for name in (part.VLLM, part.NIM)},
            "cells": part.summarize(part.read_samples(samples)),
        }
    finally:
        for log in folder.glob("*.log"):
            (options.out / f"serving-{log.name}.txt").write_text(log.read_text(errors="replace")[-200_000:])
        if not options.keep:
            kept.unlink(missing_ok=True)
            for server in reversed(servers):
                server.stop()


def adapter_names(count: int) -> list[str]:
    """Names of the adapters as models, as a Customizer gives them."""
    from benchmarks.gpu import serving as part

    return [f"{part.REPO}@cust-{number}" for number in range(count)]


def start_servers(options: argparse.Namespace, shape: models.Shape, folder: Path) -> "list[Server]":
    """Start stores, bare vLLM and NIM, with their adapters; stop what runs if one does not start."""
    from benchmarks.gpu import serving as part

    shell = shell_of(options)
    if options.device == "cpu":  # vLLM on a CPU has no random weights of its own
        shell = models.write_weights(shape, shell, options.work / shape.name, "cpu")
    adapters = list(models.write_adapters(shape, folder / "adapters", max(options.adapters), RANK))
    servers: list[part.Server] = []
    try:
        stores = part.start_stores(folder)
        servers += stores.values()
        settings = part.nim_settings(shell, stores, device=options.device, rank=RANK)
        port = part.free_port()
        names = adapter_names(len(adapters))
        command, env = part.vllm_command(settings, folder, port, dict(zip(names, adapters, strict=True)))
        bare = part.start(part.VLLM, command, folder / "vllm.log", port, env)
        servers.append(bare)
        part.publish(stores["entity_store"].url, stores["data_store"].url, adapters)
        part.await_ready(bare)
        # One after the other: each measures how much of the GPU's memory it finds.
        port = part.free_port()
        nim = part.start(part.NIM, part.serve_command("nim", folder, port, **settings), folder / "nim.log", port)
        servers.append(nim)
        part.await_ready(nim)
        print(f"ready: {bare.name} {bare.ready_s:.0f} s, {nim.name} {nim.ready_s:.0f} s", flush=True)
        print(f"adapters fetched after {part.await_adapters(nim, names):.0f} s more", flush=True)
    except BaseException:
        for server in reversed(servers):
            server.stop()
        raise
    return servers


def main(arguments: list[str] | None = None) -> int:
    """Run the parts; 1 when one of them failed."""
    options = parse(arguments)
    for folder in (options.out, options.work):
        folder.mkdir(parents=True, exist_ok=True)
    options.out, options.work, options.model = options.out.resolve(), options.work.resolve(), options.model.resolve()
    parts: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "checks": checks,
        "pipeline": pipeline,
        "training": training,
        "serving": serving,
    }
    failed = False
    for name in options.parts:
        print(f"==> {name}", flush=True)
        started = time.time()
        try:
            found = parts[name](options)
            (options.out / f"{name}.json").write_text(json.dumps(found, indent=1))
        except Exception:  # noqa: BLE001 - the other parts are worth having
            failed = True
            (options.out / f"{name}.error").write_text(traceback.format_exc())
            traceback.print_exc()
        print(f"==> {name}: {time.time() - started:.0f} s", flush=True)
    report.write(options.out)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
