"""`runs/<UTC time>-<digest>/`: all that is known of a run, on disk at every moment.

    run.json               what was asked, of which services, with which versions
    stages/<name>.json     status, notes (e.g. the id of a started job) and outputs of a stage
    trials/stages/*.json   the same of each trial of a sweep
    samples/<name>.jsonl   the items of an evaluation, their answers and scores
    comparison.json/.csv   gate.json   report.html   run.log

Files are replaced atomically, so a killed process leaves the old or the new one. An exclusive lock keeps a second
process out. Refuses directories that hold no run.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nemostack.errors import BadInput, RunLocked
from nemostack.files import locked, write_atomically
from nemostack.models import Model
from nemostack.validation import validation_lines
from workflows.settings import Kind, Settings

Status = Literal["pending", "running", "done", "skipped", "failed", "interrupted"]
M = TypeVar("M", bound=BaseModel)
TRIALS = "trials"


def now() -> datetime:
    return datetime.now(UTC)


class RunInfo(Model):
    """run.json. `outputs` are those of the stack, without secrets."""

    id: str
    kind: Kind
    identity: str
    created_at: datetime
    finished_at: datetime | None = None
    settings: Settings
    outputs: dict[str, Any]
    versions: dict[str, str]
    git_commit: str | None


class StageRecord(BaseModel):
    """stages/<name>.json. `seconds` sums up all attempts."""

    model_config = ConfigDict(extra="forbid")

    name: str
    title: str
    status: Status = "pending"
    reason: str = ""
    attempts: int = 0
    seconds: float = 0.0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    notes: dict[str, Any] = Field(default_factory=dict)
    outputs: dict[str, Any] = Field(default_factory=dict)

    @property
    def settled(self) -> bool:
        """Whether there is nothing left to do."""
        return self.status in {"done", "skipped"}


def is_load_test(path: Path) -> bool:
    """Whether a folder holds a load test, which has a `run.json` of its own."""
    try:
        manifest = json.loads((path / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and {"spec", "workers"} <= manifest.keys()


class RunDirectory:
    """One run on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, root: Path, info: RunInfo) -> "RunDirectory":
        """Make a new directory; BadInput when it cannot be made."""
        directory = cls(root / info.id)
        try:
            directory.path.mkdir(parents=True)
            (directory.path / "stages").mkdir()
            (directory.path / "samples").mkdir()
        except OSError as error:
            raise BadInput(f"making the run directory {directory.path} failed: {error.strerror}; see --runs") from error
        directory.save_info(info)
        return directory

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """Open an existing run; BadInput for anything else."""
        directory = cls(path)
        try:
            directory.info()
        except BadInput as error:
            if is_load_test(path):
                wanted = "a run of the pipeline is wanted: `nemostack run`"
                raise BadInput(f"{path} is the folder of a load test; {wanted}") from error
            raise
        return directory

    def info(self) -> RunInfo:
        """run.json."""
        return self._load(self.path / "run.json", RunInfo)

    def save_info(self, info: RunInfo) -> None:
        """Replace run.json."""
        write_atomically(self.path / "run.json", info.model_dump_json(indent=2) + "\n")

    def stage(self, name: str, title: str = "") -> StageRecord:
        """As last saved; a fresh record when it never was."""
        file = self.path / "stages" / f"{name}.json"
        return self._load(file, StageRecord) if file.exists() else StageRecord(name=name, title=title)

    def save_stage(self, record: StageRecord) -> None:
        """Replace stages/<name>.json."""
        write_atomically(self.path / "stages" / f"{record.name}.json", record.model_dump_json(indent=2) + "\n")

    def stages(self) -> list[StageRecord]:
        """All saved stages, in the order they were first started."""
        records = [self._load(file, StageRecord) for file in (self.path / "stages").glob("*.json")]
        return sorted(records, key=lambda record: (record.started_at or datetime.max.replace(tzinfo=UTC), record.name))

    def save_samples(self, name: str, items: Iterable[BaseModel]) -> str:
        """Write a line per item; returns the file's path within the run."""
        relative = f"samples/{name}.jsonl"
        write_atomically(self.path / relative, "".join(f"{item.model_dump_json()}\n" for item in items))
        return relative

    def load_samples(self, name: str, kind: type[M]) -> list[M]:
        """Empty when the approach has none."""
        file = self.path / "samples" / f"{name}.jsonl"
        if not file.exists():
            return []
        try:
            return [kind.model_validate_json(line) for line in file.read_text().split("\n") if line]
        except OSError as error:
            raise BadInput(f"{file} cannot be read: {error}") from error
        except ValidationError as error:
            raise BadInput(f"{file} cannot be used: {'; '.join(validation_lines(error))}") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run; RunLocked when another process does. A killed process holds nothing."""
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.path / ".lock", wait_s=0))
            except TimeoutError as error:
                raise RunLocked(
                    f"run {self.path} is being worked on by another process; wait for it, or start another with --new"
                ) from error
            yield

    def _load(self, file: Path, kind: type[M]) -> M:
        try:
            return kind.model_validate_json(file.read_text())
        except OSError as error:
            raise BadInput(
                f"{self.path} is not a run directory: {file.name} cannot be read ({error.strerror})"
            ) from error
        except ValidationError as error:
            raise BadInput(
                f"{file} was not written by this version of nemostack: {'; '.join(validation_lines(error))}"
            ) from error


def new_id(root: Path, identity: str, at: datetime) -> str:
    """`20260105T091011Z-1a2b3c4d`, with a number behind it when that is taken."""
    base = f"{at:%Y%m%dT%H%M%SZ}-{identity}"
    number, name = 2, base
    while (root / name).exists():
        name, number = f"{base}-{number}", number + 1
    return name


def find_unfinished(root: Path, kind: Kind, identity: str) -> RunDirectory | None:
    """Find the newest run of this kind and identity that never finished, passing over directories of other makers."""
    directories = []
    for file in root.glob("*/run.json") if root.is_dir() else ():
        try:
            raw = json.loads(file.read_text())
        except (OSError, ValueError):
            continue
        if not isinstance(raw, dict) or raw.get("finished_at") is not None:
            continue
        if raw.get("kind") == kind and raw.get("identity") == identity:
            directories.append((str(raw.get("created_at")), file.parent))
    return RunDirectory.open(max(directories)[1]) if directories else None
