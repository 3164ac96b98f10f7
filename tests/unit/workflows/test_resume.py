"""Ctrl-C in every stage, services that lose jobs, kills: the next run goes on, and nothing is done twice."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nemostack.clients.polling import Pace
from nemostack.clone import ROOT
from nemostack.errors import JobFailed, ServiceError
from tests.deadlines import Deadline
from tests.unit.fake_stack import FakeStack
from tests.unit.pipeline_harness import FAST, Harness
from workflows.engine.run_directory import RunDirectory
from workflows.results.comparison import Comparison
from workflows.settings import Settings

STARTS = r"POST /v1/(evaluation|customization)/jobs$"
# A request of each stage in whose midst the user presses Ctrl-C.
MOMENTS = {
    "environment": r"GET /nim/v1/health/ready",
    "dataset": r"POST .*/commit/main",
    "zero_shot": r"GET /v1/evaluation/jobs/eval-1$",
    "prompt": r"POST /v1/models$",
    "in_context": r"GET /v1/evaluation/jobs/eval-2$",
    "customization": r"GET /v1/customization/jobs/cust-1$",
    "lora": r"GET /v1/evaluation/jobs/eval-3/download-results",
    "comparison": r"GET /mlflow/health",
    "cleanup": r"DELETE /v1/datasets/",
}


@pytest.mark.parametrize("stage", MOMENTS)
def test_interrupted_stage_is_finished_and_nothing_done_twice(harness: Harness, settings: Settings, stage: str) -> None:
    harness.stack.looks_needed = 3
    harness.stack.interrupt_on(MOMENTS[stage], after="eval-3/download-results" if stage == "comparison" else None)
    with pytest.raises(KeyboardInterrupt):
        harness.run(settings)
    (directory,) = [file.parent for file in harness.root.glob("*/run.json")]
    before = {record.name: record for record in harness.prepare(settings).run.stages()}
    assert before[stage].status == "interrupted"
    settled = [name for name, record in before.items() if record.settled and name != "environment"]
    assert settled == [name for name in list(MOMENTS)[1:] if name in before][: len(settled)]

    run = harness.run(settings)

    assert run.path == directory
    assert "resuming" in harness.said
    assert harness.stack.count(STARTS) == 4  # three evaluations and one training, in both runs together
    assert harness.stack.count(r"POST .*/commit/main") == (2 if stage == "dataset" else 1)
    for name in settled:
        assert run.stage(name).attempts == 1
    assert run.info().finished_at is not None
    comparison = Comparison.model_validate_json((run.path / "comparison.json").read_text())
    assert [a.items for a in comparison.approaches] == [8, 8, 8]
    stack = harness.stack
    assert (stack.datasets, stack.models, stack.repos, stack.evaluations) == ({}, {}, {}, {})


@pytest.mark.parametrize("service", ["evaluation", "customization"])
def test_job_whose_id_was_never_written_down_is_found(harness: Harness, settings: Settings, service: str) -> None:
    harness.stack.interrupt_on(rf"POST /v1/{service}/jobs$")
    with pytest.raises(KeyboardInterrupt):
        harness.run(settings)
    harness.run(settings)
    assert harness.stack.count(STARTS) == 4
    assert "found the" in harness.said


def test_training_goes_on_under_the_same_id(harness: Harness, settings: Settings) -> None:
    harness.stack.looks_needed = 5
    harness.stack.interrupt_on(r"GET /v1/customization/jobs/cust-1$")
    with pytest.raises(KeyboardInterrupt):
        harness.run(settings)
    assert harness.stack.customizations["cust-1"]["status"] != "cancelled"
    run = harness.run(settings)
    assert run.stage("customization").outputs["job_id"] == "cust-1"
    assert "picking up customization job cust-1 again" in harness.said


def test_job_lost_between_runs_is_started_again(harness: Harness, settings: Settings) -> None:
    harness.stack.interrupt_on(r"GET /v1/evaluation/jobs/eval-2$")
    with pytest.raises(KeyboardInterrupt):
        harness.run(settings)
    del harness.stack.evaluations["eval-2"]
    harness.stack.evaluations["eval-lost"] = {"id": "eval-lost"}  # so that the next id is another one
    harness.run(settings)
    assert "evaluation job eval-2 is not known to the service any more; starting another" in harness.said
    assert harness.stack.count(STARTS) == 5


def test_job_lost_while_waiting_is_started_again(harness: Harness, settings: Settings) -> None:
    stack = harness.stack
    stack.on(
        r"GET /v1/customization/jobs/cust-1$",
        lambda: stack.customizations.update({"gone": stack.customizations.pop("cust-1")}),
    )
    run = harness.run(settings)
    assert "customization job cust-1 is not known to the service any more; starting another" in harness.said
    assert run.stage("customization").outputs["job_id"] == "cust-2"


def test_job_that_fails_after_an_outage_is_started_again(harness: Harness, settings: Settings) -> None:
    stack = harness.stack
    stack.looks_needed = 3

    def crash() -> None:
        stack.down.add("/v1/customization/jobs/cust-1")
        stack.on(r"GET /v1/customization/jobs/cust-1", come_back)

    def come_back() -> None:
        stack.down.clear()
        stack.customizations["cust-1"]["status"] = "failed"

    stack.on(r"GET /v1/customization/jobs/cust-1", crash)
    run = harness.run(settings)
    assert "cust-1 failed after its service had been away; starting another" in harness.said
    assert run.stage("customization").outputs["job_id"] == "cust-2"


def test_outage_beyond_patience_ends_the_run(harness: Harness, settings: Settings) -> None:
    stack = harness.stack
    stack.on(r"GET /v1/evaluation/jobs/eval-1$", lambda: stack.down.add("/v1/evaluation/jobs/eval-1"))
    impatient = settings.model_copy(update={"deadlines": settings.deadlines.model_copy(update={"outage": 0.05})})
    with pytest.raises(ServiceError, match="answered 503"):
        harness.run(impatient)
    stack.down.clear()
    harness.run(impatient)
    assert stack.count(STARTS) == 4


def lose(stack: FakeStack, number: int) -> None:
    """Forget a job, but keep its place: the next one gets another number."""
    stack.customizations.pop(f"cust-{number}", None)
    stack.customizations[f"x{number}"] = {}


def test_a_job_lost_again_and_again_is_given_up(harness: Harness, settings: Settings) -> None:
    stack = harness.stack
    for number in (1, 2, 3):
        stack.on(rf"GET /v1/customization/jobs/cust-{number}$", functools.partial(lose, stack, number))
    with pytest.raises(JobFailed, match="it had been started again before"):
        harness.run(settings)
    assert stack.count(r"POST /v1/customization/jobs$") == 3


def test_dataset_gone_from_the_stack_is_uploaded_again(harness: Harness, settings: Settings) -> None:
    harness.stack.interrupt_on(r"GET /v1/evaluation/jobs/eval-1$")
    with pytest.raises(KeyboardInterrupt):
        harness.run(settings)
    harness.stack.repos.clear()  # as if the local stack had been made anew
    harness.stack.datasets.clear()
    harness.stack.evaluations.clear()
    harness.run(settings)
    assert "again, dataset default/my-data-" in harness.said
    assert harness.stack.count(r"POST .*/commit/main") == 2


def test_lost_dataset_does_not_matter_when_nobody_needs_it(harness: Harness, settings: Settings) -> None:
    harness.stack.interrupt_on(r"GET /mlflow/health", after="eval-3/download-results")
    with pytest.raises(KeyboardInterrupt):
        harness.run(settings)
    harness.stack.repos.clear()
    harness.stack.datasets.clear()
    harness.run(settings)
    assert harness.stack.count(STARTS) == 4


def test_sleeping_is_interruptible(harness: Harness, settings: Settings) -> None:
    def sleep(_seconds: float) -> None:
        raise KeyboardInterrupt

    harness.stack.looks_needed = 9
    with pytest.raises(KeyboardInterrupt):
        harness.run(settings, pace=Pace(first=0.001, sleep=sleep))
    assert harness.prepare(settings).run.stage("zero_shot").notes["job_id"] == "eval-1"
    harness.run(settings, pace=FAST)
    assert harness.stack.count(STARTS) == 4


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_real_process_killed_in_training(harness: Harness, settings: Settings, kill: signal.Signals) -> None:
    stack = harness.stack
    stack.looks_needed = 10_000
    stack.on(r"GET /v1/evaluation/jobs/", lambda: setattr(stack, "looks_needed", 0))
    stack.on(r"POST /v1/customization/jobs$", lambda: setattr(stack, "looks_needed", 10_000))
    outputs = harness.root / "outputs.json"
    outputs.write_text(stack.outputs.model_dump_json())
    argv = [sys.executable, "-m", "cli.main", "run", "--outputs", str(outputs), "--runs", str(harness.root)]
    argv += ["--dataset", str(settings.dataset), "--limit", "8"]
    process = subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = Deadline(180)
    while stack.count(r"GET /v1/customization/jobs/cust-1$") < 2:
        assert not deadline.passed
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.kill(process.pid, kill)
    _, said = process.communicate(timeout=180)
    if kill != signal.SIGKILL:
        assert process.returncode == 130
        assert "Run the same command again to resume" in said
        assert "Traceback" not in said
    stack.looks_needed = 0
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    assert "resuming" in done.stderr
    assert "picking up customization job cust-1 again" in done.stderr
    assert stack.count(STARTS) == 4
    assert done.stdout.startswith("metric\tZero-shot\tIn-context\tLoRA\n")


def results(run: Path) -> dict[str, Any]:
    """What a run has found out, without ids and times."""
    compared = Comparison.model_validate_json((run / "comparison.json").read_text())
    files = sorted((run / "samples").glob("*.jsonl"))
    items = {file.stem: [json.loads(line) for line in file.read_text().splitlines()] for file in files}
    gate = json.loads((run / "gate.json").read_text())
    scores = [(approach.name, approach.items, approach.scores) for approach in compared.approaches]
    return {
        "items": items,
        "scores": scores,
        "differences": compared.differences,
        "gate": (gate["outcome"], gate["reason"]),
    }


@pytest.mark.slow
def test_killed_at_each_stage_and_resumed_gives_the_same_table(settings: Settings, tmp_path: Path) -> None:
    """One run, whose process is killed by SIGKILL in the midst of every stage in turn."""
    tables, found = [], []
    for name, moments in (("whole", {}), ("killed", MOMENTS)):
        stack, root = FakeStack(), tmp_path / name
        (tmp_path / f"{name}.json").write_text(stack.outputs.model_dump_json())
        argv = [sys.executable, "-m", "cli", "run", "--outputs", str(tmp_path / f"{name}.json"), "--runs", str(root)]
        argv += ["--dataset", str(settings.dataset), "--limit", "8"]
        try:
            for stage, moment in moments.items():
                die_in(stack, argv, moment, after="eval-3/download-results" if stage == "comparison" else None)
                (folder,) = (file.parent for file in root.glob("*/run.json"))
                record = RunDirectory(folder).stage(stage)
                assert (stage, record.status) == (stage, "running")
            done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
            assert stack.count(STARTS) == 4  # nothing was asked or trained twice
            assert (stack.datasets, stack.models, stack.repos, stack.evaluations) == ({}, {}, {}, {})
        finally:
            stack.close()
        (folder,) = (file.parent for file in root.glob("*/run.json"))
        tables.append(done.stdout.partition("Report")[0].replace(str(folder), ""))
        found.append(results(folder))
    assert found[0]["scores"]
    assert found[0] == found[1]
    assert tables[0].startswith("metric\tZero-shot\tIn-context\tLoRA\n")
    assert tables[0] == tables[1]


def die_in(stack: FakeStack, argv: list[str], moment: str, after: str | None) -> None:
    """Run a command whose process is killed when such a request arrives (once `after` has been seen)."""
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def strike() -> None:
        process.kill()
        process.wait()  # before the answer, or it would go on

    if after is None:
        stack.on(moment, strike)
    else:
        stack.on(after, lambda: stack.on(moment, strike))
    _, said = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, said
