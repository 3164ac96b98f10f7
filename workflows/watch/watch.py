"""Watching the traffic of an alias for a while: a sample of it, look by look, against the run that its model came from.

Each look takes the questions that came since the last one, at least LEAST of them, so that looks are independent. What
it finds goes to the terminal and to MLflow as numbers; texts are kept by nobody: the NIM's sample is dropped when the
watch ends, Ctrl-C and SIGTERM included. Refuses runs whose dataset has changed since, and, where nobody samples what
users ask, to watch without a judge.
"""

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from nemostack.aliases import Sampled
from nemostack.clients import Clients
from nemostack.errors import BadInput, Drifted, TooFew
from nemostack.models import Model
from nemostack.tracking import RUN_TAG
from workflows.data import dataset
from workflows.engine.run_directory import RunDirectory
from workflows.results.approach import ItemResult
from workflows.results.mlflow_export import Tracker
from workflows.stages.upload import Uploaded
from workflows.watch.drift import LEAST, Questions, Shift
from workflows.watch.quality import Rate, loss
from workflows.watch.traffic import Probes, Traffic

if TYPE_CHECKING:
    from mlflow import MlflowClient

_JUDGED = 50
"""Answers that are judged at a look, and of the evaluation to compare with."""
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How long and how closely. `seconds`, `every`: of the whole, and between two readings."""

    seconds: float
    every: float
    least: int = LEAST


class Look(Model):
    """What one look has found."""

    questions: int
    shifts: list[Shift]

    @property
    def drifted(self) -> list[Shift]:
        """What has changed."""
        return [shift for shift in self.shifts if shift.drifted]


@dataclass
class Watch:
    """The watch of one alias. `note` takes a look with its number.

    `questions` is None where those of users are not seen, `rate` where answers are not judged.
    """

    name: str
    traffic: Traffic
    questions: Questions | None
    answered: Sequence[ItemResult]
    plan: Plan
    rate: Rate | None
    note: Callable[[int, Look], None]
    tell: Tell
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _before: list[float] | None = None

    def run(self) -> list[Look]:
        """Watch to the end. Drifted when a look has found a change, TooFew when there was nothing to look at."""
        until = self.clock() + self.plan.seconds
        looks: list[Look] = []
        waiting: list[Sampled] = []
        self.traffic.begin()
        try:
            while (left := until - self.clock()) > 0:
                self.sleep(min(self.plan.every, left))
                waiting += self.traffic.fresh()
                if len(waiting) >= self.plan.least:
                    look = self._look(waiting, len(looks) + 1)
                    looks += [look] if look.shifts else []
                    waiting = []
        finally:
            self.traffic.end()
        self._conclude(looks, len(waiting))
        return looks

    def _look(self, sampled: Sequence[Sampled], number: int) -> Look:
        shifts = self.questions.shifts([one.prompt for one in sampled]) if self.questions is not None else []
        if self.rate is not None:
            shifts += self._quality(self.rate, [(one.prompt, one.answer) for one in sampled])
        look = Look(questions=len(sampled), shifts=shifts)
        for shift in shifts:
            self.tell(f"look {number}, {len(sampled)} questions: {'DRIFT ' if shift.drifted else ''}{shift}")
        if shifts:
            self.note(number, look)
        return look

    def _quality(self, rate: Rate, answers: Sequence[tuple[str, str]]) -> list[Shift]:
        if self._before is None:
            self._before = _rated(rate, [(item.prompt, item.output) for item in self.answered])
        now = _rated(rate, answers)
        return [loss(self._before, now)] if min(len(self._before), len(now)) >= LEAST // 2 else []

    def _conclude(self, looks: Sequence[Look], left: int) -> None:
        if not looks and self.questions is None:
            raise TooFew(
                f"no look at {self.name} had {LEAST // 2} answers that the judge has rated: nothing can be told; does "
                "it keep to the form that it is asked for?"
            )
        if not looks:
            raise TooFew(
                f"{left} request(s) of {self.name} were sampled, and a look needs {self.plan.least}: nothing can be "
                "told; watch longer (--for) or sample more (--share)"
            )
        names = sorted({shift.name for look in looks for shift in look.drifted})
        if names:
            count = sum(bool(look.drifted) for look in looks)
            raise Drifted(
                f"{self.name} has drifted in {count} of {len(looks)} look(s): {', '.join(names)}; look at what users "
                "ask, train anew with such questions, or `nemostack rollback`"
            )


def _rated(rate: Rate, answers: Sequence[tuple[str, str]]) -> list[float]:
    """Ratings of at most `_JUDGED` of the answers, drawn by lot; those that the judge did not give are left out."""
    chosen = list(answers)
    random.Random(0).shuffle(chosen)
    found = [rate(question, answer) for question, answer in chosen[:_JUDGED]]
    return [one for one in found if one is not None]


def questions_of(run: RunDirectory, clients: Clients) -> Questions:
    """Read the dataset that a run was trained on. BadInput when it is not the same any more, or too small."""
    settings, record = run.info().settings, run.stage("dataset")
    if record.status != "done":
        raise BadInput(f"run {run.path} has no dataset: its dataset stage is {record.status}")
    data, facts = dataset.load(settings), Uploaded.model_validate(record.outputs).facts
    if facts.sha256 and data.facts.sha256 != facts.sha256:
        raise BadInput(
            f"dataset {settings.dataset} has changed since run {run.path}: watch with the run of its new state"
        )
    held_out = [row.prompt for row in (*data.validation, *data.test)]
    if len(held_out) < LEAST:
        raise BadInput(
            f"dataset {settings.dataset} has {len(held_out)} held-out questions (validation and test): at least "
            f"{LEAST} are needed to compare with"
        )
    model = clients.outputs.base_model
    embed = partial(clients.nim.embed, model)
    return Questions([row.prompt for row in data.train], held_out, embed, f"embeddings of {model}")


def probes_of(run: RunDirectory, clients: Clients, alias: str, answered: Sequence[ItemResult]) -> Probes:
    """Ask the questions of a run's evaluation anew. BadInput when they are too few for a look."""
    if len(answered) < LEAST:
        raise BadInput(f"run {run.path} was evaluated on {len(answered)} questions: a look needs {LEAST}")
    longest = Uploaded.model_validate(run.stage("dataset").outputs).max_tokens

    def ask(model: str, prompt: str) -> str:
        return clients.front.chat(model, prompt, max_tokens=longest)

    return Probes(clients.aliases, alias, [item.prompt for item in answered], ask)


