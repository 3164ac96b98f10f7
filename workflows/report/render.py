"""The page of a run directory: gathers the content of the template, decides nothing itself."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from markupsafe import Markup
from pydantic import BaseModel

from nemostack.files import write_atomically
from nemostack.product import TITLES
from nemostack.report import page
from nemostack.report.svg import Bar, Group, Series, bars, lines
from workflows.engine.run_directory import RunDirectory
from workflows.gate.evidence import read_comparison
from workflows.gate.verdict import GateReport
from workflows.report.caveats import list_caveats
from workflows.report.explorer import explorer_of
from workflows.report.reproduce import command_of
from workflows.report.twins import as_json, as_markdown, summary_of
from workflows.results.approach import Approach, ItemResult
from workflows.results.comparison import Comparison, interval_text
from workflows.results.metrics import BY_KEY, METRICS, PRIMARY
from workflows.stages.comparison import Compared
from workflows.stages.customization import Trained
from workflows.stages.evaluation import LABELS
from workflows.stages.load_test import LoadTested
from workflows.stages.upload import Uploaded
from workflows.sweep.trial import TrialResult, results_of, winner_of

M = TypeVar("M", bound=BaseModel)
_WORDS = {"zero_shot": "zero-shot", "in_context": "in-context learning", "lora": "LoRA", "evaluation": "the other"}


def write_report(run: RunDirectory) -> None:
    """Replace report.html of `run`, and its twins report.json and report.md."""
    filters: dict[str, Callable[..., str]] = {"interval": interval_text, "duration": duration}
    content = _content(run)
    script = "explorer.js" if content["explorer"] else ""
    text = page.render("workflows.report", "report.html.j2", content, filters=filters, script=script)
    write_atomically(run.path / "report.html", text)
    summary = summary_of(run)
    write_atomically(run.path / "report.json", as_json(summary))
    write_atomically(run.path / "report.md", as_markdown(summary))


def _content(run: RunDirectory) -> dict[str, Any]:
    info, stages = run.info(), run.stages()
    comparison = _comparison(run)
    approaches = comparison.approaches if comparison else _evaluated(run)
    uploaded, trained = _given(run, "dataset", Uploaded), _given(run, "customization", Trained)
    compared = _given(run, "comparison", Compared)
    results = results_of(run)
    items = {approach.name: run.load_samples(approach.name, ItemResult) for approach in approaches}
    return {
        "info": info,
        "product": TITLES[info.outputs.get("product", "microservices")],
        "stages": stages,
        "total_seconds": sum(stage.seconds for stage in stages),
        "approaches": approaches,
        "metrics": [metric for metric in METRICS if any(metric.key in a.scores for a in approaches)],
        "best": {m.key: best_in(approaches, m.key) for m in METRICS},
        "gate": compared.gate if compared else None,
        "steps": _steps(comparison),
        "labels": LABELS,
        "words": _WORDS,
        "by_key": BY_KEY,
        "primary": PRIMARY,
        "legend": [(approach.label, style) for style, approach in enumerate(approaches)],
        "chart": draw_scores(approaches),
        "curves": draw_losses(trained) if trained else "",
        "trained": trained,
        "trials": sorted(results, key=lambda one: (one.ended != "completed", one.loss or 0.0, one.number)),
        "trial_curves": draw_trials(results),
        "facts": uploaded.facts if uploaded else None,
        "max_tokens": uploaded.max_tokens if uploaded else None,
        "explorer": _explorer(approaches, items, compared.gate if compared else None),
        "lineage": _lineage(run, uploaded, trained, approaches),
        "command": command_of(info),
        "mlflow": compared.mlflow if compared else None,
        "load": _given(run, "load_test", LoadTested),
        "benchmarks": comparison.benchmarks if comparison else [],
        "reduced": list_caveats(info, approaches, comparison.benchmarks if comparison else []),
        "failed": next((stage for stage in stages if stage.status in {"failed", "interrupted"}), None),
    }


def _explorer(
    approaches: Sequence[Approach], items: Mapping[str, Sequence[ItemResult]], gate: GateReport | None
) -> dict[str, Any] | None:
    """Show every item, its gain by the gate's first metric between the two that the gate speaks of."""
    if gate is None:
        return explorer_of(approaches, items, None)
    return explorer_of(approaches, items, (gate.baseline, gate.shown.name), gate.shown.leading.metric or PRIMARY)


