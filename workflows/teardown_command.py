"""`nemostack teardown`: which way a stack goes down, what is asked before, what is said after.

A stack without a cluster goes down as by `python -m tools down`. One whose outputs are gone already is known by the
report of an earlier teardown, so that `--delete-data` can still finish the job.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import typer

from infra.outputs import StackOutputs
from tools import environment, stacks
from tools.errors import ToolError
from workflows import render
from workflows.cluster import teardown
from workflows.cluster.teardown import Report
from workflows.console import Progress, stdout
from workflows.errors import BadInput, LeftBehind, NemostackError, TargetError
from workflows.target import resolve


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Options of the command."""

    delete_data: bool
    yes: bool
    dry_run: bool


def run(stack: str, outputs_file: Path | None, report_file: Path | None, choices: Choices) -> None:
    """Take a stack down. Raises LeftBehind when something is left, NemostackError when destroying failed."""
    path = report_file or environment.STATE / f"{stack}-teardown.json"
    try:
        outputs = resolve(stack, outputs_file, {})
    except TargetError as error:
        _without_outputs(stack, path, choices, error)
        return
    if outputs.cluster is None:
        if choices.dry_run:
            stdout().print(
                f"Would destroy stack {stack} ({outputs.target}). Nothing was done (--dry-run).", markup=False
            )
            return
        _checked(stack, destroy(stack))
        return
    if choices.dry_run:
        render.teardown_plan(stdout(), teardown.plan(outputs, delete_data=choices.delete_data))
        return
    if choices.delete_data:
        _confirm(f"Delete stack {stack} with the data of its volumes?", choices)
    with Progress() as progress:
        report = teardown.teardown(
            stack, outputs, lambda: destroy(stack), progress.line, delete_data=choices.delete_data
        )
    _finish(report, path)


def destroy(stack: str) -> int:
    """Run `pulumi destroy`, whose progress goes to the terminal; its exit code."""
    sys.stdout.flush()
    try:
        return stacks.down(stack, [], purge=False, yes=True)
    except ToolError as error:
        raise NemostackError(str(error)) from error


def _checked(stack: str, code: int) -> None:
    if code:
        raise NemostackError(f"`pulumi destroy` of stack {stack} failed (exit {code}), see above; run teardown again")


def _without_outputs(stack: str, path: Path, choices: Choices, error: TargetError) -> None:
    """Destroy what there is of a stack that tells nothing, then look at the cluster that an earlier report names."""
    if choices.dry_run:
        raise error
    earlier = _earlier(path)
    with Progress() as progress:
        progress.line(f"{error}; destroying what there is")
        _checked(stack, destroy(stack))
        if earlier is None:
            progress.line("No outputs and no earlier report: what is left on a cluster cannot be looked for.")
            return
        if choices.delete_data:
            _confirm(f"Delete the volumes that stack {stack} left?", choices)
        report = teardown.look_again(earlier, _outputs_of(earlier), progress.line, delete_data=choices.delete_data)
    _finish(report, path)


def _earlier(path: Path) -> Report | None:
    try:
        return Report.model_validate_json(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} is no report of a teardown: {error}; move it away") from error


def _outputs_of(report: Report) -> StackOutputs:
    """Just enough of the outputs to reach the cluster."""
    texts = {name: "" for name, field in StackOutputs.model_fields.items() if field.annotation is str}
    return StackOutputs.model_validate(
        {**texts, "target": report.target, "log_commands": {}, "cluster": report.cluster}
    )


def _confirm(question: str, choices: Choices) -> None:
    if choices.yes:
        return
    if not sys.stdin.isatty():
        raise BadInput("--delete-data asks before it deletes, and there is no terminal: say --yes")
    typer.confirm(question, abort=True)


def _finish(report: Report, path: Path) -> None:
    teardown.write(report, path)
    render.leftovers(stdout(), report)
    stdout().print(f"Report: {path}", markup=False, soft_wrap=True)
    if not report.destroyed:
        raise NemostackError(f"`pulumi destroy` of stack {report.stack} failed, see above; run teardown again")
    if report.unexpected:
        count = len(report.unexpected)
        are = "1 thing is" if count == 1 else f"{count} things are"
        raise LeftBehind(f"{are} left of stack {report.stack}: the table says what to do")
