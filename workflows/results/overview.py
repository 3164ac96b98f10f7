"""All runs of a folder at a glance, and which of their directories may go.

A directory may go when its run is finished and has left nothing on the stack: what it has left is known from nowhere
else. What cannot be read is listed as such.
"""

import json
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from nemostack.errors import BadInput, RunLocked
from nemostack.models import Model
from workflows.engine.run_directory import RunDirectory, is_load_test, now
from workflows.results.metrics import PRIMARY
from workflows.stages.cleanup import Cleaned

State = Literal["finished", "unfinished", "running", "unreadable"]


class RunRow(Model):
    """One run. `last` is the stage that an unfinished one stopped in; `kept` are adapters that it left on the stack."""

    path: Path
    state: State
    id: str = ""
    kind: str = ""
    created_at: datetime | None = None
    base_model: str = ""
    dataset: str = ""
    outcome: str = ""
    score: float | None = None
    seconds: float = 0.0
    last: str = ""
    kept: tuple[str, ...] = ()
    problem: str = ""

    @property
    def may_go(self) -> bool:
        """Whether the directory can be removed without losing track of anything."""
        return self.state == "finished" and not self.kept


def overview(root: Path) -> list[RunRow]:
    """List the runs of a folder, the newest first. Load tests, which lie there too, are none."""
    folders = [file.parent for file in root.glob("*/run.json")] if root.is_dir() else []
    found = [row_of(folder) for folder in folders if not is_load_test(folder)]
    return sorted(found, key=lambda row: (row.created_at is not None, row.created_at, row.id), reverse=True)


def row_of(path: Path) -> RunRow:
    """Look at one folder."""
    try:
        run = RunDirectory.open(path)
        info, stages = run.info(), run.stages()
        gate = run.stage("comparison").outputs.get("gate") or {}
        cleaned = run.stage("cleanup")
        kept = Cleaned.model_validate(cleaned.outputs).kept if cleaned.status == "done" else []
        state: State = "finished" if info.finished_at else "unfinished"
        if info.finished_at is None and _held(run):
            state = "running"
        stopped = next((one for one in stages if not one.settled), None)
        return RunRow(
            path=path,
            state=state,
            id=info.id,
            kind="sweep" if info.settings.sweep else info.kind,
            created_at=info.created_at,
            base_model=str(info.outputs.get("base_model", "")),
            dataset=info.settings.dataset.name,
            outcome=gate.get("outcome", ""),
            score=_score(run),
            seconds=sum(stage.seconds for stage in stages),
            last="" if stopped is None else f"{stopped.title} {stopped.status}",
            kept=tuple(kept),
        )
    except (BadInput, ValueError, KeyError, TypeError) as error:
        return RunRow(path=path, state="unreadable", id=path.name, problem=" ".join(str(error).split())[:200])


def _held(run: RunDirectory) -> bool:
    try:
        with run.locked():
            return False
    except RunLocked:
        return True


def _score(run: RunDirectory) -> float | None:
    """ROUGE-L of the last evaluation."""
    for name in ("lora", "evaluation", "in_context", "zero_shot"):
        scores: dict[str, Any] = run.stage(name).outputs.get("scores") or {}
        if PRIMARY in scores:
            return float(scores[PRIMARY]["mean"])
    return None


def removable(root: Path, *, older_than_days: float, keep: int) -> Iterator[tuple[RunRow, str]]:
    """Yield each run with the reason why it stays, or "" when its directory may go."""
    limit = now() - timedelta(days=older_than_days)
    for place, row in enumerate(overview(root)):
        if row.state == "unreadable":
            yield row, f"it cannot be read ({row.problem})"
        elif row.state == "running":
            yield row, "another process works in it"
        elif row.state == "unfinished":
            yield row, "it is not finished: `nemostack cleanup` takes away what it left on the stack"
        elif row.kept:
            yield row, f"it left {', '.join(row.kept)} on the stack: `nemostack cleanup` takes that away"
        elif place < keep:
            yield row, f"it is one of the {keep} newest"
        elif row.created_at is not None and row.created_at > limit:
            yield row, f"it is younger than {older_than_days:g} days"
        else:
            yield row, ""


def remove(row: RunRow) -> None:
    """Remove the directory of a run that may go. BadInput when it may not, or cannot be removed."""
    if not row.may_go:
        raise BadInput(f"{row.path} stays: it is {row.state} or has left something on the stack")
    with RunDirectory(row.path).locked():
        try:
            shutil.rmtree(row.path)
        except OSError as error:
            raise BadInput(f"removing {row.path} failed: {error.strerror}") from error


def as_json(rows: list[RunRow]) -> str:
    """For programs."""
    return json.dumps([row.model_dump(mode="json") for row in rows], indent=2)
