"""What a notebook stands on: a stack, its clients, and the runs that are made on it.

The stack is that of NEMOSTACK_OUTPUTS, else the one named in NEMOSTACK_STACK (default: local). All else is what the
command line does: a run started here can be resumed, compared and cleaned up there, and the other way round.
Refuses stacks of another product line than the microservices.
"""

import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from nemostack.clients import Clients
from nemostack.clients.polling import Pace
from nemostack.clients.serving import wait_until_served
from nemostack.console import Progress
from nemostack.outputs import StackOutputs
from nemostack.product import require_microservices
from nemostack.stack_outputs import resolve
from workflows.engine.launch import Launch, clean_up, execute, prepare
from workflows.engine.run_directory import RunDirectory
from workflows.settings import Deadlines, Kind, Settings
from workflows.stages.cleanup import Cleaned, require_same_stack

warnings.filterwarnings("ignore", message="IProgress not found")  # of tqdm, which would like to draw bars in a notebook


@dataclass(frozen=True)
class Lesson:
    """A stack, and the folder of the runs that a notebook makes on it."""

    outputs: StackOutputs
    clients: Clients
    runs: Path

    def run(self, kind: Kind, **settings: Any) -> RunDirectory:
        """Do what `nemostack run`, `evaluate` or `customize` does; an unfinished run of the same settings goes on."""
        launch = prepare(self.runs, Settings(kind=kind, **settings), self.outputs, new=False)
        with _progress() as progress:
            execute(launch, self.clients, progress)
        return launch.run

    def wait_until_served(self, model: str) -> None:
        """Wait until NIM has loaded an adapter. DeadlineExceeded or NIM's own reason when it does not."""
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
        with _progress() as progress:
            return clean_up(Launch(run, resumed=True, settings=settings, outputs=self.outputs), self.clients, progress)


def connect() -> Lesson:
    """Look the stack up. TargetError where there is none."""
    outputs = resolve(os.environ.get("NEMOSTACK_STACK", "local"), None, {})
    require_microservices(outputs, "this notebook")
    return Lesson(outputs, Clients(outputs), Path(os.environ.get("NEMOSTACK_RUNS", "runs")))


def _progress() -> Progress:
    return Progress(Console(file=sys.stdout, width=110, force_jupyter=False, force_terminal=False))