def _comparison(run: RunDirectory) -> Comparison | None:
    return read_comparison(run.path / "comparison.json") if run.stage("comparison").status == "done" else None


def _evaluated(run: RunDirectory) -> list[Approach]:
    return [approach for name in LABELS if (approach := _given(run, name, Approach)) is not None]


def _given(run: RunDirectory, stage: str, kind: type[M]) -> M | None:
    record = run.stage(stage)
    return kind.model_validate(record.outputs) if record.status == "done" else None


def draw_losses(trained: Trained) -> Markup:
    """Draw training and validation loss over optimizer steps; empty markup without points."""
    curves = [("training", 0, False, trained.train_loss), ("validation", 2, True, trained.val_loss)]
    return lines(
        "Training and validation loss over optimizer steps",
        [
            Series(label, style, sorted((float(point.step), point.value) for point in points), marks)
            for label, style, marks, points in curves
        ],
        x_label="step",
        y_label="loss",
        end_labels=True,
    )


def draw_trials(results: Sequence[TrialResult]) -> Markup:
    """Draw the validation losses of the trials of a sweep, the winner's in colour; empty markup without points."""
    winner = winner_of(results)
    return lines(
        "Validation loss of each trial over optimizer steps",
        [
            Series(
                f"{one.number}", 2 if one == winner else 0, [(float(p.step), p.value) for p in one.val_loss], marks=True
            )
            for one in results
        ],
        x_label="step",
        y_label="validation loss",
        end_labels=True,
    )


def best_in(approaches: Sequence[Approach], key: str) -> str | None:
    """Name the approach with the best mean of a metric; None where there is no single one."""
    means = {approach.name: approach.scores[key].mean for approach in approaches if key in approach.scores}
    best = [name for name, mean in means.items() if mean == max(means.values())]
    return best[0] if len(means) > 1 and len(best) == 1 else None


def draw_scores(approaches: Sequence[Approach]) -> Markup:
    """Draw the mean of each metric with its interval, as a fraction of the metric's range."""
    groups = []
    for metric in METRICS:
        group = []
        for style, approach in enumerate(approaches):
            score = approach.scores.get(metric.key)
            if score is None:
                continue
            low, high = (
                None if end is None else (end - metric.bottom) / (metric.top - metric.bottom)
                for end in (score.low, score.high)
            )
            mean = (score.mean - metric.bottom) / (metric.top - metric.bottom)
            text = f"{score.mean:.3f}" if metric.top == 1 else f"{score.mean:.2f} of {metric.top:g}"
            group.append(Bar(style, mean, low, high, text))
        if group:
            groups.append(Group(metric.label, tuple(group)))
    title = "Scores of the approaches with 95 % intervals: " + ", ".join(approach.label for approach in approaches)
    return bars(title, groups, x_max=1.0)


def _steps(comparison: Comparison | None) -> list[dict[str, Any]]:
    """Neighbours on the ladder, and their differences by metric."""
    if comparison is None:
        return []
    names = [approach.name for approach in comparison.approaches]
    return [
        {
            "title": f"{LABELS[worse]} → {LABELS[better]}",
            "differences": {d.metric: d for d in comparison.differences if (d.worse, d.better) == (worse, better)},
        }
        for worse, better in itertools.pairwise(names)
    ]


def _lineage(
    run: RunDirectory, uploaded: Uploaded | None, trained: Trained | None, approaches: Sequence[Approach]
) -> list[tuple[str, str]]:
    """Name what the tuned model and its scores were made from."""
    rows: list[tuple[str, str]] = []
    if uploaded is not None:
        rows.append(("Dataset", uploaded.repo))
        rows += [(f"SHA-256 of {name}", split.sha256) for name, split in uploaded.facts.splits.items()]
    if trained is not None:
        rows += [("Training job", trained.job_id), ("Hyperparameters", trained.how), ("Adapter", trained.model)]
    rows += [(f"Evaluation job, {approach.label}", approach.job_id) for approach in approaches]
    rows.append(("Identity of the run", run.info().identity))
    return rows


def duration(seconds: float) -> str:
    """`42.0 s`, `3 min 5 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
