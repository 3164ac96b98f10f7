import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from nemostack.clients import Clients
from nemostack.console import Progress, stderr
from nemostack.errors import JobFailed
from tests.unit.conftest import Mock
from tests.unit.pipeline_harness import Harness
from workflows.engine.stage import Context
from workflows.settings import Settings
from workflows.stages import load_test

TUNED = "default/tuned@cust-1"
BASE = "mock/base"
SLO = """
version: 1
min_samples: 1
objectives:
  - {metric: error_rate, max: 0.0}
  - {metric: ttft_ms, stat: p50, max: 90000} # lenient for a busy machine: a tenth of it is the client's allowed delay
  - {metric: e2e_ms, stat: p50, max: %s}
"""

pytestmark = pytest.mark.slow
Run = Callable[..., load_test.LoadTested]


@pytest.fixture
def load(
    mock_nim: Callable[..., Mock],
    harness: Harness,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Run:
    monkeypatch.setattr(load_test, "USERS", 2)
    monkeypatch.setattr(load_test, "DURATION_S", 2)
    monkeypatch.setattr(load_test, "WARMUP_S", 0)
    mock = mock_nim("--ttft", "0.05", "--itl", "0.001", "--adapter", TUNED)

    def run(slo: str, model: str, prompt_column: str = "prompt") -> load_test.LoadTested:
        (tmp_path / "slo.yaml").write_text(slo)
        chosen = settings.model_copy(update={"load_slo": tmp_path / "slo.yaml", "prompt_column": prompt_column})
        outputs = harness.stack.outputs.model_copy(update={"nim_url": mock.url, "base_model": BASE})
        launch = harness.prepare(chosen)
        with Clients(harness.stack.outputs) as clients:
            return load_test.run(
                Context(
                    run=launch.run,
                    run_id="x",
                    settings=chosen,
                    outputs=outputs,
                    clients=clients,
                    progress=Progress(stderr()),
                ),
                model,
            )

    return run


def test_base_and_tuned_model_are_loaded_and_reported(load: Run, harness: Harness) -> None:
    tested = load(SLO % 90_000, TUNED)
    assert tested.verdict == "PASS"
    assert tested.errors == 0
    folder = next(harness.root.glob("2*")) / "load"
    sent = [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]
    assert {request["model"] for request in sent} == {BASE, TUNED}
    assert (folder.parent / tested.report).exists()


def test_too_few_requests_for_a_verdict_are_followed_by_a_longer_test(load: Run) -> None:
    # a reply takes 0.05 s at least, so two users have at most 80 in two seconds
    tested = load((SLO % 90_000).replace("min_samples: 1", "min_samples: 100"), TUNED)
    assert tested.verdict == "PASS"
    assert tested.requests >= 100


def test_prompts_come_from_the_column_that_the_run_was_told(load: Run, settings: Settings) -> None:
    for file in settings.dataset.glob("*.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        renamed = [{"question": row["prompt"], "completion": row["completion"]} for row in rows]
        file.write_text("".join(json.dumps(row) + "\n" for row in renamed))
    assert load(SLO % 90_000, TUNED, prompt_column="question").verdict == "PASS"


def test_a_missed_objective_is_a_verdict_not_a_failure(load: Run) -> None:
    assert load(SLO % 10, TUNED).verdict == "FAIL"  # the mock takes 50 ms


def test_a_test_that_cannot_be_made_is_a_failure(load: Run) -> None:
    with pytest.raises(JobFailed, match="default/unknown@cust-9"):
        load(SLO % 90_000, "default/unknown@cust-9")


def test_nothing_goes_on_after_ctrl_c(load: Run, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_test, "DURATION_S", 170)

    pressed: list[float] = []

    def press_once_it_runs() -> None:
        deadline = time.monotonic() + 120
        while not list(harness.root.glob("2*/load/raw/requests-*.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.05)
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    user = threading.Thread(target=press_once_it_runs)
    user.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            load(SLO % 90_000, TUNED)
    finally:
        user.join()
    folder = str(harness.root)
    assert list(harness.root.glob("2*/load/raw/requests-*.jsonl"))  # it had begun
    deadline = pressed[0] + 120  # by itself the load would last 170 s
    while left := [p.info for p in psutil.process_iter(["cmdline"]) if folder in " ".join(p.info["cmdline"] or [])]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    assert time.monotonic() < deadline


def test_one_that_does_not_end_is_ended(load: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_test, "DURATION_S", 170)
    monkeypatch.setattr(load_test, "DEADLINE_S", 1.0)
    with pytest.raises(JobFailed, match="the load test did not end within 1 s"):
        load(SLO % 90_000, TUNED)
