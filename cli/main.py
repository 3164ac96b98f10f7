"""`nemostack`: bring a stack up, check it, evaluate, customize and compare models on it, and load-test it.

Progress goes to stderr, results to stdout. Exit codes are listed in nemostack/exit_codes.py and docs/cli.md.
Commands parse, call, render and exit; what they call is imported when they run, so that --help is quick.
"""

import os
import sys
from typing import Annotated

import typer

from cli import config, lifecycle, runs, stacks, suites, toolchain
from load_tests.commands import app as load
from nemostack import proxies
from nemostack.errors import NemostackError
from nemostack.exit_codes import ExitCode

app = typer.Typer(
    help="Bring up a NeMo stack, prove that it works, and measure it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _root(*, debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of failures.")] = False) -> None:
    """Options of all commands."""
    # `main` reads --debug itself: a failure may come before this is called.


_STACK, _MODELS, _SUITES = "A stack", "Models on a stack", "Tests of a stack"
app.command(rich_help_panel=_STACK, context_settings=lifecycle.PULUMI_OPTIONS)(lifecycle.up)
app.command(rich_help_panel=_STACK, context_settings=lifecycle.PULUMI_OPTIONS)(lifecycle.down)
app.command(rich_help_panel=_STACK, context_settings=lifecycle.PULUMI_OPTIONS)(lifecycle.preview)
app.command(rich_help_panel=_STACK)(lifecycle.outputs)
app.command(rich_help_panel=_STACK)(lifecycle.env)
app.add_typer(config.app, name="config", rich_help_panel=_STACK)
app.add_typer(toolchain.app, name="toolchain", rich_help_panel=_STACK)
app.command(rich_help_panel=_STACK)(stacks.doctor)
app.command("port-forward", rich_help_panel=_STACK)(stacks.port_forward)
app.command(rich_help_panel=_STACK)(stacks.teardown)
app.command(rich_help_panel=_MODELS)(runs.run)
app.command(rich_help_panel=_MODELS)(runs.evaluate)
app.command(rich_help_panel=_MODELS)(runs.customize)
app.command(rich_help_panel=_MODELS)(runs.compare)
app.command(rich_help_panel=_MODELS)(runs.cleanup)
app.command(rich_help_panel=_SUITES, context_settings=suites.PASSED_ON)(suites.smoke)
app.add_typer(load, name="load", rich_help_panel=_SUITES)


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
        raise SystemExit(ExitCode.INTERRUPTED) from None
    except Exception as error:
        if debug:
            raise
        _complain(
            f"unexpected {type(error).__name__}: {error}; rerun with --debug for a traceback, and please report it"
        )
        raise SystemExit(1) from error


def _complain(text: str) -> None:
    from rich.text import Text

    from nemostack.console import stderr
    from nemostack.redact import redact

    stderr().print(Text.assemble(("error: ", "bold red"), redact(text)), soft_wrap=True)


if __name__ == "__main__":
    main()
