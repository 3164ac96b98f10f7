"""`nemostack load compare`: reads the runs of two sides, and writes what was found as text, Markdown, JUnit or JSON.

A side is the folder of one run, or a folder of several runs of the same thing (as `--repeat` makes it). Refuses runs
that are INVALID, and sides whose settings differ in more than the server, unless told that this is meant.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from load_tests.client.records import RequestRecord
from load_tests.exports import junit, markdown
from load_tests.report import formats
from load_tests.verdict import metrics
from load_tests.verdict.compare import FEWEST_RUNS, Change, Compared, Run, compare, exit_code, known_metrics
from nemostack.errors import BadInput

Format = Literal["text", "markdown", "junit", "json"]
SCHEMA: Final = "nemostack.load-comparison/1"
REPORT: Final = "report.json"
_MAY_DIFFER: Final = {"out", "nim_url", "target", "slo", "seed", "server_metrics", "dcgm_url"}
_JUNIT: Final[dict[Change, Literal["passed", "failure", "skipped"]]] = {
    Change.WORSE: "failure",
    Change.BETTER: "passed",
    Change.SAME: "passed",
    Change.UNCLEAR: "skipped",
    Change.NO_DATA: "skipped",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides, compared. `notes`: what a reader must know."""

    baseline: Path
    candidate: Path
    runs: tuple[int, int]
    found: list[Compared]
    notes: list[str]

    @property
    def exit_code(self) -> int:
        return int(exit_code(self.found))

    @property
    def verdict(self) -> str:
        """The worst result of all metrics, in words."""
        results = [one.result for one in self.found]
        if Change.WORSE in results:
            return "REGRESSION"
        return "UNCLEAR" if {Change.UNCLEAR, Change.NO_DATA} & set(results) else "NO REGRESSION"


def run_folders(side: Path) -> list[Path]:
    """Return the folder itself, or those of the runs in it. Raises BadInput when there is no report."""
    if (side / REPORT).is_file():
        return [side]
    found = sorted(path.parent for path in side.glob(f"*/{REPORT}"))
    if not found:
        raise BadInput(f"{side} holds no {REPORT}, and no folder in it does: name the folder of a finished load test")
    return found


def read_run(folder: Path) -> Run:
    """Read a finished run. Raises BadInput."""
    try:
        data = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        lines = (folder / "requests.jsonl").read_text(encoding="utf-8").splitlines()
        return Run(data, [RequestRecord.parse(line) for line in lines])
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"{folder} is not a finished load test of this version of nemostack: {error}") from error


def compare_folders(
    baseline: Path,
    candidate: Path,
    *,
    names: Sequence[str],
    threshold: float,
    run_noise: float,
    allow_differences: bool = False,
) -> Comparison:
    """Read both sides and compare them. Raises BadInput."""
    if unknown := sorted(set(names) - set(known_metrics())):
        raise BadInput(f"no metric {', '.join(unknown)}; there are {', '.join(known_metrics())}")
    sides = [[read_run(folder) for folder in run_folders(side)] for side in (baseline, candidate)]
    for path, runs in zip((baseline, candidate), sides, strict=True):
        if invalid := [run.data["id"] for run in runs if not run.data["valid"]]:
            raise BadInput(f"{path}: {', '.join(invalid)} is INVALID, and says nothing of the server: leave it out")
    differences = _differences([run for side in sides for run in side])
    if differences and not allow_differences:
        raise BadInput(
            f"the runs differ in {'; '.join(differences)}: add --allow-differences if that is what is compared"
        )
    notes = [f"The runs differ in {one}." for one in differences]
    counts = (len(sides[0]), len(sides[1]))
    if min(counts) < FEWEST_RUNS:
        notes.append(
            f"Fewer than {FEWEST_RUNS} runs on a side: what two runs differ by is not measured, but taken to be "
            f"{run_noise:.0%}. Repeat with --repeat 3.".replace("%.", " %.")
        )
    found = compare(sides[0], sides[1], names=names, threshold=threshold, run_noise=run_noise)
    return Comparison(baseline, candidate, counts, found, notes)


def _differences(runs: Sequence[Run]) -> list[str]:
    """Name the settings in which runs differ, with their values."""
    specs = [run.data["run"]["spec"] for run in runs]
    keys = sorted({key for spec in specs for key in spec} - _MAY_DIFFER)
    found = []
    for key in keys:
        values = list(dict.fromkeys(json.dumps(spec.get(key), sort_keys=True) for spec in specs))
        if len(values) > 1:
            found.append(f"{key} ({' and '.join(values)})")
    return found


def render(comparison: Comparison, kind: Format) -> str:
    """Write the comparison."""
    match kind:
        case "json":
            return json.dumps(_data(comparison), indent=2)
        case "junit":
            cases = [
                junit.Case("metrics", one.metric, _JUNIT[one.result], f"{one.result}: {change(one)}")
                for one in comparison.found
            ]
            return junit.document("nemostack.load.compare", cases)
        case "markdown":
            head = ("metric", "baseline", "candidate", "change, 95 % interval", "result")
            rows = [(_label(one), *_values(one), change(one), one.result) for one in comparison.found]
            notes = "".join(f"\n\n> {note}" for note in comparison.notes)
            runs = f"{comparison.runs[0]} and {comparison.runs[1]} runs"
            return f"### Load test compared: {comparison.verdict}\n\n{runs}\n\n{markdown.table(head, rows)}{notes}\n"
        case _:
            sides = f"{comparison.candidate} against {comparison.baseline}"
            lines = [f"{comparison.verdict} (exit {comparison.exit_code}): {sides}"]
            lines += [f"  note: {note}" for note in comparison.notes]
            for one in comparison.found:
                before, after = _values(one)
                lines.append(f"  {one.result:<8} {_label(one)}: {before} -> {after}, {change(one)} ({one.basis})")
            return "\n".join(lines)


def _data(comparison: Comparison) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "verdict": comparison.verdict,
        "exit_code": comparison.exit_code,
        "baseline": {"folder": str(comparison.baseline), "runs": comparison.runs[0]},
        "candidate": {"folder": str(comparison.candidate), "runs": comparison.runs[1]},
        "notes": comparison.notes,
        "metrics": [asdict(one) for one in comparison.found],
    }


def _label(one: Compared) -> str:
    metric, _, stat = one.metric.partition(" ")
    label = metrics.LATENCIES[metric].label if metric in metrics.LATENCIES else metric.replace("_", " ")
    return f"{label} {stat}".strip()


def _values(one: Compared) -> tuple[str, str]:
    metric = one.metric.partition(" ")[0]
    before, after = (formats.gate_value({"metric": metric, "value": v}) for v in (one.baseline, one.candidate))
    return before, after


def change(one: Compared) -> str:
    """Write a change: `+4.2 % (-1.0 % to +9.6 %)`."""
    if one.change is None:
        return "no data"
    unit = "points" if one.basis == "requests" else "%"
    text = f"{one.change * 100:+.1f} {unit}"
    if one.low is None or one.high is None:
        return f"{text} (too few values for an interval)"
    return f"{text} ({one.low * 100:+.1f} to {one.high * 100:+.1f} {unit})"
