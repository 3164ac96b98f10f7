import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tests.unit.workflows.fake_stack import FakeStack
from workflows.clients import Clients
from workflows.clients.polling import Pace
from workflows.console import Progress
from workflows.launch import Launch, execute, prepare
from workflows.run_directory import RunDirectory
from workflows.settings import Settings

FAST = Pace(first=0.001, longest=0.01)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NEMOSTACK_OUTPUTS", "NEMOSTACK_RUNS", "NEMOSTACK_JUDGE_API_KEY", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    logging.getLogger("nemostack").handlers.clear()


@pytest.fixture
def stack() -> Iterator[FakeStack]:
    running = FakeStack()
    yield running
    running.close()


def write_dataset(folder: Path, rows: dict[str, int] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (rows or {"train": 12, "validation": 4, "test": 10}).items():
        lines = [
            json.dumps({"prompt": f"{split} question {i}?", "completion": f"{split} answer {i}."}) for i in range(count)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(dataset=write_dataset(tmp_path / "My Data"), limit=8)


class Harness:
    """Runs the pipeline on the fake stack, as often as a test likes."""

    def __init__(self, stack: FakeStack, root: Path) -> None:
        self.stack, self.root = stack, root
        self.said = ""

    def prepare(self, settings: Settings, *, new: bool = False) -> Launch:
        return prepare(self.root, settings, self.stack.outputs, new=new)

    def run(self, settings: Settings, *, new: bool = False, pace: Pace = FAST) -> RunDirectory:
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


@pytest.fixture
def harness(stack: FakeStack, tmp_path: Path) -> Harness:
    (tmp_path / "runs").mkdir()
    return Harness(stack, tmp_path / "runs")
