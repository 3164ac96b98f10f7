"""The command that tries several hyperparameters and takes the best through the pipeline."""

from typing import Annotated

import typer

from cli import options as o
from cli.runs import build_settings, launch, show_plan
from nemostack.errors import BadInput
from workflows.sweep.space import SEARCHES, SweepSettings

_DEFAULTS = SweepSettings()


def _listed(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)


@o.spread
def sweep(
    *,
    target: o.TargetOptions,
    search: Annotated[
        str, typer.Option("--search", help=f"{', '.join(SEARCHES)}; halving is random with successive halving.")
    ] = _DEFAULTS.search,
    ranks: Annotated[str, typer.Option("--ranks", help="Ranks of the adapter, such as 4,8,16.")] = _listed(
        _DEFAULTS.ranks
    ),
    learning_rates: Annotated[
        str, typer.Option("--learning-rates", help="For the grid; else the two ends of a range, such as 1e-5,1e-3.")
    ] = _listed(_DEFAULTS.learning_rates),
    epochs: Annotated[str, typer.Option("--epochs", help="Numbers of epochs, such as 1,2,3.")] = _listed(
        _DEFAULTS.epochs
    ),
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, help="LoRA jobs in all. Default: the whole grid, else 10.")
    ] = None,
    reduction: Annotated[
        int, typer.Option("--reduction", min=2, help="halving: one trial in so many goes on at each rung.")
    ] = _DEFAULTS.reduction,
    batch_size: o.BatchOption = None,
    alpha: o.AlphaOption = None,
    train_rows: o.TrainRowsOption = None,
    validation_rows: o.ValidationRowsOption = None,
    data: o.DataOptions,
    evaluation: o.EvaluationOptions,
    pipeline: o.PipelineOptions,
    run: o.RunOptions,
    dry: o.DryRunOptions,
) -> None:
    """Train several adapters, choose one by its validation loss, and run the pipeline with it. Resumes by itself."""
    from cli import render
    from nemostack.console import stdout

    settings = build_settings(
        "run",
        sweep={
            "search": search,
            "ranks": _numbers("--ranks", ranks, int),
            "learning_rates": _numbers("--learning-rates", learning_rates, float),
            "epochs": _numbers("--epochs", epochs, int),
            "trials": trials,
            "reduction": reduction,
        },
        hyperparameters={"batch_size": batch_size, "alpha": alpha},
        train_rows=train_rows,
        validation_rows=validation_rows,
        **pipeline.chosen(),
        **data.chosen(),
        **evaluation.chosen(),
    )
    if dry.dry_run:
        show_plan(target, settings, run, dry)
        return
    directory = launch(target, settings, run)
    render.trials(stdout(), directory)
    render.finished(stdout(), directory)


def _numbers(option: str, text: str, kind: type[int] | type[float]) -> tuple[float, ...]:
    try:
        return tuple(kind(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise BadInput(f"{option} {text}: expected numbers with commas between them") from error
