"""`compare`: approaches of one finished run, or the same approach of several runs on the same items.

Refuses runs without results, unknown metrics, and runs that answered different test items.
"""

from collections.abc import Sequence
from pathlib import Path

from nemostack.errors import BadInput
from workflows.engine.run_directory import RunDirectory
from workflows.results.approach import Approach, ItemResult
from workflows.results.comparison import Comparison, compare
from workflows.results.metrics import BY_KEY
from workflows.stages.evaluation import LABELS


def compare_runs(paths: Sequence[Path], *, metric: str, margin: float) -> Comparison:
    """Compare; the last approach, or the last run, is the candidate."""
    if metric not in BY_KEY:
        raise BadInput(f"--metric {metric}: choose one of {', '.join(BY_KEY)}")
    runs = [RunDirectory.open(path) for path in paths]
    if len(runs) == 1:
        approaches = _approaches(runs[0])
        items = {approach.name: runs[0].load_samples(approach.name, ItemResult) for approach in approaches}
    else:
        last = [(run, _approaches(run)[-1]) for run in runs]
        approaches = [
            approach.model_copy(
                update={"name": f"{number}:{run.path.name}", "label": f"{approach.label} ({run.path.name})"}
            )
            for number, (run, approach) in enumerate(last, start=1)
        ]
        items = {
            renamed.name: run.load_samples(approach.name, ItemResult)
            for renamed, (run, approach) in zip(approaches, last, strict=True)
        }
        _same_items(items)
    return compare(approaches, items, metric=metric, margin=margin, seed=runs[0].info().settings.seed)


def _approaches(run: RunDirectory) -> list[Approach]:
    approaches = []
    for name in LABELS:
        record = run.stage(name)
        if record.status == "done":
            approaches.append(Approach.model_validate(record.outputs))
    if not approaches:
        raise BadInput(f"run {run.path} holds no finished evaluation; run the same command again to finish it")
    return approaches


def _same_items(items: dict[str, list[ItemResult]]) -> None:
    asked = {name: {(item.index, item.prompt) for item in answered} for name, answered in items.items() if answered}
    if len(asked) < 2:
        return
    shared = set.intersection(*asked.values())
    if not shared:
        raise BadInput(f"{' and '.join(asked)} have no test item in common: they cannot be compared")
