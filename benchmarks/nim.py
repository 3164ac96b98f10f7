"""The embedded NIM against bare vLLM: seconds to ready, streamed tokens/s of base, one adapter and a mix, in one run.

    .venv-embedded/bin/python -m benchmarks.nim [--requests 48] [--concurrency 32] [--tokens 50] [--rounds 3]

Both serve the shipped base model with the same vLLM arguments and the same three random adapters; bare vLLM is its own
server command (its process layout, thread binding and LoRA products), the NIM is `embedded.serve nim` with real
Entity and Data Stores beside it. They take turns round by round, so that other load on the machine hits both; the ratio
is of medians. Prompts are random tokens that no round repeats, so the prefix cache helps neither.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from nemostack.clone import ROOT
from nemostack.ports import free_port
from tests.base_model import MODEL_ID as BASE
from tests.base_model import WEIGHTS

BRANCHES = ("cust-1", "cust-2", "cust-3")
ADAPTERS = [f"bench/adapter@{branch}" for branch in BRANCHES]
MIXES = {"base": [BASE], "adapter": ADAPTERS[:1], "mixed": [BASE, *ADAPTERS]}
READY_WITHIN_S = 400


@dataclass(frozen=True)
class Load:
    """One round's requests."""

    requests: int
    concurrency: int
    tokens: int
    prompt_tokens: int


@contextmanager
def running(command: list[str], log: Path, url: str, env: dict[str, str] | None = None) -> Iterator[float]:
    """Run a server until the block ends; gives the seconds until `url`/health answered."""
    started = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}
        )
    try:
        while True:
            if process.poll() is not None:
                sys.exit(f"{' '.join(command[:4])} ended with {process.returncode}:\n{log.read_text()[-2000:]}")
            if time.monotonic() - started > READY_WITHIN_S:
                sys.exit(
                    f"{url} was not ready within {READY_WITHIN_S} s; see the end of its log:\n{log.read_text()[-2000:]}"
                )
            try:
                if httpx.get(f"{url}/health", timeout=2).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        yield time.monotonic() - started
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def make_adapters(folder: Path) -> list[Path]:
    """Write random rank-8 adapters for the base model."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    made = []
    for seed, branch in enumerate(BRANCHES):
        torch.manual_seed(seed)
        model: Any = AutoModelForCausalLM.from_pretrained(WEIGHTS, dtype=torch.float32)
        config = peft.LoraConfig(
            r=8, lora_alpha=16, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
        )
        peft.get_peft_model(model, config).save_pretrained(str(folder / branch))
        made.append(folder / branch)
    return made


def serve_command(service: str, folder: Path, port: int, **settings: Any) -> list[str]:
    """Write the service's config; returns its command."""
    config = folder / f"{service}.json"
    config.write_text(json.dumps({"port": port, "data_dir": str(folder / service), **settings}))
    return [sys.executable, "-m", "embedded.serve", service, str(config)]


def publish(entity_store: str, data_store: str, folders: list[Path]) -> None:
    """Do what the Customizer does when a job has ended."""
    from huggingface_hub import HfApi

    hub = HfApi(endpoint=f"{data_store}/v1/hf", token=False)
    hub.create_repo("bench/adapter")
    for branch, folder in zip(BRANCHES, folders, strict=True):
        hub.create_branch("bench/adapter", branch=branch)
        hub.upload_folder(repo_id="bench/adapter", folder_path=folder, revision=branch)
        artifact = {"files_url": f"hf://models/bench/adapter@{branch}", "status": "upload_completed"}
        entity = {"namespace": "bench", "name": f"adapter@{branch}", "base_model": BASE, "artifact": artifact}
        body = entity | {"peft": {"finetuning_type": "lora"}}
        httpx.post(f"{entity_store}/v1/models", json=body, timeout=30).raise_for_status()


