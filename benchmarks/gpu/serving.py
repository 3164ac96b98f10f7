"""NIM beside bare vLLM on one GPU: tokens/s by streams and adapters in turns, and where the time of the start goes.

All serve a model of Llama-3.2-3B's shape with random weights, with the same vLLM arguments, and have equal parts of the
GPU's memory. Bare vLLM is its own server command; the NIM is `embedded.serve nim` with real stores beside it, from
which it fetches its adapters. A second bare vLLM is the control: what lies between the two says how far servers without
any difference lie apart, by the order of their start or by chance.
"""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from benchmarks.gpu import load
from benchmarks.gpu.models import Shape
from benchmarks.gpu.statistics import geometric_mean, interval, ratio
from nemostack import gpus
from nemostack.ports import free_port

BASE = "benchmark/base"
REPO = "bench/adapter"
NIM, VLLM, CONTROL = "NIM", "bare vLLM", "bare vLLM again"
FRACTION = 0.29
READY_WITHIN_S = 420
PROMPT_TOKENS, MOST_TOKENS = 110, 128
MANY_STREAMS = 256
"""From here on a server needs longer until all streams run, and a stream longer for an answer."""


@dataclass
class Server:
    """A process that was started in a session of its own, so that it outlives this one if need be."""

    name: str
    url: str
    log: Path
    pid: int
    started: float
    ready_s: float = 0.0

    def stop(self) -> None:
        """SIGTERM to the whole session, then SIGKILL."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                return
            time.sleep(8 if number == signal.SIGTERM else 0)


def start(name: str, command: list[str], log: Path, port: int, env: dict[str, str] | None = None) -> Server:
    """Start a server, without waiting for it."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}, start_new_session=True
        )
    return Server(name, f"http://127.0.0.1:{port}", log, process.pid, time.time())