def answered_of(run: RunDirectory) -> list[ItemResult]:
    """Return the tuned model's answers in the evaluation of its run."""
    return run.load_samples("lora", ItemResult) if run.stage("lora").status == "done" else []


class Notes:
    """The watch in MLflow: one run, a step a look, numbers alone. `problem` says what went wrong; it ends nothing."""

    def __init__(self, clients: Clients, experiment: str, run: RunDirectory, alias: str) -> None:
        self._tracker = Tracker(clients.outputs.mlflow_url, experiment, run.path.name)
        self._uri, self._run, self._alias = clients.outputs.mlflow_url, run, alias
        self._opened: tuple[MlflowClient, str] | None = None
        self.problem: str | None = None

    def add(self, number: int, look: Look) -> None:
        """Write a look down."""
        if self.problem:
            return
        if not self._uri:
            self.problem = "this stack has no MLflow: what was seen stands here alone"
            return
        try:
            client, run_id = self._open()
            client.log_metric(run_id, "questions", look.questions, step=number)
            for shift in look.shifts:
                stem = "".join(letter if letter.isalnum() else "_" for letter in shift.name.partition(" (")[0])
                for suffix, value in (("", shift.now), ("_before", shift.before), ("_p", shift.p)):
                    client.log_metric(run_id, f"{stem}{suffix}", value, step=number)
        except Exception as error:  # noqa: BLE001 - a tracking server must not end a watch
            self.problem = self._tracker.problem("logging the watch to", error)

    def close(self) -> None:
        """End the run there."""
        if self._opened is not None and not self.problem:
            with contextlib.suppress(Exception):
                self._opened[0].set_terminated(self._opened[1])

    def _open(self) -> "tuple[MlflowClient, str]":
        if self._opened is None:
            client, experiment = self._tracker.open()
            tags = {RUN_TAG: self._run.path.name, "nemostack.watch": self._alias}
            made = client.create_run(experiment, tags=tags, run_name=f"watch {self._alias}")
            self._opened = client, str(made.info.run_id)
        return self._opened
