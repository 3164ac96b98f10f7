"""The whole pipeline as a user runs it, `nemostack run`: on a few rows on any stack, by its defaults on the local one.

A run writes down what it makes before any test knows: when it has ended, the journal is filled from the run's files.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from nemostack.clone import ROOT
from nemostack.models import SAMPLE_MODEL
from smoke_tests.conftest import Session
from smoke_tests.journal import Kind, Made, Stack
from smoke_tests.shared import TEST_MODEL, TEST_MODEL_SUITS
from workflows.settings import DEFAULT_DATASET
from workflows.stages.cleanup import adapter_name

ROWS = {"train": 96, "validation": 12, "test": 8}
RUN_S = 600.0  # what a run takes beside its longest jobs
APPROACHES = ["zero_shot", "in_context", "lora"]
MAIN_METRICS = ("rouge_l", "bleu", "f1")
# Models of which it is known that each step gains, and the options with which it does.
TEST_MODEL_OPTIONS = [
    *("--alpha", str(TEST_MODEL_SUITS["alpha"]), "--batch-size", str(TEST_MODEL_SUITS["batch_size"])),
    *("--learning-rate", str(TEST_MODEL_SUITS["learning_rate"])),
]
GAINING: dict[str, list[str]] = {SAMPLE_MODEL: [], TEST_MODEL: TEST_MODEL_OPTIONS}
# Every adapter has to be asked and has to answer. How fast is no matter of a machine that runs other tests meanwhile.
SLO = """
version: 1
min_samples: 10
objectives:
  - {metric: error_rate, max: 0.0, scope: each-model}
  - {metric: ttft_ms, stat: p50, max: 60000, scope: each-adapter}
"""
Run = Callable[..., Path]


@pytest.fixture
def experiment(smoke: Session, name: str, made: Callable[[Kind, str], str]) -> str:
    return made("experiment", f"smoke-{name}") if smoke.outputs.mlflow_url else f"smoke-{name}"


@pytest.fixture
def nemostack_run(smoke: Session, made: Callable[[Kind, str], str], tmp_path: Path, experiment: str) -> Run:
    """`nemostack run` with the options given, in the session's namespace; the run's directory."""

    def run(*options: str) -> Path:
        outputs, runs = tmp_path / "outputs.json", tmp_path / "runs"
        outputs.write_text(smoke.outputs.model_dump_json())
        made("namespace", smoke.namespace)
        command = [
            sys.executable,
            "-m",
            "cli.main",
            "run",
            "--outputs",
            str(outputs),
            "--runs",
            str(runs),
            "--namespace",
            smoke.namespace,
            "--experiment",
            experiment,
            *options,
        ]
        limit = 2 * smoke.job_timeout_s + RUN_S
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False)
        finally:
            for kind, thing in made_by(runs):
                made(kind, thing)
        assert done.returncode == 0, done.stdout + done.stderr
        [directory] = [file.parent for file in runs.glob("*/run.json")]
        return directory

    return run


def made_by(runs: Path) -> list[tuple[Kind, str]]:
    """What the runs in this folder have made on the stack, be it gone or not."""
    entries: list[tuple[Kind, str]] = []
    for run in runs.glob("*"):
        notes = {file.stem: json.loads(file.read_text())["notes"] for file in (run / "stages").glob("*.json")}
        repo = notes.get("dataset", {}).get("repo")
        if repo is not None:
            entries += [("dataset-repo", repo), ("dataset", repo)]
        for stage, noted in notes.items():
            for job in noted.get("jobs", []):
                if stage == "customization":
                    adapter = adapter_name(repo)
                    entries += [("model-repo", adapter), ("model", f"{adapter}@{job}"), ("customization", job)]
                else:
                    entries.append(("evaluation", job))
    return entries


@pytest.mark.services("customizer", "evaluator", "nim", "mlflow")
def test_nemostack_run(smoke: Session, stack: Stack, nemostack_run: Run, experiment: str, tmp_path: Path) -> None:
    data = tmp_path / "legal"
    data.mkdir()
    for split, rows in ROWS.items():
        lines = (DEFAULT_DATASET / f"{split}.jsonl").read_text(encoding="utf-8").split("\n")
        (data / f"{split}.jsonl").write_text("\n".join(lines[:rows]) + "\n", encoding="utf-8")
    run = nemostack_run("--dataset", str(data), "--limit", str(ROWS["test"]), "--shots", "2", "--epochs", "1")

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


@pytest.mark.services("customizer", "evaluator", "nim")
def test_each_step_of_the_default_run_gains(smoke: Session, nemostack_run: Run, tmp_path: Path) -> None:
    """Zero-shot < in-context < LoRA beyond doubt, and the adapter is loaded beside the base model."""
    if smoke.outputs.base_model not in GAINING:
        pytest.skip(
            f"what each step gains is known of {' and '.join(GAINING)} only; for {smoke.outputs.base_model}, "
            "run `nemostack run` on your data and judge it by `nemostack gate`"
        )
    slo = tmp_path / "slo.yaml"
    slo.write_text(SLO)
    run = nemostack_run("--load-slo", str(slo), *GAINING[smoke.outputs.base_model])

    approaches = json.loads((run / "comparison.json").read_text())["approaches"]
    assert [approach["name"] for approach in approaches] == APPROACHES
    for metric in MAIN_METRICS:
        scores = [approach["scores"][metric] for approach in approaches]
        assert all(score["n"] >= 100 and score["missing"] == 0 for score in scores), metric
        for worse, better in pairwise(scores):
            assert worse["high"] < better["low"], f"{metric}: {scores}"  # their 95 % intervals lie apart

    load = json.loads((run / "load" / "report.json").read_text())
    adapter = json.loads((run / "stages" / "customization.json").read_text())["outputs"]["model"]
    assert set(load["models"]) == {smoke.outputs.base_model, adapter}
    missed = [gate for gate in load["gates"] if gate["verdict"] != "PASS"]
    assert not missed
    assert adapter in {gate["scope"] for gate in load["gates"]}


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
