"""`nemostack smoke`: the smoke tests of a running stack, in a process of pytest, which brings its own command line."""

import os
import sys

import typer

from cli import options as o


def smoke(context: typer.Context, *, stack: o.StackOption = "local") -> None:
    """Prove a running stack end to end. Other options go to pytest; `-n 4` (four workers) is the default."""
    workers = [] if any(argument.startswith("-n") for argument in context.args) else ["-n", "4"]
    _replace_process("pytest", "smoke_tests", "--stack", stack, "--require-stack", *workers, *context.args)


def _replace_process(module: str, *arguments: str) -> None:
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - no shell is wanted
