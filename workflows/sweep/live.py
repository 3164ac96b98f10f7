"""A sweep in MLflow while it runs: a parent run, a child for each trial, their losses as they come.

A resumed sweep writes on in the same runs. Trouble with MLflow is said once and never ends a sweep: what is known of a
trial is in its record.
"""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from nemostack.clients.customizer import LossPoint
from nemostack.tracking import RUN_TAG
from workflows.results.mlflow_export import APPROACH_TAG, Tracker
from workflows.sweep.space import Choice
from workflows.sweep.trial import TrialResult

_ENDED = {"completed": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


class LiveCurves:
    """Open while the sweep runs; `problem` says what MLflow did not take."""

    def __init__(self, uri: str, experiment: str, run_id: str) -> None:
        self.problem: str | None = None
        self._tracker = Tracker(uri, experiment, run_id)
        self._run_id = run_id
        self._client: Any = None
        self._experiment = self._parent = ""
        self._trials: dict[int, str] = {}
        self._written: dict[tuple[int, str], int] = {}

    def __enter__(self) -> Self:
        self._try(self._open)
        return self

    def _open(self) -> None:
        self._client, self._experiment = self._tracker.open()
        self._parent = self._find("sweep", f"{self._run_id} sweep", {})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._try(lambda: self._client.set_terminated(self._parent, "FINISHED" if kind is None else "KILLED"))

    def start(self, number: int, choice: Choice) -> None:
        """Open the run of a trial, or find that of an interrupted one."""

        def start() -> None:
            run = self._find(f"trial {number}", f"trial {number}", {"mlflow.parentRunId": self._parent})
            self._trials[number] = run
            known = self._client.get_run(run).data.params
            for key, value in choice.model_dump().items():
                if key not in known:
                    self._client.log_param(run, key, value)
            for name in ("train_loss", "val_loss"):
                self._written[number, name] = len(self._client.get_metric_history(run, name))

        self._try(start)

    def report(self, number: int, train_loss: Sequence[LossPoint], val_loss: Sequence[LossPoint]) -> None:
        """Write the points that are new."""

        def report() -> None:
            for name, points in (("train_loss", train_loss), ("val_loss", val_loss)):
                for point in points[self._written[number, name] :]:
                    self._client.log_metric(self._trials[number], name, point.value, step=point.step)
                    self._written[number, name] += 1

        self._try(report)

    def end(self, number: int, result: TrialResult) -> None:
        """Close the run of a trial."""

        def end() -> None:
            run = self._trials[number]
            if result.loss is not None:
                self._client.log_metric(run, "best_val_loss", result.loss)
            if result.reason:
                self._client.set_tag(run, "nemostack.reason", result.reason[:500])
            self._client.set_terminated(run, _ENDED[result.ended])

        self._try(end)

    def choose(self, winner: TrialResult) -> None:
        """Write down who won."""

        def choose() -> None:
            self._client.log_metric(self._parent, "best_val_loss", winner.loss)
            self._client.set_tag(self._parent, "nemostack.winner", f"trial {winner.number}")

        self._try(choose)

    def _find(self, kind: str, name: str, tags: dict[str, str]) -> str:
        query = f"tags.`{RUN_TAG}` = '{self._run_id}' AND tags.`{APPROACH_TAG}` = '{kind}'"
        for run in self._client.search_runs([self._experiment], query):
            self._client.update_run(run.info.run_id, status="RUNNING")
            return str(run.info.run_id)
        own = {RUN_TAG: self._run_id, APPROACH_TAG: kind, **tags}
        return str(self._client.create_run(self._experiment, tags=own, run_name=name).info.run_id)

    def _try(self, step: Callable[[], None]) -> None:
        """Let the first trouble be the last: MLflow is asked no more, and the sweep goes on."""
        if self.problem is not None:
            return
        try:
            step()
        except Exception as error:  # noqa: BLE001 - a sweep must survive whatever a tracking server does
            self.problem = self._tracker.problem("logging the sweep to", error)
