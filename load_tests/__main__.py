"""`python -m load_tests`: the commands of `nemostack load`, without the rest of `nemostack`."""

import os
import sys

from load_tests.commands import app
from nemostack import log_lines, proxies, termination
from nemostack.errors import NemostackError
from nemostack.redact import redact


def main() -> None:
    """Run a command; always leaves by SystemExit."""
    proxies.prepare(os.environ)
    with log_lines.installed(), termination.ends_as_interrupt():
        try:
            app(prog_name="python -m load_tests")
        except NemostackError as error:
            print(f"error: {redact(str(error))}", file=sys.stderr)
            raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
