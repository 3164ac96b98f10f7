"""The built wheel, installed with its dependencies into an empty environment, far from any clone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nemostack.clone import ROOT
from nemostack.version import VERSION
from tests.unit.fake_stack import FakeStack

UV = Path(sys.executable).with_name("uv")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]  # installed once


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel and nothing of this clone."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a build writes into its folder
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, map(os.fsdecode, files)):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/images")):
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    run([UV, "build", "--wheel", "--quiet", "--out-dir", folder, source], folder)
    run([UV, "venv", "--quiet", "--python", sys.executable, folder / "venv"], folder)
    (wheel,) = folder.glob("*.whl")
    locked = ROOT / "requirements.txt"
    installed = folder / "venv" / "bin" / "python"
    run([UV, "pip", "install", "--quiet", "--python", installed, wheel, "--constraints", locked], folder)
    return installed


def run(command: list[object], folder: Path, code: int = 0, *, both: bool = True) -> str:
    """Run a command in `folder`, without this clone on its path, and return what it printed."""
    clean = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "NEMOSTACK_OUTPUTS"}}
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + (done.stderr if both else "")


def nemostack(python: Path, folder: Path, *arguments: str, code: int = 0, both: bool = True) -> str:
    return run([python.with_name("nemostack"), *arguments], folder, code, both=both)


def test_the_command_is_there(python: Path, tmp_path: Path) -> None:
    assert nemostack(python, tmp_path, "--version") == f"nemostack {VERSION}\n"
    assert "customize" in nemostack(python, tmp_path, "--help")


def test_it_works_against_any_deployment(python: Path, tmp_path: Path, stack: FakeStack) -> None:
    outputs = tmp_path / "outputs.json"
    outputs.write_text(stack.outputs.model_dump_json())
    findings = json.loads(
        nemostack(python, tmp_path, "doctor", "--outputs", str(outputs), "--format", "json", both=False)
    )
    assert {finding["level"] for finding in findings} <= {"ok", "warn"}
    keys = ("nim_url", "nemo_url", "data_store_url", "mlflow_url", "judge_url", "judge_model", "base_model")
    flags = [part for key in keys for part in (f"--{key.replace('_', '-')}", str(getattr(stack.outputs, key)))]
    flags += ["--customization-config", stack.outputs.customization_config]
    assert "Data Store" in nemostack(python, tmp_path, "doctor", *flags)


def test_the_sample_dataset_and_the_report_are_inside(python: Path, tmp_path: Path, stack: FakeStack) -> None:
    outputs = tmp_path / "outputs.json"
    outputs.write_text(stack.outputs.model_dump_json())
    assert "1200" in nemostack(python, tmp_path, "run", "--outputs", str(outputs), "--dry-run")
    nemostack(python, tmp_path, "run", "--outputs", str(outputs), "--limit", "8")
    (report,) = (tmp_path / "runs").glob("*/report.html")
    assert "<svg" in report.read_text(encoding="utf-8")


def test_commands_that_need_a_clone_say_so(python: Path, tmp_path: Path) -> None:
    told = nemostack(python, tmp_path, "up", "--stack", "local", code=1)
    assert "this command works on the stacks of a clone of the repository" in told
    assert "Traceback" not in told
