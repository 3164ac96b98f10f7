"""`nemostack`: bring a stack up, check it, evaluate, customize and compare models on it, and load-test it.

Progress goes to stderr, results to stdout. Exit codes are listed in nemostack/exit_codes.py and docs/cli.md.
Commands parse, call, render and exit; what they call is imported when they run, so that --help is quick.
"""

import os
import sys
import traceback
from typing import Annotated, ClassVar

import typer

from cli.lazy import LazyCommand, LazyGroup
from nemostack import log_lines, proxies, termination
from nemostack.errors import NemostackError
from nemostack.exit_codes import ExitCode
from nemostack.version import VERSION

_STACK, _MODELS, _TESTS = "A stack", "Models on a stack", "Tests of a stack"
_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


class Commands(LazyGroup):
    """The commands of `nemostack`."""

    table: ClassVar = {
        "up": LazyCommand("cli.lifecycle:up", "Create the stack if necessary, and bring it up.", _STACK, _PASSED_ON),
        "down": LazyCommand("cli.lifecycle:down", "Destroy the stack; data and reports stay.", _STACK, _PASSED_ON),
        "preview": LazyCommand("cli.lifecycle:preview", "Show what `up` would change.", _STACK, _PASSED_ON),
        "outputs": LazyCommand("cli.lifecycle:outputs", "Print the outputs of the stack as JSON.", _STACK),
        "env": LazyCommand("cli.lifecycle:env", "Print lines after which plain `pulumi` commands work.", _STACK),
        "config": LazyCommand("cli.config:app", "Write, check and show the settings of a stack.", _STACK),
        "toolchain": LazyCommand("cli.toolchain:app", "Install the programs and packages that stacks need.", _STACK),
        "images": LazyCommand("cli.images:images", "Print every image that a cluster stack would pull.", _STACK),
        "doctor": LazyCommand(
            "cli.stacks:doctor", "Check every service and the cluster: symptom, evidence, fix.", _STACK
        ),
        "port-forward": LazyCommand("cli.stacks:port_forward", "Put the services of a cluster on loopback.", _STACK),
        "teardown": LazyCommand("cli.stacks:teardown", "Destroy a stack in a safe order; report what is left.", _STACK),
        "migrate": LazyCommand("cli.migrate:migrate", "Copy a stack's data to the NeMo Platform.", _STACK),
        "dataset": LazyCommand("cli.dataset:app", "Check, convert, split, profile and upload datasets.", _MODELS),
        "run": LazyCommand("cli.runs:run", "Run the whole pipeline, with a report.", _MODELS),
        "evaluate": LazyCommand("cli.runs:evaluate", "Evaluate one served model.", _MODELS),
        "customize": LazyCommand("cli.runs:customize", "Train a LoRA adapter that NIM then serves.", _MODELS),
        "sweep": LazyCommand(
            "cli.sweep:sweep", "Try several hyperparameters; run the pipeline with the best.", _MODELS
        ),
        "runs": LazyCommand("cli.run_folder:app", "List, show, compare and clean runs.", _MODELS),
        "gate": LazyCommand("cli.runs:gate", "Decide by a policy whether a model may be used.", _MODELS),
        "promote": LazyCommand("cli.promotion:promote", "Bring a run's model into use behind an alias.", _MODELS),
        "rollback": LazyCommand("cli.promotion:rollback", "Let an alias lead where it led before, at once.", _MODELS),
        "history": LazyCommand("cli.promotion:history", "Show every change of an alias, with its lineage.", _MODELS),
        "watch": LazyCommand("cli.watch:watch", "Watch a served model for drift of inputs and quality.", _MODELS),
        "judge": LazyCommand("cli.judge:judge", "Compare the stack's judge with people's ratings.", _MODELS),
        "cleanup": LazyCommand("cli.runs:cleanup", "Remove what a run left on the stack.", _MODELS),
        "smoke": LazyCommand("cli.suites:smoke", "Prove a running stack end to end.", _TESTS, _PASSED_ON),
        "load": LazyCommand("load_tests.commands:app", "Load-test NIM, base model and adapters mixed.", _TESTS),
    }


app = typer.Typer(
    cls=Commands,
    help="Bring up a NeMo stack, prove that it works, and measure it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nemostack {VERSION}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of failures.")] = False,  # noqa: ARG001
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    log_format: Annotated[
        str,
        typer.Option(
            "--log-format",
            envvar=log_lines.ENV,
            help="Progress and log lines as text, or as json: one object a line. Stands before the command.",
        ),
    ] = "text",
) -> None:
    """Options of all commands."""
    # `main` reads --debug itself: a failure may come before this is called.
    try:
        log_lines.choose(log_format)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--log-format") from error


def main(argv: list[str] | None = None) -> None:
    """Entry point; always leaves by SystemExit."""
    arguments = sys.argv[1:] if argv is None else argv
    end = arguments.index("--") if "--" in arguments else len(arguments)  # what follows is another program's
    debug = "--debug" in arguments[:end]
    proxies.prepare(os.environ)
    with log_lines.installed(), termination.ends_as_interrupt():
        try:
            app(args=[*(a for a in arguments[:end] if a != "--debug"), *arguments[end:]], prog_name="nemostack")
        except NemostackError as error:
            if debug and not log_lines.wants_json():
                raise
            _complain(error, str(error), debug=debug)
            raise SystemExit(error.exit_code) from error
        except KeyboardInterrupt:
            raise SystemExit(ExitCode.INTERRUPTED) from None
        except Exception as error:
            if debug and not log_lines.wants_json():
                raise
            text = f"unexpected {type(error).__name__}: {error}"
            _complain(error, f"{text}; rerun with --debug for a traceback, and please report it", debug=debug)
            raise SystemExit(1) from error


def _complain(error: Exception, text: str, *, debug: bool) -> None:
    from nemostack.redact import redact

    if log_lines.wants_json():
        trace = {"traceback": redact("".join(traceback.format_exception(error)))} if debug else {}
        log_lines.write(text, "error", exit_code=int(getattr(error, "exit_code", ExitCode.FAILURE)), **trace)
        return
    from rich.text import Text

    from nemostack.console import stderr

    stderr().print(Text.assemble(("error: ", "bold red"), redact(text)), soft_wrap=True)


if __name__ == "__main__":
    main()
