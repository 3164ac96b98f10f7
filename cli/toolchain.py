"""`nemostack toolchain`: the programs that stacks need and that are no Python packages."""

from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Find, download or build the programs that stacks need."
)


@app.command()
def ensure(
    sets: Annotated[
        list[str] | None, typer.Argument(metavar="SET...", help="pulumi (the default), helm, kubernetes, etcd, kwok.")
    ] = None,
) -> None:
    """Install what is missing, and print where each program is."""
    from operations.toolchain import programs

    for name, path in programs.ensure(sets).items():
        typer.echo(f"{name}\t{path}")


@app.command()
def packages(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="TARGET...", help="local, platform, gke, eks or aks; others need none."),
    ] = None,
    *,
    stack: Annotated[str | None, typer.Option("--stack", help="Take the target of this stack.")] = None,
) -> None:
    """Install what only some targets need: the embedded services and their base model, the SDKs of clouds."""
    from operations.stacks import stacks
    from operations.stacks.stack import LOCAL
    from operations.toolchain import environments, sample_model

    for target in targets or ():
        environments.ensure_for(target)
        if target == LOCAL:
            sample_model.ensure()
    if stack is not None:
        stacks.provide_for(stack)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def run(context: typer.Context) -> None:
    """Run one command with the toolchain: nemostack toolchain run -- pulumi preview -s local."""
    from nemostack.errors import BadInput
    from operations.stacks import commands

    if not context.args:
        raise BadInput("toolchain run: which command? e.g. nemostack toolchain run -- pulumi preview -s local")
    raise typer.Exit(commands.run(context.args)[0])
