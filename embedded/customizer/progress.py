"""The reports of a worker to its service: one JSON object per line, appended to a file, read without locks.

A line counts once its newline is written, so a reader never sees half an event. After a restart the worker says from
which step it goes on; points measured beyond that step are then forgotten, because they will be measured again.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedded.common.names import now

Point = dict[str, Any]


class Reporter:
    """The worker's end: every call appends one event."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.warnings: list[str] = []

    def _append(self, event: str, **values: Any) -> None:
        line = json.dumps({"event": event, "at": now(), **values}) + "\n"
        os.write(self._file, line.encode())

    def log(self, message: str, detail: str | None = None) -> None:
        """Add a line to `status_logs`, also printed to the worker's log."""
        print(message if detail is None else f"{message}: {detail}", flush=True)
        self._append("log", message=message, detail=detail)

    def warn(self, message: str, explanation: str | None = None) -> None:
        """Add a warning that the job will show."""
        print(f"warning: {message}", flush=True)
        self.warnings.append(message)
        self._append("warning", message=message, explanation=explanation)

    def plan(self, steps_per_epoch: int, total_steps: int, resumed_at: int) -> None:
        """How long training will be; `resumed_at` steps are done already."""
        self._append("plan", steps_per_epoch=steps_per_epoch, total_steps=total_steps, resumed_at=resumed_at)

    def step(self, steps_completed: int) -> None:
        """So many optimizer steps are done."""
        self._append("step", steps=steps_completed)

    def train_loss(
        self, step: int, value: float, *, learning_rate: float | None = None, gradient_norm: float | None = None
    ) -> None:
        """Mean loss of the steps since the last report; `step` counts from 0. The rest is that of the last step."""
        self._append("train_loss", step=step, value=value, learning_rate=learning_rate, gradient_norm=gradient_norm)

    def val_loss(self, step: int, value: float) -> None:
        """Loss on the validation rows after step `step`, which counts from 0."""
        self._append("val_loss", step=step, value=value)

    def finished(self, best_step: int) -> None:
        """Training is over; the checkpoint after step `best_step` (from 0) is the output."""
        self._append("finished", best_step=best_step)

    def failed(self, error: dict[str, Any]) -> None:
        """Why the job cannot go on, in the shape of `JobLogs.error`."""
        self._append("failed", error=error)


@dataclass
class Summary:
    """All that a worker reported so far."""

    steps_per_epoch: int | None = None
    total_steps: int | None = None
    steps_completed: int = 0
    best_step: int | None = None
    train_loss: list[Point] = field(default_factory=list)
    val_loss: list[Point] = field(default_factory=list)
    logs: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    updated_at: str | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None

    @property
    def epochs_completed(self) -> int:
        """Whole passes over the training rows."""
        return self.steps_completed // self.steps_per_epoch if self.steps_per_epoch else 0

    def best(self) -> tuple[Point | None, Point | None]:
        """(train, val) loss at the best validation so far."""
        val = min(self.val_loss, key=lambda point: float(point["value"]), default=None)
        if self.best_step is not None:
            val = next((p for p in self.val_loss if p["step"] == self.best_step), val)
        if val is None:
            return None, None
        return next((p for p in reversed(self.train_loss) if p["step"] <= val["step"]), None), val


def summarize(path: Path) -> Summary:
    """Read what has been reported; an absent file means nothing yet."""
    summary = Summary()
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return summary
    for line in text.split(b"\n")[:-1]:
        _apply(summary, json.loads(line))
    return summary


def _apply(summary: Summary, event: dict[str, Any]) -> None:
    kind, at = event["event"], event["at"]
    summary.updated_at = at
    if kind in {"train_loss", "val_loss"}:
        points = summary.train_loss if kind == "train_loss" else summary.val_loss
        points.append({"step": event["step"], "value": event["value"], "timestamp": at})
        if kind == "train_loss":
            summary.learning_rate, summary.gradient_norm = event["learning_rate"], event["gradient_norm"]
    elif kind == "step":
        summary.steps_completed = event["steps"]
    elif kind == "log":
        summary.logs.append({"updated_at": at, "message": event["message"], "detail": event["detail"]})
    elif kind == "warning":
        warning = {"message": event["message"], "explanation": event["explanation"]}
        if warning not in summary.warnings:  # a resumed job says it again
            summary.warnings.append(warning)
    elif kind == "plan":
        summary.steps_per_epoch, summary.total_steps = event["steps_per_epoch"], event["total_steps"]
        summary.steps_completed = event["resumed_at"]
        summary.train_loss = [p for p in summary.train_loss if p["step"] < event["resumed_at"]]
        summary.val_loss = [p for p in summary.val_loss if p["step"] < event["resumed_at"]]
    elif kind == "finished":
        summary.best_step = event["best_step"]
    elif kind == "failed":
        summary.error = event["error"]
