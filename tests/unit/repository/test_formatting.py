"""The formatter is law: hand-made formatting is rare."""

import subprocess

from nemostack.clone import ROOT

MARK = "# fmt: " + "skip"


def test_few_blocks_are_formatted_by_hand() -> None:
    command = ["git", "grep", "--count", MARK, "--", "*.py"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()
    assert sum(int(line.rpartition(":")[2]) for line in lines) <= 10
