"""The ways out that docs/operations.md tells, run as they are written there, on a stack of the tests.

A case is a heading with one fenced block. Words in capitals stand for what the reader finds in `helm list`, and `gke`
for the stack. `nemostack` is the real one, for which the folder of the stack is the clone.
"""

import re
import shlex
import subprocess
import sys

from nemostack.clone import ROOT
from simulator.pulumi_stack import NAME, TIMEOUT_S, PulumiStack
from tests import readme_commands

PAGE = ROOT / "docs" / "operations.md"
CHAPTER = "When something is broken"
CLONE = """
import sys
from pathlib import Path
from nemostack import clone
from operations.stacks import environment
clone.ROOT = Path(FOLDER)
environment.STATE = clone.ROOT / ".nemostack"
from cli.main import main
main(sys.argv[1:])
"""


def read_cases() -> list[str]:
    """Read the headings of the chapter below which there are commands."""
    text = PAGE.read_text(encoding="utf-8")
    chapter = text.split(f"\n## {CHAPTER}\n", 1)[1].split("\n## ", 1)[0]
    headings = re.findall(r"^### (.+)$", chapter, re.MULTILINE)
    return [heading for heading in headings if readme_commands.read_commands(text, heading)]


def read_commands(case: str, **words: str | int) -> list[str]:
    """Read the commands of a case, with the reader's words in place of those in capitals."""
    commands = readme_commands.read_commands(PAGE.read_text(encoding="utf-8"), case)
    assert commands, f"the page has no commands under {case!r}"
    words |= {"gke": NAME}
    pattern = re.compile(rf"\b({'|'.join(words)})\b")
    filled = [pattern.sub(lambda match: str(words[match[1]]), command) for command in commands]
    left = re.findall(r"\b[A-Z]{3,}\b", "\n".join(filled))
    assert not left, f"the test says nothing of {left}"
    return filled


def run(stack: PulumiStack, commands: list[str], *, entered: str = "", code: int = 0) -> str:
    """Run commands in one shell that stops at the first failure, and return what they print.

    Nobody sits at a terminal: confirmations are given, and `entered` is what is typed.
    """
    folder = stack.folder.parent / f"{stack.folder.name}-bin"
    folder.mkdir(exist_ok=True)
    program = folder / "nemostack"
    source = CLONE.replace("FOLDER", repr(str(stack.folder)))
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(source)} "$@"\n')
    program.chmod(0o755)
    variables = stack.environment | {"PULUMI_SKIP_CONFIRMATIONS": "true"}
    variables["PATH"] = f"{folder}:{variables['PATH']}"
    done = subprocess.run(
        ["bash", "-c", "set -euo pipefail\n" + "\n".join(commands)],
        cwd=stack.folder,
        env=variables,
        input=entered,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == code, f"{commands} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def commands_in(message: str) -> list[str]:
    """Read the commands that `nemostack up` names when it refuses."""
    return [line.strip() for line in message.splitlines() if re.match(r"  (helm|nemostack) ", line)]


def changes_in(output: str) -> list[str]:
    """Read what Pulumi's commands say that they have done, e.g. `1 created`."""
    return re.findall(r"^ +[-+~]+ (\d+ (?:created|updated|deleted|replaced))$", output, re.MULTILINE)
