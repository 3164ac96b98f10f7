"""A pipeline on the fake stack, and a small dataset for it: what the tests of several packages run."""

import json
from pathlib import Path

from rich.console import Console

from nemostack.clients import Clients
from nemostack.clients.polling import Pace
from nemostack.console import Progress
from tests.unit.fake_stack import FakeStack
from workflows.engine.launch import Launch, execute, prepare
from workflows.engine.run_directory import RunDirectory
from workflows.settings import Settings

FAST = Pace(first=0.001, longest=0.01)


def write_dataset(folder: Path, rows: dict[str, int] | None = None) -> Path:
    """Write `rows` rows into the file of each split, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (rows or {"train": 12, "validation": 4, "test": 10}).items():
        lines = [
            json.dumps({"prompt": f"{split} question {i}?", "completion": f"{split} answer {i}."}) for i in range(count)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


class Harness:
    """Runs the pipeline on the fake stack, as often as a test likes."""

    def __init__(self, stack: FakeStack, root: Path) -> None:
        self.stack, self.root = stack, root
        self.said = ""

    def prepare(self, settings: Settings, *, new: bool = False) -> Launch:
        """Open the directory of the run."""
        return prepare(self.root, settings, self.stack.outputs, new=new)

    def run(self, settings: Settings, *, new: bool = False, pace: Pace = FAST) -> RunDirectory:
        """Run the pipeline to its end, and keep its progress in `said`."""
        launch = self.prepare(settings, new=new)
        with (self.root / "said.txt").open("w+") as file:
            progress = Progress(Console(file=file, width=300))
            try:
                with Clients(self.stack.outputs, max_retries=0) as clients:
                    execute(launch, clients, progress, pace)
            finally:
                file.seek(0)
                self.said = file.read()
        return launch.run
