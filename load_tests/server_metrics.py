"""The server's own numbers during a run: queue, batch, KV cache, adapters, preemptions, and those of its GPUs.

The first worker asks once a second, on its own clock, so that samples and requests share one time axis; each sample is
a line of `raw/server.jsonl`. Names are those of vLLM (`vllm:num_requests_waiting`), which NIM has without the prefix;
GPUs are asked of a DCGM exporter where its address is given. A server that does not answer spoils no run: the report
says that it did not.

Only lines of the names below are read: all of vLLM's histograms, parsed each second, would delay the client's stamps.
"""

import json
import math
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import gevent
from geventhttpclient import HTTPClient

PERIOD_S: Final = 1.0
TIMEOUT_S: Final = 5.0
FILE: Final = "server.jsonl"
PATHS: Final = ("/metrics", "/v1/metrics")
_LINE: Final = re.compile(r"^([A-Za-z_:][A-Za-z0-9_:]*)(\{.*\})?\s+(\S+)(?:\s+-?\d+)?$")
_ADAPTERS: Final = re.compile(r'(?:running|waiting)_lora_adapters="((?:[^"\\]|\\.)*)"')
_SLOTS: Final = re.compile(r'max_lora="(\d+)"')
_LORA: Final = "lora_requests_info"


@dataclass(frozen=True, slots=True)
class Number:
    """A number of the server under our name. `join`: what becomes of several, one of each engine or GPU."""

    names: tuple[str, ...]
    join: Literal["sum", "max", "mean"] = "sum"


NUMBERS: Final[dict[str, Number]] = {
    "running": Number(("num_requests_running",)),
    "waiting": Number(("num_requests_waiting",)),
    "kv_cache": Number(("kv_cache_usage_perc", "gpu_cache_usage_perc"), "max"),
    "preemptions": Number(("num_preemptions_total",)),
    "prefix_queries": Number(("prefix_cache_queries_total",)),
    "prefix_hits": Number(("prefix_cache_hits_total",)),
    "prompt_tokens": Number(("prompt_tokens_total",)),
    "output_tokens": Number(("generation_tokens_total",)),
}
GPU_NUMBERS: Final[dict[str, Number]] = {
    "gpu_use": Number(("DCGM_FI_DEV_GPU_UTIL",), "mean"),
    "gpu_memory_mib": Number(("DCGM_FI_DEV_FB_USED",)),
    "gpu_watts": Number(("DCGM_FI_DEV_POWER_USAGE",)),
}


def parse(text: str, numbers: dict[str, Number]) -> dict[str, float]:
    """Read the `numbers` out of Prometheus text; those that it does not have are left out."""
    wanted = {name: (ours, number) for ours, number in numbers.items() for name in number.names}
    found: dict[str, list[float]] = {}
    lora: list[tuple[float, str]] = []
    prefixes = (*wanted, _LORA)
    for line in text.splitlines():
        bare = line.removeprefix("vllm:")
        if not bare.startswith(prefixes) or (match := _LINE.match(bare)) is None:
            continue
        name, labels, value = match[1], match[2] or "", _float(match[3])
        if not math.isfinite(value):
            continue
        if name == _LORA:
            lora.append((value, labels))
        elif name in wanted:
            found.setdefault(wanted[name][0], []).append(value)
    joined = {ours: _join(values, numbers[ours].join) for ours, values in found.items()}
    return {**joined, **_adapters(lora)}


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _join(values: list[float], how: str) -> float:
    if how == "max":
        return max(values)
    return sum(values) / (len(values) if how == "mean" else 1)


def _adapters(lora: Iterable[tuple[float, str]]) -> dict[str, float]:
    """Count the adapters with requests in the latest line: vLLM leaves one for each set that there ever was.

    Its value is the time. Which of them run cannot be told: vLLM names an adapter with any request in both lists.
    """
    latest = max(lora, default=None)
    if latest is None:
        return {}
    asked = {name for names in _ADAPTERS.findall(latest[1]) for name in names.split(",") if name}
    slots = _SLOTS.search(latest[1])
    return {"adapters": float(len(asked)), **({"adapter_slots": float(slots[1])} if slots else {})}


class Source:
    """One address with numbers. `paths`: where they may be; the first that answers is kept."""

    def __init__(self, url: str, paths: tuple[str, ...], numbers: dict[str, Number], key: str | None = None) -> None:
        self.numbers = numbers
        self._paths = paths
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = HTTPClient.from_url(url, connection_timeout=TIMEOUT_S, network_timeout=TIMEOUT_S)

    def ask(self) -> dict[str, float]:
        """Return the numbers of now. Raises OSError or ValueError, with what came back."""
        problem = ""
        for path in self._paths:
            response = self._http.get(path, headers=self._headers)
            try:
                body = bytes(response.read())
            finally:
                response.release()
            if response.status_code != 200:
                problem = f"{path} answered HTTP {response.status_code}"
            elif found := parse(body.decode("utf-8", "replace"), self.numbers):
                self._paths = (path,)
                return found
            else:
                problem = f"{path} has none of the numbers of vLLM, NIM or DCGM that are read"
        raise ValueError(problem)

    def close(self) -> None:
        self._http.close()


def sources(nim_url: str, setting: str, dcgm_url: str | None, key: str | None) -> list[Source]:
    """Return whom to ask. `setting`: auto (NIM itself), off, or an address of its metrics."""
    found = []
    if setting == "auto":
        prefix = urlsplit(nim_url).path.rstrip("/")
        found.append(Source(nim_url, tuple(prefix + path for path in PATHS), NUMBERS, key))
    elif setting != "off":
        found.append(Source(setting, (urlsplit(setting).path or "/metrics",), NUMBERS))
    if dcgm_url:
        found.append(Source(dcgm_url, (urlsplit(dcgm_url).path.rstrip("/") or "/metrics",), GPU_NUMBERS))
    return found


class Sampler:
    """Asks all sources each second until it is stopped, and writes down what they said or why they did not."""

    def __init__(self, asked: list[Source], path: Path, now: Callable[[], float]) -> None:
        self._sources, self._path, self._now = asked, path, now
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        """Begin to ask, if there is anybody to ask."""
        if self._sources:
            self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """End it; what was written stays."""
        if self._greenlet is not None:
            self._greenlet.kill()
        for source in self._sources:
            source.close()

    def _run(self) -> None:
        due = time.perf_counter()
        with self._path.open("w", buffering=1, encoding="utf-8") as file:
            while True:
                file.write(json.dumps(self._sample()) + "\n")
                due = max(due + PERIOD_S, time.perf_counter())
                gevent.sleep(due - time.perf_counter())

    def _sample(self) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for source in self._sources:
            try:
                row |= source.ask()
            except Exception as error:  # noqa: BLE001 - whatever a metrics endpoint does must not end the run
                row["problem"] = f"{type(error).__name__}: {error}"[:200]
        return {"t": round(self._now(), 3), **row}


def read_samples(raw: Path) -> list[dict[str, Any]]:
    """Read the samples of a run; a last line that was cut is left out."""
    try:
        lines = (raw / FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
