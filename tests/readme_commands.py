"""The commands of the README, read from its fenced blocks.

`python -m tests.readme_commands --stack NAME` runs those of "Everyday use", in their order and in one shell, against a
running stack. Left out are `nemostack up`, which has been run by then, and what `--without` names.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nemostack.clone import ROOT
from nemostack.sample_dataset import FOLDER

SECTION = "Everyday use"
ROWS = {"train": 64, "validation": 16, "test": 16}
"""Rows of the dataset that stands for the README's `my/data`."""


def read_commands(text: str, heading: str | None = None) -> list[str]:
    """Read the commands of the fenced blocks of a page, or of one section; comments are cut off, `&&` separates."""
    return list(_commands(text, heading))


def _commands(text: str, heading: str | None) -> Iterator[str]:
    fence, section = None, ""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.startswith("```"):
            fence = line.removeprefix("```") if fence is None else None
        elif fence is None:
            section = line.lstrip("# ") if line.startswith("#") else section
        elif fence in ("", "bash", "sh") and heading in (None, section):
            for command in re.sub(r"(^|\s)# .*$", "", line).split(" && "):
                if command.strip():
                    yield command.strip()


def write_dataset(folder: Path) -> None:
    """Write the first rows of the sample dataset into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in ROWS.items():
        lines = (FOLDER / f"{split}.jsonl").read_text(encoding="utf-8").split("\n")[:rows]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def run_commands(commands: list[str], folder: Path, outputs: Path) -> int:
    """Run the commands in one shell that stops at the first failure, in `folder`, on the stack with these outputs.

    Paths of the clone (`examples/`, `.venv/`) are there by links. Returns the exit code.
    """
    for name in ("examples", ".venv", "smoke_tests"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    write_dataset(folder / "my" / "data")
    script = "set -euo pipefail\n" + "".join(f"echo '==> {line}' >&2\n{line}\n" for line in commands)
    search = os.pathsep.join([str(ROOT / ".venv" / "bin"), os.environ["PATH"]])
    variables = {**os.environ, "PATH": search, "NEMOSTACK_OUTPUTS": str(outputs), "HOME": str(folder)}
    if "XDG_CACHE_HOME" not in os.environ:
        variables["XDG_CACHE_HOME"] = str(Path.home() / ".cache")  # the toolchain stays where it is
    return subprocess.run(["bash", "-c", script], cwd=folder, env=variables, check=False).returncode


def main() -> int:
    """Run the section against a stack; return the exit code of the first command that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stack", default="local")
    parser.add_argument("--without", action="append", default=[], metavar="COMMAND", help="e.g. smoke")
    options = parser.parse_args()
    done = subprocess.run(
        [sys.executable, "-m", "cli", "outputs", "--stack", options.stack],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    json.loads(done.stdout)
    left_out = ["nemostack up", *(f"nemostack {name}" for name in options.without)]
    commands = read_commands((ROOT / "README.md").read_text(encoding="utf-8"), SECTION)
    commands = [line for line in commands if not any(f"{line} ".startswith(f"{name} ") for name in left_out)]
    with tempfile.TemporaryDirectory(prefix="nemostack-readme-") as folder:
        outputs = Path(folder) / "outputs.json"
        outputs.touch(mode=0o600)
        outputs.write_text(done.stdout, encoding="utf-8")
        return run_commands(commands, Path(folder), outputs)


if __name__ == "__main__":
    sys.exit(main())
