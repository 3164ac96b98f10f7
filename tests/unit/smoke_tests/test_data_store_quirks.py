"""The smoke tests of the stores, against a Data Store with the quirks of NVIDIA's: its commits have an empty URL."""

import os
import subprocess
import sys
from pathlib import Path

from nemostack.clone import ROOT
from tests.unit.fake_stack import FakeStack


def test_an_empty_commit_url_fails_no_smoke_test(stack: FakeStack, tmp_path: Path) -> None:
    stack.empty_commit_url = True
    outputs = tmp_path / "outputs.json"
    outputs.write_text(stack.outputs.model_dump_json())
    options = ["-q", "-p", "no:xdist", "-p", "no:cacheprovider", "--require-stack", "--outputs", str(outputs)]
    completed = subprocess.run(
        [sys.executable, "-m", "pytest", "smoke_tests/test_data.py", *options],
        cwd=ROOT,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "3 passed" in completed.stdout
    assert "nothing of this session is left on the stack" in completed.stdout
    assert stack.count(r"POST .*/commit/main") >= 3  # a folder, a deletion, a dataset
