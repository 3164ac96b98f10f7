"""MLflow through its own client and a real store: what is logged, once, and that failing to is no disaster."""

from pathlib import Path

import pytest

from tests.unit.pipeline_harness import Harness
from workflows.engine.run_directory import RunDirectory
from workflows.gate.verdict import GateReport
from workflows.results.comparison import Comparison
from workflows.results.mlflow_export import Tracker
from workflows.settings import Settings

LORA = {"adapter_dim": 8, "learning_rate": 0.0001}
CURVES = {"train_loss": [(0, 4.0), (1, 3.0)], "val_loss": [(1, 3.5)]}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)  # artifacts of a store without a server lie in the working directory
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def run(harness: Harness, settings: Settings) -> RunDirectory:
    return harness.run(settings)


@pytest.fixture
def comparison(run: RunDirectory) -> Comparison:
    return Comparison.model_validate_json((run.path / "comparison.json").read_text())


@pytest.fixture
def gate(run: RunDirectory) -> GateReport:
    return GateReport.model_validate_json((run.path / "gate.json").read_text())


@pytest.mark.filterwarnings("ignore")  # mlflow's own
def test_runs_are_logged_once_and_completely(
    store: str, settings: Settings, comparison: Comparison, gate: GateReport, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store)
    tracker = Tracker(store, "legal", "run-1")
    logged = tracker.log(settings, LORA, comparison, gate, CURVES)
    assert logged.problem is None
    assert logged.run_id is not None

    (experiment,) = [e for e in client.search_experiments() if e.name == "legal"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"run-1", "zero_shot", "in_context", "lora"}
    lora = runs["lora"]
    assert lora.data.tags["mlflow.parentRunId"] == logged.run_id
    assert lora.data.metrics["rouge_l"] == pytest.approx(0.7 - 3 / 800)
    assert lora.data.metrics["rouge_l_low95"] < lora.data.metrics["rouge_l"] < lora.data.metrics["rouge_l_high95"]
    history = client.get_metric_history(lora.info.run_id, "train_loss")
    assert [(point.step, point.value) for point in history] == [(0, 4.0), (1, 3.0)]
    assert runs["run-1"].data.params["adapter_dim"] == "8"
    assert runs["run-1"].data.params["learning_rate"] == "0.0001"
    assert runs["run-1"].data.tags["nemostack.decision"] == "GO"
    assert runs["run-1"].data.metrics["training_gpu_hours"] > 0
    assert runs["in_context"].data.params["shots"] == "3"

    assert tracker.log(settings, LORA, comparison, gate, CURVES) == logged  # nothing twice
    assert len(client.search_runs([experiment.experiment_id])) == 4
    assert len(client.get_metric_history(lora.info.run_id, "train_loss")) == 2

    client.set_terminated(lora.info.run_id, status="FAILED")  # as if we had been killed in its midst
    tracker.log(settings, LORA, comparison, gate, CURVES)
    again = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert len(again) == 4
    assert again["lora"].info.run_id != lora.info.run_id
    assert again["zero_shot"].info.run_id == runs["zero_shot"].info.run_id

    report = tmp_path / "report.html"
    report.write_text("<p>report")
    assert tracker.attach(logged.run_id, [report]) is None
    assert [file.path for file in client.list_artifacts(logged.run_id)] == ["report.html"]
    assert "failed" in (tracker.attach("no-such-run", [report]) or "")

    client.delete_experiment(experiment.experiment_id)
    assert "is deleted" in (tracker.log(settings, LORA, comparison, gate, CURVES).problem or "")


def test_no_server_is_a_problem_not_an_error(settings: Settings, comparison: Comparison, gate: GateReport) -> None:
    logged = Tracker("http://me:pw@127.0.0.1:9", "legal", "run-1").log(settings, LORA, comparison, gate, CURVES)
    assert logged.run_id is None
    assert "are complete" in (logged.problem or "")
    assert "pw" not in (logged.problem or "")


def test_a_stack_without_mlflow(settings: Settings, comparison: Comparison, gate: GateReport) -> None:
    logged = Tracker("", "legal", "run-1").log(settings, LORA, comparison, gate, CURVES)
    assert logged.problem == "this stack has no MLflow; the results in the run directory are complete"
