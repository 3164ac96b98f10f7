"""`nemostack smoke` and `nemostack load`: the smoke tests and the load tests of a running stack.

Both start a process of their own, to which the remaining arguments go: pytest brings its own command line, and Locust
must change the standard library before anything else is imported.
"""

import os
import sys

import typer

from cli import options as o

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def smoke(context: typer.Context, *, stack: o.StackOption = "local") -> None:
    """Prove a running stack end to end. Other options go to pytest; `-n 4` (four workers) is the default."""
    workers = [] if any(argument.startswith("-n") for argument in context.args) else ["-n", "4"]
    _replace_process("pytest", "smoke_tests", "--stack", stack, "--require-stack", *workers, *context.args)


def load(context: typer.Context) -> None:
    """Load-test NIM of a running stack, base model and adapters mixed. `nemostack load --help` lists the options."""
    _replace_process("load_tests", *context.args)


def _replace_process(module: str, *arguments: str) -> None:
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - no shell is wanted
