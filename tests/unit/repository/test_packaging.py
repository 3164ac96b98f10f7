"""The wheel: what it contains, and that it works alone in an empty environment."""

import ast
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from tests.unit.fake_stack import FakeStack

ROOT = Path(__file__).parents[3]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = [pattern.removesuffix("*") for pattern in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]]
UV = ROOT / ".venv" / "bin" / "uv"
NOT_SHIPPED = {"README.md"}


def tracked(*folders: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "--", *folders],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def normalized(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-").replace(".", "-")


def undeclared_imports(declared: set[str], *packages: str) -> Iterator[str]:
    """Each import of the packages that none of the declared distributions provides."""
    providers = packages_distributions()
    for name in tracked(*packages):
        if not name.endswith(".py"):
            continue
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module]
            for module in modules:
                distributions = {normalized(line) for line in providers.get(module.split(".")[0], [])}
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


def test_no_package_is_named_twice():
    extras = PROJECT["project"]["optional-dependencies"]
    base = {normalized(line) for line in PROJECT["project"]["dependencies"]}
    for name, lines in extras.items():
        assert not base & {normalized(line) for line in lines}, name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the tracked files: a `build` folder of earlier builds would leak into it."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked():
        copy = source / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy, follow_symlinks=False)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", target, source],
        check=True,
    )
    return next(target.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_has_every_file_of_its_packages(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
        shipped = archive.read("nemostack/samples/legal/test.jsonl")
    assert {name for name in tracked(*PACKAGES) if Path(name).name not in NOT_SHIPPED} <= inside
    assert shipped == (ROOT / "examples" / "legal" / "test.jsonl").read_bytes()
    assert not {name for name in inside if name.startswith(("tests/", "simulator/", "benchmarks/", "docs/"))}


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`nemostack` in an environment that holds the wheel and its dependencies, in their locked versions."""
    environment = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    subprocess.run(
        [UV, "pip", "install", "--quiet", "--python", environment, "-c", ROOT / "requirements.txt", wheel], check=True
    )
    return environment / "bin" / "nemostack"


def run_installed(program: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    hidden = ("PYTHONPATH", "NEMOSTACK_OUTPUTS", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.slow
class TestInstalled:
    def test_version(self, installed, tmp_path):
        done = run_installed(installed, tmp_path, "--version")
        assert (done.returncode, done.stdout) == (0, f"nemostack {PROJECT['project']['version']}\n"), done.stderr

    @pytest.mark.parametrize(
        "command",
        [
            "",
            "doctor",
            "port-forward",
            "teardown",
            "run",
            "evaluate",
            "customize",
            "compare",
            "cleanup",
            "smoke",
            "load",
            "config",
            "up",
        ],
    )
    def test_help(self, installed, tmp_path, command):
        done = run_installed(installed, tmp_path, *command.split(), "--help")
        assert done.returncode == 0, done.stderr
        assert "Usage:" in done.stdout

    def test_doctor_of_a_deployment_named_by_urls(self, installed, tmp_path):
        with contextlib.closing(FakeStack()) as stack:
            outputs = stack.outputs.model_dump()
            named = (
                "nemo_url",
                "data_store_url",
                "nim_url",
                "nim_internal_url",
                "mlflow_url",
                "judge_url",
                "judge_model",
                "base_model",
                "customization_config",
            )
            flags = [part for key in named for part in ("--" + key.replace("_", "-"), outputs[key])]
            done = run_installed(installed, tmp_path, "doctor", "--format", "json", *flags)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)

    def test_the_sample_dataset_is_used_by_default(self, installed, tmp_path):
        code = "from workflows.settings import Settings; from workflows.data import dataset; "
        code += "print(len(dataset.load(Settings()).test))"
        done = run_installed(installed.with_name("python"), tmp_path, "-c", code)
        lines = (ROOT / "examples" / "legal" / "test.jsonl").read_text(encoding="utf-8").splitlines()
        assert done.stdout.strip() == str(len(lines)), done.stderr
