"""`nemostack config`: stack files are written, checked and shown, without an engine."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options as o
from nemostack import clone

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Write, check and show the settings of a stack.")

_FileArgument = Annotated[
    Path | None, typer.Argument(metavar="FILE", help="A stack file. Default: the one of --stack.", show_default=False)
]


@app.command()
def init(
    *,
    target: Annotated[str, typer.Option("--target", help="local, gke, eks, aks, existing or minikube.")],
    name: Annotated[str, typer.Option("--name", help="Name of the new stack.")],
    product: o.ProductOption = "microservices",
    full: Annotated[
        bool, typer.Option("--full", help="Write every setting, explained, instead of a short file.")
    ] = False,
) -> None:
    """Write Pulumi.NAME.yaml with what must be chosen. Never overwrites a file."""
    import re

    from infra.config import stack_file
    from nemostack.errors import BadInput

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name):
        raise BadInput(f"--name {name}: expected letters, digits, `-`, `_` and `.`, beginning with a letter or digit")
    content = stack_file.annotated(target, name, product) if full else stack_file.starter(target, name, product)
    path = clone.ROOT / f"Pulumi.{name}.yaml"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        raise BadInput(f"{path.name} exists: choose another --name, or edit that file") from None
    typer.echo(f"{path.name} written; edit it, then: nemostack config check --stack {name}")


@app.command()
def check(file: _FileArgument = None, *, stack: o.StackOption = "local") -> None:
    """Validate a stack file: one line per problem, exit code 2."""
    from infra import config
    from infra.config import stack_file

    path = file or _file_of(stack)
    settings = stack_file.check(path)
    if isinstance(settings, config.ClusterStackConfig):
        for warning in config.warnings(settings):
            typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{path.name}: no problem found (target {settings.target})")


@app.command()
def show(file: _FileArgument = None, *, stack: o.StackOption = "local") -> None:
    """Print all effective settings as YAML, defaults included. Secrets are named, not shown."""
    import yaml

    from infra.config import stack_file
    from infra.config.section import PROJECT
    from infra.config.stack import SECRET_KEYS

    path = file or _file_of(stack)
    settings = stack_file.check(path).model_dump(mode="json")
    shown = {f"{PROJECT}:{key}": value for key, value in settings.items()}
    secret_names = SECRET_KEYS.keys() & {key.removeprefix(f"{PROJECT}:") for key in stack_file.read(path)}
    shown |= {f"{PROJECT}:{key}": "(a secret)" for key in sorted(secret_names)}
    typer.echo(yaml.safe_dump({"config": shown}, sort_keys=False, allow_unicode=True, width=120), nl=False)


@app.command()
def schema() -> None:
    """Print the JSON schema of stack files, for editors."""
    import json

    from infra.config import reference

    typer.echo(json.dumps(reference.schema(), indent=1))


def _file_of(stack: str) -> Path:
    from operations.stacks import stacks

    return stacks.settings_file(stack)
