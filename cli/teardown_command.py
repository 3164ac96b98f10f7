"""`nemostack teardown`: which way a stack goes down, what is asked before, what is said after.

A stack without a cluster goes down as by `nemostack down`. One on a cluster shows what goes with its data, and
asks. One whose outputs are gone already is known by the report of an earlier teardown, so that `--delete-data` can
still finish the job. Refuses to destroy a stack whose outputs cannot be read: nobody could tell what would be lost.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import typer

from cli import render
from nemostack.console import Progress, stdout
from nemostack.errors import BadInput, LeftBehind, NemostackError, NoOutputs, TargetError, ToolchainError
from nemostack.outputs import StackOutputs
from nemostack.stack_outputs import of_stack
from operations.stacks import environment, stacks
from operations.stacks.stack import Stack
from operations.teardown import teardown
from operations.teardown.teardown import Report


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Options of the command."""

    delete_data: bool
    yes: bool
    dry_run: bool


def run(stack: str, report_file: Path | None, choices: Choices) -> None:
    """Take a stack down. Raises LeftBehind when something is left, NemostackError when destroying failed."""
    path = report_file or environment.STATE / f"{stack}-teardown.json"
    try:
        pulumi_stack = Stack(name=stack)
        outputs = of_stack(stack) if pulumi_stack.exists() else None
    except NoOutputs:
        outputs = pulumi_stack.outputs_so_far(None)  # of a first `up` that was killed
    except (TargetError, ToolchainError) as error:
        raise TargetError(f"{error}; nothing was destroyed, since without outputs nobody knows what goes") from error
    if outputs is None:
        _without_outputs(pulumi_stack, path, choices)
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
        stdout().print("Nothing was done (--dry-run).")
        return
    try:
        pulumi_stack.settle()  # refuses a stack that was interrupted, before anything of it is touched
    except ToolchainError as error:
        raise NemostackError(str(error)) from error
    if not choices.yes:
        _needs_terminal(stack)
        render.teardown_plan(stdout(), teardown.plan(outputs, delete_data=choices.delete_data))
        typer.confirm(f"Destroy stack {stack}?", abort=True, err=True)
    with Progress() as progress:
        report = teardown.teardown(
            stack, outputs, lambda: destroy(stack), progress.line, delete_data=choices.delete_data
        )
    _finish(report, path)


def destroy(stack: str) -> int:
    """Run `pulumi destroy`, whose progress goes to the terminal; its exit code."""
    sys.stdout.flush()
    try:
        return stacks.down(stack, [], purge=False, yes=True)  # who is to be asked was asked before
    except ToolchainError as error:
        raise NemostackError(str(error)) from error


def _checked(stack: str, code: int) -> None:
    if code:
        raise NemostackError(f"`pulumi destroy` of stack {stack} failed (exit {code}), see above; run teardown again")


def _without_outputs(stack: Stack, path: Path, choices: Choices) -> None:
    """Destroy what there is of a stack that tells nothing, then look at the cluster that an earlier report names."""
    exists = stack.exists()
    state = f"stack {stack.name} has no outputs" if exists else f"there is no stack {stack.name}"
    earlier = _earlier(path)
    if choices.dry_run:
        raise NoOutputs(f"{state}: what a teardown would do cannot be told")
    lost = ["destroy what is deployed of it with the data of its volumes"] if exists else []
    lost += ["delete the volumes that it left"] if earlier and choices.delete_data else []
    if lost and not choices.yes and (earlier or not stack.is_local):
        _needs_terminal(stack.name)
        typer.confirm(f"{state}. {', and '.join(lost).capitalize()}?", abort=True, err=True)
    with Progress() as progress:
        progress.line(f"{state}; destroying what is deployed of it" if exists else state)
        if exists:
            _checked(stack.name, destroy(stack.name))
        if earlier is None:
            if exists and not stack.is_local:
                progress.line("There is no report of an earlier teardown: what is left on a cluster cannot be told.")
            return
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


def _needs_terminal(stack: str) -> None:
    if not sys.stdin.isatty():
        raise BadInput(
            f"teardown asks before it destroys stack {stack}, and there is no terminal to ask at: see what goes with "
            "--dry-run, then say --yes"
        )


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
