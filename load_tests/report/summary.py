"""The report of a run: one dictionary with everything, written as JSON, CSV, JSONL and an HTML page.

Order everywhere: is the run valid, the verdict, then the numbers. Nothing here decides anything: the modules of
`verdict` do.
"""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from load_tests.client.records import RequestRecord, read_records
from load_tests.exports import aiperf, junit, markdown
from load_tests.options import RunManifest
from load_tests.report import adapters, formats, page
from load_tests.server_metrics import read_samples
from load_tests.traffic.adapters import ServedModels
from load_tests.traffic.residency import mark_cold
from load_tests.verdict import metrics, server_view, validity
from load_tests.verdict.adapter_effects import command_facts, effects, server_slots
from load_tests.verdict.fairness import by_model
from load_tests.verdict.slo import EXIT_CODES, Slo, judge, overall
from load_tests.verdict.token_rate import Window
from load_tests.worker import worker_facts

SCHEMA: Final = "nemostack.load-report/2"
CSV_STATS: Final = ("count", "mean", "std", "min", "p50", "p90", "p95", "p99", "p99.9", "max")


@dataclass(frozen=True, slots=True)
class Report:
    """`data` is the content of report.json; `records` are all samples, warm-up included, for the plots."""

    data: dict[str, Any]
    records: list[RequestRecord]


def build(manifest: RunManifest, slo: Slo | None, folder: Path) -> Report:
    """Compute everything from the raw files of a run."""
    raw = folder / "raw"
    records, facts = read_records(raw), worker_facts(raw)
    spec, base, models = manifest.spec, manifest.base_model, manifest.model_ids
    slots = server_slots(manifest, raw)
    mark_cold(records, base=base, slots=slots.count)
    window = Window(spec.warmup_s, max((float(f["window_end_s"]) for f in facts), default=spec.warmup_s))
    measured = [r for r in records if not r.role]
    limits = slo.limits if slo else None
    of_model = by_model(measured)

    def group(of: Callable[[RequestRecord], bool]) -> dict[str, Any]:
        return asdict(metrics.summarise([r for r in measured if of(r)], window, limits))

    gates = judge(slo, measured, window=window, models=models, base=base, aliases=spec.beside.aliases) if slo else []
    inside = [r for r in measured if window.holds(r.due)]
    checks = validity.check(manifest, inside, facts, ttft_limit_ms=slo.ttft_limit_ms if slo else None)
    checks += validity.beside(command_facts(raw))
    whole = group(lambda _: True)
    valid = all(c.ok for c in checks)
    verdict = overall(gates, valid=valid, successes=whole["successes"])
    begun = min((float(f["started_at"]) for f in facts), default=0.0)
    data = {
        "schema": SCHEMA,
        "id": folder.name,
        "started_at": datetime.fromtimestamp(begun, UTC).isoformat(timespec="seconds"),
        "verdict": verdict.value,
        "exit_code": EXIT_CODES[verdict],
        "slo": slo.model_dump(exclude_none=True) if slo else None,
        "valid": valid,
        "validity": [asdict(c) for c in checks],
        "gates": [{**asdict(g), "verdict": g.verdict.value} for g in gates],
        "run": json.loads(manifest.model_dump_json()),
        "window_s": window.length_s,
        "warmup_requests": sum(r.due < window.start for r in measured),
        "definitions": {
            **{name: latency.definition for name, latency in metrics.LATENCIES.items()},
            **metrics.SCALARS,
        },
        "overall": whole,
        "groups": {
            "base": group(lambda r: r.model == base),
            "adapters": group(lambda r: r.model != base),
            "adapters, cold": group(lambda r: r.cold),
            "adapters, warm": group(lambda r: r.model != base and not r.cold),
        },
        "models": {model: asdict(metrics.summarise(of_model.get(model, []), window, limits)) for model in models},
        "adapters": effects(manifest, records, window, slo, raw, count=slots),
        "server": server_view.describe(read_samples(raw), window),
        "workers": facts,
    }
    return Report(data, records)


