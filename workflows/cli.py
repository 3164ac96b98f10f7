"""`nemostack`: check a stack, evaluate, customize and compare models on it.

Progress goes to stderr, results to stdout. Exit codes are listed in workflows/errors.py and docs/workflows.md.
Commands parse, call, render and exit; what they call is imported when they run, so that --help is quick.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from workflows import options as o
from workflows.errors import (
    EXIT_INCONCLUSIVE,
    EXIT_INTERRUPTED,
    EXIT_NO_GO,
    BadInput,
    NemostackError,
    Unhealthy,
)
from workflows.settings import Hyperparameters, Kind, Settings

DEFAULTS = Settings()
_HYPER = DEFAULTS.hyperparameters

app = typer.Typer(
    help="Evaluate, customize and compare models on a NeMo stack.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _root(*, debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of failures.")] = False) -> None:
    """Options of all commands."""
    # `main` reads --debug itself: a failure may come before this is called.


@app.command()
@o.with_target
def doctor(
    *, target: o.TargetOptions, judge: o.JudgeOption = True, namespace: o.NamespaceOption = DEFAULTS.namespace
) -> None:
    """Look at every service of a stack: symptom, evidence, what to do. Exit code 8 when something is broken."""
    from workflows import doctor as checks
    from workflows import render
    from workflows.clients import Clients
    from workflows.console import Progress, stdout

    outputs = target.resolve()
    with Progress() as progress:
        progress.start(f"Looking at the services of target {outputs.target}")
        settings = _settings("run", judge=judge, namespace=namespace)
        with Clients(outputs, max_retries=0) as clients:
            findings = checks.check(clients, settings, write=True, tell=progress.update)
    render.findings(stdout(), findings)
    bad = sum(finding.level == "bad" for finding in findings)
    if bad:
        raise Unhealthy(f"{bad} of {len(findings)} checks failed on target {outputs.target}; the table says what to do")


@app.command()
@o.with_target
def evaluate(
    *,
    target: o.TargetOptions,
    model: Annotated[
        str | None, typer.Option("--model", help="Model id that NIM serves. Default: the base model.")
    ] = None,
    benchmark: Annotated[
        str | None, typer.Option("--benchmark", help="An lm-eval task (gsm8k, mmlu, ...) instead of a dataset.")
    ] = None,
    dataset: o.DatasetOption = None,
    prompt_column: o.PromptColumn = DEFAULTS.prompt_column,
    completion_column: o.CompletionColumn = DEFAULTS.completion_column,
    limit: o.LimitOption = DEFAULTS.limit,
    shots: o.ShotsOption = 0,
    max_tokens: o.MaxTokensOption = None,
    parallelism: o.ParallelOption = DEFAULTS.parallelism,
    judge: o.JudgeOption = True,
    namespace: o.NamespaceOption = DEFAULTS.namespace,
    seed: o.SeedOption = 0,
    runs: o.RunsOption = Path("runs"),
    new: o.NewOption = False,
) -> None:
    """Evaluate one served model, on a dataset or on a benchmark."""
    from workflows import render
    from workflows.console import stdout

    settings = _settings(
        "evaluate",
        model=model,
        benchmark=benchmark,
        dataset=dataset,
        prompt_column=prompt_column,
        completion_column=completion_column,
        limit=limit,
        shots=shots,
        max_tokens=max_tokens,
        parallelism=parallelism,
        judge=judge,
        namespace=namespace,
        seed=seed,
    )
    render.evaluated(stdout(), _launch(target, settings, runs, new=new))


@app.command()
@o.with_target
def customize(
    *,
    target: o.TargetOptions,
    dataset: o.DatasetOption = None,
    prompt_column: o.PromptColumn = DEFAULTS.prompt_column,
    completion_column: o.CompletionColumn = DEFAULTS.completion_column,
    epochs: o.EpochsOption = _HYPER.epochs,
    batch_size: o.BatchOption = _HYPER.batch_size,
    learning_rate: o.RateOption = _HYPER.learning_rate,
    adapter_dim: o.RankOption = _HYPER.adapter_dim,
    alpha: o.AlphaOption = _HYPER.alpha,
    namespace: o.NamespaceOption = DEFAULTS.namespace,
    seed: o.SeedOption = 0,
    runs: o.RunsOption = Path("runs"),
    new: o.NewOption = False,
) -> None:
    """Train a LoRA adapter and leave it on the stack, where NIM picks it up."""
    from workflows import render
    from workflows.console import stdout

    settings = _settings(
        "customize",
        dataset=dataset,
        prompt_column=prompt_column,
        completion_column=completion_column,
        hyperparameters=_hyperparameters(epochs, batch_size, learning_rate, adapter_dim, alpha),
        namespace=namespace,
        seed=seed,
        judge=False,
    )
    render.customized(stdout(), _launch(target, settings, runs, new=new))


@app.command()
@o.with_target
def run(
    *,
    target: o.TargetOptions,
    dataset: o.DatasetOption = None,
    prompt_column: o.PromptColumn = DEFAULTS.prompt_column,
    completion_column: o.CompletionColumn = DEFAULTS.completion_column,
    limit: o.LimitOption = DEFAULTS.limit,
    shots: o.ShotsOption = DEFAULTS.shots,
    max_tokens: o.MaxTokensOption = None,
    parallelism: o.ParallelOption = DEFAULTS.parallelism,
    judge: o.JudgeOption = True,
    epochs: o.EpochsOption = _HYPER.epochs,
    batch_size: o.BatchOption = _HYPER.batch_size,
    learning_rate: o.RateOption = _HYPER.learning_rate,
    adapter_dim: o.RankOption = _HYPER.adapter_dim,
    alpha: o.AlphaOption = _HYPER.alpha,
    experiment: Annotated[str, typer.Option("--experiment", help="Of MLflow.")] = DEFAULTS.experiment,
    load_slo: o.LoadOption = None,
    keep_adapter: o.KeepOption = False,
    namespace: o.NamespaceOption = DEFAULTS.namespace,
    seed: o.SeedOption = 0,
    runs: o.RunsOption = Path("runs"),
    new: o.NewOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the dataset, show the stages, do nothing.")] = False,
) -> None:
    """Run the whole pipeline: zero-shot, in-context and LoRA on the same items, with a report. Resumes by itself."""
    from workflows import render
    from workflows.console import stdout

    settings = _settings(
        "run",
        dataset=dataset,
        prompt_column=prompt_column,
        completion_column=completion_column,
        limit=limit,
        shots=shots,
        max_tokens=max_tokens,
        parallelism=parallelism,
        judge=judge,
        hyperparameters=_hyperparameters(epochs, batch_size, learning_rate, adapter_dim, alpha),
        experiment=experiment,
        load_slo=load_slo,
        keep_adapter=keep_adapter,
        namespace=namespace,
        seed=seed,
    )
    if dry_run:
        render.plan(stdout(), settings)
        return
    render.finished(stdout(), _launch(target, settings, runs, new=new))


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="One run: its approaches. Several: the last approach of each.")],
    *,
    metric: Annotated[str, typer.Option("--metric", help="The decision looks at this one.")] = "rouge_l",
    margin: Annotated[float, typer.Option("--margin", help="Gain that counts; the metric's unit.")] = 0.0,
    gate: Annotated[bool, typer.Option("--gate", help="Exit 0 on GO, 10 on NO-GO, 11 on INCONCLUSIVE.")] = False,
    output: Annotated[str, typer.Option("--format", help="table, json or csv.")] = "table",
) -> None:
    """Compare the approaches of a run, or runs with each other. Needs no stack."""
    from workflows import render
    from workflows.console import stdout
    from workflows.gate import compare_runs

    if output not in render.FORMATS:
        raise BadInput(f"--format {output}: choose one of {', '.join(render.FORMATS)}")
    comparison = compare_runs(runs, metric=metric, margin=margin)
    render.FORMATS[output](stdout(), comparison)
    if gate:
        outcome = comparison.decision.outcome if comparison.decision else "INCONCLUSIVE"
        raise typer.Exit({"GO": 0, "NO-GO": EXIT_NO_GO, "INCONCLUSIVE": EXIT_INCONCLUSIVE}[outcome])


@app.command()
@o.with_target
def cleanup(
    directory: Annotated[Path, typer.Argument(help="Directory of the run.", metavar="RUN")],
    *,
    target: o.TargetOptions,
    keep_adapter: o.KeepOption = False,
) -> None:
    """Stop and remove what a run left on the stack, also one that was given up half-way."""
    from workflows.clients import Clients
    from workflows.console import Progress, stdout
    from workflows.launch import Launch, clean_up
    from workflows.run_directory import RunDirectory

    found = RunDirectory.open(directory)
    outputs = target.resolve()
    settings = found.info().settings.model_copy(update={"keep_adapter": keep_adapter, "kind": "run"})
    launch = Launch(run=found, resumed=True, settings=settings, outputs=outputs)
    with Progress() as progress, Clients(outputs) as clients:
        cleaned = clean_up(launch, clients, progress)
    for what in cleaned.removed:
        stdout().print(f"removed {what}", markup=False)


def _settings(kind: Kind, *, dataset: Path | None = None, **values: Any) -> Settings:
    from pydantic import ValidationError

    if dataset is not None:
        values["dataset"] = dataset
    try:
        return Settings(kind=kind, **values)
    except ValidationError as error:
        problems = "; ".join(f"--{'-'.join(map(str, e['loc'])).replace('_', '-')}: {e['msg']}" for e in error.errors())
        raise BadInput(f"these options cannot be used: {problems}") from error


def _hyperparameters(
    epochs: int, batch_size: int, learning_rate: float, adapter_dim: int, alpha: int
) -> Hyperparameters:
    if not learning_rate > 0:
        raise BadInput(f"--learning-rate {learning_rate:g}: expected a number above 0")
    return Hyperparameters(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, adapter_dim=adapter_dim, alpha=alpha
    )


def _launch(target: o.TargetOptions, settings: Settings, runs: Path, *, new: bool) -> Any:
    """Prepare and execute; the run directory. On Ctrl-C it says how to go on."""
    from workflows.clients import Clients
    from workflows.console import Progress
    from workflows.launch import execute, prepare

    outputs = target.resolve()
    launch = prepare(runs, settings, outputs, new=new)
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


def main(argv: list[str] | None = None) -> None:
    """Entry point; always leaves by SystemExit."""
    arguments = sys.argv[1:] if argv is None else argv
    debug = "--debug" in arguments
    try:
        app(args=[a for a in arguments if a != "--debug"], prog_name="nemostack")
    except NemostackError as error:
        if debug:
            raise
        _complain(str(error))
        raise SystemExit(error.exit_code) from error
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
    except Exception as error:
        if debug:
            raise
        _complain(f"unexpected {type(error).__name__}: {error}; --debug shows where, a bug report would be kind")
        raise SystemExit(1) from error


def _complain(text: str) -> None:
    from rich.text import Text

    from workflows.console import stderr
    from workflows.redact import redact

    stderr().print(Text.assemble(("error: ", "bold red"), redact(text)), soft_wrap=True)


if __name__ == "__main__":
    main()
