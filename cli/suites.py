"""`nemostack smoke` and `nemostack load`: the smoke tests and the load tests of a running stack.

Both start a process of their own, to which the remaining arguments go: pytest brings its own command line, and Locust
must change the standard library before anything else is imported.
"""

import os
import sys
from itertools import pairwise

import typer

from cli import options as o
from nemostack.stack_outputs import ENV_OUTPUTS

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def smoke(context: typer.Context, *, stack: o.StackOption = "local") -> None:
    """Prove a running stack end to end. Other options go to pytest; `-n 4` (four workers) is the default."""
    workers = [] if any(argument.startswith("-n") for argument in context.args) else ["-n", "4"]
    _replace_process("pytest", "smoke_tests", "--stack", stack, "--require-stack", *workers, *context.args)


def load(context: typer.Context) -> None:
    """Load-test NIM of a running stack, base model and adapters mixed. `nemostack load --help` lists the options."""
    _replace_process("load_tests", *context.args, *_objectives(context.args))


def _objectives(arguments: list[str]) -> list[str]:
    """Options for the objectives of the stack's target, unless the user chose some or names the services otherwise."""
    from operations.stacks import environment, stacks

    chosen = {argument.partition("=")[0] for argument in arguments}
    if chosen & {"--slo", "--outputs", "--nim-url", "--help", "-h", "mock", "report"} or ENV_OUTPUTS in os.environ:
        return []
    stack = next((value for option, value in pairwise(arguments) if option == "--stack"), stacks.LOCAL)
    # GPUs are held to other objectives than the CPUs of this machine.
    name = "slo.local.yaml" if stacks.target_of(stack) == "local" else "slo.yaml"
    return ["--slo", str(environment.ROOT / "examples" / name)]


def _replace_process(module: str, *arguments: str) -> None:
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - no shell is wanted