def await_ready(server: Server) -> None:
    """Wait until a server answers. RuntimeError with the end of its log when it has ended or takes too long."""
    while not server.ready_s:
        try:
            if httpx.get(f"{server.url}/health", timeout=2, trust_env=False).status_code == 200:
                server.ready_s = time.time() - server.started
        except httpx.HTTPError:
            pass
        ended = not _lives(server.pid)
        if ended or time.time() - server.started > READY_WITHIN_S:
            what = "has ended" if ended else f"was not ready within {READY_WITHIN_S} s"
            raise RuntimeError(f"{server.name} {what}:\n{server.log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.2)


def _lives(pid: int) -> bool:
    try:
        done, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return Path(f"/proc/{pid}").exists()
    return done == 0


def serve_command(service: str, folder: Path, port: int, **settings: Any) -> list[str]:
    """Write the config of an embedded service; its command."""
    config = folder / f"{service}.json"
    config.write_text(json.dumps({"port": port, "data_dir": str(folder / service), **settings}))
    return [sys.executable, "-m", "embedded.serve", service, str(config)]


def publish(entity_store: str, data_store: str, folders: list[Path]) -> list[str]:
    """Do what the Customizer does when a job has ended, for each adapter; their names as models."""
    from huggingface_hub import HfApi

    hub = HfApi(endpoint=f"{data_store}/v1/hf", token=False)
    hub.create_repo(REPO)
    names = []
    for number, folder in enumerate(folders):
        branch = f"cust-{number}"
        hub.create_branch(REPO, branch=branch)
        hub.upload_folder(repo_id=REPO, folder_path=folder, revision=branch)
        names.append(f"{REPO}@{branch}")
        artifact = {"files_url": f"hf://models/{names[-1]}", "status": "upload_completed"}
        namespace, _, name = names[-1].partition("/")
        entity = {"namespace": namespace, "name": name, "base_model": BASE, "artifact": artifact}
        body = entity | {"peft": {"finetuning_type": "lora"}}
        httpx.post(f"{entity_store}/v1/models", json=body, timeout=60, trust_env=False).raise_for_status()
    return names


def start_stores(folder: Path) -> dict[str, Server]:
    """Start the Entity Store and the Data Store."""
    stores = {}
    for store in ("entity_store", "data_store"):
        port = free_port()
        stores[store] = start(store, serve_command(store, folder, port), folder / f"{store}.log", port)
    for server in stores.values():
        await_ready(server)
    return stores


def store_urls(stores: dict[str, Server]) -> dict[str, Any]:
    """Return the settings by which NIM finds adapters in stores."""
    return {f"{name}_url": server.url for name, server in stores.items()}


def nim_settings(model: Path, adapters: dict[str, Any], *, device: str, rank: int) -> dict[str, Any]:
    """Settings of the NIM: those of a stack on a GPU, with random weights, `FRACTION` of the memory, and `adapters`."""
    settings: dict[str, Any] = {
        "base_model": BASE,
        "model_path": str(model),
        **adapters,
        "max_lora_rank": rank,
        "max_loras": 32,
        "max_cpu_loras": 64,
        "max_num_seqs": 512,
        "max_model_len": 2048,
    }
    if device == "cuda":
        more = {
            "accelerator": "cuda",
            "gpus": [gpus.query()[0].index],
            "gpu_memory_fraction": FRACTION,
            "load_format": "dummy",
        }
        settings |= more | {"max_num_batched_tokens": 8192}
    return settings


def vllm_command(
    settings: dict[str, Any], folder: Path, port: int, adapters: dict[str, Path]
) -> tuple[list[str], dict[str, str]]:
    """Bare vLLM's own command with the NIM's arguments, and the environment it shares with it."""
    from embedded.nim import Settings
    from embedded.nim.arguments import vllm_arguments
    from embedded.nim.server import environment
    from embedded.nim.vllm_parts import SERVER_MODULE

    chosen = Settings.model_validate({"port": port, "data_dir": folder / "unused", **settings})
    modules = ["--lora-modules", *(f"{name}={path}" for name, path in adapters.items())] if adapters else []
    command = [sys.executable, "-m", SERVER_MODULE, *vllm_arguments(chosen), "--disable-uvicorn-access-log"]
    return [*command, *modules], environment(chosen)


def await_adapters(server: Server, names: list[str]) -> float:
    """Wait until all adapters are listed; the seconds that took."""
    started = time.time()
    while time.time() - started < 120:
        ids = {
            model["id"] for model in httpx.get(f"{server.url}/v1/models", timeout=10, trust_env=False).json()["data"]
        }
        if set(names) <= ids:
            return time.time() - started
        time.sleep(0.5)
    raise RuntimeError(f"{server.name}: the adapters did not appear within 120 s")


def load_of(url: str, models: tuple[str, ...], streams: int, *, seconds: float, shape: Shape, seed: int) -> load.Load:
    """Load of so many streams, counted for `seconds`; twice as long where there are many."""
    many = streams >= MANY_STREAMS
    return load.Load(
        url=url,
        models=models,
        streams=streams,
        seconds=2 * seconds if many else seconds,
        warm_up_s=2.5 if many else 1.0,
        prompt_tokens=PROMPT_TOKENS,
        most_tokens=MOST_TOKENS,
        vocabulary=min(shape.vocabulary, 6000),
        seed=seed,
    )


def measure(
    servers: dict[str, str],
    adapters: list[str],
    shape: Shape,
    *,
    streams: list[int],
    mixes: list[int],
    seconds: float,
    deadline: float,
    rounds: int | None,
    out: Path,
) -> None:
    """Rounds of all cells in turns until `deadline`, or `rounds`; each sample is appended to `out` as it is measured.

    The first round warms up. Rounds go on counting from those that are in `out`.
    """
    number = max((sample["round"] for sample in read_samples(out)), default=-1) + 1
    with load.clients() as pool, out.open("a") as file:
        last = None if rounds is None else number + rounds
        while time.time() < deadline and (last is None or number <= last):
            for count, many in itertools.product(mixes, streams):
                for name in list(servers)[:: 1 if number % 2 else -1]:
                    models = tuple(adapters[:count]) or (BASE,)
                    seed = number * 1_000_000 + count * 1000 + many
                    one = load.run(load_of(servers[name], models, many, seconds=seconds, shape=shape, seed=seed), pool)
                    sample = {"round": number, "server": name, "adapters": count, "streams": many, **asdict(one)}
                    file.write(json.dumps(sample) + "\n")
                    file.flush()
                    shown = f"round {number} {name:9} {count:2} adapters {many:3} streams"
                    print(f"{shown} {one.tokens_per_s:8.0f} tokens/s, {one.errors} errors", flush=True)
                if time.time() > deadline:
                    break
            number += 1


def cost_of_min_tokens(
    url: str, shape: Shape, *, streams: list[int], seconds: float, rounds: int
) -> list[dict[str, Any]]:
    """Tokens/s with and without `min_tokens` in the request, in turns, and their ratio; `ignore_eos` is in both."""
    table: list[dict[str, Any]] = []
    with load.clients() as pool:
        for many in streams if rounds else ():
            speeds: dict[bool, list[float]] = {False: [], True: []}
            for number in range(rounds + 1):
                for forbid in (False, True) if number % 2 else (True, False):
                    asked = load_of(url, (BASE,), many, seconds=seconds, shape=shape, seed=7_000_000 + number)
                    one = load.run(replace(asked, min_tokens=forbid), pool)
                    if number:  # the first round warms up
                        speeds[forbid].append(round(one.tokens_per_s))
            value, low, high = ratio(speeds[True], speeds[False])
            line = {"streams": many, "with": speeds[True], "without": speeds[False]}
            table.append(line | {"ratio": {"value": round(value, 3), "interval": [round(low, 3), round(high, 3)]}})
            print(f"min_tokens: {table[-1]}", flush=True)
    return table


def read_samples(path: Path) -> list[dict[str, Any]]:
    """Samples that were measured, by earlier runs as well."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _counted(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Samples without the first round, which warms up; with it where there is no other."""
    rounds = max((sample["round"] for sample in samples), default=0)
    return [sample for sample in samples if sample["round"] > 0 or rounds == 0]


def summarize(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a cell: tokens/s of both with intervals, and their ratio."""
    kept = _counted(samples)
    table = []
    for count, many in sorted({(sample["adapters"], sample["streams"]) for sample in kept}):
        cell = [sample for sample in kept if (sample["adapters"], sample["streams"]) == (count, many)]
        names = [name for name in (NIM, VLLM, CONTROL) if any(one["server"] == name for one in cell)]
        speeds = {name: [one["tokens_per_s"] for one in cell if one["server"] == name] for name in names}
        line: dict[str, Any] = {"adapters": count, "streams": many, "rounds": min(map(len, speeds.values()))}
        for name, values in speeds.items():
            if values:
                waits = sorted(wait for one in cell if one["server"] == name for wait in one["first_token_ms"])
                median, low, high = interval(values)
                line[name] = {
                    "tokens_per_s": round(median),
                    "interval": [round(low), round(high)],
                    "first_token_p50_ms": round(waits[len(waits) // 2], 1) if waits else None,
                }
        for key, name in (("ratio", NIM), ("control_ratio", CONTROL)):
            if name in speeds and VLLM in speeds:
                value, low, high = ratio(speeds[name], speeds[VLLM])
                line[key] = {"value": round(value, 3), "interval": [round(low, 3), round(high, 3)]}
        table.append(line)
    return table


def overall(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Ratio of tokens/s to bare vLLM over all cells: the geometric mean of its pairs, each measured in one round."""
    speeds = {
        (one["round"], one["adapters"], one["streams"], one["server"]): one["tokens_per_s"] for one in _counted(samples)
    }
    found = {}
    for name in (NIM, CONTROL):
        pairs = [
            speeds[(*cell, name)] / bare
            for (*cell, other), bare in speeds.items()
            if other == VLLM and (*cell, name) in speeds
        ]
        if pairs:
            value, low, high = geometric_mean(pairs)
            found[name] = {"value": round(value, 3), "interval": [round(low, 3), round(high, 3)], "pairs": len(pairs)}
    return found


_STAMP = re.compile(r"\b(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)\b")
_MARKS = {
    "platform found": "detected platform",
    "model class looked up": "Resolved architecture",
    "engine's process begins": "Initializing a V1 LLM engine",
    "model loading begins": "Starting to load model",
    "model loaded": "Model loading took",
    "torch.compile done": "torch.compile took",
    "memory profiled": "Available KV cache memory",
    "CUDA graphs captured": "Graph capturing finished",
    "engine ready": "init engine (profile",
    "server started": "Available routes are",
}


def start_up(server: Server) -> list[dict[str, Any]]:
    """Phases of a start by the moments of vLLM's own log lines, in seconds since the process was started."""
    return list(_phases(server.log.read_text(errors="replace"), server.started, server.ready_s))


def _phases(text: str, started: float, ready_s: float) -> Iterator[dict[str, Any]]:
    year = time.localtime(started).tm_year
    for what, mark in _MARKS.items():
        line = next((line for line in text.splitlines() if mark in line), None)
        stamp = _STAMP.search(line) if line else None
        if line and stamp:
            month, day, hour, minute, second = map(int, stamp.groups())
            moment = time.mktime((year, month, day, hour, minute, second, 0, 0, -1))
            yield {"phase": what, "at_s": round(moment - started, 1), "line": line.split("] ", 1)[-1][:160]}
    yield {"phase": "answers health checks", "at_s": round(ready_s, 1), "line": ""}
