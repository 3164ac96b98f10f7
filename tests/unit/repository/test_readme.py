"""Every command in a fenced block of the README and the docs: subcommands, options, targets and paths exist."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import typer

from cli.main import Commands, app
from nemostack.clone import ROOT
from tests import readme_commands

README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PULUMI = {
    "preview",
    "up",
    "refresh",
    "destroy",
    "stack",
    "config",
    "login",
    "logout",
    "state",
    "plugin",
    "import",
    "cancel",
}
FOLDERS = ("examples/", "infra/", "embedded/", "smoke_tests/", "load_tests/", "nemostack/", "workflows/", "docs/")
MADE_LATER = {".venv/bin/activate"}


@cache
def make_words() -> tuple[set[str], set[str]]:
    """The targets and the variables of the Makefile."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", text, re.MULTILINE)), set(re.findall(r"^([A-Z_]+) *\?=", text, re.MULTILINE))


@cache
def load_options() -> set[str]:
    """The options of `nemostack load`, which are Locust's too: Locust patches a process that imports it."""
    command = [sys.executable, "-m", "cli", "load", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", done.stdout))


def problems_of(line: str) -> Iterator[str]:
    """What a reader who types this line would stumble over."""
    if inner := re.match(r'eval "\$\((.+)\)"$', line):
        yield from problems_of(inner[1])
        return
    if " -- " in line:
        line, other = line.split(" -- ", 1)
        yield from problems_of(other)
    words = shlex.split(line)
    yield from (f"{word} does not exist" for word in words if word.startswith(FOLDERS) and not (ROOT / word).exists())
    if words[0] == "make":
        targets, variables = make_words()
        plain = [word for word in words[1:] if not word.startswith("-")]
        yield from (f"no target {word}" for word in plain if "=" not in word and word not in targets)
        yield from (f"no variable {word}" for word in plain if "=" in word and word.split("=")[0] not in variables)
    elif words[0] == "nemostack":
        yield from problems_of_nemostack(words[1:])
    elif words[0] == "pulumi" and words[1] not in PULUMI:
        yield f"no command pulumi {words[1]}"
    elif words[0] == "source" and not (ROOT / words[1]).exists() and words[1] not in MADE_LATER:
        yield f"{words[1]} does not exist"


def problems_of_nemostack(words: list[str]) -> Iterator[str]:
    command: Any = typer.main.get_command(app)
    context: Any = typer.Context(command)
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    while words and hasattr(command, "list_commands") and words[0] in command.list_commands(context):
        command, words = command.get_command(context, words[0]), words[1:]
        options |= {option for parameter in command.params for option in parameter.opts}
        if command.name == "load":
            options |= load_options()
    if words and isinstance(command, Commands) and not words[0].startswith("-"):
        yield f"no command nemostack {words[0]}"
        return
    for word in words:
        if word.startswith("-") and word.split("=")[0] not in options:
            yield f"{command.name} has no option {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page_exist(page):
    commands = readme_commands.read_commands(page.read_text(encoding="utf-8"))
    problems = [f"{line}: {problem}" for line in commands for problem in problems_of(line)]
    assert not problems


def test_the_readme_has_commands_in_its_sections():
    text = README.read_text(encoding="utf-8")
    everyday = readme_commands.read_commands(text, readme_commands.SECTION)
    assert {"nemostack doctor", "nemostack smoke"} <= set(everyday)
    assert len(readme_commands.read_commands(text)) > len(everyday)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("make demmo", "no target demmo"),
        ("make smoke STAK=gke", "no variable STAK=gke"),
        ("nemostack runn", "no command nemostack runn"),
        ("nemostack run --datset my/data", "run has no option --datset"),
        ("nemostack load --sloo x", "load has no option --sloo"),
        ('eval "$(nemostack envi)"', "no command nemostack envi"),
        ("nemostack port-forward --stack gke -- make smok", "no target smok"),
        ("nemostack load --slo examples/none.yaml", "examples/none.yaml does not exist"),
        ("pulumi upp -s local", "no command pulumi upp"),
    ],
)
def test_a_stale_command_is_seen(line, problem):
    assert list(problems_of(line)) == [problem]


@pytest.mark.slow
def test_commands_that_need_no_model_run_one_after_the_other(tmp_path, stack):
    text = README.read_text(encoding="utf-8")
    lines = readme_commands.read_commands(text, readme_commands.SECTION)
    starts = ("source ", "nemostack doctor", "nemostack run", "nemostack customize", "eval ")
    outputs = tmp_path / "outputs.json"
    outputs.write_text(stack.outputs.model_dump_json(), encoding="utf-8")
    chosen = [line.replace("run ", "run --limit 8 ") for line in lines if line.startswith(starts)]
    assert len(chosen) == len(starts)
    assert readme_commands.run_commands(chosen, tmp_path, outputs) == 0
    assert list((tmp_path / "runs").glob("*/report.html"))
