"""What adapters cost in one run: against the base model, cold against warm, one against another, and what would help.

Everything is of the measurement window and of the measured load. Each number has its interval or says why it has none;
nothing here changes the verdict.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from load_tests.client.records import RequestRecord
from load_tests.traffic.popularity import tenant
from load_tests.traffic.residency import Slots
from load_tests.verdict import contrast, metrics, slots
from load_tests.verdict.fairness import by_model, fairness, worst
from load_tests.verdict.intervals import Ratio
from load_tests.verdict.slo import Slo
from load_tests.verdict.token_rate import Window

if TYPE_CHECKING:
    from load_tests.options import RunManifest

DEFAULT_PERCENTILE: Final = 95.0


@dataclass(frozen=True, slots=True)
class Groups:
    """Successes of a window, as far as adapters tell them apart."""

    base: list[RequestRecord]
    cold: list[RequestRecord]
    warm: list[RequestRecord]

    @property
    def adapters(self) -> list[RequestRecord]:
        return [*self.cold, *self.warm]


def groups(records: Sequence[RequestRecord], window: Window, base: str) -> Groups:
    """Divide the successes that were due in the window."""
    inside = [r for r in records if r.ok and window.holds(r.due)]
    adapters = [r for r in inside if r.model != base]
    return Groups(
        [r for r in inside if r.model == base], [r for r in adapters if r.cold], [r for r in adapters if not r.cold]
    )


def server_slots(manifest: "RunManifest", raw: Path) -> Slots:
    """Return the number of slots: what the server said before or after the run, else what the run was given."""
    path = raw / "slots.json"
    return Slots(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else manifest.slots


def effects(
    manifest: "RunManifest",
    records: Sequence[RequestRecord],
    window: Window,
    slo: Slo | None,
    raw: Path,
    *,
    count: Slots,
) -> dict[str, Any] | None:
    """Compute the section `adapters` of the report; None for a plain run of the base model alone."""
    if len(manifest.models) < 2 and manifest.spec.beside.contrast is None:
        return None
    measured = [r for r in records if not r.role]
    found = groups(measured, window, manifest.base_model)
    asked = len(found.adapters)
    compared = {
        "ttft_ms, adapters": contrast.of_groups(found.base, found.adapters, "ttft_ms"),
        "ttft_ms, warm adapters": contrast.of_groups(found.base, found.warm, "ttft_ms"),
        "ttft_ms, cold adapters": contrast.of_groups(found.base, found.cold, "ttft_ms"),
        "tpot_ms, adapters": contrast.of_groups(found.base, found.adapters, "tpot_ms"),
        "ttft_ms, cold to warm": contrast.of_groups(found.warm, found.cold, "ttft_ms"),
    }
    if manifest.spec.beside.canary is not None:
        compared |= _canary(measured, window, *manifest.spec.beside.canary)
    models = by_model(r for r in measured if r.model != manifest.base_model and window.holds(r.due))
    tenants = _tenants(measured, window, manifest.base_model)
    return {
        "slots": asdict(count),
        "asked": asked,
        "cold": len(found.cold),
        "cold_share": len(found.cold) / asked if asked else None,
        "cold_share_interval": metrics.wilson(len(found.cold), asked),
        "seen": sum(r.cold_from == "seen" for r in found.adapters),
        "groups": {name: asdict(metrics.describe(metrics.samples(of, "ttft_ms"))) for name, of in _named(found)},
        "compared": {name: asdict(ratio) for name, ratio in compared.items()},
        "contrast": _contrast(manifest, measured, window, raw),
        "fairness": asdict(fairness(models)),
        "worst": _asdict(worst(models)),
        "tenants": {name: len(of) for name, of in tenants.items()},
        "tenant_fairness": asdict(fairness(tenants)) if len(tenants) > 1 else None,
        "advice": _advice(manifest, found, slo, count),
        "neighbour_requests": sum(r.role == "neighbour" for r in records),
        "churn": _churn(raw),
    }


def _canary(records: Sequence[RequestRecord], window: Window, stable: str, canary: str) -> dict[str, Ratio]:
    inside = by_model(r for r in records if window.holds(r.due))
    return {
        f"{metric}, canary to stable": contrast.of_groups(inside.get(stable, []), inside.get(canary, []), metric)
        for metric in ("ttft_ms", "tpot_ms")
    }


def _named(found: Groups) -> list[tuple[str, list[RequestRecord]]]:
    return [("base", found.base), ("warm", found.warm), ("cold", found.cold)]


def _asdict(value: Any) -> dict[str, Any] | None:
    return None if value is None else asdict(value)


def _tenants(records: Sequence[RequestRecord], window: Window, base: str) -> dict[str, list[RequestRecord]]:
    found: dict[str, list[RequestRecord]] = {}
    for record in records:
        if record.model != base and window.holds(record.due):
            found.setdefault(tenant(record.model), []).append(record)
    return dict(sorted(found.items()))


def _contrast(
    manifest: "RunManifest", records: Sequence[RequestRecord], window: Window, raw: Path
) -> dict[str, Any] | None:
    wanted = manifest.spec.beside.contrast
    if wanted is None:
        return None
    neighbour = manifest.spec.beside.neighbour
    # the neighbour's own adapter suffers from its queue too, but the question is what the others have to bear
    others = [r for r in records if neighbour is None or r.model != neighbour[0]]
    planned = (manifest.spec.warmup_s, manifest.spec.warmup_s + manifest.spec.duration_s)
    blocks = [block for block in wanted.blocks(planned) if block.end <= window.end + 1e-6]
    facts = command_facts(raw)
    if facts:
        running: Callable[[float, float], bool] = lambda start, end: (  # noqa: E731
            facts["started_s"] <= start + 0.5 and end <= facts["ended_s"] + 0.5
        )
        blocks = [b for b in blocks if not b.on or running(b.start, b.end)]
    result = contrast.of_blocks(others, blocks)
    return {"kind": wanted.kind, "block_s": wanted.block_s, **asdict(result), "command": facts}


def command_facts(raw: Path) -> dict[str, Any]:
    """Return what was noted of the command beside the load; empty without one."""
    path = raw / "beside.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _advice(manifest: "RunManifest", found: Groups, slo: Slo | None, count: Slots) -> dict[str, Any] | None:
    shares = {model.id: model.share for model in manifest.models}
    popularity = [share for model, share in shares.items() if model != manifest.base_model]
    if len(popularity) < 2 or not found.adapters:
        return None
    percentile, target = ttft_objective(slo)
    total = len(found.adapters) + len(found.base)
    ttft = {name: np.array(metrics.samples(of, "ttft_ms")) for name, of in _named(found)}
    return asdict(
        slots.advise(
            popularity,
            cold=ttft["cold"],
            warm=ttft["warm"],
            base=ttft["base"],
            base_share=len(found.base) / total,
            slots=count.count,
            cold_share=len(found.cold) / len(found.adapters),
            percentile=percentile,
            target_ms=target,
        )
    )


def ttft_objective(slo: Slo | None) -> tuple[float, float | None]:
    """Return percentile and limit of the strictest TTFT objective over all models or over each adapter."""
    found = [
        (o.max, float((o.stat or "")[1:]))
        for o in (slo.objectives if slo else [])
        if o.metric == "ttft_ms" and o.max is not None and (o.stat or "").startswith("p")
    ]
    if not found:
        return DEFAULT_PERCENTILE, None
    limit, percentile = min(found)
    return percentile, limit


def _churn(raw: Path) -> dict[str, Any] | None:
    path = raw / "churn.json"
    if not path.is_file():
        return None
    rows = json.loads(path.read_text(encoding="utf-8"))
    keys = ("load_ms", "first_ttft_ms", "second_ttft_ms", "unload_ms")
    return {
        "rounds": len(rows),
        "problems": [row["problem"] for row in rows if row["problem"]],
        **{key: asdict(metrics.describe([row[key] for row in rows if row.get(key) is not None])) for key in keys},
    }
