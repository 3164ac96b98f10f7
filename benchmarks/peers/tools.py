"""The load tools that are compared, each run to its end in a folder of its own, and what each said of its run.

All ask for streamed completions of the same prompts, each new to the server's prefix cache in each run, with the same
number of tokens at temperature 0. AIPerf and GuideLLM are installed into environments of their own under the user's
cache; vLLM's `bench serve` comes from the environment of the services. A tool that fails ends the benchmark with what
it printed.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from nemostack.cache import cache_root
from nemostack.clone import ROOT
from nemostack.sample_dataset import PROMPTS

PACKAGES: Final = {"aiperf": "aiperf==0.13.0", "guidellm": "guidellm==0.8.1"}
Options = TypeVar("Options")
AIPERF_STREAMS_A_WORKER: Final = 128
TOKENIZER: Final = ROOT / "tests" / "base_model" / "weights"
VLLM_BENCH: Final = """
import argparse
from vllm.benchmarks.serve import add_cli_args, main
parser = argparse.ArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""


@dataclass
class Task:
    """What every tool is to do."""

    url: str
    model: str
    tokenizer: Path
    streams: int
    requests: int
    tokens: int
    seconds: float  # about what `requests` of them take
    reply_s: float  # what one reply takes when all streams ask at once
    rate: float | None = None  # requests/s of an open loop; None: a closed loop of `streams`


@dataclass
class Measured:
    """What one run of a tool said, medians in milliseconds, and the CPU of its processes from start to end."""

    tokens_per_s: float
    ttft_ms: float
    tpot_ms: float
    cpu_s: float = 0.0
    wall_s: float = 0.0
    server_ttft_ms: float | None = None  # means of the server's own histograms over that run
    server_tpot_ms: float | None = None


@dataclass
class Tool:
    """A tool by its name: how to run it in a folder, with the prompts of that run."""

    name: str
    run: Callable[[Task, Path, list[str]], Measured]
    measured: list[Measured] = field(default_factory=list)


def prompts(task: Task, salt: str) -> list[str]:
    """Return as many prompts as requests, each new to the server."""
    rows = [json.loads(line)["prompt"] for line in PROMPTS.read_text(encoding="utf-8").splitlines()]
    return [f"[{salt}-{k}] {rows[k % len(rows)]}" for k in range(task.requests)]


def write_rows(path: Path, key: str, values: Sequence[str]) -> Path:
    path.write_text("".join(json.dumps({key: value}) + "\n" for value in values), encoding="utf-8")
    return path


def call(command: Sequence[str], **environment: str) -> None:
    """Run a tool to its end; what it printed is shown when it fails."""
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=1800
    )
    if done.returncode not in {0, 22}:  # INVALID: a busy client; the numbers are compared all the same
        raise SystemExit(
            f"{' '.join(command[:6])} ... failed ({done.returncode}):\n{(done.stdout + done.stderr)[-3000:]}"
        )


def by_load(task: Task, closed: Options, opened: Options) -> Options:
    """Choose the options of a tool that say how requests come."""
    return closed if task.rate is None else opened


def ours(task: Task, folder: Path, texts: list[str]) -> Measured:
    """Run this load test for as long as the others' requests take."""
    rows = write_rows(folder / "prompts.jsonl", "prompt", texts)
    arrivals = by_load(task, ["-u", str(task.streams)], ["--arrivals", "constant", "--rate", str(task.rate)])
    call(
        [
            *(sys.executable, "-m", "load_tests", "--nim-url", task.url, "--base-model", task.model),
            *("--adapters", "none", *arrivals, "--max-tokens", str(task.tokens), "--fixed-length"),
            *("--duration", f"{task.seconds:.2f}s", "--warmup", f"{task.reply_s:.2f}s", "--prompts", str(rows)),
            *("--out", str(folder / "run")),
        ]
    )
    whole = json.loads((folder / "run" / "report.json").read_text(encoding="utf-8"))["overall"]
    medians = {name: whole["latencies"][name]["percentiles"]["p50"] for name in ("ttft_ms", "tpot_ms")}
    return Measured(whole["scalars"]["output_token_throughput"], **medians)


