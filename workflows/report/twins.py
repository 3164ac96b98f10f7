"""report.json and report.md: what the HTML report says, for programs and pull requests; also `runs show`."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from nemostack.product import TITLES
from workflows.engine.run_directory import RunDirectory
from workflows.gate.verdict import GateReport
from workflows.report.reproduce import command_of
from workflows.results.approach import Approach
from workflows.results.comparison import interval_text
from workflows.results.metrics import METRICS
from workflows.stages.evaluation import LABELS
from workflows.sweep.trial import results_of


def summary_of(run: RunDirectory) -> dict[str, Any]:
    """Gather what is known of a run, finished or not."""
    info, stages = run.info(), {stage.name: stage for stage in run.stages()}
    approaches = [stages[name].outputs for name in LABELS if name in stages and stages[name].status == "done"]
    compared = stages.get("comparison")
    gate = compared.outputs.get("gate") if compared is not None and compared.status == "done" else None
    dataset = stages["dataset"].outputs if "dataset" in stages else {}
    trained = stages["customization"].outputs if "customization" in stages else {}
    return {
        "run": info.id,
        "created_at": info.created_at.isoformat(),
        "finished_at": info.finished_at.isoformat() if info.finished_at else None,
        "base_model": info.outputs.get("base_model"),
        "target": info.outputs.get("target"),
        "product": info.outputs.get("product", "microservices"),
        "gate": gate,
        "approaches": approaches,
        "trials": [trial.model_dump(mode="json") for trial in results_of(run)],
        "stages": [
            {"name": one.name, "title": one.title, "status": one.status, "seconds": one.seconds, "reason": one.reason}
            for one in stages.values()
        ],
        "lineage": {
            "dataset": dataset.get("repo"),
            "sha256": {
                name: split.get("sha256") for name, split in ((dataset.get("facts") or {}).get("splits") or {}).items()
            },
            "config": info.outputs.get("customization_config"),
            "training_job": trained.get("job_id"),
            "model": trained.get("model"),
            "hyperparameters": trained.get("hyperparameters"),
            "evaluation_jobs": {approach["name"]: approach["job_id"] for approach in approaches},
            "commit": info.git_commit,
            "versions": info.versions,
        },
        "command": command_of(info),
    }


def as_json(summary: dict[str, Any]) -> str:
    """For programs."""
    return json.dumps(summary, indent=2, ensure_ascii=False) + "\n"


def as_markdown(summary: dict[str, Any]) -> str:
    """For people who read it where HTML is not shown."""
    gate = None if summary["gate"] is None else GateReport.model_validate(summary["gate"])
    approaches = [Approach.model_validate(one) for one in summary["approaches"]]
    state = "" if summary["finished_at"] else " (not finished)"
    place = f"on target {summary['target']}, {TITLES[summary['product']]}"
    parts = [f"# Model customization {summary['run']}{state}\n\n{summary['base_model']} {place}\n"]
    if gate is not None:
        parts.append(f"**{gate.outcome}**: {gate.reason}.\n")
        checks = [(c.verdict, c.name, c.asked, c.text) for c in gate.shown.checks]
        parts.append(_table(("", "Check", "Asked", "Found"), checks))
    if approaches:
        metrics = [m for m in METRICS if any(m.key in one.scores for one in approaches)]
        scores = [
            (m.label, *(interval_text(one.scores[m.key]) if m.key in one.scores else "" for one in approaches))
            for m in metrics
        ]
        parts.append("## Scores\n\n" + _table(("Metric", *(one.label for one in approaches)), scores))
    if summary["trials"]:
        trials = [
            (
                *(str(t["number"]), str(t["choice"]["adapter_dim"]), f"{t['choice']['learning_rate']:.3g}"),
                *(str(t["choice"]["epochs"]), "" if t["loss"] is None else f"{t['loss']:.4f}", t["ended"]),
            )
            for t in summary["trials"]
        ]
        names = ("Trial", "Rank", "Learning rate", "Epochs", "Validation loss", "Result")
        parts.append("## Sweep\n\n" + _table(names, trials))
    rows = [(one["title"], one["status"], f"{one['seconds']:.1f} s", one["reason"]) for one in summary["stages"]]
    parts.append("## Stages\n\n" + _table(("Stage", "Result", "Time", ""), rows))
    parts.append(_lineage(summary["lineage"]))
    parts.append(f"Made again by `{summary['command']}`\n")
    return "\n".join(parts)


def _lineage(lineage: dict[str, Any]) -> str:
    rows = [(f"SHA-256 of {name}", digest) for name, digest in lineage["sha256"].items()]
    rows += [
        (name.replace("_", " "), str(lineage[name]))
        for name in ("dataset", "config", "training_job", "model", "hyperparameters", "evaluation_jobs", "commit")
        if lineage[name]
    ]
    return "## Lineage\n\n" + _table(("", ""), rows)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    """Keep a cell in its cell: no bars, no lines, no markup of a model's words."""
    return " ".join(str(text).split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


FORMATS: dict[str, Callable[[dict[str, Any]], str]] = {"markdown": as_markdown, "json": as_json}
