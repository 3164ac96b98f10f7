"""`compare` and `gate`: approaches of one finished run, or the same approach of several runs on the same items.

Refuses runs without results, and runs that answered different test items.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nemostack.errors import BadInput
from workflows.engine.run_directory import RunDirectory
from workflows.gate.decide import best_of, decide
from workflows.gate.evidence import Evidence, of_run
from workflows.gate.policy import Policy
from workflows.gate.verdict import GateReport
from workflows.results.comparison import Comparison, compare


def compare_runs(paths: Sequence[Path]) -> Comparison:
    """Compare the approaches of one run, or the last approaches of several."""
    evidence, seed = load_evidence(paths)
    items = {one.approach.name: list(one.items) for one in evidence}
    comparison = compare([one.approach for one in evidence], items, seed=seed)
    benchmarks = list(evidence[-1].benchmarks) if len(paths) == 1 else []
    return comparison.model_copy(update={"benchmarks": benchmarks})


def gate_runs(paths: Sequence[Path], policy: Policy) -> GateReport:
    """Apply the policy: one run's last approach against the best of its others; of several runs, to the first one."""
    evidence, seed = load_evidence(paths)
    report = (
        decide_last(evidence, policy, seed) if len(paths) == 1 else decide(policy, evidence[0], evidence[1:], seed=seed)
    )
    if report is None:
        raise BadInput(
            f"run {paths[0]} has nothing to compare its last approach with: give another run before it, "
            "`nemostack gate BASELINE CANDIDATE`"
        )
    return report


def decide_last(evidence: Sequence[Evidence], policy: Policy, seed: int) -> GateReport | None:
    """Apply the policy to the last approach, against the best of the others; None without others."""
    baseline = best_of(evidence[:-1], policy)
    return None if baseline is None else decide(policy, baseline, evidence[-1:], seed=seed)


def load_evidence(paths: Sequence[Path]) -> tuple[list[Evidence], int]:
    """Read the approaches of one run, or the last of each of several, and the seed. BadInput without common items."""
    runs = [RunDirectory.open(path) for path in paths]
    seed = runs[0].info().settings.seed
    if len(runs) == 1:
        return of_run(runs[0]), seed
    evidence = []
    for number, run in enumerate(runs, start=1):
        last = of_run(run)[-1]
        names = {"name": f"{number}:{run.path.name}", "label": f"{last.approach.label} ({run.path.name})"}
        evidence.append(replace(last, approach=last.approach.model_copy(update=names)))
    _same_items(evidence)
    return evidence, seed


def _same_items(evidence: Sequence[Evidence]) -> None:
    asked = {one.approach.name: {(item.index, item.prompt) for item in one.items} for one in evidence if one.items}
    if len(asked) > 1 and not set.intersection(*asked.values()):
        raise BadInput(f"{' and '.join(asked)} have no test item in common: they cannot be compared")
