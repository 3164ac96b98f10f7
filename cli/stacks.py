"""Commands that look after a stack: parse, call, render, exit."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options as o
from nemostack.errors import BadInput, Unhealthy

if TYPE_CHECKING:
    from nemostack.console import Progress
    from nemostack.outputs import StackOutputs
    from nemostack.service_checks import Finding, Scope


@o.spread
def doctor(
    *,
    target: o.TargetOptions,
    judge: o.JudgeOption = True,
    namespace: o.NamespaceOption = "default",
    output: o.FormatOption = "table",
) -> None:
    """Look at every service of a stack, its cluster or GPUs: symptom, evidence, what to do. Exit code 8 when broken."""
    from cli import render
    from nemostack.console import Progress, stdout
    from nemostack.service_checks import Scope, for_stack
    from nemostack.stack_outputs import named_file

    if output not in {"table", "json"}:
        raise BadInput(f"--format {output}: choose one of table, json")
    outputs = _outputs_so_far(target)
    with Progress() as progress:
        findings = _look(outputs, Scope(judge=judge, namespace=namespace, write=True), progress)
    if not named_file(target.outputs):
        findings = for_stack(findings, target.stack)
    if output == "json":
        stdout().file.write(json.dumps([render.as_json(finding) for finding in findings], indent=2) + "\n")
    else:
        render.findings(stdout(), findings)
    bad = sum(finding.level == "bad" for finding in findings)
    if bad:
        raise Unhealthy(f"{bad} of {len(findings)} checks failed on target {outputs.target}; the table says what to do")


@o.spread
def port_forward(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="After --: run it meanwhile, then stop.")
    ] = None,
    *,
    target: o.TargetOptions,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait before COMMAND starts.")] = 120.0,
) -> None:
    """Put all services of a cluster stack on loopback, where its URLs say, until Ctrl-C or until COMMAND has ended."""
    from nemostack.console import Progress
    from operations.port_forward import session as forwards

    outputs = target.resolve()
    with Progress() as progress:
        code = forwards.serve(outputs, command or [], timeout, progress.line)
    raise typer.Exit(code)


@o.spread
def teardown(
    *,
    stack: o.StackOption = "local",
    delete_data: Annotated[
        bool,
        typer.Option(
            "--delete-data",
            help="Also delete the volumes that charts keep (Data Store, NIM models). Databases and the object store in "
            "the cluster are always deleted.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be destroyed and what would be kept; change nothing.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="JSON file of what is left. Default: .nemostack/STACK-teardown.json."),
    ] = None,
) -> None:
    """Destroy a stack in a safe order and report anything left behind. Exit code 9 when something is.

    On a cluster it first lists what will be deleted, volumes with their data included, and asks.
    """
    from cli import teardown_command

    teardown_command.run(stack, report, teardown_command.Choices(delete_data=delete_data, yes=yes, dry_run=dry_run))


def _outputs_so_far(target: o.TargetOptions) -> "StackOutputs":
    """Return the outputs, completed where the last `up` of the stack has not ended."""
    from nemostack.errors import NoOutputs
    from nemostack.stack_outputs import named_file

    try:
        outputs = target.resolve()
    except NoOutputs:
        from operations.stacks.stack import Stack

        expected = Stack(name=target.stack).outputs_so_far(None)
        if expected is None:
            raise
        typer.echo(f"notice: no `up` of stack {target.stack} has ended yet; its settings say what should be", err=True)
        return expected
    if outputs.cluster is None or named_file(target.outputs):
        return outputs
    from operations.stacks.stack import Stack

    return Stack(name=target.stack).outputs_so_far(outputs) or outputs


def _look(outputs: "StackOutputs", scope: "Scope", progress: "Progress") -> "list[Finding]":
    from nemostack import service_checks as checks
    from nemostack.clients import Clients
    from operations.doctor import jobs

    findings: list[Finding] = []
    if outputs.cluster is not None:
        from operations.doctor import cluster

        progress.start(f"Looking at the cluster of target {outputs.target}")
        findings += cluster.look(outputs, progress.update)
    if outputs.target == "local":
        from operations.doctor import gpus, machine

        findings += gpus.look(outputs) + machine.look(outputs)
    progress.start(f"Looking at the services of target {outputs.target}")
    with Clients(outputs, max_retries=0) as clients:
        findings += checks.check(clients, scope, progress.update)
        progress.start(f"Looking at the jobs of target {outputs.target}")
        findings += jobs.look(clients)
    return findings
