"""The guide's troubleshooting rows about jobs and MLflow, each by causing the fault on the fake stack."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nemostack.clients import Clients
from nemostack.service_checks import Finding, Scope, check
from operations.doctor import jobs
from tests.unit.command_line import run_command
from tests.unit.fake_stack import FakeStack
from tests.unit.operations import healthy_cluster

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


def look(stack: FakeStack) -> list[Finding]:
    with Clients(stack.outputs, max_retries=0) as clients:
        return jobs.look(clients, NOW)


def training(message: str, *, days: float = 0, status: str = "failed") -> dict[str, object]:
    made = (NOW - timedelta(days=days)).isoformat()
    return {"id": "cust-1", "status": status, "created_at": made, "status_details": {"error_message": message}}


def evaluation(hours: float, progress: float | None, status: str = "running") -> dict[str, object]:
    made = (NOW - timedelta(hours=hours)).isoformat()
    return {"id": "eval-1", "status": status, "created_at": made, "status_details": {"progress": progress}}


@pytest.mark.parametrize(
    ("message", "fix"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory", "the memory was too small: halve --batch-size"),
        ("dataset default/x: line 3 of train.jsonl is no JSON", "each line needs a prompt and a completion"),
        ("nobody knows", "check the data with `nemostack dataset check`"),
    ],
)
def test_a_failed_fine_tune(stack: FakeStack, message: str, fix: str) -> None:
    stack.customizations["cust-1"] = training(message)
    finding = look(stack)[0]
    assert (finding.service, finding.level, message in finding.evidence, fix in finding.fix) == (
        "Customizer",
        "warn",
        True,
        True,
    )


def test_failures_of_long_ago_and_successes_are_fine(stack: FakeStack) -> None:
    stack.customizations["cust-1"] = training("CUDA out of memory", days=8)
    stack.customizations["cust-2"] = training("", status="completed")
    assert [finding.level for finding in look(stack)] == ["ok", "ok"]
    for number in range(5):
        stack.customizations[f"cust-{number}"] = training("CUDA out of memory")
    assert [finding.evidence for finding in look(stack)][3] == "and 2 more of 5"


@pytest.mark.parametrize(
    ("hours", "progress", "level", "said"),
    [
        (1, 10, "warn", "10 % after 60 min: some 9.0 h to go"),
        (0.5, 90, "ok", "1 running, none of them slow"),
        (0.05, 0.1, "ok", "1 running, none of them slow"),  # too early to say
        (3, None, "warn", "for 3.0 h, and its service tells no progress"),
        (0.5, None, "ok", "1 running, none of them slow"),
    ],
)
def test_a_slow_evaluation(stack: FakeStack, hours: float, progress: float | None, level: str, said: str) -> None:
    stack.evaluations["eval-1"] = evaluation(hours, progress)
    finding = look(stack)[-1]
    assert (finding.service, finding.level, said in finding.evidence) == ("Evaluator", level, True), finding
    assert ("--limit" in finding.fix) is (level == "warn")
    stack.evaluations["eval-1"] = evaluation(hours, progress, "completed")
    assert look(stack)[-1].level == "ok"


def test_mlflow_out_of_reach_is_a_port_forward_or_the_service(stack: FakeStack) -> None:
    cluster = healthy_cluster.outputs().cluster
    for outputs, remedy in (
        (stack.outputs, "see the service's log"),
        (stack.outputs.model_copy(update={"cluster": cluster}), "need a running `nemostack port-forward`"),
    ):
        with Clients(outputs, max_retries=0) as clients:
            (finding,) = (one for one in check(clients, Scope()) if (one.service, one.check) == ("MLflow", "answers"))
        assert (finding.level, remedy in finding.fix) == ("warn", True), finding


def test_the_command_shows_them(stack: FakeStack, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stack.failure_of = lambda _hyperparameters: "CUDA out of memory"
    stack.customizations["cust-1"] = training("CUDA out of memory") | {"created_at": datetime.now(UTC).isoformat()}
    (tmp_path / "outputs.json").write_text(stack.outputs.model_dump_json())
    assert run_command("doctor", "--outputs", str(tmp_path / "outputs.json"), "--format", "json") == 0
    found = {one["check"]: one["level"] for one in json.loads(capfd.readouterr().out)}
    assert (found["LoRA jobs succeed"], found["evaluations end soon"]) == ("warn", "ok")
