"""docs/cli.md, made from the commands themselves: `python -m cli.reference > docs/cli.md`.

A test compares the two, so the page cannot drift.
"""

import sys
from typing import Any

import typer

from cli import main

_HEAD = """# Command line

Made by `python -m cli.reference`; do not edit. Exit codes are in [workflows.md](workflows.md).
`--debug` before or after any command shows the traceback of a failure.
"""


def reference() -> str:
    """Build the page."""
    group: Any = typer.main.get_command(main.app)
    parts = [_HEAD]
    for name, command in group.commands.items():
        arguments = " ".join(_metavar(p) for p in command.params if p.param_type_name == "argument")
        parts.append(f"## nemostack {name}{f' {arguments}' if arguments else ''}\n\n{command.help.strip()}\n")
        options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
        rows = [f"| {_names(p)} | {_default(p)} | {_escape(p.help or '')} |" for p in options]
        rows.insert(0, "| option | default | |\n|---|---|---|")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def _metavar(argument: Any) -> str:
    text = (argument.metavar or argument.name).upper()
    return f"{text}..." if argument.nargs == -1 else text


def _names(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    return f"{names} (`{option.envvar}`)" if option.envvar else names


def _default(option: Any) -> str:
    if option.default is None or (option.is_flag and not option.secondary_opts):
        return ""
    if option.secondary_opts:
        return f"`{(option.opts if option.default else option.secondary_opts)[0]}`"
    return f"`{option.default}`"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference())
