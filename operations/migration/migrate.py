"""One migration from start to end: list, move what is not moved yet, compare hashes, report. Dry runs only list.

A failure of one item costs that item: the others are moved, and the next call tries it again. What the source or the
target says when it does not answer at all ends the migration, which goes on from its journal.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from nemostack.clients import Clients
from nemostack.errors import BadInput, ServiceError, Unreachable
from nemostack.models import Model
from nemostack.outputs import StackOutputs
from nemostack.product import TITLES
from operations.migration.items import Item, Kind, items_of
from operations.migration.journal import Journal, Moved
from operations.migration.transfer import Transfer

Result = Literal["moved", "moved before", "would move", "no counterpart", "failed"]
JOURNAL = "journal.jsonl"
LEFT_BEHIND = (
    "jobs and their results: evaluate and train again there, or keep the run directories",
    "customization configs and targets: hyperparameters are part of each job of the platform",
    "evaluation targets: a job of the platform names its model itself",
    "projects, and who owns what: the platform has workspaces and role bindings",
    "aliases of NIM and MLflow's runs: neither belongs to the services that are moved",
)
"""Kinds of things of the 25.x services that are not moved, each with what to do."""


class Row(Model):
    """One thing in the report."""

    kind: Kind
    source: str
    target: str
    result: Result
    files: int = 0
    notes: list[str] = Field(default_factory=list)


class Report(Model):
    """What was moved, what was not and why, and whether the files are the same."""

    source: str
    target: str
    dry_run: bool
    rows: list[Row]
    compared: int = 0
    differing: list[str] = Field(default_factory=list)
    not_moved: list[str] = Field(default_factory=lambda: list(LEFT_BEHIND))

    @property
    def failed(self) -> list[Row]:
        """Rows of what should have been moved and was not."""
        return [row for row in self.rows if row.result == "failed"]

    def count(self, result: Result) -> int:
        """How many rows have a result."""
        return sum(row.result == result for row in self.rows)


@dataclass(frozen=True)
class Migration:
    """From one stack to another, with a folder for journal and report."""

    source: Clients
    target: Clients
    folder: Path
    tell: Callable[[str], None]

    def run(self, *, dry_run: bool) -> Report:
        """Move everything. BadInput unless the stacks are of the two lines."""
        require_lines(self.source.outputs, self.target.outputs)
        items = list(items_of(self.source))
        names = {"source": self.source.outputs.nemo_url, "target": self.target.outputs.nemo_url}
        if dry_run:
            return Report(**names, dry_run=True, rows=[self._planned(item) for item in items])
        journal = Journal(self.folder / JOURNAL, source=names["source"], target=names["target"])
        transfer = Transfer(self.source, self.target)
        before = journal.moved()
        rows = [self._row(item, transfer, journal, before) for item in items]
        done = journal.moved()
        differing, compared = [], 0
        for one in done.values():
            self.tell(f"comparing {one.target}")
            compared += len(one.files)
            differing += [f"{one.target}: {path}" for path in transfer.differing(one)]
        return Report(**names, dry_run=False, rows=rows, compared=compared, differing=differing)

    @staticmethod
    def _planned(item: Item) -> Row:
        notes = [item.problem] if item.problem else []
        result: Result = "no counterpart" if item.problem else "would move"
        return Row(kind=item.kind, source=item.source, target=item.target, result=result, notes=notes)

    def _row(self, item: Item, transfer: Transfer, journal: Journal, before: dict[str, Moved]) -> Row:
        if item.problem:
            return self._planned(item)
        row = Row(kind=item.kind, source=item.source, target=item.target, result="moved before")
        known = before.get(item.key)
        if known is not None and not transfer.differing(known):
            return row.model_copy(update={"files": len(known.files), "notes": known.notes})
        self.tell(f"moving {item.key}")
        try:
            moved = transfer.move(item)
        except BadInput as error:
            return row.model_copy(update={"result": "no counterpart", "notes": [str(error)]})
        except Unreachable:
            raise
        except ServiceError as error:
            return row.model_copy(update={"result": "failed", "notes": [str(error)]})
        journal.add(moved)
        return row.model_copy(update={"result": "moved", "files": len(moved.files), "notes": moved.notes})


def require_lines(source: StackOutputs, target: StackOutputs) -> None:
    """BadInput unless `source` runs the microservices and `target` the platform."""
    for outputs, wanted, option in ((source, "microservices", "--from"), (target, "platform", "--to")):
        if outputs.product != wanted:
            raise BadInput(f"{option} names a stack of the {TITLES[outputs.product]}; expected the {TITLES[wanted]}")
