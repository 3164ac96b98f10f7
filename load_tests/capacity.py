"""`nemostack load capacity`: a measured curve, an SLO and a price become replicas, GPUs and cost for a target rate.

The curve is the runs at several rates that are named, each judged by the SLO again. Refuses runs that are INVALID, and
a curve of which not even the lowest rate met the SLO: there is nothing to plan with.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal

from load_tests.comparison import read_run, run_folders
from load_tests.verdict.capacity import Limit, Plan, Point, Span, limit, of_gpus, plan
from load_tests.verdict.compare import Run
from load_tests.verdict.slo import Slo, judge, overall, read_slo
from nemostack.errors import BadInput
from nemostack.prices import Price

SCHEMA: Final = "nemostack.load-capacity/1"
DEFAULT_HEADROOM: Final = 0.2


def point(run: Run, slo: Slo) -> Point:
    """Judge a run by the SLO, as a point of the curve. Raises BadInput for an INVALID run."""
    data = run.data
    if not data["valid"]:
        raise BadInput(f"{data['id']} is INVALID, and says nothing of the server: leave it out")
    base, spec = data["run"]["base_model"], data["run"]["spec"]
    measured = [r for r in run.records if not r.role]
    gates = judge(slo, measured, window=run.window, models=list(data["models"]), base=base)
    whole = data["overall"]
    open_loop = spec["arrivals"] != "closed"
    return Point(
        run=data["id"],
        rate=float(spec["rate"] if open_loop else whole["scalars"]["request_throughput"] or 0.0),
        tokens_per_s=float(whole["scalars"]["output_token_throughput"] or 0.0),
        tokens_interval=whole["scalar_intervals"]["output_token_throughput"],
        verdict=overall(gates, valid=True, successes=whole["successes"]),
        open_loop=open_loop,
    )


def capacity(
    folders: Sequence[Path],
    *,
    slo_file: Path,
    target_rate: float,
    price: Price,
    gpus_per_replica: int,
    headroom: float = DEFAULT_HEADROOM,
) -> tuple[list[Point], Limit, Plan]:
    """Read the curve and plan. Raises BadInput."""
    slo = read_slo(slo_file)
    runs = [read_run(found) for folder in folders for found in run_folders(folder)]
    points = sorted((point(run, slo) for run in runs), key=lambda p: p.rate)
    found = limit([p for p in points if p.rate > 0])
    if found is None:
        rates = ", ".join(f"{p.rate:g} ({p.verdict})" for p in points)
        raise BadInput(f"no run met the SLO at the lowest rate, so nothing can be planned: {rates} requests/s")
    made = plan(
        found,
        target_rate=target_rate,
        price=price,
        gpus_per_replica=gpus_per_replica,
        headroom=headroom,
        lowest_rate=points[0].rate,
    )
    return points, found, made


def text(points: Sequence[Point], found: Limit, made: Plan, price: Price) -> str:
    """Write the plan for a terminal."""
    reached = "not reached" if found.breaks is None else f"broken at {found.breaks:g}"
    holds = (
        f"one replica holds {found.holds:g} requests/s under the SLO ({reached}), {found.tokens_per_s:,.0f} tokens/s"
    )
    curve = [f"  {p.rate:8.3g} requests/s  {p.tokens_per_s:10,.0f} tokens/s  {p.verdict}  {p.run}" for p in points]
    each, full = (_money(one, 2) for one in (made.usd_per_million_tokens, made.full_load_usd_per_million_tokens))
    machine = f"{price.name}, {price.gpus} x {price.gpu}, {_money(of_gpus(price, price.gpus), 2)} an hour"
    lines = [
        holds,
        *curve,
        f"for {made.target_rate:g} requests/s: {_whole(made.replicas)} replicas, {_whole(made.gpus)} GPUs",
        f"  {_money(made.usd_per_month, 0)} a month, {each} per million output tokens ({full} at full load)",
        f"  price: {machine} as of {price.as_of}, {price.source}",
        *(f"  extrapolated or assumed: {note}" for note in made.notes),
    ]
    return "\n".join(lines)


def document(points: Sequence[Point], found: Limit, made: Plan, price: Price) -> dict[str, Any]:
    """Return the plan as data."""
    return {
        "schema": SCHEMA,
        "curve": [asdict(p) for p in points],
        "limit": asdict(found),
        "plan": asdict(made),
        "price": price.model_dump(mode="json"),
    }


def render(points: Sequence[Point], found: Limit, made: Plan, price: Price, *, kind: Literal["text", "json"]) -> str:
    """Write the plan."""
    if kind == "json":
        return json.dumps(document(points, found, made, price), indent=2)
    return text(points, found, made, price)


def _whole(span: Span) -> str:
    return f"{span.value:g}" if span.low == span.high else f"{span.value:g} ({span.low:g} to {span.high:g})"


def _money(span: Span, digits: int) -> str:
    middle, low, high = (f"${value:,.{digits}f}" for value in (span.value, span.low, span.high))
    return middle if low == high else f"{middle} ({low} to {high})"
