"""Benchmark of the load test's client: how much it can read and how late it stamps, against the mock server.

    .venv/bin/python -m benchmarks.load_client [--streams 100] [--others]
    .venv/bin/python -m benchmarks.load_client --paced --streams 1000 --itl 0.1 --servers 4 --core
    .venv/bin/python -m benchmarks.load_client --paced --streams 10000 --itl 0.1 --servers 8 --clients 8   # 16 cores

Flood: every stream is sent as fast as it is read; events per second of client CPU say how much one worker can carry.
Paced: 100 streams at 20 ms per event, as a busy NIM sends; each time to first token is held against what the server
wrote down for the same request, so the error is the client's (and the loopback's). `--others` reads the same streams
with httpx and the openai library, one after the other in the same process, for the ratio.

`--servers` shares the streams out to several mock servers, each of which needs a core: one cannot pace a thousand
streams and be on time itself. `--clients` does so with client processes, as workers of a load test are, whose clock is
the machine's. `--core` keeps the only client on one core. `--paced` leaves the flood out.

The server needs a core of its own: with less than two free cores the numbers are of the machine, not of the client.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gevent.monkey

from nemostack.clone import ROOT

gevent.monkey.patch_all()  # as Locust does: what runs here is what runs there

import gevent.pool  # noqa: E402
import numpy as np  # noqa: E402

from load_tests.client.exchange import Exchange  # noqa: E402
from load_tests.client.streaming import StreamingClient  # noqa: E402
from load_tests.mock_nim import BASE  # noqa: E402

_SERVER_CORES = "BENCHMARK_SERVER_CORES"
CONNECTS_PER_S = 500
"""How fast streams begin, or thousands of them would measure how fast connections are made."""
Read = Callable[[str, int], int]  # (request id, tokens) -> output events


def keep_to_one_core() -> None:
    """Leave this process on the first of its cores; servers that start later get the others."""
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        raise SystemExit("--core needs a second core, for the server")
    os.environ[_SERVER_CORES] = ",".join(map(str, others))
    os.sched_setaffinity(0, {first})


def raise_open_files() -> None:
    """Allow as many open files as the system does: each stream is one here, and one at its server."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextlib.contextmanager
def server(*arguments: str) -> Iterator[str]:
    """Run the mock server; yields its URL."""
    command = [sys.executable, "-m", "load_tests", "mock", *arguments]
    if cores := os.environ.get(_SERVER_CORES):
        command = ["taskset", "-c", cores, *command]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def body(tokens: int) -> dict[str, Any]:
    """Build the request that every client sends."""
    return {
        "model": BASE,
        "prompt": "x",
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def flood(read: Read, *, streams: int, tokens: int) -> tuple[float, float]:
    """Read `streams` streams of `tokens` events at once: (events/s, events per second of client CPU)."""
    pool = gevent.pool.Pool(streams)
    start, cpu_start = time.perf_counter(), time.process_time()
    events = sum(pool.imap_unordered(lambda k: read(f"flood-{k}", tokens), range(streams)))
    elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    assert events == streams * tokens, f"{events} events of {streams * tokens}"
    return events / elapsed, events / cpu


def with_load_test(url: str, streams: int) -> tuple[Read, StreamingClient]:
    """Make the load test's own client."""
    client = StreamingClient(url, connections=streams, timeout_s=300)

    def read(request_id: str, tokens: int) -> int:
        exchange = client.stream("/v1/completions", json.dumps(body(tokens)).encode(), request_id=request_id)
        assert exchange.error is None, exchange.detail
        return exchange.content_events

    return read, client


def with_httpx(url: str, streams: int) -> Read:
    """Make a client of httpx's iter_lines."""
    import httpx

    client = httpx.Client(timeout=300, limits=httpx.Limits(max_connections=streams))

    def read(_: str, tokens: int) -> int:
        count = 0
        with client.stream("POST", f"{url}/v1/completions", json=body(tokens)) as reply:
            for line in reply.iter_lines():
                if line.startswith("data: {"):
                    choices = json.loads(line[6:])["choices"]
                    count += bool(choices and choices[0].get("text"))
        return count

    return read


def with_openai(url: str, streams: int) -> Read:
    """Make a client of the openai library."""
    import httpx2
    from openai import OpenAI

    http = httpx2.Client(timeout=300, limits=httpx2.Limits(max_connections=streams))
    client = OpenAI(base_url=f"{url}/v1", api_key="none", http_client=http)

    def read(_: str, tokens: int) -> int:
        chunks = client.completions.create(**body(tokens))
        return sum(bool(chunk.choices and chunk.choices[0].text) for chunk in chunks)

    return read


@dataclass(frozen=True, slots=True)
class Part:
    """The streams that one client process reads: every `of`-th of `streams`, from number `index` on."""

    urls: list[str]
    index: int
    of: int
    streams: int
    rounds: int
    tokens: int
    itl_s: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client process saw: when the first token of each request came, by the machine's clock, and its cost."""

    first: dict[str, float]
    events: int
    cpu_s: float
    elapsed_s: float


def read_part(part: Part) -> Seen:
    """Read the streams of a part, in this process."""
    numbers = range(part.index, part.streams, part.of)
    clients = [StreamingClient(url, connections=len(numbers), timeout_s=300) for url in part.urls]
    payload = json.dumps(body(part.tokens)).encode()
    exchanges: dict[str, Exchange] = {}
    spread_s = max(part.itl_s * 7, 0.14, part.streams / CONNECTS_PER_S)

    def user(number: int) -> None:
        gevent.sleep(number * spread_s / part.streams)  # not all in one moment
        for turn in range(part.rounds):
            request_id = f"{number}-{turn}"
            client = clients[number % len(clients)]
            exchanges[request_id] = client.stream("/v1/completions", payload, request_id=request_id)

    start, cpu_start = time.perf_counter(), time.process_time()
    gevent.joinall([gevent.spawn(user, k) for k in numbers], raise_error=True)
    elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    first = {}
    for request_id, exchange in exchanges.items():
        assert exchange.error is None, exchange.detail
        assert exchange.t_first is not None
        first[request_id] = exchange.t_first
    return Seen(first, sum(exchange.content_events for exchange in exchanges.values()), cpu, elapsed)


def read_parts(parts: list[Part]) -> list[Seen]:
    """Read each part in a process of its own, all from the same moment on."""
    with contextlib.ExitStack() as stack:
        command = [sys.executable, "-m", "benchmarks.load_client", "--part"]
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, json.dumps(asdict(part))],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for part in parts
        ]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # ready
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [Seen(**json.loads(process.communicate()[0])) for process in processes]


