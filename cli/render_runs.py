"""The runs of a folder on stdout: a table for people, tabs where stdout is no terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cli.render import COLOURS, say, table_of
from workflows.results.overview import RunRow

_NAMES = ("Run", "Kind", "State", "Decision", "ROUGE-L", "Time", "Base model", "Dataset", "On the stack")


def listing(console: Console, rows: Sequence[RunRow], root: Path) -> None:
    """Print a line for each run."""
    if not rows:
        say(console, f"There are no runs in {root}; `nemostack run` makes one, --runs names another folder.")
        return
    lines = [_cells(row) for row in rows]
    if not console.is_terminal:
        for line in (_NAMES, *lines):
            say(console, "\t".join(line))
        return
    table = table_of(*_NAMES)
    for line in lines:
        cells = [Text(cell) for cell in line]
        cells[3].stylize(COLOURS.get(line[3], ""))
        table.add_row(*cells)
    console.print(table)


def _cells(row: RunRow) -> tuple[str, ...]:
    if row.state == "unreadable":
        return (row.id, "", row.state, "", "", "", "", "", row.problem)
    return (
        row.id,
        row.kind,
        f"{row.state}: {row.last}" if row.state == "unfinished" and row.last else row.state,
        row.outcome,
        "" if row.score is None else f"{row.score:.3f}",
        f"{row.seconds:.0f} s",
        row.base_model,
        row.dataset,
        ", ".join(row.kept),
    )
