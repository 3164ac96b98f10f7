"""`nemostack`: check a stack, evaluate, customize and compare models on it.

Progress goes to stderr, results to stdout. Exit codes are listed in workflows/errors.py and docs/workflows.md.
Commands parse, call, render and exit; what they call is imported when they run, so that --help is quick.
"""

import os
import sys
from typing import Annotated

import typer

from infra import proxies
from workflows import run_commands, stack_commands
from workflows.errors import EXIT_INTERRUPTED, NemostackError

app = typer.Typer(
    help="Evaluate, customize and compare models on a NeMo stack.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _root(*, debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of failures.")] = False) -> None:
    """Options of all commands."""
    # `main` reads --debug itself: a failure may come before this is called.


app.command()(stack_commands.doctor)
app.command()(run_commands.evaluate)
app.command()(run_commands.customize)
app.command()(run_commands.run)
app.command()(run_commands.compare)
app.command()(run_commands.cleanup)
app.command("port-forward")(stack_commands.port_forward)
app.command()(stack_commands.teardown)


def main(argv: list[str] | None = None) -> None:
    """Entry point; always leaves by SystemExit."""
    arguments = sys.argv[1:] if argv is None else argv
    end = arguments.index("--") if "--" in arguments else len(arguments)  # what follows is another program's
    debug = "--debug" in arguments[:end]
    proxies.prepare(os.environ)
    try:
        app(args=[*(a for a in arguments[:end] if a != "--debug"), *arguments[end:]], prog_name="nemostack")
    except NemostackError as error:
        if debug:
            raise
        _complain(str(error))
        raise SystemExit(error.exit_code) from error
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
    except Exception as error:
        if debug:
            raise
        _complain(
            f"unexpected {type(error).__name__}: {error}; rerun with --debug for a traceback, and please report it"
        )
        raise SystemExit(1) from error


def _complain(text: str) -> None:
    from rich.text import Text

    from workflows.console import stderr
    from workflows.redact import redact

    stderr().print(Text.assemble(("error: ", "bold red"), redact(text)), soft_wrap=True)


if __name__ == "__main__":
    main()
