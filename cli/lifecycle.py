"""Commands that bring a stack up and down, and show what it is: parse, call, exit.

On this machine (target `local`) nothing is asked. On any other target Pulumi shows a preview and asks, unless --yes is
given. Unknown options go to Pulumi.
"""

from typing import Annotated

import typer

from cli import options as o
from nemostack import log_lines

_YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation, whatever the target.")]
_ConfigOption = Annotated[
    list[str] | None, typer.Option("--config", metavar="KEY=VALUE", help="A setting, e.g. local.base_port=19080.")
]


def up(
    context: typer.Context, *, stack: o.StackOption = "local", config: _ConfigOption = None, yes: _YesOption = False
) -> None:
    """Create the stack if necessary and bring it up (`pulumi up`). Other options go to Pulumi."""
    from operations.stacks import stacks

    log_lines.bind(stack=stack)
    raise typer.Exit(stacks.up(stack, config or [], context.args, yes=yes))


def down(
    context: typer.Context,
    *,
    stack: o.StackOption = "local",
    purge: Annotated[
        bool, typer.Option("--purge", help="Also forget the stack and remove its data (this machine only).")
    ] = False,
    yes: _YesOption = False,
) -> None:
    """Destroy the stack (`pulumi destroy`); data and reports stay. On a cluster, `teardown` is safer."""
    from operations.stacks import stacks

    log_lines.bind(stack=stack)
    raise typer.Exit(stacks.down(stack, context.args, purge=purge, yes=yes))


def preview(context: typer.Context, *, stack: o.StackOption = "local") -> None:
    """Show what `up` would change (`pulumi preview`). Other options go to Pulumi."""
    from operations.stacks import stacks

    log_lines.bind(stack=stack)
    raise typer.Exit(stacks.preview(stack, context.args))


def outputs(*, stack: o.StackOption = "local") -> None:
    """Print the outputs of the stack as JSON, secrets included."""
    from operations.stacks import stacks

    log_lines.bind(stack=stack)
    raise typer.Exit(stacks.outputs(stack))


def env() -> None:
    """Print lines for the shell's eval, after which plain `pulumi` commands work: eval "$(nemostack env)"."""
    from operations.stacks import environment

    typer.echo(environment.as_shell())
