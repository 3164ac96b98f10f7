"""Commands that bring a tuned model into use behind an alias, take it back, and tell what has happened."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options as o
from nemostack.errors import BadInput
from workflows.promotion.canary import Objectives, Plan
from workflows.settings import Settings

_PLAN = Plan()
_LIMITS = Objectives()
AliasOption = Annotated[str, typer.Option("--alias", help="Name that clients give as the model, such as prod.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who decides. Default: the user of this machine.")]


@o.spread
def promote(
    run: Annotated[Path, typer.Argument(help="Run whose tuned model is promoted, with its adapter kept.")],
    *,
    target: o.TargetOptions,
    alias: AliasOption = "prod",
    steps: Annotated[
        str, typer.Option("--steps", help="Percent of the requests at each step of the canary; '' promotes at once.")
    ] = ",".join(f"{step:g}" for step in _PLAN.steps),
    questions: Annotated[
        int, typer.Option("--questions", min=0, help="Test items asked of both models at each step.")
    ] = _PLAN.questions,
    hold: Annotated[float, typer.Option("--hold", min=0, help="Seconds at each step beyond its questions.")] = 0.0,
    shadow: Annotated[
        float | None, typer.Option("--shadow", min=0.01, max=1, help="First mirror this share of the requests.")
    ] = None,
    split: Annotated[
        float | None, typer.Option("--split", min=1, max=99, help="Only share out this many percent, and leave it so.")
    ] = None,
    max_loss: Annotated[float, typer.Option("--max-loss", min=0, help="Of mean token F1.")] = _LIMITS.max_loss,
    max_slowdown: Annotated[
        float, typer.Option("--max-slowdown", min=1, help="Of the median answer, as a ratio.")
    ] = _LIMITS.max_slowdown,
    max_failures: Annotated[
        float, typer.Option("--max-failures", min=0, max=1, help="Share of the canary's requests.")
    ] = _LIMITS.max_failures,
    force: Annotated[bool, typer.Option("--force", help="Also without the gate's GO; written down.")] = False,
    by: ByOption = None,
) -> None:
    """Let an alias lead to a run's model, step by step; it goes back by itself when an objective breaks (exit 12)."""
    from nemostack.clients import Clients
    from nemostack.console import Progress
    from workflows.promotion import promote as promotion

    plan = Plan(
        steps=_percents(steps),
        questions=questions,
        hold_s=hold,
        shadow=shadow,
        objectives=Objectives(max_loss=max_loss, max_slowdown=max_slowdown, max_failures=max_failures),
    )
    with Progress() as progress, Clients(target.resolve()) as clients:
        history = _history(clients, alias, by)
        try:
            if split is not None:
                promotion.split(clients, run, history, alias, split, force=force, tell=progress.line)
            else:
                promotion.promote(clients, run, history, alias, plan, force=force, tell=progress.line)
        finally:
            if history.problem:
                progress.line(f"warning: {history.problem}")


@o.spread
def rollback(
    *,
    target: o.TargetOptions,
    alias: AliasOption = "prod",
    to: Annotated[str | None, typer.Option("--to", help="Model to lead to. Default: the one before.")] = None,
    by: ByOption = None,
) -> None:
    """Let an alias lead where it led before, at once."""
    from nemostack.clients import Clients
    from nemostack.console import Progress
    from workflows.promotion import promote as promotion

    with Progress() as progress, Clients(target.resolve()) as clients:
        history = _history(clients, alias, by)
        promotion.roll_back(clients, history, alias, to, tell=progress.line)
        if history.problem:
            progress.line(f"warning: {history.problem}")


@o.spread
def history(*, target: o.TargetOptions, alias: AliasOption = "prod", output: o.FormatOption = "table") -> None:
    """Show where an alias leads, what its models were asked, and every change with its lineage."""
    from cli import render_promotion
    from nemostack.clients import Clients
    from nemostack.console import stdout

    if output not in render_promotion.FORMATS:
        raise BadInput(f"--format {output}: choose one of {', '.join(render_promotion.FORMATS)}")
    with Clients(target.resolve()) as clients:
        changes = _history(clients, alias, None).changes()
        state = clients.aliases.aliases().get(alias)
    render_promotion.FORMATS[output](stdout(), state, changes)


def _history(clients: "Clients", alias: str, by: str | None) -> "History":  # type: ignore[name-defined] # noqa: F821
    from pydantic import TypeAdapter, ValidationError

    from nemostack.aliases import AliasName
    from workflows.promotion.history import History

    try:
        TypeAdapter(AliasName).validate_python(alias)
    except ValidationError as error:
        raise BadInput(f"--alias {alias}: expected small letters, digits and dashes, such as prod") from error
    return History(clients, alias, Settings().experiment, by)


def _percents(text: str) -> tuple[float, ...]:
    try:
        steps = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise BadInput(f"--steps {text}: expected percents with commas between them, such as 5,25,50") from error
    if list(steps) != sorted(set(steps)) or not all(0 < step < 100 for step in steps):
        raise BadInput(f"--steps {text}: expected percents that rise, above 0 and below 100")
    return steps
