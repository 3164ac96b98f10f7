"""`python -m load_tests [options]`: run the locustfile headless; `report DIR` and `mock` beside it.

Exit codes: 0 PASS, 1 crash, 2 wrong usage or failed preflight, 3 FAIL, 4 NOT ENOUGH samples, 5 INVALID measurement.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from nemostack import proxies

USAGE = """usage: python -m load_tests [options]                     load a NIM, report, exit by verdict
       python -m load_tests report DIR [--slo FILE]     make the report of a finished run again
       python -m load_tests mock [--port 8000 ...]      a server of known cadence, to check the client with

Example: python -m load_tests --stack local --users 8 --duration 20s --slo examples/slo.local.yaml
Further options are Locust's own, e.g. -u/--users N (default: 1) and --processes N (workers; N users in all).
Exit codes: 0 PASS, 1 crash, 2 usage or preflight, 3 FAIL, 4 NOT ENOUGH, 5 INVALID.
"""


def main(argv: list[str]) -> int:
    """Run one of the three; returns the exit code."""
    proxies.prepare(os.environ)
    match argv:
        case ["mock", *rest]:
            from load_tests.mock_nim import main as mock

            return mock(rest)
        case ["report", *rest]:
            return _report(rest)
        case [*_, "-h" | "--help"] | ["-h" | "--help", *_]:
            return _help()
    return _load(argv)


def _load(argv: list[str]) -> int:
    locustfile = Path(__file__).with_name("locustfile.py")
    command = [sys.executable, "-m", "locust", "-f", str(locustfile), "--headless", *argv]
    # Locust's own summary has bucketed percentiles that would contradict ours: without its log it is not printed
    with subprocess.Popen([*command, "--only-summary", "--skip-log-setup"]) as locust:
        while True:
            try:
                return locust.wait()
            except KeyboardInterrupt:
                continue  # Locust has the signal too, and still writes the report


def _report(argv: list[str]) -> int:
    from load_tests.adapters import PreflightError
    from load_tests.finish import finish

    parser = argparse.ArgumentParser(prog="python -m load_tests report")
    parser.add_argument("folder", type=Path, help="folder of a finished run")
    parser.add_argument("--slo", type=Path, help="other objectives than the run's")
    options = parser.parse_args(argv)
    try:
        return finish(options.folder, options.slo)
    except PreflightError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {options.folder} is not the folder of a run: {error}", file=sys.stderr)
    return 2


def _help() -> int:
    from locust.argument_parser import LocustArgumentParser

    from load_tests.spec import add_options

    parser = LocustArgumentParser(prog="python -m load_tests", usage=argparse.SUPPRESS, add_help=False)
    add_options(parser)
    print(USAGE)
    print(parser.format_help())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
