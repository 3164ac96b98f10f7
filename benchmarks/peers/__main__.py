"""Do other load tools measure what ours measures? All of them in turn, A B C D A B C D, on one server.

    .venv/bin/python -m benchmarks.peers                                     # a mock of known cadence
    .venv/bin/python -m benchmarks.peers --url http://127.0.0.1:18082 --model nemostack/tiny-instruct --requests 200
    .venv/bin/python -m benchmarks.peers --url http://127.0.0.1:18082 --model nemostack/tiny-instruct --rate 4
    .venv/bin/python -m benchmarks.peers --reading 1000 --requests 100 --streams 50 --tokens 1000 --ttft 0 --itl 0

The load is a closed loop of as many streams, whose users a server moves in step: a tool that sends a wave less closely
together waits less for first tokens. With `--rate` it is an open loop of so many requests a second at equal distances,
the same for every tool; its throughput follows the rate and says nothing about the server. Each number is the tool's
own. A difference is the ratio of a tool's runs to ours with Welch's 95 % interval over the rounds; `agrees` says that
the whole interval is within `--tolerance` (3 %), `differs` that it is outside, `unclear` that rounds are too few or the
machine too busy to say. Beside them stand the means of the server's own histograms over each run, where it has any:
where those differ the tools' loads did, and where they do not the tools count differently.

What is left between the tools: ours counts tokens of a window by the time at which they arrive, the others count whole
replies over the time from the first request to the last reply, filling and draining included.

`--reading N` asks what reading costs: each tool runs `--requests` and then N more of them against a mock, and the
tokens that the mock sent more are held against the processor time that the tool took more. With `--itl 0` the mock
sends as fast as it is read; with `--itl 0.02` each token wakes the reader.
"""

import argparse
import asyncio
import contextlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import httpx

from benchmarks.load_client import server
from benchmarks.peers.histograms import means_between, read_totals
from benchmarks.peers.tools import PACKAGES, TOKENIZER, TOOLS, Measured, Task, Tool, environment, prompts
from load_tests.mock_nim import BASE
from load_tests.verdict.intervals import Ratio, of_ratio

METRICS: Final = ("tokens_per_s", "ttft_ms", "tpot_ms")


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


def measure(tool: Tool, task: Task, folder: Path, salt: str) -> Measured:
    """Run a tool once, with prompts of its own; its numbers with what its processes and the server say of the run."""
    folder.mkdir()
    totals = read_totals(task.url)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    measured = tool.run(task, folder, prompts(task, salt))
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    ttft_ms, tpot_ms = means_between(totals, read_totals(task.url))
    return replace(measured, cpu_s=cpu, wall_s=wall, server_ttft_ms=ttft_ms, server_tpot_ms=tpot_ms)


def verdict(ratio: Ratio, tolerance: float) -> str:
    """Say whether two tools agree."""
    if ratio.low is None or ratio.high is None:
        return "unclear"
    if 1 - tolerance <= ratio.low and ratio.high <= 1 + tolerance:
        return "agrees"
    return "differs" if ratio.high < 1 - tolerance or ratio.low > 1 + tolerance else "unclear"


def shown(ratio: Ratio) -> str:
    """Write a ratio with its interval, if it has one."""
    ends = "" if ratio.low is None else f" ({ratio.low:.3f} to {ratio.high:.3f})"
    return f"{ratio.ratio:.3f}{ends}"


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
            yield f"| {tool.name} | {metric} | {middle:,.2f} | {shown(ratio)} | {verdict(ratio, tolerance)} |"
        for what, key in (
            ("CPU s of a run, start included", "cpu_s"),
            ("server's own mean TTFT, ms", "server_ttft_ms"),
            ("server's own mean TPOT, ms", "server_tpot_ms"),
        ):
            seen = sorted(value for one in tool.measured if (value := getattr(one, key)) is not None)
            if seen:
                yield f"| {tool.name} | {what} | {seen[len(seen) // 2]:,.2f} | | |"


def compare(tools: Sequence[Tool], options: argparse.Namespace, folder: Path, url: str) -> Iterator[str]:
    """Run all tools in turns on one server; the lines of the table."""
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
            tool.measured.append(measure(tool, task, folder / f"{turn}-{tool.name}", f"{turn}-{tool.name}"))
            print(f"round {turn + 1}, {tool.name}: {tool.measured[-1]}", file=sys.stderr)
            if options.json:
                data = {one.name: [vars(m) for m in one.measured] for one in tools}
                options.json.write_text(json.dumps(data, indent=2), encoding="utf-8")
    return rows(tools, options.tolerance)


def sent_tokens(log: Path) -> int:
    """Count the tokens that the mock has sent so far."""
    return sum(json.loads(line)["tokens"] for line in log.read_text(encoding="utf-8").splitlines())


def read_cost(tools: Sequence[Tool], options: argparse.Namespace, folder: Path, url: str, log: Path) -> Iterator[str]:
    """Run each tool with few and with many requests, in turns; the lines of the table."""
    per_cpu_s: dict[str, list[float]] = {tool.name: [] for tool in tools}
    wave = wave_s(url, options.model, options.streams, options.tokens)

    def task(requests: int) -> Task:
        seconds = wave * requests / options.streams
        return Task(
            url, options.model, options.tokenizer, options.streams, requests, options.tokens, seconds, reply_s=wave
        )

    for turn in range(options.rounds):
        for tool in tools:
            tokens, cpu = [sent_tokens(log)], []
            for requests in (options.requests, options.requests + options.reading):
                salt = f"{turn}-{tool.name}-{requests}"
                cpu.append(measure(tool, task(requests), folder / salt, salt).cpu_s)
                tokens.append(sent_tokens(log))
            more, cost = tokens[2] - 2 * tokens[1] + tokens[0], cpu[1] - cpu[0]
            per_cpu_s[tool.name].append(more / cost)
            print(f"round {turn + 1}, {tool.name}: {more:,} more tokens, {cost:.2f} more CPU s", file=sys.stderr)
    yield "| tool | tokens a second of its processor time, median | ours is so many times as good, 95 % interval |"
    yield "|---|---|---|"
    for name, values in per_cpu_s.items():
        ours = per_cpu_s.get("ours")
        ratio = shown(of_ratio(values, ours)) if ours and name != "ours" else ""
        yield f"| {name} | {sorted(values)[len(values) // 2]:,.0f} | {ratio} |"


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
    parser.add_argument("--reading", type=int, metavar="REQUESTS", help="what reading so many requests more costs")
    parser.add_argument("--ttft", type=float, default=0.2, help="of the mock, seconds")
    parser.add_argument("--itl", type=float, default=0.02, help="of the mock, seconds")
    parser.add_argument("--tolerance", type=float, default=0.03)
    parser.add_argument("--json", type=Path, help="also write what was measured")
    options = parser.parse_args()
    if options.reading and (options.url or options.rate):
        parser.error("--reading counts what a mock sends in a closed loop: leave out --url and --rate")
    tools = [Tool(name, TOOLS[name]) for name in options.tools.split(",")]
    for tool in tools:
        if tool.name in PACKAGES:
            environment(tool.name)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = folder / "sent.jsonl"
        cadence = ("--ttft", str(options.ttft), "--itl", str(options.itl), "--adapters", "1", "--log", str(log))
        url = options.url or stack.enter_context(server(*cadence))
        table = read_cost(tools, options, folder, url, log) if options.reading else compare(tools, options, folder, url)
        print("\n".join(table))


if __name__ == "__main__":
    main()
