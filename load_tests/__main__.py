"""`python -m load_tests`: the commands of `nemostack load`, without the rest of `nemostack`."""

import os
import sys

from infra import proxies
from load_tests.commands import app
from load_tests.traffic.adapters import PreflightError


def main() -> None:
    """Run a command; always leaves by SystemExit."""
    proxies.prepare(os.environ)
    try:
        app(prog_name="python -m load_tests")
    except PreflightError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
