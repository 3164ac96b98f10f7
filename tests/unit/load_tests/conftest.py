"""The mock server as an oracle: it writes down when it sent what, and the client's numbers are held against that."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from load_tests.options import LoadSpec
from load_tests.traffic.popularity import Mix
from nemostack.clone import ROOT


def load_spec(**changes: Any) -> LoadSpec:
    """Make the settings of a run of one user against a server that is not there."""
    settings: dict[str, Any] = {
        "nim_url": "http://127.0.0.1:9",
        "users": 1,
        "duration_s": 1,
        "warmup_s": 0,
        "grace_s": 1,
        "timeout_s": 1,
        "max_in_flight": 1,
        "mix": Mix(),
        "max_tokens": 1,
        "seed": 0,
    }
    return LoadSpec(**settings | changes)


@pytest.fixture
def prompts_file(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Question {k}?", "completion": "x"}) + "\n" for k in range(20)))
    return path


@dataclass
class Outcome:
    code: int
    out: str
    err: str
    folder: Path

    @property
    def report(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return loaded

    @property
    def requests(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "requests.jsonl").read_text().splitlines()]


@pytest.fixture
def load(tmp_path: Path, prompts_file: Path) -> Callable[..., Outcome]:
    """`python -m load_tests` as a user runs it."""
    runs = 0

    def run(nim_url: str, *options: str, timeout: float = 180) -> Outcome:
        nonlocal runs
        runs += 1
        folder = tmp_path / f"run-{runs}"
        command = [sys.executable, "-m", "load_tests", "--nim-url", nim_url, "--prompts", str(prompts_file)]
        command += ["--out", str(folder), *shlex.split(" ".join(options))]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
        return Outcome(ended.returncode, ended.stdout, ended.stderr, folder)

    return run
