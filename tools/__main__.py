"""`python -m tools`: the toolchain and the stacks of this clone.

python -m tools ensure                         install what is missing, print where each program is
python -m tools ensure kubernetes etcd kwok    the same for what simulator/ starts
eval "$(python -m tools env)"                  make plain `pulumi up -s local` work in this shell
python -m tools run -- pulumi up -s local      the same for one command
python -m tools up --stack local               create the stack if necessary, bring it up
python -m tools down --stack local             destroy it

With target `local`, up and down do not ask for confirmation. With any other target Pulumi shows a preview and asks,
unless --yes is given.
"""

import argparse
import sys

from tools import commands, environment, programs, stacks
from tools.errors import ToolError


def parser() -> argparse.ArgumentParser:
    """Make the command line's parser."""
    root = argparse.ArgumentParser(
        prog="python -m tools", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root.add_argument("--debug", action="store_true", help="show tracebacks")
    sub = root.add_subparsers(dest="command", required=True)
    ensure = sub.add_parser("ensure", help="install what is missing, print where each program is")
    known = f"{', '.join(programs.SETS)}; default: {', '.join(programs.FOR_EVERYONE)}"
    ensure.add_argument("sets", nargs="*", metavar="SET", help=known)
    sub.add_parser("env", help="print lines for the shell's eval")
    run = sub.add_parser("run", help="run a command with the toolchain: run -- COMMAND ...")
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    up = sub.add_parser("up", help="bring a stack up; unknown arguments go to `pulumi up`")
    up.add_argument("--stack", default="local")
    up.add_argument("--config", action="append", default=[], metavar="KEY=VALUE", help="e.g. local.base_port=19080")
    down = sub.add_parser("down", help="destroy a stack; unknown arguments go to `pulumi destroy`")
    down.add_argument("--stack", default="local")
    down.add_argument(
        "--purge", action="store_true", help="also forget the stack and remove its data (this machine only)"
    )
    for changing in (up, down):
        changing.add_argument(
            "--yes", "-y", action="store_true", help="do not ask for confirmation, whatever the target"
        )
    outputs = sub.add_parser("outputs", help="print a stack's outputs as JSON")
    outputs.add_argument("--stack", default="local")
    return root


def dispatch(args: argparse.Namespace, extra: list[str]) -> int:
    """Do what was asked; the exit code."""
    match args.command:
        case "ensure":
            for name, path in programs.ensure(args.sets).items():
                print(f"{name}\t{path}")
        case "env":
            print(environment.as_shell())
        case "run":
            argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
            if not argv:
                raise ToolError("run: which command? e.g. python -m tools run -- pulumi preview -s local")
            return commands.run(argv)[0]
        case "up":
            return stacks.up(args.stack, args.config, extra, yes=args.yes)
        case "down":
            return stacks.down(args.stack, extra, purge=args.purge, yes=args.yes)
        case "outputs":
            return stacks.outputs(args.stack)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point. Exit code 1 with one line for what is expected to go wrong."""
    root = parser()
    args, extra = root.parse_known_args(argv)
    if extra and args.command not in ("up", "down"):
        root.error(f"unrecognized arguments: {' '.join(extra)}")
    try:
        return dispatch(args, extra)
    except ToolError as error:
        if args.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nerror: interrupted; run the same command again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
