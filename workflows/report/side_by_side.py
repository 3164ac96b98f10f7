"""Two runs side by side, as one offline HTML file: what was done differently, scores, differences, every item.

The last approach of each is compared, on the items that both answered. Refuses runs without results, and two that have
no test item in common.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nemostack.report import page
from workflows.engine.run_directory import RunDirectory
from workflows.gate.evidence import Evidence
from workflows.report.explorer import explorer_of
from workflows.report.render import best_in, draw_scores, duration
from workflows.report.reproduce import command_of
from workflows.results.compare_runs import load_evidence
from workflows.results.comparison import compare, interval_text, same_questions
from workflows.results.metrics import BY_KEY, METRICS, PRIMARY

_NOT_ASKED = {"deadlines", "hyperparameters", "experiment"}  # the job's own hyperparameters are shown


@dataclass(frozen=True)
class _Side:
    """One of the two."""

    letter: str
    run: RunDirectory
    evidence: Evidence
    label: str

    def facts(self) -> dict[str, str]:
        """Say what was asked and what it was made of, by name."""
        info, trained = self.run.info(), self.run.stage("customization").outputs
        facts = self.run.stage("dataset").outputs.get("facts") or {}
        asked = info.settings.model_dump(mode="json", exclude=_NOT_ASKED)
        values = {
            "base model": info.outputs.get("base_model"),
            "target": info.outputs.get("target"),
            "data, SHA-256": str(facts.get("sha256", ""))[:12],
            **{name.replace("_", " "): value for name, value in (trained.get("hyperparameters") or {}).items()},
            **{name.replace("_", " "): value for name, value in asked.items()},
            "commit": info.git_commit,
        }
        return {name: "-" if value in (None, "", [], {}) else f"{value}" for name, value in values.items()}


def draw_side_by_side(first: Path, second: Path) -> str:
    """Render the page of runs A and B. BadInput when they cannot be compared."""
    evidence, seed = load_evidence([first, second])
    sides = [
        _Side(letter, RunDirectory.open(path), one, one.approach.label)
        for letter, path, one in zip(("A", "B"), (first, second), evidence, strict=True)
    ]
    approaches = [
        side.evidence.approach.model_copy(update={"name": side.letter, "label": side.letter}) for side in sides
    ]
    items = {side.letter: side.evidence.items for side in sides}
    comparison = compare(approaches, items, seed=seed)
    shared = same_questions(items["A"], items["B"])
    kept = {
        letter: [pair[place] for pair in shared] if shared else items[letter] for place, letter in enumerate(("A", "B"))
    }
    differences = {one.metric: one for one in comparison.differences}
    facts = [side.facts() for side in sides]
    content: dict[str, Any] = {
        "sides": sides,
        "commands": [command_of(side.run.info()) for side in sides],
        "approaches": approaches,
        "metrics": [metric for metric in METRICS if any(metric.key in one.scores for one in approaches)],
        "best": {metric.key: best_in(approaches, metric.key) for metric in METRICS},
        "leading": differences.get(PRIMARY),
        "primary": BY_KEY[PRIMARY],
        "steps": [{"title": "A → B", "differences": differences}],
        "chart": draw_scores(approaches),
        "legend": [(one.label, style) for style, one in enumerate(approaches)],
        "different": [
            (name, *values)
            for name in dict.fromkeys([*facts[0], *facts[1]])
            if len(set(values := [one.get(name, "-") for one in facts])) > 1
        ],
        "shared": len(shared),
        "seed": seed,
        "explorer": explorer_of(approaches, kept, ("A", "B")),
    }
    filters: dict[str, Callable[..., str]] = {"interval": interval_text, "duration": duration}
    script = "explorer.js" if content["explorer"] else ""
    return page.render("workflows.report", "side_by_side.html.j2", content, filters=filters, script=script)