def vllm(task: Task, folder: Path, texts: list[str]) -> Measured:
    """Run vLLM's `bench serve`."""
    rows = write_rows(folder / "prompts.jsonl", "prompt", texts)
    call(
        [
            *(str(services()), "-c", VLLM_BENCH, "--backend", "openai"),
            *("--base-url", task.url, "--endpoint", "/v1/completions", "--model", task.model),
            *("--tokenizer", str(task.tokenizer), "--dataset-name", "custom", "--dataset-path", str(rows)),
            *("--skip-chat-template", "--custom-output-len", str(task.tokens), "--num-prompts", str(task.requests)),
            *by_load(
                task,
                ["--max-concurrency", str(task.streams)],
                ["--request-rate", str(task.rate), "--burstiness", "1e6"],  # gamma: so high it is constant
            ),
            *("--ignore-eos", "--temperature", "0", "--disable-shuffle"),
            *("--save-result", "--result-dir", str(folder), "--result-filename", "result.json"),
        ],
        HF_HUB_OFFLINE="1",
    )
    found = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return Measured(found["output_throughput"], found["median_ttft_ms"], found["median_tpot_ms"])


def aiperf(task: Task, folder: Path, texts: list[str]) -> Measured:
    """Run AIPerf; it calls TPOT inter_token_latency."""
    rows = write_rows(folder / "prompts.jsonl", "text", texts)
    call(
        [
            *(str(environment("aiperf") / "bin/aiperf"), "profile", "--model", task.model, "--url", task.url),
            *("--endpoint-type", "completions", "--streaming", "--input-file", str(rows)),
            *("--custom-dataset-type", "single-turn"),
            *by_load(
                task,
                ["--concurrency", str(task.streams)],
                ["--request-rate", str(task.rate), "--arrival-pattern", "constant"],
            ),
            *("--request-count", str(task.requests), "--extra-inputs", f"max_tokens:{task.tokens}"),
            *("--extra-inputs", "temperature:0", "--extra-inputs", "ignore_eos:true"),
            *("--extra-inputs", f"min_tokens:{task.tokens}", "--use-server-token-count"),
            *("--tokenizer", str(task.tokenizer), "--artifact-dir", str(folder / "artifacts"), "--ui", "none"),
            *("--no-gpu-telemetry", "--no-server-metrics"),
            *("--workers-max", str(-(-task.streams // AIPERF_STREAMS_A_WORKER))),
        ],
    )
    found = json.loads((folder / "artifacts/profile_export_aiperf.json").read_text(encoding="utf-8"))
    medians = (found[name]["p50"] for name in ("time_to_first_token", "inter_token_latency"))
    return Measured(found["output_token_throughput"]["avg"], *medians)


def guidellm(task: Task, folder: Path, texts: list[str]) -> Measured:
    """Run GuideLLM; it calls TPOT inter_token_latency."""
    rows = write_rows(folder / "prompts.jsonl", "prompt", texts)
    backend = {
        "kind": "openai_http",
        "target": task.url,
        "model": task.model,
        "request_format": "/v1/completions",
        "max_tokens": task.tokens,
        "validate_backend": False,
        "extras": {"body": {"temperature": 0, "ignore_eos": True, "min_tokens": task.tokens}},
    }
    profile = by_load(
        task, {"kind": "concurrent", "streams": [task.streams]}, {"kind": "constant", "rate": [task.rate]}
    )
    call(
        [
            *(str(environment("guidellm") / "bin/guidellm"), "run", "--backend", json.dumps(backend)),
            *("--profile", json.dumps(profile)),
            *("--constraint", json.dumps({"kind": "max_requests", "count": task.requests})),
            *("--data", json.dumps({"kind": "json_file", "path": str(rows)})),
            *("--tokenizer", json.dumps({"kind": "hf_auto", "model": str(task.tokenizer)})),
            *("--output", json.dumps({"kind": "json", "path": str(folder / "result.json")}), "--disable-console"),
        ],
        HF_HUB_OFFLINE="1",
    )
    found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))["benchmarks"][0]["metrics"]
    medians = (found[name]["successful"]["median"] for name in ("time_to_first_token_ms", "inter_token_latency_ms"))
    return Measured(found["output_tokens_per_second"]["successful"]["mean"], *medians)


TOOLS: Final = {"ours": ours, "vllm": vllm, "aiperf": aiperf, "guidellm": guidellm}


def environment(tool: str) -> Path:
    """Return the tool's environment, made now if it is not there."""
    folder = cache_root() / "peers" / PACKAGES[tool]
    if not (folder / "bin" / tool).exists():
        print(f"installing {PACKAGES[tool]} into {folder}", file=sys.stderr)
        uv = str(ROOT / ".venv/bin/uv")
        subprocess.run([uv, "venv", "-q", "--clear", "--python", "3.11", str(folder)], check=True)
        subprocess.run([uv, "pip", "install", "-q", "--python", str(folder / "bin/python"), PACKAGES[tool]], check=True)
    return folder


def services() -> Path:
    """Return the interpreter with vLLM: for CUDA, if that environment is there."""
    found = [ROOT / name / "bin" / "python" for name in (".venv-embedded-cuda", ".venv-embedded")]
    return next((python for python in found if python.exists()), found[-1])
