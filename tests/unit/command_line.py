"""The `nemostack` command inside of the test's own process."""

import pytest

from cli import main


def run_command(*arguments: str) -> int:
    """Run `nemostack ARGUMENTS`, and return its exit code."""
    with pytest.raises(SystemExit) as caught:
        main.main(list(arguments))
    return int(caught.value.code or 0)
