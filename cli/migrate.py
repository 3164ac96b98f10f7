"""`nemostack migrate`: from a stack of the microservices to one of the NeMo Platform."""

from pathlib import Path
from typing import Annotated

import typer


def migrate(
    *,
    source: Annotated[str, typer.Option("--from", metavar="STACK", help="Stack, or file with its outputs, to copy.")],
    target: Annotated[str, typer.Option("--to", metavar="STACK", help="Stack, or file with its outputs, to fill.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of journal and report. Default: runs/migration-FROM-TO.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be moved; change nothing.")] = False,
) -> None:
    """Copy datasets, models, adapters, prompts and evaluation definitions. Resumes by itself; deletes nothing."""
    from nemostack.clients import Clients
    from nemostack.console import Progress, stdout
    from nemostack.errors import LeftBehind
    from operations.migration import report as page
    from operations.migration.migrate import Migration

    folder = out or Path("runs") / f"migration-{Path(source).stem}-{Path(target).stem}"
    with Progress() as progress, Clients(_outputs(source)) as old, Clients(_outputs(target)) as new:
        progress.start("Migration")
        report = Migration(old, new, folder, progress.update).run(dry_run=dry_run)
        progress.stop()
    page.write(report, folder)
    for row in report.rows:
        notes = f" ({'; '.join(row.notes)})" if row.notes else ""
        stdout().print(f"{row.result}: {row.kind} {row.source} -> {row.target}{notes}", markup=False, soft_wrap=True)
    stdout().print(f"{page.summary(report)}. Report: {folder / 'report.html'}", markup=False, soft_wrap=True)
    if report.failed or report.differing:
        raise LeftBehind("not everything was moved as it is; see the report, then run the same command again")


def _outputs(name: str) -> "StackOutputs":  # type: ignore[name-defined] # noqa: F821
    from nemostack.stack_outputs import resolve

    file = Path(name)
    return resolve("", file, {}) if file.suffix == ".json" else resolve(name, None, {})
