"""A load test in a real MLflow store, linked to the evaluation of its adapter; and that failing to is no disaster."""

import json
from pathlib import Path

import pytest

from load_tests.exports.mlflow import publish
from nemostack.tracking import Entry, TrackingServer

ADAPTER = "legal/contracts@cust-1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "run"
    made.mkdir()
    spread = {"percentiles": {"p50": 120.0, "p99.9": None}}
    ratio = {"ratio": 1.4}
    data = {
        "id": "load-1",
        "verdict": "PASS",
        "models": {"base": {}, ADAPTER: {}},
        "run": {"base_model": "base", "workers": 2, "spec": {"users": 8, "mix": {"kind": "zipf"}, "slo": None}},
        "overall": {"scalars": {"error_rate": 0.0, "goodput": None}, "latencies": {"ttft_ms": spread}},
        "adapters": {"worst": {"model": ADAPTER}, "compared": {"ttft_ms, cold to warm": ratio}},
    }
    (made / "report.json").write_text(json.dumps(data))
    for name in ("report.html", "report.md", "report.csv", "run.json"):
        (made / name).write_text(name)
    return made


@pytest.mark.filterwarnings("ignore")  # mlflow's own
def test_a_run_is_logged_once_and_linked_to_the_evaluation(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)  # artifacts of a store without a server lie in the working directory
    store = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(tracking_uri=store)
    pipeline = TrackingServer(store, kind_tag="nemostack.approach")
    experiment = pipeline.experiment_id(client, "legal")
    evaluated = Entry({"model": ADAPTER, "evaluation_job": "eval-7"}, [], {})
    evaluation = pipeline.write(client, experiment, run="run-1", kind="lora", name="lora", entry=evaluated)

    told = publish(folder, uri=store, experiment="load-tests")
    assert told.endswith(", linked to 1 evaluation")
    assert publish(folder, uri=store, experiment="load-tests") == told
    (loads,) = [e.experiment_id for e in client.search_experiments() if e.name == "load-tests"]
    (run,) = client.search_runs([loads])
    assert run.data.tags["nemostack.evaluation.legal/contracts-cust-1"] == evaluation
    assert run.data.tags["nemostack.models"] == f"base, {ADAPTER}"
    assert run.data.tags["nemostack.worst_adapter"] == ADAPTER
    assert run.data.params == {"users": "8", "mix": "zipf", "models": "2", "workers": "2"}
    assert run.data.metrics == {"error_rate": 0.0, "ttft_ms_p50": 120.0, "ratio ttft_ms cold to warm": 1.4}
    assert {a.path for a in client.list_artifacts(run.info.run_id)} >= {"report.html", "report.json"}


def test_no_mlflow_is_a_notice(folder: Path) -> None:
    told = publish(folder, uri="http://127.0.0.1:1", experiment="x")
    assert told.startswith("notice: logging to MLflow at http://127.0.0.1:1 failed: ")
    assert told.endswith(f"the report in {folder} is complete")
