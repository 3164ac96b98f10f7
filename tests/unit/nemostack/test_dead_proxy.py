"""Every command of the harness reaches a stack on loopback when the environment names a proxy, here a dead one."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nemostack.clone import ROOT
from tests.unit.conftest import Mock
from tests.unit.fake_stack import FakeStack

DEAD = "http://127.0.0.1:9"


@pytest.fixture
def environment() -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if name.upper() != "NO_PROXY"}
    return clean | dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"), DEAD)


@pytest.fixture
def outputs(stack: FakeStack, tmp_path: Path) -> str:
    path = tmp_path / "outputs.json"
    path.write_text(stack.outputs.model_dump_json())
    return str(path)


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180, check=False)


def test_nemostack(environment: dict[str, str], outputs: str, stack: FakeStack) -> None:
    done = run(environment, "cli.main", "doctor", "--outputs", outputs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert stack.requests


@pytest.mark.slow
def test_load_tests(environment: dict[str, str], mock_nim: Callable[..., Mock], tmp_path: Path) -> None:
    nim = mock_nim("--ttft", "0.01", "--itl", "0.01", "--tokens", "2")
    what = ["--nim-url", nim.url, "--out", str(tmp_path / "run"), "--adapters", "none", "--duration", "1s"]
    done = run(environment, "load_tests", *what)
    assert (tmp_path / "run" / "report.json").is_file(), done.stdout + done.stderr
    assert nim.sent()


@pytest.mark.slow
def test_smoke_tests(environment: dict[str, str], outputs: str) -> None:
    environment.pop("PYTEST_ADDOPTS", None)
    what = ["--outputs", outputs, "-p", "no:cacheprovider", "-k", "the_base_model_is_served"]
    done = run(environment, "pytest", "smoke_tests", *what)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
