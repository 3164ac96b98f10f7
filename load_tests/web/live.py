"""What a run has measured so far, from the samples that its workers write: rows for the page, by model.

Reads what is new in `raw/` every now and then, so that it works for workers of this process, of this machine and of
others alike. Numbers are those of the report, of the window so far, and of its last seconds. No verdict: that takes the
whole run.
"""

import json
from array import array
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from load_tests.client.exchange import ERROR_KINDS
from load_tests.client.records import RequestRecord
from load_tests.options import RunManifest
from load_tests.server_metrics import FILE
from load_tests.verdict import metrics

RECENT_S: Final = 10.0
MOST_MODELS: Final = 100
ALL: Final = "all models"
LINES_AT_ONCE: Final = 2000
Row = dict[str, Any]

COLUMNS: Final = {
    "name": "Model",
    "requests": "Requests",
    "errors": "Errors",
    "ttft_p50": "TTFT p50 (ms)",
    "ttft_p95": "TTFT p95 (ms)",
    "tpot_p50": "TPOT p50 (ms)",
    "tokens_per_s": "Tokens/s",
    "goodput": "Goodput (1/s)",
}
SERVER_COLUMNS: Final = {"name": "Server", "now": "Now", "highest": "Highest"}
SERVER: Final = {
    "running": "Requests running",
    "waiting": "Requests waiting",
    "kv_cache": "KV cache in use (%)",
    "preemptions": "Preemptions so far",
    "adapters": "Adapters with requests",
    "adapter_slots": "Slots for adapters",
    "gpu_use": "GPU in use (%)",
    "gpu_memory_mib": "GPU memory (MiB)",
}


@dataclass(slots=True)
class Group:
    """Samples of a model: when each ended, and what it measured."""

    ended: "array[float]" = field(default_factory=lambda: array("d"))
    ttft: "array[float]" = field(default_factory=lambda: array("d"))
    tpot: "array[float]" = field(default_factory=lambda: array("d"))
    tokens: "array[float]" = field(default_factory=lambda: array("d"))
    errors: int = 0
    good: int = 0

    def add(self, record: RequestRecord, limits: dict[str, float]) -> None:
        """Take a request of the window."""
        if record.ok and record.t_end is not None:
            ttft, tpot = metrics.ttft_ms(record), metrics.tpot_ms(record)
            self.ended.append(record.t_end)
            self.ttft.append(np.nan if ttft is None else ttft)
            self.tpot.append(np.nan if tpot is None else tpot)
            self.tokens.append(record.output_tokens)
            self.good += metrics.is_good(record, limits)
        elif record.outcome in ERROR_KINDS:
            self.errors += 1

    def row(self, name: str, *, since: float, seconds: float, goodput: bool) -> Row:
        """Make the row of what ended after `since`."""
        inside = np.array(self.ended) >= since
        whole = since <= 0
        return {
            "name": name,
            "requests": int(inside.sum()),
            "errors": self.errors if whole else "",
            "ttft_p50": _percentile(self.ttft, inside, 50),
            "ttft_p95": _percentile(self.ttft, inside, 95),
            "tpot_p50": _percentile(self.tpot, inside, 50),
            "tokens_per_s": round(float(np.array(self.tokens)[inside].sum()) / seconds, 1),
            "goodput": round(self.good / seconds, 2) if goodput and whole else "",
        }


def _percentile(values: "array[float]", inside: np.ndarray, p: float) -> float | str:
    known = np.array(values)[inside]
    found = metrics.percentile(np.sort(known[~np.isnan(known)]), p)
    return "not enough" if found is None else round(found, 1)


class Live:
    """The samples of a run so far. `limits`: per request, for goodput."""

    def __init__(self, manifest: RunManifest, limits: dict[str, float]) -> None:
        self._manifest, self._limits = manifest, limits
        self._raw = manifest.spec.out / "raw"
        self._start = manifest.spec.warmup_s
        self._end = manifest.spec.warmup_s + manifest.spec.duration_s
        self._all = Group()
        self._groups: dict[str, Group] = defaultdict(Group)
        self._read: dict[str, int] = {}
        self._at = 0.0
        self._server: Row = {}
        self._highest: dict[str, float] = {}

    def refresh(self) -> bool:
        """Read some of what is new; whether there may be more."""
        taken = 0
        for path in sorted(self._raw.glob("requests-*.jsonl")):
            for line in self._new_lines(path, LINES_AT_ONCE - taken):
                taken += 1
                self._take(RequestRecord.parse(line))
        for line in self._new_lines(self._raw / FILE, LINES_AT_ONCE):
            self._server = json.loads(line)
            for name, value in self._server.items():
                if isinstance(value, int | float):
                    self._highest[name] = max(self._highest.get(name, value), value)
        return taken >= LINES_AT_ONCE

    def _take(self, record: RequestRecord) -> None:
        self._at = max(self._at, record.t_end or 0.0)
        if record.role or not self._start <= record.due < self._end:
            return
        for group in (self._all, self._groups[record.model]):
            group.add(record, self._limits)

    def _new_lines(self, path: Path, most: int) -> Iterator[str]:
        """Yield whole lines that were not yielded before."""
        if most <= 0 or not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._read.get(path.name, 0))
            for _ in range(most):
                line = file.readline()
                if not line.endswith(b"\n"):
                    return
                self._read[path.name] = file.tell()
                yield line.decode()

    def models(self) -> list[Row]:
        """Rows of the page: all models so far and lately, the base model, and adapters, the slowest first."""
        seconds = min(self._at, self._end) - self._start
        if seconds <= 0:
            return [{"name": "warm-up: nothing of it is measured"}]
        goodput = bool(self._limits)
        recent = min(RECENT_S, seconds)
        base = self._manifest.base_model
        rows = [
            self._all.row(ALL, since=0, seconds=seconds, goodput=goodput),
            self._all.row(f"{ALL}, last {recent:.0f} s", since=self._at - recent, seconds=recent, goodput=False),
        ]
        found = [group.row(model, since=0, seconds=seconds, goodput=goodput) for model, group in self._groups.items()]
        found.sort(key=lambda row: (row["name"] != base, -(_number(row["ttft_p50"])), row["name"]))
        left = len(found) - MOST_MODELS
        return [*rows, *found[:MOST_MODELS], *([{"name": f"{left} more models"}] if left > 0 else [])]

    def server(self) -> list[Row]:
        """What the server said last, and at most."""
        if "problem" in self._server:
            return [{"name": "no answer", "now": self._server["problem"], "highest": ""}]
        shown = []
        for name, label in SERVER.items():
            if name in self._server:
                factor = 100 if name == "kv_cache" else 1
                now, highest = (round(factor * one[name], 1) for one in (self._server, self._highest))
                shown.append({"name": label, "now": now, "highest": highest})
        return shown or [{"name": "nothing is read (--server-metrics), or not yet", "now": "", "highest": ""}]


def _number(value: float | str) -> float:
    return value if isinstance(value, float) else -1.0
