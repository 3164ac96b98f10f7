"""Aliases and their changes on stdout: for people, or as JSON."""

import json
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.text import Text

from cli.render import say, table_of
from nemostack.aliases import AliasState
from workflows.promotion.history import Change


def history_table(console: Console, state: AliasState | None, changes: Sequence[Change]) -> None:
    """Where it leads and what was asked, then the changes, oldest first."""
    if state is None:
        say(console, "The alias leads nowhere.")
    else:
        say(console, f"{state.name}: {state.alias}")
        for model, stats in state.stats.items():
            times = "" if stats.total_p95 is None else f", p50 {stats.total_p50:.2f} s, p95 {stats.total_p95:.2f} s"
            say(console, f"{model}: {stats.requests} requests, {stats.failures} failures{times}")
    rows = [
        (f"{one.at:%Y-%m-%d %H:%M:%S}", one.by, one.action, str(one.alias), one.reason, _lineage(one))
        for one in changes
    ]
    if not console.is_terminal:
        for row in rows:
            say(console, "\t".join(row))
        return
    table = table_of("When (UTC)", "Who", "What", "Leads to", "Why", "From")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _lineage(change: Change) -> str:
    found = change.lineage
    if found is None:
        return ""
    return (
        f"run {found.run}, job {found.training_job}, data {found.dataset_sha256.get('train', '')[:12]}, {found.config}"
    )


def history_json(console: Console, state: AliasState | None, changes: Sequence[Change]) -> None:
    """For programs."""
    found = {
        "alias": None if state is None else state.model_dump(mode="json"),
        "changes": [change.model_dump(mode="json") for change in changes],
    }
    console.file.write(json.dumps(found, indent=2) + "\n")


FORMATS: dict[str, Callable[[Console, AliasState | None, Sequence[Change]], None]] = {
    "table": history_table,
    "json": history_json,
}
