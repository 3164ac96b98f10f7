"""Commands that evaluate, customize and compare: parse, call, render, exit."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli import options as o
from nemostack.errors import BadInput, NemostackError, TargetError
from nemostack.exit_codes import ExitCode
from workflows.settings import Kind, Settings

_DEFAULTS = Settings()
_ZERO_SHOT = o.EvaluationOptions(shots=0)


@o.spread
def evaluate(
    *,
    target: o.TargetOptions,
    model: Annotated[
        str | None, typer.Option("--model", help="Model id that NIM serves. Default: the base model.")
    ] = None,
    benchmark: Annotated[
        str | None, typer.Option("--benchmark", help="An lm-eval task (gsm8k, mmlu, ...) instead of a dataset.")
    ] = None,
    data: o.DataOptions,
    evaluation: o.EvaluationOptions = _ZERO_SHOT,
    run: o.RunOptions,
) -> None:
    """Evaluate one served model, on a dataset or on a benchmark."""
    from cli import render
    from nemostack.console import stdout

    settings = build_settings("evaluate", model=model, benchmark=benchmark, **data.chosen(), **evaluation.chosen())
    render.evaluated(stdout(), launch(target, settings, run))


@o.spread
def customize(
    *,
    target: o.TargetOptions,
    data: o.DataOptions,
    training: o.TrainingOptions,
    run: o.RunOptions,
    dry: o.DryRunOptions,
) -> None:
    """Train a LoRA adapter and leave it on the stack, where NIM picks it up."""
    from cli import render
    from nemostack.console import stdout

    settings = build_settings(
        "customize", hyperparameters=training.hyperparameters(), judge=False, **training.rows(), **data.chosen()
    )
    if dry.dry_run:
        show_plan(target, settings, run, dry)
        return
    render.customized(stdout(), launch(target, settings, run))


@o.spread
def run(
    *,
    target: o.TargetOptions,
    data: o.DataOptions,
    evaluation: o.EvaluationOptions,
    training: o.TrainingOptions,
    pipeline: o.PipelineOptions,
    run: o.RunOptions,
    dry: o.DryRunOptions,
) -> None:
    """Run the whole pipeline: zero-shot, in-context and LoRA on the same items, with a report. Resumes by itself."""
    from cli import render
    from nemostack.console import stdout

    settings = build_settings(
        "run",
        hyperparameters=training.hyperparameters(),
        **pipeline.chosen(),
        **training.rows(),
        **data.chosen(),
        **evaluation.chosen(),
    )
    if dry.dry_run:
        show_plan(target, settings, run, dry)
        return
    render.finished(stdout(), launch(target, settings, run))


def _print_schema(wanted: bool) -> None:
    if wanted:
        import json

        from workflows.gate.policy import schema

        typer.echo(json.dumps(schema(), indent=1))
        raise typer.Exit


def gate(
    runs: Annotated[
        list[Path],
        typer.Argument(help="One run: its last approach against the best of the others. Several: against the first."),
    ],
    *,
    policy: o.PolicyOption = None,
    output: o.FormatOption = "table",
    schema: Annotated[  # noqa: ARG001 - the callback does it all
        bool, typer.Option("--schema", callback=_print_schema, is_eager=True, help="Print the policy's JSON schema.")
    ] = False,
) -> None:
    """Decide by a policy whether a model may be used: exit 0 on GO, 10 on NO-GO, 11 on INCONCLUSIVE. Needs no stack."""
    from cli import render_gate
    from nemostack.console import stdout
    from workflows.gate.policy import read_policy
    from workflows.results.compare_runs import gate_runs

    if output not in render_gate.FORMATS:
        raise BadInput(f"--format {output}: choose one of {', '.join(render_gate.FORMATS)}")
    report = gate_runs(runs, read_policy(policy))
    render_gate.FORMATS[output](stdout(), report)
    codes = {"GO": ExitCode.DONE, "NO-GO": ExitCode.NO_GO, "INCONCLUSIVE": ExitCode.INCONCLUSIVE}
    raise typer.Exit(codes[report.outcome])


@o.spread
def cleanup(
    directory: Annotated[Path | None, typer.Argument(help="Directory of the run.", metavar="RUN")] = None,
    *,
    target: o.TargetOptions,
    keep_adapter: o.KeepOption = False,
    orphans: Annotated[
        bool,
        typer.Option(
            "--orphans", help="Instead of one run: list what killed runs and runs without a folder left on the stack."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="--orphans: remove them.")] = False,
    older_than: Annotated[float, typer.Option("--older-than", min=0, help="--orphans: days; younger ones stay.")] = 1,
    namespace: o.NamespaceOption = _DEFAULTS.namespace,
    runs: o.RunsOption = Path("runs"),
) -> None:
    """Stop and remove what a run left on the stack. Also works on unfinished runs."""
    if orphans == (directory is not None):
        raise BadInput("name the directory of a run, or ask for --orphans")
    if directory is not None:
        _clean_run(directory, target, keep_adapter=keep_adapter)
        return
    from cli.render import say
    from nemostack.clients import Clients
    from nemostack.console import Progress, stdout
    from workflows.orphans import find_orphans, remove_orphan

    console = stdout()
    with Progress() as progress, Clients(target.resolve()) as clients:
        found = find_orphans(clients, runs, namespace, older_than_days=older_than)
        for one in found:
            if one.stays or not yes:
                things = f"\t{', '.join(one.things)}" if one.things else ""
                say(console, f"{'stays' if one.stays else 'would go'}\t{one.name}\t{one.stays or one.why}{things}")
                continue
            for what in remove_orphan(one, clients, progress, _DEFAULTS.experiment):
                say(console, f"removed {what}")
    going = sum(not one.stays for one in found)
    if going and not yes:
        say(console, f"Nothing was removed; --yes removes what {going} run(s) or alias(es) left.")
    elif not found:
        say(console, f"No run has left anything in namespace {namespace}.")


def _clean_run(directory: Path, target: o.TargetOptions, *, keep_adapter: bool) -> None:
    from nemostack.clients import Clients
    from nemostack.console import Progress, stdout
    from workflows.engine.launch import Launch, clean_up
    from workflows.engine.run_directory import RunDirectory
    from workflows.stages.cleanup import require_same_stack

    run_directory = RunDirectory.open(directory)
    outputs = target.resolve()
    require_same_stack(run_directory.info(), outputs)
    settings = run_directory.info().settings.model_copy(update={"keep_adapter": keep_adapter, "kind": "run"})
    launch = Launch(run=run_directory, resumed=True, settings=settings, outputs=outputs)
    with Progress() as progress, Clients(outputs) as clients:
        cleaned = clean_up(launch, clients, progress)
    for what in cleaned.removed:
        stdout().print(f"removed {what}", markup=False)


def build_settings(kind: Kind, **values: Any) -> Settings:
    from pydantic import ValidationError

    from nemostack.validation import validation_lines

    try:
        return Settings(kind=kind, **values)
    except ValidationError as error:
        problems = [line.split(": ", 1) for line in validation_lines(error)]
        lines = [f"--{path.rpartition('.')[2].replace('_', '-')}: {message}" for path, message in problems]
        raise BadInput(f"these options cannot be used: {'; '.join(lines)}") from error


def show_plan(target: o.TargetOptions, settings: Settings, run: o.RunOptions, dry: o.DryRunOptions) -> None:
    """Say what would be done. Needs no stack, but knows nothing of time and cost without its outputs."""
    from cli import render_plan
    from nemostack.console import stdout
    from workflows.forecast import forecast

    try:
        outputs = target.resolve()
    except TargetError as error:
        outputs = None
        typer.echo(f"notice: {error}", err=True)
    render_plan.plan(stdout(), settings, forecast(run.runs, settings, outputs, new=run.new), dry.gpu)


def launch(target: o.TargetOptions, settings: Settings, run: o.RunOptions) -> Any:
    """Prepare and execute; the run directory. On Ctrl-C it says how to go on."""
    from nemostack.clients import Clients
    from nemostack.console import Progress
    from workflows.engine.launch import execute, prepare

    outputs = target.resolve()
    launch = prepare(run.runs, settings, outputs, new=run.new)
    with Progress() as progress, Clients(outputs) as clients:
        try:
            execute(launch, clients, progress)
        except KeyboardInterrupt:
            progress.stop()
            progress.line(
                "Interrupted. Jobs already started go on at their service. Run the same command again to resume "
                f"{launch.run.path}, or `nemostack cleanup {launch.run.path}` to give it up."
            )
            raise
        except NemostackError:
            progress.stop()
            progress.line(f"Stopped. Run the same command again to resume {launch.run.path}.")
            raise
    return launch.run