def paced(
    *, streams: int, rounds: int, tokens: int, itl_s: float = 0.02, servers: int = 1, clients: int = 1
) -> tuple[np.ndarray, float, float, float]:
    """Read paced streams: TTFT errors in ms, CPU share of the busiest client, events/s, events per second of CPU."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        logs = [Path(folder) / f"sent-{k}.jsonl" for k in range(servers)]
        urls = [stack.enter_context(server("--ttft", "0.2", "--itl", f"{itl_s:g}", "--log", str(log))) for log in logs]
        parts = [Part(urls, k, clients, streams, rounds, tokens, itl_s) for k in range(clients)]
        seen = [read_part(parts[0])] if clients == 1 else read_parts(parts)
        time.sleep(0.2)
        sent = {row["id"]: row for log in logs for row in map(json.loads, log.read_text().splitlines())}
    errors = [(at - sent[request_id]["first"]) * 1e3 for one in seen for request_id, at in one.first.items()]
    assert len(errors) == streams * rounds, f"{len(errors)} replies of {streams * rounds}"
    events, busiest = sum(one.events for one in seen), max(one.cpu_s / one.elapsed_s for one in seen)
    rate, per_cpu = events / max(one.elapsed_s for one in seen), events / sum(one.cpu_s for one in seen)
    return np.sort(errors), busiest, rate, per_cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=2000, help="events per stream, flood")
    parser.add_argument("--others", action="store_true", help="also httpx and the openai library")
    parser.add_argument("--paced", action="store_true", help="only the paced streams")
    parser.add_argument("--itl", type=float, default=0.02, help="seconds between events of a paced stream")
    parser.add_argument("--servers", type=int, default=1, help="mock servers that share the paced streams")
    parser.add_argument("--clients", type=int, default=1, help="client processes that share the paced streams")
    parser.add_argument("--rounds", type=int, default=5, help="replies of each paced stream, one after the other")
    parser.add_argument("--length", type=int, default=100, help="events of a paced reply")
    parser.add_argument("--part", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--core", action="store_true", help="keep the client on one core, the servers off it")
    options = parser.parse_args()
    raise_open_files()
    if options.part:
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps(asdict(read_part(Part(**options.part)))))
        return
    if options.core and options.clients > 1:
        raise SystemExit("--core is for one client")
    if not options.paced:
        run_flood(options)
    run_paced(options)


def run_flood(options: argparse.Namespace) -> None:
    """Print what one process reads at most, and what others read."""
    with server("--ttft", "0", "--itl", "0") as url:
        read, client = with_load_test(url, options.streams)
        flood(read, streams=options.streams, tokens=20)  # connections made, code warm
        rate, per_cpu = flood(read, streams=options.streams, tokens=options.tokens)
        client.close()
        print(f"flood, {options.streams} streams: {rate:,.0f} events/s, {per_cpu:,.0f} per second of client CPU")
        if options.others:
            for name, make in (("httpx", with_httpx), ("openai", with_openai)):
                other = make(url, options.streams)
                flood(other, streams=options.streams, tokens=20)
                _, other_per_cpu = flood(other, streams=options.streams, tokens=options.tokens // 5)
                ratio = per_cpu / other_per_cpu
                print(f"flood, {name}: {other_per_cpu:,.0f} per second of client CPU, ours is {ratio:.1f} times that")


def run_paced(options: argparse.Namespace) -> None:
    """Print how late a first token is stamped."""
    if options.core:
        keep_to_one_core()
    errors, busiest, rate, per_cpu = paced(
        streams=options.streams,
        rounds=options.rounds,
        tokens=options.length,
        itl_s=options.itl,
        servers=options.servers,
        clients=options.clients,
    )
    p50, p99 = np.percentile(errors, [50, 99])
    cores = len(os.sched_getaffinity(0))
    print(
        f"paced, {options.streams:,} streams over {options.clients} client and {options.servers} server processes, "
        f"{cores} cores, {rate:,.0f} events/s: first token stamped {p50:.2f} ms (p50), {p99:.2f} ms (p99), "
        f"{errors[-1]:.2f} ms (max) after the server sent it; CPU of the busiest client {busiest:.0%} of a core, "
        f"{per_cpu:,.0f} events per second of client CPU"
    )


if __name__ == "__main__":
    main()
