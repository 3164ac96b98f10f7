"""docs/cli.md, made from the commands themselves: `python -m cli.reference > docs/cli.md`.

A test compares the two, so the page cannot drift.
"""

import sys
from collections.abc import Iterator
from typing import Any

import typer

from cli import main
from nemostack.exit_codes import MEANINGS

_HEAD = """# Command line

Made by `python -m cli.reference`; do not edit.
`--debug` before or after any command shows the traceback of a failure. `--log-format json` before it, or
`NEMOSTACK_LOG_FORMAT=json`, makes one JSON object of each line of progress
([operations.md](operations.md), "Logs for machines").

## Exit codes

Commands that run another program to its end (`smoke`, `toolchain run`, `port-forward COMMAND`) exit with its code.

| code | meaning |
|---|---|
"""


def reference() -> str:
    codes = "".join(f"| {code:d} | {meaning} |\n" for code, meaning in MEANINGS.items())
    parts = [_HEAD + codes]
    for name, command in _commands(typer.main.get_command(main.app), "nemostack"):
        arguments = " ".join(_metavar(p) for p in command.params if p.param_type_name == "argument")
        parts.append(f"## {name}{f' {arguments}' if arguments else ''}\n\n{command.help.strip()}\n")
        options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
        rows = [f"| {_names(p)} | {_default(p)} | {_escape(p.help or '')} |" for p in options]
        if rows:
            rows.insert(0, "| option | default | |\n|---|---|---|")
            parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def _commands(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the commands of a group with their full names, those of its groups after the groups themselves."""
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if command.hidden:
            continue
        yield f"{prefix} {name}", command
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix} {name}")


def _metavar(argument: Any) -> str:
    text = (argument.metavar or argument.name).upper().removesuffix("...")
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
