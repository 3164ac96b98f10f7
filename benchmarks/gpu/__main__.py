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
from typing import Any

from benchmarks.gpu import models, report

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
    parser.add_argument("--model", type=Path, required=True, help="folder of the model for checks and pipeline")
    parser.add_argument("--model-id", default="benchmark/smollm2-135m-instruct")
    parser.add_argument("--base-port", type=int, default=24080)
    parser.add_argument("--limit", type=int, default=100, help="items of each evaluation of the pipeline")
    parser.add_argument("--steps", type=int, default=12, help="measured steps of each training case")
    parser.add_argument("--check-steps", type=int, default=30)
    parser.add_argument("--length", type=int, default=256, help="tokens of a training row")
    parser.add_argument("--ranks", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 64, 512])
    parser.add_argument("--adapters", type=int, nargs="+", default=[0, 1, 8, 32])
    parser.add_argument("--window", type=float, default=2.5, help="seconds that each sample counts")
    parser.add_argument("--until", type=float, default=240, help="seconds for the rounds of the serving part")
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
    """NIM beside bare vLLM."""
    from benchmarks.gpu import serving as part

    shape, folder, rank = shape_of(options), options.work / "serving", 16
    folder.mkdir(parents=True, exist_ok=True)
    shell = shell_of(options)
    if options.device == "cpu":
        shell = models.write_weights(shape, shell, options.work / shape.name, "cpu")
    adapters = list(models.write_adapters(shape, folder / "adapters", max(options.adapters), rank))
    servers: list[part.Server] = []
    started = time.time()
    try:
        stores = part.start_stores(folder)
        servers += stores.values()
        settings = part.nim_settings(shell, stores, device=options.device, rank=rank)
        port = part.free_port()
        names = [f"{part.REPO}@cust-{number}" for number in range(len(adapters))]
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
        fetching = part.await_adapters(nim, names)
        samples = part.measure(
            {part.NIM: nim.url, part.VLLM: bare.url},
            names,
            shape,
            streams=options.streams,
            mixes=options.adapters,
            seconds=options.window,
            deadline=time.time() + options.until,
            out=options.out / "serving-samples.jsonl",
        )
        return {
            "shape": shape.name,
            "weights": "random",
            "device": options.device,
            "adapters_fetched_s": round(fetching, 1),
            "total_s": round(time.time() - started),
            "start": {server.name: part.start_up(server) for server in (bare, nim)},
            "cells": part.summarize(samples),
        }
    finally:
        for server in reversed(servers):
            server.stop()
        for log in folder.glob("*.log"):
            (options.out / f"serving-{log.name}.txt").write_text(log.read_text(errors="replace")[-200_000:])


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
