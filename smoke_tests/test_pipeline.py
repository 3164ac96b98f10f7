"""The whole pipeline as a user runs it: `nemostack run`, on the first rows of the sample dataset."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smoke_tests.conftest import Session
from smoke_tests.journal import Kind, Made, Stack
from workflows.settings import DEFAULT_DATASET

ROOT = Path(__file__).resolve().parent.parent
ROWS = {"train": 96, "validation": 12, "test": 8}
RUN_S = 600.0  # what a run takes beside its longest jobs
APPROACHES = ["zero_shot", "in_context", "lora"]


@pytest.mark.services("customizer", "evaluator", "nim", "mlflow")
def test_nemostack_run(
    smoke: Session, stack: Stack, name: str, made: Callable[[Kind, str], str], tmp_path: Path
) -> None:
    data = tmp_path / "legal"
    data.mkdir()
    for split, rows in ROWS.items():
        lines = (DEFAULT_DATASET / f"{split}.jsonl").read_text(encoding="utf-8").split("\n")
        (data / f"{split}.jsonl").write_text("\n".join(lines[:rows]) + "\n", encoding="utf-8")
    outputs = tmp_path / "outputs.json"
    outputs.write_text(smoke.outputs.model_dump_json())
    made("namespace", smoke.namespace)
    experiment = made("experiment", f"smoke-{name}") if smoke.outputs.mlflow_url else f"smoke-{name}"
    done = subprocess.run(
        [
            sys.executable, "-m", "workflows.cli", "run", "--outputs", str(outputs), "--dataset", str(data),
            "--limit", str(ROWS["test"]), "--shots", "2", "--epochs", "1", "--namespace", smoke.namespace,
            "--experiment", experiment, "--runs", str(tmp_path / "runs"),
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=2 * smoke.job_timeout_s + RUN_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    [run] = (tmp_path / "runs").iterdir()

    comparison = json.loads((run / "comparison.json").read_text())
    assert [a["name"] for a in comparison["approaches"]] == APPROACHES
    assert all(a["items"] == ROWS["test"] for a in comparison["approaches"])
    for approach in comparison["approaches"]:
        rouge = approach["scores"]["rouge_l"]
        assert 0 <= rouge["low"] <= rouge["mean"] <= rouge["high"] <= 1
        if approach["per_item"]:
            items = [
                json.loads(line)
                for line in (run / "samples" / f"{approach['name']}.jsonl").read_text().split("\n")
                if line
            ]
            assert rouge["mean"] == pytest.approx(sum(i["scores"]["rouge_l"] for i in items) / len(items))
    page = (run / "report.html").read_text()
    assert "ROUGE-L" in page
    assert "<svg" in page or "<img" in page

    if smoke.outputs.mlflow_url:
        _is_in_mlflow(stack, experiment, run, comparison)

    # the run cleaned up after itself: no dataset, adapter or repository of it is left
    [dataset_name] = [json.loads((run / "stages" / "dataset.json").read_text())["outputs"]["repo"]]
    assert not stack.exists(Made("dataset", dataset_name))
    assert not stack.exists(Made("dataset-repo", dataset_name))
    assert not any(entry.name.startswith(dataset_name) for entry in stack.in_namespace(smoke.namespace))


def _is_in_mlflow(stack: Stack, experiment: str, run: Path, comparison: dict[str, Any]) -> None:
    client = stack.mlflow()
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id])
    logged = {r.info.run_name: r for r in runs}
    assert set(logged) == {run.name, *APPROACHES}
    parent = logged[run.name]
    for approach in comparison["approaches"]:
        child = logged[approach["name"]]
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.data.metrics["rouge_l"] == pytest.approx(approach["scores"]["rouge_l"]["mean"])
    assert client.get_metric_history(logged["lora"].info.run_id, "train_loss")
    assert "report.html" in {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