def write(report: Report, folder: Path) -> None:
    """Write report.json, report.csv, requests.jsonl, report.html, and what CI and other tools read."""
    (folder / "report.json").write_text(json.dumps(report.data, indent=2), encoding="utf-8")
    (folder / "report.csv").write_text(to_csv(report.data), encoding="utf-8")
    with (folder / "requests.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(record.line() for record in report.records)
    (folder / "report.html").write_text(page.render(report.data, report.records), encoding="utf-8")
    (folder / "report.md").write_text(markdown.of_run(report.data), encoding="utf-8")
    cases = junit.of_run(report.data)
    xml = junit.document("nemostack.load", cases, seconds=report.data["window_s"])
    (folder / "report.junit.xml").write_text(xml, encoding="utf-8")
    exported = aiperf.export(report.data, report.records)
    (folder / aiperf.FILE).write_text(json.dumps(exported, indent=2), encoding="utf-8")


def to_csv(data: dict[str, Any]) -> str:
    """Make the CSV: one row per group and latency metric (milliseconds)."""
    buffer = io.StringIO()
    table = csv.writer(buffer)
    table.writerow(["scope", "metric", *CSV_STATS])
    scopes = {"overall": data["overall"], **data["groups"], **{f"model {k}": v for k, v in data["models"].items()}}
    for scope, summary in scopes.items():
        for metric, spread in summary["latencies"].items():
            values = {**spread, **spread["percentiles"]}
            table.writerow([_plain(scope), metric, *("" if values[s] is None else values[s] for s in CSV_STATS)])
    return buffer.getvalue()


def _plain(text: str) -> str:
    """Make a cell that no spreadsheet takes for a formula: model ids come from a server."""
    return f"'{text}" if text[:1] in "=+-@\t\r" else text


def text(report: Report) -> str:
    """Summary for a terminal."""
    data, whole = report.data, report.data["overall"]
    models = ServedModels(data["run"]["base_model"], tuple(m for m in data["models"] if m != data["run"]["base_model"]))
    lines = [f"{data['verdict']} (exit {data['exit_code']}): {models.summary}"]
    lines += [f"  invalid: {c['name']}: {c['found']}, allowed {c['allowed']}" for c in data["validity"] if not c["ok"]]
    for gate in data["gates"]:
        measured = f"{formats.gate_value(gate)} on {gate['samples']} samples"
        lines.append(f"  {gate['verdict']:<10} {formats.objective(gate)}: {measured}")
    rates = [formats.rate(whole["scalars"][k]) for k in ("request_throughput", "output_token_throughput")]
    lines.append(
        f"{whole['successes']} ok, {whole['errors']} failed, {whole['incomplete']} incomplete, {whole['dropped']} "
        f"dropped in {data['window_s']:.1f} s; {rates[0]} requests/s, {rates[1]} tokens/s"
    )
    for kind, count in whole["errors_by_kind"].items():
        lines.append(f"  {count} x {kind}: {whole['error_examples'][kind]}")
    if whole["length_mismatches"]:
        lines.append(f"  {whole['length_mismatches']} replies were not of the length asked for (no error)")
    if whole["prompt_length_mismatches"]:
        lines.append(f"  {whole['prompt_length_mismatches']} prompts had another length than they were made for")
    for name in ("ttft_ms", "tpot_ms", "itl_ms", "e2e_ms"):
        spread = whole["latencies"][name]
        cells = [f"{p} {formats.ms(spread['percentiles'][p])}" for p in ("p50", "p95", "p99")]
        lines.append(f"  {metrics.LATENCIES[name].label:<5} {'  '.join(cells)}  ({spread['count']} samples)")
    if data["adapters"] is not None:
        lines += [f"  {sentence}" for sentence in adapters.sentences(data["adapters"])]
    if data["server"] is not None:
        lines += [f"  {sentence}" for sentence in data["server"]["findings"]]
    return "\n".join(lines)
