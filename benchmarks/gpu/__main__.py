"""`python -m benchmarks.gpu PART... --out FOLDER`: see the package for what the parts measure.

Every part writes `PART.json`; samples and plots lie beside it. A part that fails leaves its traceback in `PART.error`
and does not stop the others; the exit code is 1 then.
"""

import argparse
import json
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gpu import cores, models, report
from nemostack import sample_model
from nemostack.clone import ROOT
from nemostack.models import SAMPLE_MODEL
from nemostack.ports import free_port

if TYPE_CHECKING:
    from benchmarks.gpu.serving import Server

RANK = 16  # of the adapters that are served
PARTS = ("checks", "pipeline", "training", "serving", "saturation", "several")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    default = list(PARTS[:-1])
    parser.add_argument("parts", nargs="*", default=default, help=f"of {', '.join(PARTS)}; default: all but the last")
    parser.add_argument(
        "--out", type=Path, default=Path("build/bench-gpu"), help="folder for reports, plots and samples"
    )
    parser.add_argument("--work", type=Path, default=Path("build/bench-gpu/work"), help="folder for models and logs")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a tiny shape in place of Llama-3.2-3B's, for rehearsals")
    model = sample_model.folder()
    parser.add_argument("--model", type=Path, default=model, help="folder of the model for checks and pipeline")
    parser.add_argument("--model-id", default=SAMPLE_MODEL, help="its id on the stack of the pipeline")
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
    parser.add_argument(
        "--window", type=float, default=1.5, help="seconds that a sample counts; twice that at 256 streams and more"
    )
    parser.add_argument(
        "--rounds", type=int, help="of the serving part, besides one that warms up; default: as time allows"
    )
    parser.add_argument("--min-tokens-rounds", type=int, default=5, help="with and without min_tokens, in turns")
    parser.add_argument("--kv-cache-gib", type=int, help="of each server, which then start at the same time")
    parser.add_argument("--no-control", dest="control", action="store_false", help="without the second bare vLLM")
    parser.add_argument("--load-streams", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--load-seconds", type=float, default=10, help="of the window of each load test")
    parser.add_argument("--gpus", type=int, default=2, help="of the part `several`")
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

    default = options.model == sample_model.folder().resolve()
    return part.run(
        options.harness,
        None if default else (options.model_id, options.model),
        options.out / "pipeline",
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


def weights_of(options: argparse.Namespace) -> Path:
    """A model of that shape with random weights, made once."""
    folder: Path = options.work / shape_of(options).name
    if not (folder / "model.safetensors").exists():
        models.write_weights(shape_of(options), shell_of(options), folder, options.device)
    return folder


def training(options: argparse.Namespace) -> dict[str, Any]:
    """Customizer beside a plain PEFT loop."""
    import gc

    from benchmarks.gpu import training as part

    shape, weights = shape_of(options), weights_of(options)
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
        named = {server.name: server for server in servers if server.name in (part.NIM, part.VLLM, part.CONTROL)}
        apart = cores.keep_apart([server.pid for server in named.values()])
        print("the servers have two cores to themselves" if apart else "too few cores to keep some for the servers")
        samples = options.out / "serving-samples.jsonl"
        part.measure(
            {name: named[name].url for name in (part.NIM, part.VLLM, part.CONTROL) if name in named},  # in this order
            adapter_names(max(options.adapters)),
            shape,
            streams=options.streams,
            mixes=options.adapters,
            seconds=options.window,
            deadline=deadline,
            rounds=options.rounds,
            out=samples,
        )
        measured = part.read_samples(samples)
        return {
            "shape": shape.name,
            "weights": "random",
            "device": options.device,
            "own_cores": apart,
            "start": {name: part.start_up(server) for name, server in named.items()},
            "cells": part.summarize(measured),
            "overall": part.overall(measured),
            "min_tokens": part.cost_of_min_tokens(
                named[part.VLLM].url,
                shape,
                streams=[many for many in options.streams if many > 1],
                seconds=options.window,
                rounds=options.min_tokens_rounds,
            ),
        }
    finally:
        for log in folder.glob("*.log"):
            (options.out / f"serving-{log.name}.txt").write_text(log.read_text(errors="replace")[-200_000:])
        if not options.keep:
            kept.unlink(missing_ok=True)
            for server in reversed(servers):
                server.stop()


def saturation(options: argparse.Namespace) -> dict[str, Any]:
    """Load tests of bare vLLM with more adapters than slots. With --keep the server stays, for other tools."""
    from benchmarks.gpu import saturation as part
    from benchmarks.gpu import serving as servers

    shape, folder = shape_of(options), options.work / "saturation"
    folder.mkdir(parents=True, exist_ok=True)
    (options.out / "saturation").mkdir(exist_ok=True)
    folders = list(models.write_adapters(shape, folder / "adapters", max(options.adapters), RANK))
    names = adapter_names(len(folders))
    slots = {"max_loras": part.SLOTS, "gpu_memory_fraction": 0.9}
    source = {"peft_source": folder / "adapters"}
    settings = servers.nim_settings(served_model(options), source, device=options.device, rank=RANK) | slots
    port = free_port()
    command, env = servers.vllm_command(settings, folder, port, dict(zip(names, folders, strict=True)))
    server = servers.start(servers.VLLM, command, folder / "vllm.log", port, env)
    try:
        servers.await_ready(server)
        print(f"{server.name} is ready at {server.url} after {server.ready_s:.0f} s", flush=True)
        return part.run(
            options.harness,
            server.url,
            names,
            options.out / "saturation",
            streams=options.load_streams,
            seconds=options.load_seconds,
        )
    finally:
        if not options.keep:
            server.stop()


def several(options: argparse.Namespace) -> dict[str, Any]:
    """One GPU and all of them, for training and for NIM."""
    from benchmarks.gpu import several as part

    shape, weights = shape_of(options), weights_of(options)
    measured: dict[str, Any] = {"shape": shape.name, "weights": "random", "training": [], "serving": []}

    def keep(kind: str, one: dict[str, Any]) -> None:
        measured[kind].append(one)
        (options.out / "several.json").write_text(json.dumps(measured, indent=1))

    for number, count in enumerate((1, 1, options.gpus)):  # one GPU twice: does the same seed give the same adapter?
        terms = {"steps": options.steps, "length": options.length, "device": options.device}
        log = options.out / f"several-training-{number}.log.txt"
        keep("training", part.train(shape, weights, log, gpus=count, **terms))
    for count in (options.gpus, 1) if options.device == "cuda" else (1,):
        folder = options.work / f"several-{count}"
        terms = {"streams": options.streams, "seconds": options.window, "device": options.device}
        keep("serving", part.serve(shape, served_model(options), folder, gpus=count, **terms))
        shutil.copy(folder / "nim.log", options.out / f"several-{count}-nim.log.txt")
    return measured


def served_model(options: argparse.Namespace) -> Path:
    """Folder of the model for vLLM, which has random weights of its own on a GPU and none on a CPU."""
    return shell_of(options) if options.device == "cuda" else weights_of(options)


def adapter_names(count: int) -> list[str]:
    """Names of the adapters as models, as a Customizer gives them."""
    from benchmarks.gpu import serving as part

    return [f"{part.REPO}@cust-{number}" for number in range(count)]


def start_servers(options: argparse.Namespace, shape: models.Shape, folder: Path) -> "list[Server]":
    """Start stores, bare vLLM and NIM, with their adapters; stop what runs if one does not start."""
    from benchmarks.gpu import serving as part

    model = served_model(options)
    adapters = list(models.write_adapters(shape, folder / "adapters", max(options.adapters), RANK))
    names = adapter_names(len(adapters))
    servers: list[part.Server] = []

    def begin(name: str, command: list[str], port: int, env: dict[str, str] | None = None) -> None:
        servers.append(part.start(name, command, folder / f"{name.replace(' ', '-')}.log", port, env))
        if options.kv_cache_gib is None:  # each measures how much of the GPU's memory it finds
            part.await_ready(servers[-1])

    try:
        stores = part.start_stores(folder)
        servers += stores.values()
        part.publish(stores["entity_store"].url, stores["data_store"].url, adapters)
        settings = part.nim_settings(model, part.store_urls(stores), device=options.device, rank=RANK)
        if options.kv_cache_gib is not None:
            settings |= {"kv_cache_mib": options.kv_cache_gib * 1024}
        for name in (part.VLLM, part.NIM, *((part.CONTROL,) if options.control else ())):
            port = free_port()
            if name == part.NIM:
                begin(name, part.serve_command("nim", folder, port, **settings), port)
            else:
                command, env = part.vllm_command(settings, folder, port, dict(zip(names, adapters, strict=True)))
                begin(name, command, port, env)
        for server in servers:
            part.await_ready(server)
            print(f"{server.name} was ready after {server.ready_s:.0f} s", flush=True)
        nim = next(server for server in servers if server.name == part.NIM)
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
        "saturation": saturation,
        "several": several,
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
