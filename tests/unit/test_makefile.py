"""The Makefile is thin, and `make clean` removes nothing that a stack needs. Python is a stand-in that takes notes."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from nemostack.clone import ROOT

PYTHON = """#!/bin/sh
echo "$*" >> calls
case "$*" in
  operations/toolchain/bootstrap.py) mkdir -p .venv/bin; cp "$0" .venv/bin/python; touch .venv/.ready;;
esac
"""


@dataclass(frozen=True)
class Clone:
    path: Path

    def make(self, *arguments: str, code: int = 0) -> str:
        """Run make, and return what it printed. Fails unless it ends with `code`."""
        unset = ("MAKEFLAGS", "MAKELEVEL", "STACK", "SLO")
        env = {name: value for name, value in os.environ.items() if name not in unset}
        command = ["make", f"PYTHON={self.path / 'python'}", *arguments]
        done = subprocess.run(command, cwd=self.path, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def calls(self) -> list[str]:
        file = self.path / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def file(self, name: str, text: str = "", mode: int = 0o644) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def environment(self, python: str = PYTHON) -> None:
        self.file(".venv/bin/python", python, 0o755)
        self.file(".venv/.ready")


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    clone = Clone(tmp_path)
    shutil.copy(ROOT / "Makefile", tmp_path)
    for needed in ("requirements.txt", "pyproject.toml", "operations/toolchain/bootstrap.txt"):
        clone.file(needed)
    clone.file("operations/toolchain/bootstrap.py")
    clone.file("python", PYTHON, 0o755)
    return clone


def test_it_is_short() -> None:
    assert len((ROOT / "Makefile").read_text().splitlines()) <= 80


def test_help_names_every_target_that_is_explained(clone: Clone) -> None:
    explained = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = clone.make("help")
    assert len(explained) > 15
    assert all(f"  {target} " in shown for target in explained)


def test_the_environment_comes_first(clone: Clone) -> None:
    clone.make("up")
    assert clone.calls == ["operations/toolchain/bootstrap.py", "-m cli up --stack local"]


def test_an_environment_that_is_ready_is_left_alone(clone: Clone) -> None:
    clone.environment()
    clone.make("up", "STACK=mine")
    assert clone.calls == ["-m cli up --stack mine"]


def test_a_newer_lock_brings_the_environment_up_to_date(clone: Clone) -> None:
    clone.environment()
    os.utime(clone.path / ".venv" / ".ready", (0, 0))
    clone.make("up")
    assert clone.calls[0] == "operations/toolchain/bootstrap.py"


def test_down_keeps_the_volumes_of_a_cluster(clone: Clone) -> None:
    clone.environment()
    clone.make("down", "STACK=gke")
    assert clone.calls == ["-m cli teardown --stack gke"]


def test_gpus_are_held_to_other_objectives(clone: Clone) -> None:
    """A stack without a file at the top of the clone, or whose file says so, is on this machine."""
    clone.environment()
    clone.file("Pulumi.gke.yaml", "config:\n  nemostack:target: gke\n")
    clone.file("Pulumi.mine.yaml", "config:\n  nemostack:target: local\n")
    for arguments in ([], ["STACK=gke"], ["STACK=mine"], ["STACK=platform"], ["SLO=mine.yaml"]):
        clone.make("load", *arguments)
    assert clone.calls == [
        "-m cli load --stack local --slo examples/slo.local.yaml",
        "-m cli load --stack gke --slo examples/slo.yaml",
        "-m cli load --stack mine --slo examples/slo.local.yaml",
        "-m cli load --stack platform --slo examples/slo.local.yaml",
        "-m cli load --stack local --slo mine.yaml",
    ]
    assert all((ROOT / "examples" / name).is_file() for name in ("slo.local.yaml", "slo.yaml"))


def test_the_demo_says_how_to_stop_its_own_stack(clone: Clone) -> None:
    clone.environment()
    assert "'make down', run again with 'make demo'." in clone.make("demo")
    assert "'make down STACK=platform', run again with 'make demo STACK=platform'." in clone.make(
        "demo", "STACK=platform"
    )


def test_clean(clone: Clone) -> None:
    clone.environment()
    clone.file(".nemostack/passphrase")
    clone.make("clean")
    assert clone.calls == ["-m cli down --stack local --purge"]
    assert not (clone.path / ".venv").exists()


def test_clean_makes_the_environment_if_there_may_be_a_stack(clone: Clone) -> None:
    clone.file(".nemostack/passphrase")
    clone.make("clean")
    assert clone.calls == ["operations/toolchain/bootstrap.py", "-m cli down --stack local --purge"]


def test_clean_stops_when_the_stack_cannot_be_destroyed(clone: Clone) -> None:
    clone.environment("#!/bin/sh\nexit 1\n")
    clone.file(".nemostack/passphrase")
    clone.make("clean", code=2)
    assert (clone.path / ".venv" / ".ready").exists()
    assert (clone.path / ".nemostack" / "passphrase").exists()


def test_clean_without_anything(clone: Clone) -> None:
    clone.make("clean")
    assert clone.calls == []