async def tokens_per_second(url: str, models: list[str], load: Load, seed: int) -> float:
    """Stream all requests, `concurrency` at a time; counts events, of which vLLM sends one a token."""
    import aiohttp

    numbers = random.Random(seed)
    prompts = [[numbers.randrange(100, 6000) for _ in range(load.prompt_tokens)] for _ in range(load.requests)]
    gate = asyncio.Semaphore(load.concurrency)
    connector = aiohttp.TCPConnector(limit=load.concurrency)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=300)) as session:

        async def one(number: int) -> int:
            body = {
                "model": models[number % len(models)],
                "prompt": prompts[number],
                "max_tokens": load.tokens,
                "temperature": 0,
                "ignore_eos": True,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            async with gate, session.post(f"{url}/v1/completions", json=body) as answer:
                answer.raise_for_status()
                text = await answer.text()
            usage = json.loads(text.rsplit("data: ", 2)[1])["usage"]
            return int(usage["completion_tokens"])

        started = time.perf_counter()
        counts = await asyncio.gather(*(one(number) for number in range(load.requests)))
        return sum(counts) / (time.perf_counter() - started)


def wait_for_adapters(url: str) -> None:
    """Until all adapters are listed."""
    for _ in range(300):
        ids = {model["id"] for model in httpx.get(f"{url}/v1/models", timeout=10).json()["data"]}
        if set(ADAPTERS) <= ids:
            return
        time.sleep(0.2)
    sys.exit(f"{url}: the adapters did not appear within 60 s")


def measure(urls: dict[str, str], load: Load, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Mix -> server -> tokens/s of each round; the servers take turns, and swap who goes first."""
    found: dict[str, dict[str, list[float]]] = {mix: {name: [] for name in urls} for mix in MIXES}
    seed = 0
    for number in range(rounds + 1):
        for mix, models in MIXES.items():
            for name, url in list(urls.items())[:: 1 if number % 2 else -1]:
                seed += 1
                speed = asyncio.run(tokens_per_second(url, models, load, seed))
                if number:  # the first round warms up
                    found[mix][name].append(speed)
                    print(f"round {number} {mix:8} {name:5} {speed:7.0f} tokens/s", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=50)
    parser.add_argument("--prompt-tokens", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    load = Load(args.requests, args.concurrency, args.tokens, args.prompt_tokens)
    with tempfile.TemporaryDirectory(prefix="nemostack-bench-") as text, ExitStack() as stack:
        folder = Path(text)
        folders = make_adapters(folder)
        ports = {name: free_port() for name in ("entity_store", "data_store", "nim", "vllm")}
        urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        for store in ("entity_store", "data_store"):
            stack.enter_context(
                running(serve_command(store, folder, ports[store]), folder / f"{store}.log", urls[store])
            )
        publish(urls["entity_store"], urls["data_store"], folders)
        settings = {
            "base_model": BASE,
            "model_path": str(WEIGHTS),
            "entity_store_url": urls["entity_store"],
            "data_store_url": urls["data_store"],
        }
        nim = serve_command("nim", folder, ports["nim"], **settings)
        ready = {"nim": stack.enter_context(running(nim, folder / "nim.log", urls["nim"]))}
        ready["vllm"] = stack.enter_context(
            running(bare_vllm(settings, folder, folders, ports["vllm"]), folder / "vllm.log", urls["vllm"], QUIET)
        )
        for name in ("nim", "vllm"):
            wait_for_adapters(urls[name])
        found = measure({name: urls[name] for name in ("nim", "vllm")}, load, args.rounds)
    report(ready, found)


QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_LEVEL": "WARNING"}


def bare_vllm(settings: dict[str, str], folder: Path, adapters: list[Path], port: int) -> list[str]:
    """Return vLLM's own command with the NIM's arguments, less those that only the NIM understands."""
    from embedded.nim import Settings
    from embedded.nim.arguments import vllm_arguments

    modules = [f"{name}={path}" for name, path in zip(ADAPTERS, adapters, strict=True)]
    arguments = vllm_arguments(Settings.model_validate({"port": port, "data_dir": folder / "unused", **settings}))
    server = "vllm.entrypoints.launchers.api_server.entry"
    return [sys.executable, "-m", server, *arguments, "--disable-uvicorn-access-log", "--lora-modules", *modules]


def report(ready: dict[str, float], found: dict[str, dict[str, list[float]]]) -> None:
    """Print medians and ratios."""
    print(f"seconds to ready: nim {ready['nim']:.1f}, bare vLLM {ready['vllm']:.1f}")
    for mix, speeds in found.items():
        nim, vllm = statistics.median(speeds["nim"]), statistics.median(speeds["vllm"])
        print(f"{mix:8} nim {nim:6.0f} tokens/s, bare vLLM {vllm:6.0f} tokens/s, ratio {nim / vllm:.2f}")


if __name__ == "__main__":
    main()
