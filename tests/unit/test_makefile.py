"""What `make` does when things are half made, elsewhere, or still needed. Python is a stand-in that takes notes."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = """#!/bin/sh
echo "$*" >> calls
case "$*" in
  "-m venv .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python;;
  "-m pip install"*) printf '#!/bin/sh\\n' > .venv/bin/uv; chmod +x .venv/bin/uv;;
  "-m cli down"*) rm -f .nemostack/pulumi/.pulumi/stacks/nemostack/local.json; rm -rf .nemostack/local;;
esac
"""
BROKEN = "#!/bin/sh\necho 'No module named pip' >&2; exit 1\n"


@dataclass(frozen=True)
class Clone:
    path: Path

    def make(self, *arguments: str, code: int = 0) -> str:
        """Run make; what it said. Fails unless it ends with `code`."""
        env = {
            name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "STACK", "SLO")
        }
        done = subprocess.run(
            ["make", f"PYTHON={self.path / 'python'}", *arguments],
            cwd=self.path, env=env, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def calls(self) -> list[str]:
        """What Python was called with, less the looks at its version."""
        file = self.path / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if line.startswith("-m")]

    def file(self, name: str, text: str = "", mode: int = 0o644) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def environment(self) -> None:
        """A whole .venv."""
        self.file(".venv/bin/python", PYTHON, 0o755)
        self.file(".venv/bin/uv", "#!/bin/sh\n", 0o755)
        self.file(".venv/.ready")

    def half_an_environment(self) -> None:
        """What Ctrl-C leaves of `python -m venv`: an interpreter, and no pip yet."""
        self.file(".venv/bin/python", BROKEN, 0o755)

    def state(self, name: str) -> Path:
        return self.file(f".nemostack/pulumi/.pulumi/stacks/nemostack/{name}")


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    made = Clone(tmp_path)
    for name in ("Makefile", "Pulumi.local.yaml", "Pulumi.gke.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    made.file("requirements.txt")
    made.file("operations/toolchain/bootstrap.txt")
    made.file("python", PYTHON, 0o755)
    return made


# --- environments -------------------------------------------------------------------------------------------------


def test_environment_that_was_interrupted_is_made_again(clone: Clone) -> None:
    clone.half_an_environment()
    clone.make(".venv/.ready")
    assert [call.split()[1] for call in clone.calls] == ["venv", "pip"]
    assert (clone.path / ".venv" / ".ready").exists()


def test_environment_that_is_there_is_brought_up_to_date_only(clone: Clone) -> None:
    clone.environment()
    os.utime(clone.path / ".venv" / ".ready", (0, 0))
    clone.make(".venv/.ready")
    assert clone.calls == []


def test_interrupted_update_does_not_count_as_ready(clone: Clone) -> None:
    clone.environment()
    os.utime(clone.path / ".venv" / ".ready", (0, 0))
    clone.file(".venv/bin/uv", "#!/bin/sh\nexit 130\n", 0o755)
    clone.make(".venv/.ready", code=2)
    assert not (clone.path / ".venv" / ".ready").exists()


def test_embedded_environment_that_was_interrupted_is_made_again(clone: Clone) -> None:
    clone.environment()
    clone.file("embedded/requirements.txt")
    clone.file(
        ".venv/bin/uv", '#!/bin/sh\n[ "$1" != venv ] || mkdir .venv-embedded\n', 0o755
    )  # as uv: not if it is there
    clone.file(".venv-embedded/bin/python", BROKEN, 0o755)
    clone.make(".venv-embedded/.ready")
    assert not (clone.path / ".venv-embedded" / "bin").exists()


# --- clean --------------------------------------------------------------------------------------------------------


def test_clean_removes_everything(clone: Clone) -> None:
    clone.environment()
    clone.state("local.json")
    clone.state("local.json.bak")
    clone.file(".nemostack/passphrase")
    clone.file(".nemostack/local/data/history")
    clone.make("clean")
    assert clone.calls == ["-m cli down --stack local --purge"]
    assert not (clone.path / ".nemostack").exists()
    assert not (clone.path / ".venv").exists()


@pytest.mark.parametrize("other", ["gke.json", "gke.json.gz"])
def test_clean_keeps_what_another_stack_needs(clone: Clone, other: str) -> None:
    clone.environment()
    clone.state("local.json")
    other_state = clone.state(other)
    passphrase = clone.file(".nemostack/passphrase")
    assert "kept .nemostack, which has the state or the data of other stacks: gke\n" in clone.make("clean")
    assert other_state.exists()
    assert passphrase.exists()
    assert not (clone.path / ".venv").exists()


def test_clean_keeps_the_data_of_another_stack(clone: Clone) -> None:
    clone.environment()  # whose state is in a backend of the user
    data = clone.file(".nemostack/test/data/history")
    assert "other stacks: test\n" in clone.make("clean")
    assert data.exists()


def test_clean_is_refused_for_another_target(clone: Clone) -> None:
    clone.environment()
    state = clone.state("gke.json")
    assert ".venv/bin/nemostack teardown --stack gke" in clone.make("clean", "STACK=gke", code=2)
    assert clone.calls == []
    assert state.exists()
    assert (clone.path / ".venv" / ".ready").exists()


def test_clean_of_half_an_environment(clone: Clone) -> None:
    clone.half_an_environment()
    clone.make("clean")
    assert not (clone.path / ".venv").exists()


def test_clean_makes_the_environment_if_a_stack_must_be_destroyed(clone: Clone) -> None:
    clone.half_an_environment()
    clone.state("local.json")
    clone.make("clean")
    assert clone.calls[-1] == "-m cli down --stack local --purge"
    assert not (clone.path / ".nemostack").exists()


def test_clean_stops_when_the_stack_cannot_be_destroyed(clone: Clone) -> None:
    clone.environment()
    clone.file(".venv/bin/python", "#!/bin/sh\nexit 1\n", 0o755)
    state = clone.state("local.json")
    clone.make("clean", code=2)
    assert state.exists()
    assert (clone.path / ".venv" / ".ready").exists()


# --- what follows from the target ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "slo"),
    [
        ([], "examples/slo.local.yaml"),
        (["STACK=test"], "examples/slo.local.yaml"),
        (["STACK=gke"], "examples/slo.yaml"),
        (["STACK=quoted"], "examples/slo.yaml"),
        (["STACK=gke", "SLO=mine.yaml"], "mine.yaml"),
    ],
)
def test_objectives(clone: Clone, arguments: list[str], slo: str) -> None:
    clone.environment()
    clone.file("Pulumi.quoted.yaml", "config:\n  nemostack:target: 'existing' # local\n")
    clone.make("load", *arguments)
    assert clone.calls[-1].endswith(f" --slo {slo}")
    assert slo == "mine.yaml" or (ROOT / slo).is_file()
