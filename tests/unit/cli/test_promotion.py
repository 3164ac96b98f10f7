"""promote, rollback and history on the fake stack, whose models all answer the same, or fail where a test says so."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nemostack.clone import ROOT
from tests.deadlines import Deadline
from tests.unit.command_line import run_command
from tests.unit.fake_kubectl import FakeKubectl
from tests.unit.fake_stack import FakeStack
from tests.unit.inference_pool import kubectl_of, rewrites
from tests.unit.operations import healthy_cluster as h
from tests.unit.pipeline_harness import Harness
from workflows.promotion import promote
from workflows.settings import Settings
from workflows.stages.customization import Trained

PROMOTE = ("--questions", "2", "--by", "kim")


@pytest.fixture
def target(stack: FakeStack, tmp_path: Path) -> list[str]:
    path = tmp_path / "outputs.json"
    path.write_text(stack.outputs.model_copy(update={"mlflow_url": ""}).model_dump_json())
    return ["--outputs", str(path)]


@pytest.fixture
def runs(harness: Harness, settings: Settings) -> list[str]:
    """Two runs whose adapters are kept."""
    kept = settings.model_copy(update={"keep_adapter": True})
    return [str(harness.run(kept, new=True).path) for _ in range(2)]


def call(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_command(*arguments)
    return code, *capfd.readouterr()


def model_of(run: str) -> str:
    outputs = json.loads((Path(run) / "stages" / "customization.json").read_text())["outputs"]
    return Trained.model_validate(outputs).model


def leads_to(stack: FakeStack) -> dict[str, float]:
    assert stack.aliases is not None
    return {route["model"]: route["weight"] for route in stack.aliases["prod"]["routes"]}


def test_from_the_first_model_over_a_canary_and_back(
    harness: Harness, runs: list[str], target: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    stack, (first, second) = harness.stack, (model_of(run) for run in runs)
    code, _, err = call(capfd, "promote", runs[0], *PROMOTE, *target)
    assert (code, leads_to(stack)) == (0, {first: 100})
    assert "this stack has no MLflow" in err
    code, _, err = call(capfd, "promote", runs[1], "--steps", "10,50", *PROMOTE, *target)
    assert (code, leads_to(stack)) == (0, {second: 100})
    assert f"{first} 90 %, {second} 10 %" in err
    assert call(capfd, "rollback", *target)[0] == 0
    assert leads_to(stack) == {first: 100}
    _, out, _ = call(capfd, "history", "--format", "json", *target)
    changes = json.loads(out)["changes"]
    assert [change["action"] for change in changes] == ["promote", "canary", "canary", "promote", "rollback"]
    assert {change["by"] for change in changes[:4]} == {"kim"}
    lineage = changes[3]["lineage"]
    assert (lineage["model"], lineage["gate"], lineage["run"]) == (second, "GO", Path(runs[1]).name)
    assert len(lineage["dataset_sha256"]["train"]) == 64
    _, out, _ = call(capfd, "history", *target)
    assert out.splitlines()[0] == f"prod: {first} 100 %"


def test_a_new_alias_is_waited_for_until_the_router_answers(
    stack: FakeStack, runs: list[str], target: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    stack.late_by = 2
    code, _, err = call(capfd, "promote", runs[0], *PROMOTE, *target)
    assert (code, stack.late_by, "notice" in err) == (0, 0, False)


def test_a_router_that_stays_silent_is_told(
    stack: FakeStack,
    runs: list[str],
    target: list[str],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(promote, "NEW_ALIAS_S", 0)
    stack.late_by = 10
    code, _, err = call(capfd, "promote", runs[0], *PROMOTE, *target)
    assert (code, leads_to(stack)) == (0, {model_of(runs[0]): 100})
    assert "notice: the alias is set; answers for prod: not there after 0 s" in err
    assert "no such backend" in err


def test_a_broken_canary_goes_back_with_exit_code_12(
    harness: Harness, runs: list[str], target: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    stack, (first, second) = harness.stack, (model_of(run) for run in runs)
    call(capfd, "promote", runs[0], *PROMOTE, *target)
    stack.broken_models = {second}
    code, _, err = call(capfd, "promote", runs[1], *PROMOTE, *target)
    assert (code, leads_to(stack)) == (12, {first: 100})
    assert "failures: 1 of 1" in err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_canary_whose_process_is_ended_goes_back(
    stack: FakeStack, runs: list[str], target: list[str], capfd: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    first, second = (model_of(run) for run in runs)
    call(capfd, "promote", runs[0], *PROMOTE, *target)
    command = [sys.executable, "-m", "cli", "promote", runs[1], "--steps", "10,50", "--hold", "600", *PROMOTE, *target]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = Deadline(180)
    while leads_to(stack) != {first: 90, second: 10} or stack.count("POST /nim/v1/chat/completions") < 4:
        assert not deadline.passed
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=180)
    assert (process.returncode, "Traceback" in err, leads_to(stack)) == (130, False, {first: 100})
    _, out, _ = call(capfd, "history", "--format", "json", *target)
    last = json.loads(out)["changes"][-1]
    assert (last["action"], last["by"], last["reason"].startswith("ended by ")) == ("rollback", "kim", True)


def test_what_the_gate_does_not_let_pass_is_not_promoted(
    harness: Harness, runs: list[str], target: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    for outcome, code in (("NO-GO", 10), ("INCONCLUSIVE", 11)):
        file = Path(runs[0]) / "stages" / "comparison.json"
        record = json.loads(file.read_text())
        record["outputs"]["gate"]["outcome"] = outcome
        file.write_text(json.dumps(record))
        got, _, err = call(capfd, "promote", runs[0], *PROMOTE, *target)
        assert (got, f"says {outcome}" in err, harness.stack.aliases) == (code, True, {})
    assert call(capfd, "promote", runs[0], "--force", *PROMOTE, *target)[0] == 0
    _, out, _ = call(capfd, "history", *target)
    assert "forced in spite of INCONCLUSIVE" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--steps", "50,5"), "percents that rise"),
        (("--alias", "a/b"), "expected small letters"),
        (("--split", "10"), "no other model to share"),
    ],
)
def test_what_makes_no_sense_is_refused(
    runs: list[str], target: list[str], capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    code, _, err = call(capfd, "promote", runs[0], *arguments, *target)
    assert (code, says in err) == (2, True)


def test_a_nim_without_aliases_says_so(
    stack: FakeStack, runs: list[str], target: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    stack.aliases = None
    code, _, err = call(capfd, "promote", runs[0], *target)
    assert (code, "routes no aliases" in err, "InferencePool" in err) == (4, True, True)


@pytest.fixture
def in_cluster(stack: FakeStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    """Put the stack into a cluster with an InferencePool over its NIM."""
    kubectl = kubectl_of(tmp_path / "kubectl")
    monkeypatch.setattr("nemostack.kubectl.process.program", lambda: str(kubectl.path))
    monkeypatch.setattr(promote, "NEW_ALIAS_S", 0)  # no router is in front of this NIM
    stack.aliases = None
    return kubectl


def shared_out(kubectl: FakeKubectl) -> list[dict[str, int]]:
    """Weights of the targets of each rule of the rewrite, the same in both of its definitions."""
    made, other = rewrites(kubectl)
    assert made["spec"] == other["spec"]
    return [{target["modelRewrite"]: target["weight"] for target in rule["targets"]} for rule in made["spec"]["rules"]]


def test_in_a_cluster_an_inference_pool_routes_by_the_alias(
    harness: Harness, runs: list[str], in_cluster: FakeKubectl, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "outputs.json"
    changes = {"mlflow_url": "", "cluster": h.cluster_outputs()}
    path.write_text(harness.stack.outputs.model_copy(update=changes).model_dump_json())
    target = ["--outputs", str(path)]
    first, second = (model_of(run) for run in runs)
    assert call(capfd, "promote", runs[0], *PROMOTE, *target)[0] == 0
    assert shared_out(in_cluster) == [{first: 100}]
    code, _, err = call(capfd, "promote", runs[1], "--shadow", "0.5", *PROMOTE, *target)
    assert (code, "a shadow needs the NIM of the local stack" in err) == (2, True)
    code, _, err = call(capfd, "promote", runs[1], "--split", "20", *PROMOTE, *target)
    assert (code, shared_out(in_cluster)) == (0, [{first: 80, second: 20}])
    assert "draws a model for each request whoever asks" in err
    assert call(capfd, "rollback", *target)[0] == 0
    harness.stack.broken_models = {second}
    code, _, err = call(capfd, "promote", runs[1], *PROMOTE, *target)
    assert (code, shared_out(in_cluster)) == (12, [{first: 100}])
    assert f"{first} 95 %, {second} 5 %" in err
    _, out, _ = call(capfd, "history", "--format", "json", *target)
    actions = [change["action"] for change in json.loads(out)["changes"]]
    assert actions == ["promote", "split", "rollback", "canary", "rollback"]
    in_cluster.write("api-resources.txt", "pods\n")
    code, _, err = call(capfd, "promote", runs[1], *PROMOTE, *target)
    assert (code, "has no InferenceModelRewrite" in err, "llm-d's router" in err) == (4, True, True)


def test_an_adapter_that_is_gone_cannot_be_promoted(
    stack: FakeStack, runs: list[str], target: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    stack.models.clear()
    code, _, err = call(capfd, "promote", runs[0], *target)
    assert (code, "no such model is served" in err, stack.aliases) == (4, True, {})
    code, _, err = call(capfd, "rollback", *target)
    assert (code, "there is no alias prod" in err) == (2, True)
