"""A session of smoke tests without a stack, with a broken one, and with a test that leaves something behind."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nemostack.clone import ROOT
from smoke_tests.journal import Journal, Made
from tests.deadlines import Deadline
from tests.unit.fake_stack import FakeStack


def _pytest(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in {"NEMOSTACK_OUTPUTS", "PYTEST_ADDOPTS"}}
    command = [sys.executable, "-m", "pytest", "smoke_tests", "-p", "no:cacheprovider", "-q", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_without_a_stack_it_skips_and_says_how() -> None:
    done = _pytest("-k", "base_model_is_served")
    assert done.returncode == 0
    assert "1 skipped" in done.stdout
    assert "give --stack NAME or --outputs FILE" in done.stdout


def test_a_required_stack_must_be_there() -> None:
    done = _pytest("--require-stack")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "give --stack NAME or --outputs FILE" in done.stderr


def test_a_named_stack_that_cannot_be_had_is_an_error_not_a_skip(tmp_path: Path) -> None:
    done = _pytest("--outputs", str(tmp_path / "none.json"))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "none.json" in done.stderr


def test_time_for_jobs_is_an_option(tmp_path: Path) -> None:
    (tmp_path / "outputs.json").write_text("{}")
    done = _pytest("--outputs", str(tmp_path / "outputs.json"), "--job-timeout", "soon")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "invalid float value: 'soon'" in done.stderr


@pytest.fixture
def dead_stack(tmp_path: Path) -> Iterator[Path]:
    """Outputs of a stack where nobody listens, and nobody can: its port is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield write_outputs(tmp_path / "outputs.json", f"http://127.0.0.1:{taken.getsockname()[1]}")


def write_outputs(path: Path, url: str) -> Path:
    urls = ("nemo_url", "data_store_url", "nim_url", "nim_internal_url", "mlflow_url", "judge_url")
    outputs = {
        **dict.fromkeys(urls, url),
        "target": "dead",
        "judge_model": "j",
        "base_model": "m/base",
        "customization_config": "m/base@v1",
        "log_commands": {"nim": [sys.executable, "-c", "print('last words of nim')"]},
    }
    path.write_text(json.dumps(outputs))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_failure_shows_the_service_log(dead_stack: Path, workers: str) -> None:
    done = _pytest("--outputs", str(dead_stack), "-k", "base_model_is_served", "-n", workers)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "end of the log of nim" in done.stdout
    assert "last words of nim" in done.stdout
    # that nothing was left behind could not be found out, which is said
    assert "could not be checked" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("service", "log"), [("NIM", "last words of nim"), ("MLflow", "name no log command for it")])
def test_a_service_that_is_not_well_fails_its_check(dead_stack: Path, service: str, log: str) -> None:
    done = _pytest("--outputs", str(dead_stack), "-k", f"finds_nothing_wrong and {service}")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert f"end of the log of {service.lower()}" in done.stdout
    assert log in done.stdout


@pytest.mark.slow
def test_a_run_that_fails_shows_its_jobs(tmp_path: Path) -> None:
    stack = FakeStack()
    stack.on("GET /v1/customization/jobs/cust-1", lambda: stack.customizations["cust-1"].update(status="failed"))
    path = tmp_path / "outputs.json"
    path.write_text(stack.outputs.model_copy(update={"mlflow_url": ""}).model_dump_json())
    try:
        done = _pytest("--outputs", str(path), "-k", "test_nemostack_run")
    finally:
        stack.close()
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    shown = done.stdout.partition("customization job cust-1 ---")[2]
    assert '"status": "failed"' in shown
    assert "evaluation job eval-1 ---" in done.stdout
    assert (stack.datasets, stack.models, stack.repos, stack.evaluations) == ({}, {}, {}, {})


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_session_that_is_ended_removes_what_it_made(tmp_path: Path, workers: str) -> None:
    stack = FakeStack()
    stack.looks_needed = 1_000_000
    path = tmp_path / "outputs.json"
    path.write_text(stack.outputs.model_copy(update={"mlflow_url": ""}).model_dump_json())
    command = [sys.executable, "-m", "pytest", "smoke_tests", "-p", "no:cacheprovider", "-q", "-n", workers]
    command += ["--outputs", str(path), "-k", "test_nemostack_run"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        deadline = Deadline(180)
        while stack.count("GET /v1/evaluation/jobs/eval-1") < 2:
            assert not deadline.passed
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.terminate()
        out, _ = process.communicate(timeout=180)
    finally:
        process.kill()
        stack.close()
    assert process.returncode == pytest.ExitCode.INTERRUPTED, out
    assert (stack.datasets, stack.models, stack.repos, stack.evaluations) == ({}, {}, {}, {}), out


def test_the_journal_keeps_order_and_each_thing_once(tmp_path: Path) -> None:
    first, second = Made("dataset", "a/b", "t"), Made("evaluation", "eval-1")
    for entry in (first, second, first):
        Journal(tmp_path).add(entry)
    assert Journal(tmp_path).entries() == [first, second]


def test_time_for_jobs_reaches_those_who_wait(dead_stack: Path) -> None:
    done = _pytest("--outputs", str(dead_stack), "--job-timeout", "0")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "expected seconds above 0" in done.stderr
