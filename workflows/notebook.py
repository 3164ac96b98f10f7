"""What the notebooks stand on: a stack, its clients, runs, and charts that a notebook shows.

The stack is the one of NEMOSTACK_OUTPUTS, else of NEMOSTACK_STACK (default `local`). Everything else is what the
command line does too: a run started here is resumed, compared and cleaned up there, and the other way round.
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup
from rich.console import Console

from nemostack.clients import Clients
from nemostack.clients.polling import Pace
from nemostack.clients.serving import wait_until_served
from nemostack.console import Progress
from nemostack.outputs import StackOutputs
from nemostack.report.page import stylesheet
from nemostack.stack_outputs import resolve
from workflows.engine.launch import Launch, clean_up, execute, prepare
from workflows.engine.run_directory import RunDirectory
from workflows.settings import Deadlines, Kind, Settings
from workflows.stages.cleanup import Cleaned, require_same_stack


@dataclass(frozen=True)
class Lesson:
    """A stack, and the folder of the runs that a notebook makes on it."""

    outputs: StackOutputs
    clients: Clients
    runs: Path = field(default_factory=lambda: Path(os.environ.get("NEMOSTACK_RUNS", "runs")))

    def run(self, kind: Kind, **asked: Any) -> RunDirectory:
        """Do what `nemostack run`, `evaluate` or `customize` does with these settings; an unfinished run goes on."""
        launch = prepare(self.runs, Settings(kind=kind, **asked), self.outputs, new=False)
        with _progress() as progress:
            execute(launch, self.clients, progress)
        return launch.run

    def wait_until_served(self, model: str) -> None:
        """Wait until NIM has loaded an adapter; DeadlineExceeded or NIM's own reason if it does not."""
        deadlines = Deadlines()
        with _progress() as progress:
            wait_until_served(
                self.clients.nim,
                model,
                deadline_s=deadlines.adapter,
                outage_s=deadlines.outage,
                pace=Pace(),
                tell=progress.update,
            )

    def clean(self, run: RunDirectory) -> Cleaned:
        """Take away what a run left on the stack, adapters included, as `nemostack cleanup` does."""
        info = run.info()
        require_same_stack(info, self.outputs)
        settings = info.settings.model_copy(update={"keep_adapter": False, "kind": "run"})
        launch = Launch(run=run, resumed=True, settings=settings, outputs=self.outputs)
        with _progress() as progress:
            return clean_up(launch, self.clients, progress)


class Chart:
    """An SVG that a notebook shows, with its colours within."""

    def __init__(self, svg: Markup) -> None:
        head, _, rest = str(svg).partition(">")
        self._svg = f'{head} xmlns="http://www.w3.org/2000/svg"><style>{stylesheet()}</style>{rest}'

    def _repr_svg_(self) -> str:
        return self._svg


def connect() -> Lesson:
    """Find the stack. TargetError where there is none."""
    outputs = resolve(os.environ.get("NEMOSTACK_STACK", "local"), None, {})
    return Lesson(outputs, Clients(outputs))


def _progress() -> Progress:
    return Progress(Console(file=sys.stdout, width=110, force_jupyter=False, force_terminal=False))
