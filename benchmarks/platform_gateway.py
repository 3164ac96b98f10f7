"""Benchmark of the NeMo Platform's inference gateway: what it adds to NIM, measured in one run.

    .venv/bin/python -m benchmarks.platform_gateway --stack NAME [--rounds 20] [--streams 8] [--tokens 64]

The same streamed chats go to NIM directly and through the gateway in front of it, in turns, so that both meet the same
machine. One at a time: the time to the first token. `--streams` at a time: tokens a second of all together. The figures
to keep are the ratios; on a busy machine compare runs by nothing else.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from nemostack import stack_outputs
from nemostack.errors import BadInput
from nemostack.outputs import gateway_url

Ask = Callable[[], "Stream"]
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Stream:
    """One answer: seconds to its first token and to its end, and how many tokens it had."""

    first_s: float
    total_s: float
    tokens: int


def asker(url: str, model: str, tokens: int) -> Ask:
    """Make a function that asks once. ValueError for an answer without a token."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Write a long story about a notary."}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    client = httpx.Client(timeout=TIMEOUT_S, trust_env=False, limits=httpx.Limits(keepalive_expiry=1.0))

    def ask() -> Stream:
        started, first_s, counted = time.perf_counter(), None, 0
        with client.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                if not line.startswith("data: ") or line == "data: [DONE]":
                    continue
                event = json.loads(line.removeprefix("data: "))
                choices = event.get("choices") or []
                if first_s is None and choices and choices[0]["delta"].get("content"):
                    first_s = time.perf_counter() - started
                counted = (event.get("usage") or {}).get("completion_tokens", counted)
        if first_s is None or not counted:
            raise ValueError(f"{url} streamed no token")
        return Stream(first_s, time.perf_counter() - started, counted)

    return ask


def together(ask: Ask, streams: int) -> float:
    """Tokens a second of so many streams at the same time."""
    started = time.perf_counter()
    with ThreadPoolExecutor(streams) as pool:
        answers = list(pool.map(lambda _: ask(), range(streams)))
    return sum(answer.tokens for answer in answers) / (time.perf_counter() - started)


def in_turns(ways: dict[str, Ask], measure: Callable[[Ask], float], rounds: int) -> dict[str, list[float]]:
    """Measure each way once a round, in an order that changes, after one round that does not count."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name in sorted(ways, reverse=bool(turn % 2)):
            value = measure(ways[name])
            if turn:
                found[name].append(value)
    return found


def line(title: str, unit: str, found: dict[str, list[float]]) -> str:
    """Medians of both ways and the median of the ratios of each round, with its quartiles."""
    ratios = [gateway / direct for gateway, direct in zip(found["gateway"], found["NIM"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    nim, gateway = (statistics.median(found[name]) for name in ("NIM", "gateway"))
    return f"{title}: NIM {nim:.4g} {unit}, gateway {gateway:.4g} {unit}, ratio {middle:.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", required=True)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    arguments = parser.parse_args()
    outputs = stack_outputs.resolve(arguments.stack, None, {})
    if outputs.product != "platform":
        raise BadInput(f"stack {arguments.stack} runs the microservices: it has no gateway of the NeMo Platform")
    ways = {
        name: asker(url, outputs.base_model, arguments.tokens)
        for name, url in {"NIM": outputs.nim_url, "gateway": gateway_url(outputs.nemo_url)}.items()
    }
    first = in_turns(ways, lambda ask: 1000 * ask().first_s, arguments.rounds)
    print(line("time to first token, one stream", "ms", first), flush=True)
    rate = in_turns(ways, lambda ask: together(ask, arguments.streams), max(4, arguments.rounds // 4))
    print(line(f"tokens a second, {arguments.streams} streams", "1/s", rate))


if __name__ == "__main__":
    main()
