"""`nemostack runs`: the directories of runs, listed, shown, compared and cleaned. Needs no stack."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options as o
from nemostack.errors import BadInput

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="List, show, compare and clean the runs of a folder."
)
_FORMATS = ("table", "json")


@app.command("list")
def list_runs(*, runs: o.RunsOption = Path("runs"), output: o.FormatOption = "table") -> None:
    """List the runs of a folder, the newest first."""
    from cli import render_runs
    from nemostack.console import stdout
    from workflows.results.overview import as_json, overview

    _check_format(output)
    rows = overview(runs)
    if output == "json":
        typer.echo(as_json(rows))
    else:
        render_runs.listing(stdout(), rows, runs)


@app.command()
def show(
    run: Annotated[Path, typer.Argument(help="Directory of the run.")],
    *,
    output: Annotated[str, typer.Option("--format", help="markdown or json.")] = "markdown",
) -> None:
    """Show one run: its stages, scores, decision, cost, lineage, and the command that makes it again."""
    from workflows.engine.run_directory import RunDirectory
    from workflows.report.twins import FORMATS, summary_of

    if output not in FORMATS:
        raise BadInput(f"--format {output}: choose one of {', '.join(FORMATS)}")
    typer.echo(FORMATS[output](summary_of(RunDirectory.open(run))), nl=False)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="One run: its approaches. Several: the last approach of each.")],
    *,
    output: Annotated[str, typer.Option("--format", help="table, json or csv.")] = "table",
    html: Annotated[
        Path | None, typer.Option("--html", help="Write two runs side by side, item by item, into this file.")
    ] = None,
) -> None:
    """Show the approaches of a run, or runs, side by side."""
    from cli import render
    from nemostack.console import stdout
    from workflows.results.compare_runs import compare_runs

    if output not in render.FORMATS:
        raise BadInput(f"--format {output}: choose one of {', '.join(render.FORMATS)}")
    if html is not None:
        _write_side_by_side(runs, html)
        return
    render.FORMATS[output](stdout(), compare_runs(runs))


def _write_side_by_side(runs: list[Path], file: Path) -> None:
    from nemostack.files import write_atomically
    from workflows.report.side_by_side import draw_side_by_side

    if len(runs) != 2:
        raise BadInput("--html puts two runs side by side: name two (one run has its own report.html)")
    text = draw_side_by_side(*runs)
    try:
        write_atomically(file, text)
    except OSError as error:
        raise BadInput(f"writing {file} failed: {error.strerror or error}; name another file with --html") from error
    typer.echo(f"Side by side: {file}")


@app.command()
def clean(
    *,
    runs: o.RunsOption = Path("runs"),
    older_than: Annotated[float, typer.Option("--older-than", min=0, help="Days.")] = 30,
    keep: Annotated[int, typer.Option("--keep", min=0, help="The newest runs stay.")] = 5,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would go, and why the others stay.")
    ] = False,
) -> None:
    """Remove directories of finished runs that have left nothing on their stack."""
    from cli.render import say
    from nemostack.console import stdout
    from workflows.results.overview import removable, remove

    console = stdout()
    for row, reason in list(removable(runs, older_than_days=older_than, keep=keep)):
        if reason:
            say(console, f"stays\t{row.path}\t{reason}")
        else:
            if not dry_run:
                remove(row)
            say(console, f"{'would go' if dry_run else 'removed'}\t{row.path}")


def _check_format(output: str) -> None:
    if output not in _FORMATS:
        raise BadInput(f"--format {output}: choose one of {', '.join(_FORMATS)}")
