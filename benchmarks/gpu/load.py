"""A closed-loop load of streams, in several client processes, that counts tokens by the time at which they arrive.

Streams ask for answers of random length, and begin with what is left of one, so that they do not move in step; what
counts is what arrives within a window that begins when all of them run. Every prompt is new: no prefix cache helps.
"""

import asyncio
import json
import multiprocessing
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.pool import Pool
from typing import Any

PROCESSES = 8


@dataclass(frozen=True)
class Load:
    """`streams` at once on `models` in turn, for `seconds` after `warm_up_s`."""

    url: str
    models: tuple[str, ...]
    streams: int
    seconds: float
    warm_up_s: float
    prompt_tokens: int
    most_tokens: int
    vocabulary: int
    seed: int
    min_tokens: bool = False  # forbid the server to end earlier, besides telling it to ignore the end


@dataclass(frozen=True)
class Measured:
    """Tokens that arrived each second of the window, and waits for first tokens of requests that began in it."""

    tokens_per_s: float
    first_token_ms: list[float]
    requests: int
    errors: int


@contextmanager
def clients() -> Iterator[Pool]:
    """Client processes, which serve many loads: to start them takes longer than to measure."""
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        pool.map(_nothing, range(PROCESSES), 1)
        yield pool


def _nothing(_number: int) -> None:
    time.sleep(0.2)  # so that each process gets one


def run(load: Load, pool: Pool) -> Measured:
    """Drive the load; all client processes begin at the same moment."""
    processes = min(PROCESSES, load.streams)
    begin = time.time() + 0.3
    parts = [load.streams // processes + (number < load.streams % processes) for number in range(processes)]
    results = pool.starmap(_drive, [(load, part, begin, number) for number, part in enumerate(parts)], 1)
    return Measured(
        tokens_per_s=sum(one[0] for one in results) / load.seconds,
        first_token_ms=[wait for one in results for wait in one[1]],
        requests=sum(one[2] for one in results),
        errors=sum(one[3] for one in results),
    )


def _drive(load: Load, streams: int, begin: float, number: int) -> tuple[float, list[float], int, int]:
    return asyncio.run(_client(load, streams, begin, number))


async def _client(load: Load, streams: int, begin: float, number: int) -> tuple[float, list[float], int, int]:
    import aiohttp

    opens = begin + load.warm_up_s
    closes = opens + load.seconds
    numbers = random.Random(f"{load.seed}/{number}")
    waits: list[float] = []
    requests, errors = 0, 0
    counted, uncounted = 0.0, 0  # tokens of answers that told their number; events in the window of the others
    told_tokens, told_events = 0, 0
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120)) as session:

        async def stream(place: int) -> None:
            nonlocal requests, errors, counted, uncounted, told_tokens, told_events
            await asyncio.sleep(max(0.0, begin - time.time()))
            turn = place
            while time.time() < closes:
                model = load.models[(number + turn * 7) % len(load.models)]
                body = _body(load, numbers, model, first=turn == place)
                turn += 1
                asked = time.time()
                arrivals, usage = await _ask(session, f"{load.url}/v1/completions", body, closes)
                if arrivals is None:
                    errors += 1
                    await asyncio.sleep(0.05)
                    continue
                if asked >= opens and arrivals:
                    waits.append(1000 * (arrivals[0] - asked))
                    requests += 1
                within = sum(opens <= moment < closes for moment in arrivals)
                if not usage:
                    uncounted += within
                elif arrivals:  # an event may carry several tokens, where the server was ahead of its client
                    counted += within * usage / len(arrivals)
                    told_tokens, told_events = told_tokens + usage, told_events + len(arrivals)

        await asyncio.gather(*(stream(place) for place in range(streams)))
    tokens_per_event = told_tokens / told_events if told_events else 1.0
    return counted + uncounted * tokens_per_event, waits, requests, errors


def _body(load: Load, numbers: random.Random, model: str, *, first: bool) -> dict[str, Any]:
    tokens = numbers.randrange(load.most_tokens // 4, load.most_tokens + 1)
    if first:
        tokens = numbers.randrange(1, tokens + 1)
    return {
        "model": model,
        "prompt": [numbers.randrange(100, load.vocabulary) for _ in range(load.prompt_tokens)],
        "max_tokens": tokens,
        **({"min_tokens": tokens} if load.min_tokens else {}),
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def _ask(session: Any, url: str, body: dict[str, Any], closes: float) -> tuple[list[float] | None, int]:
    """Moments at which events arrived, and the number of tokens if the answer was read to its end."""
    import aiohttp

    arrivals: list[float] = []
    last = b""
    try:
        async with session.post(url, json=body) as answer:
            if answer.status != 200:
                return None, 0
            async for chunk in answer.content.iter_any():
                now = time.time()
                events = chunk.count(b"data: {")
                arrivals += [now] * events
                last = (last + chunk)[-4000:]
                if now > closes:  # what comes later does not count
                    return arrivals, 0
    except (aiohttp.ClientError, TimeoutError):
        return None, 0
    event = b"{" + last.rpartition(b"data: {")[2].partition(b"\n")[0]
    usage = json.loads(event).get("usage")
    if not usage:  # an error in the place of tokens
        return None, 0
    return arrivals[:-1], int(usage["completion_tokens"])  # the last event holds the usage alone
