"""The dependencies in pyproject.toml against what the packages import."""

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from typing import Any

from nemostack.clone import ROOT
from tests.unit.repository.tracked import tracked

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@cache
def providers() -> Mapping[str, list[str]]:
    """Distributions that have a module, by its name: reads the records of all that is installed, a second's work."""
    return packages_distributions()


def normalized(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-").replace(".", "-")


def undeclared_imports(declared: set[str], *packages: str) -> Iterator[str]:
    """Each import of the packages that none of the declared distributions provides."""
    for name in tracked(*packages):
        if not name.endswith(".py"):
            continue
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module]
            for module in modules:
                distributions = {normalized(line) for line in providers().get(module.split(".")[0], [])}
                if distributions and not distributions & declared and "nemostack" not in distributions:
                    yield f"{name}: {module}"


def test_what_the_harness_imports_is_a_dependency():
    declared = {normalized(line) for line in PROJECT["project"]["dependencies"]}
    packages = ("nemostack", "cli", "operations", "workflows", "load_tests", "smoke_tests")
    assert not list(undeclared_imports(declared, *packages))


def test_what_the_program_imports_is_a_dependency_or_in_an_extra():
    extras = PROJECT["project"]["optional-dependencies"]
    groups = [PROJECT["project"]["dependencies"], *(extra for name, extra in extras.items() if name != "local")]
    declared = {normalized(line) for group in groups for line in group}
    assert not list(undeclared_imports(declared, "infra"))


def test_a_package_that_is_named_twice_is_asked_for_in_the_same_way():
    lists = [
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
        # the CUDA environment has versions of its own, which its vLLM decides
        *(lines for name, lines in PROJECT["dependency-groups"].items() if name != "embedded-cuda"),
    ]
    asked: dict[str, set[str]] = {}
    for line in (line for lines in lists for line in lines if isinstance(line, str)):
        asked.setdefault(line.split("[")[0] if "[" in line else normalized(line), set()).add(line)
    assert {name: lines for name, lines in asked.items() if len(lines) > 1 and name != "nemostack"} == {}
