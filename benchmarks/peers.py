"""Do other load tools measure what ours measures? All of them in turn, A B C D A B C D, on one server.

    .venv/bin/python -m benchmarks.peers                                     # a mock of known cadence
    .venv/bin/python -m benchmarks.peers --url http://127.0.0.1:18082 --model nemostack/tiny-instruct --requests 200
    .venv/bin/python -m benchmarks.peers --url http://127.0.0.1:18082 --model nemostack/tiny-instruct --rate 4

The tools: this load test, vLLM's `bench serve` (from the environment of the services), AIPerf and GuideLLM (each in
an environment of its own under the user's cache, made on the first run). Same prompts, each new to the server's
prefix cache in each run; same number of tokens, temperature 0, streamed completions. The load is a closed loop of as
many streams, whose users a server moves in step: a tool that sends a wave less closely together waits less for first
tokens. With `--rate` it is an open loop of so many requests a second at equal distances, the same for every tool; its
throughput follows the rate and says nothing about the server. Each number is the tool's own. A difference is the ratio
of a tool's runs to ours with Welch's 95 % interval over the rounds; `agrees` says that the whole interval is within
`--tolerance` (3 %), `differs` that it is outside, `unclear` that rounds are too few or the machine too busy to say.

What is left between the tools: ours counts tokens of a window by the time at which they arrive, the others count whole
replies over the time from the first request to the last reply, filling and draining included.
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx

from benchmarks.load_client import server
from load_tests.mock_nim import BASE
from load_tests.verdict.intervals import Ratio, of_ratio
from nemostack.cache import cache_root
from nemostack.clone import ROOT
from nemostack.sample_dataset import PROMPTS

PACKAGES: Final = {"aiperf": "aiperf==0.13.0", "guidellm": "guidellm==0.8.1"}
Options = TypeVar("Options")
METRICS: Final = ("tokens_per_s", "ttft_ms", "tpot_ms")
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


def wave_s(url: str, model: str, streams: int, tokens: int) -> float:
    """Time one reply to each of the streams at once, to know how long so many of them take."""
    body = {"model": model, "prompt": "Once", "max_tokens": tokens, "ignore_eos": True, "min_tokens": tokens}

    async def wave() -> float:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=300, limits=limits, trust_env=False) as client:
            start = time.perf_counter()
            asked = (client.post(f"{url}/v1/completions", json={**body, "stream": True}) for _ in range(streams))
            for answer in await asyncio.gather(*asked):
                answer.raise_for_status()
            return time.perf_counter() - start

    return [asyncio.run(wave()) for _ in range(2)][-1]  # the first one warms up


def verdict(ratio: Ratio, tolerance: float) -> str:
    """Say whether two tools agree."""
    if ratio.low is None or ratio.high is None:
        return "unclear"
    if 1 - tolerance <= ratio.low and ratio.high <= 1 + tolerance:
        return "agrees"
    return "differs" if ratio.high < 1 - tolerance or ratio.low > 1 + tolerance else "unclear"


def rows(tools: Sequence[Tool], tolerance: float) -> Iterator[str]:
    """Make the table in Markdown: medians over the rounds, and the ratio to ours."""
    yield "| tool | metric | median of rounds | ratio to ours, 95 % interval | |"
    yield "|---|---|---|---|---|"
    reference = next((tool for tool in tools if tool.name == "ours"), None)
    for tool in tools:
        for metric in METRICS:
            values = sorted(getattr(one, metric) for one in tool.measured)
            middle = values[len(values) // 2]
            if reference is None or tool is reference:
                yield f"| {tool.name} | {metric} | {middle:,.2f} | | |"
                continue
            ratio = of_ratio([getattr(one, metric) for one in reference.measured], values)
            ends = "" if ratio.low is None else f" ({ratio.low:.3f} to {ratio.high:.3f})"
            yield f"| {tool.name} | {metric} | {middle:,.2f} | {ratio.ratio:.3f}{ends} | {verdict(ratio, tolerance)} |"
        cpu = sorted(one.cpu_s for one in tool.measured)
        yield f"| {tool.name} | CPU s of a run, start included | {cpu[len(cpu) // 2]:.1f} | | |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="server; default: a mock of known cadence")
    parser.add_argument("--model", default=BASE)
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER, help="for the tools that want one")
    parser.add_argument("--tools", default=",".join(TOOLS), help=f"default: {','.join(TOOLS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--rate", type=float, help="requests/s of an open loop, in place of a closed loop of streams")
    parser.add_argument("--requests", type=int, default=160)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--ttft", type=float, default=0.2, help="of the mock, seconds")
    parser.add_argument("--itl", type=float, default=0.02, help="of the mock, seconds")
    parser.add_argument("--tolerance", type=float, default=0.03)
    parser.add_argument("--json", type=Path, help="also write what was measured")
    options = parser.parse_args()
    tools = [Tool(name, TOOLS[name]) for name in options.tools.split(",")]
    for tool in tools:
        if tool.name in PACKAGES:
            environment(tool.name)
    with contextlib.ExitStack() as stack:
        cadence = ("--ttft", str(options.ttft), "--itl", str(options.itl), "--adapters", "1")
        url = options.url or stack.enter_context(server(*cadence))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        wave = wave_s(url, options.model, options.streams, options.tokens)
        task = Task(
            url,
            options.model,
            options.tokenizer,
            options.streams,
            options.requests,
            options.tokens,
            seconds=options.requests / options.rate if options.rate else wave * options.requests / options.streams,
            reply_s=wave,
            rate=options.rate,
        )
        for turn in range(options.rounds):
            for tool in tools:
                place = folder / f"{turn}-{tool.name}"
                place.mkdir()
                before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
                found = tool.run(task, place, prompts(task, f"{turn}-{tool.name}"))
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                found.cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                found.wall_s = time.perf_counter() - start
                tool.measured.append(found)
                print(f"round {turn + 1}, {tool.name}: {found}", file=sys.stderr)
                if options.json:
                    data = {one.name: [vars(m) for m in one.measured] for one in tools}
                    options.json.write_text(json.dumps(data, indent=2), encoding="utf-8")
    print("\n".join(rows(tools, options.tolerance)))


if __name__ == "__main__":
    main()
