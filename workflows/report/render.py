"""From a run directory to the page: gathers what the template shows, decides nothing itself."""

import itertools
from collections.abc import Sequence
from importlib import resources
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from nemostack.errors import BadInput
from workflows.engine.run_directory import RunDirectory, write_atomically
from workflows.report.charts import Bar, Group, intervals, losses
from workflows.report.honesty import what_was_reduced
from workflows.results.approach import Approach, ItemResult
from workflows.results.comparison import Comparison, interval_text
from workflows.results.metrics import BY_KEY, METRICS, PRIMARY
from workflows.stages.comparison import Compared
from workflows.stages.customization import Trained
from workflows.stages.evaluation import LABELS
from workflows.stages.load_test import LoadTested
from workflows.stages.upload import Uploaded

M = TypeVar("M", bound=BaseModel)
_WORDS = {"zero_shot": "zero-shot", "in_context": "in-context learning", "lora": "LoRA", "evaluation": "the other"}


def write_report(run: RunDirectory) -> None:
    """Replace report.html of `run`."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["interval"] = interval_text
    environment.filters["duration"] = duration
    source = resources.files("workflows.report").joinpath("report.html.j2").read_text(encoding="utf-8")
    style = resources.files("workflows.report").joinpath("report.css").read_text(encoding="utf-8")
    write_atomically(run.path / "report.html", environment.from_string(source).render(style=style, **_content(run)))


def _content(run: RunDirectory) -> dict[str, Any]:
    info, stages = run.info(), run.stages()
    comparison = _comparison(run)
    approaches = comparison.approaches if comparison else _evaluated(run)
    uploaded, trained = _given(run, "dataset", Uploaded), _given(run, "customization", Trained)
    compared = _given(run, "comparison", Compared)
    return {
        "info": info,
        "stages": stages,
        "total_seconds": sum(stage.seconds for stage in stages),
        "approaches": approaches,
        "metrics": [metric for metric in METRICS if any(metric.key in a.scores for a in approaches)],
        "best": {m.key: _best(approaches, m.key) for m in METRICS},
        "decision": comparison.decision if comparison else None,
        "steps": _steps(comparison),
        "labels": LABELS,
        "words": _WORDS,
        "by_key": BY_KEY,
        "primary": PRIMARY,
        "chart": intervals(_groups(approaches), [a.label for a in approaches]) if approaches else "",
        "curves": losses(_points(trained, "train_loss"), _points(trained, "val_loss")) if trained else "",
        "trained": trained,
        "facts": uploaded.facts if uploaded else None,
        "max_tokens": uploaded.max_tokens if uploaded else None,
        "examples": _examples(run, approaches),
        "mlflow": compared.mlflow if compared else None,
        "load": _given(run, "load_test", LoadTested),
        "reduced": what_was_reduced(info, approaches),
        "failed": next((stage for stage in stages if stage.status in {"failed", "interrupted"}), None),
    }


def _comparison(run: RunDirectory) -> Comparison | None:
    if run.stage("comparison").status != "done":
        return None
    file = run.path / "comparison.json"
    try:
        return Comparison.model_validate_json(file.read_text())
    except (OSError, ValidationError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from error


def _evaluated(run: RunDirectory) -> list[Approach]:
    return [found for name in LABELS if (found := _given(run, name, Approach)) is not None]


def _given(run: RunDirectory, stage: str, kind: type[M]) -> M | None:
    record = run.stage(stage)
    return kind.model_validate(record.outputs) if record.status == "done" else None


def _points(trained: Trained, curve: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in getattr(trained, curve)]


def _best(approaches: Sequence[Approach], key: str) -> str | None:
    means = {approach.name: approach.scores[key].mean for approach in approaches if key in approach.scores}
    best = [name for name, mean in means.items() if mean == max(means.values())]
    return best[0] if len(means) > 1 and len(best) == 1 else None


def _groups(approaches: Sequence[Approach]) -> list[Group]:
    groups = []
    for metric in METRICS:
        bars = []
        for series, approach in enumerate(approaches):
            score = approach.scores.get(metric.key)
            if score is None:
                continue
            low, high = (
                None if end is None else (end - metric.bottom) / (metric.top - metric.bottom)
                for end in (score.low, score.high)
            )
            mean = (score.mean - metric.bottom) / (metric.top - metric.bottom)
            text = f"{score.mean:.3f}" if metric.top == 1 else f"{score.mean:.2f} of {metric.top:g}"
            bars.append(Bar(series=series, mean=mean, low=low, high=high, text=text))
        if bars:
            groups.append(Group(label=metric.label, bars=tuple(bars)))
    return groups


def _steps(comparison: Comparison | None) -> list[dict[str, Any]]:
    """Neighbours on the ladder, and their differences by metric."""
    if comparison is None:
        return []
    names = [approach.name for approach in comparison.approaches]
    return [
        {
            "worse": worse,
            "better": better,
            "differences": {d.metric: d for d in comparison.differences if (d.worse, d.better) == (worse, better)},
        }
        for worse, better in itertools.pairwise(names)
    ]


def _examples(run: RunDirectory, approaches: Sequence[Approach]) -> list[dict[str, Any]]:
    """Four items side by side, chosen by the last approach's primary score: worst, lower and upper middle, best."""
    if not approaches:
        return []
    answers = {a.name: {i.index: i for i in run.load_samples(a.name, ItemResult)} for a in approaches}
    last = answers[approaches[-1].name]
    ranked = sorted(last.values(), key=lambda item: (item.scores.get(PRIMARY, 0.0), item.index))
    if not ranked:
        return []
    n = len(ranked) - 1
    places = {"Worst": 0, "Lower third": n // 3, "Upper third": 2 * n // 3, "Best": n}
    chosen: dict[int, str] = {}
    for label, place in places.items():
        chosen.setdefault(ranked[place].index, label)
    return [
        {
            "label": label,
            "item": last[index],
            "answers": [(a, answers[a.name][index]) for a in approaches if index in answers[a.name]],
        }
        for index, label in chosen.items()
    ]


def duration(seconds: float) -> str:
    """`42.0 s`, `3 min 5 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
