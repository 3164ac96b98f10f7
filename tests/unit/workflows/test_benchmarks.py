"""Benchmarks before and after training on the fake stack, whose base model knows every second answer and whose tuned
model knows every fourth: what is asked, how it is compared, and that substitutes are named wherever a score is."""

import csv
import io
import json

import pytest
from rich.console import Console
from scipy import stats

from cli import render
from nemostack.clients.evaluator import Score
from nemostack.errors import BadInput, JobFailed
from tests.unit.pipeline_harness import Harness
from workflows.pipeline import plan
from workflows.results import benchmarks
from workflows.results.comparison import Comparison
from workflows.results.mlflow_export import Tracker
from workflows.results.statistics import of_shares
from workflows.settings import Settings

NOTE = "these are our own questions"


@pytest.fixture
def asked(harness: Harness, settings: Settings) -> Settings:
    harness.stack.benchmarks = {"gsm8k": "exact_match__flexible-extract", "mmlu": "acc"}
    return settings.model_copy(update={"benchmarks": ("gsm8k", "mmlu"), "benchmark_items": 40})


def comparison_of(harness: Harness, settings: Settings) -> Comparison:
    return Comparison.model_validate_json((harness.run(settings).path / "comparison.json").read_text())


def test_base_before_training_and_tuned_after_it(asked: Settings, settings: Settings) -> None:
    names = [stage.name for stage in plan(asked)]
    assert names == [
        *("environment", "dataset", "zero_shot", "prompt", "in_context", "benchmark_gsm8k_base", "benchmark_mmlu_base"),
        *("customization", "lora", "benchmark_gsm8k_tuned", "benchmark_mmlu_tuned", "comparison", "cleanup"),
    ]
    assert not [stage.name for stage in plan(settings) if stage.name.startswith("benchmark")]  # off unless asked for


def test_forgetting_is_seen(harness: Harness, asked: Settings) -> None:
    found = {one.benchmark: one for one in comparison_of(harness, asked).benchmarks}
    assert list(found) == ["gsm8k", "mmlu"]
    gsm8k = found["gsm8k"]
    assert (gsm8k.metric, gsm8k.base.n) == ("exact_match__flexible-extract", 40)
    assert (gsm8k.base.mean, gsm8k.tuned.mean, gsm8k.difference.mean) == (0.5, 0.25, -0.25)
    wilson = stats.binomtest(20, 40).proportion_ci(method="wilson")
    assert (gsm8k.base.low, gsm8k.base.high) == pytest.approx((wilson.low, wilson.high))
    # Ten of forty questions are lost and none is won: the paired bootstrap's interval is that of a binomial share.
    low, high = stats.binom.ppf([0.025, 0.975], 40, 0.25) / 40
    assert gsm8k.difference.method == "paired bootstrap"
    assert (gsm8k.difference.low, gsm8k.difference.high) == pytest.approx((-high, -low), abs=0.026)
    assert gsm8k.verdict == "worse"


def test_what_is_sent(harness: Harness, asked: Settings) -> None:
    jobs = []
    harness.stack.on(r"DELETE /v1/evaluation/jobs/eval-1", lambda: jobs.extend([*harness.stack.evaluations.values()]))
    harness.run(asked)
    sent = [job["config"] for job in jobs if job["config"]["type"] == "gsm8k"]
    assert [config["params"]["limit_samples"] for config in sent] == [40, 40]
    assert "temperature" not in sent[0]["params"]  # greedy, as lm-eval does by itself
    assert sent[0]["params"]["extra"] == {}  # as many examples as the task shows, and the endpoint that it needs
    models = [
        job["target"]["model"]["api_endpoint"]["model_id"] for job in jobs if job["config"]["type"] in {"gsm8k", "mmlu"}
    ]
    assert models[0] == models[1] == harness.stack.base_model
    assert models[2] == models[3] != harness.stack.base_model
    assert harness.stack.evaluations == {}  # and cleaned up


def test_substitutes_are_named_wherever_a_score_is(
    harness: Harness, asked: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    run = harness.run(asked)
    report = (run.path / "report.html").read_text()
    assert "gsm8k (substitute)" in report
    assert "nemostack substitute" in report
    assert "These are our own questions." in report  # among the caveats
    assert harness.said.count(NOTE) == 4  # at the end of each of the four stages
    rows = [*csv.DictReader(io.StringIO((run.path / "comparison.csv").read_text()))]
    assert [row["mean"] for row in rows if row["approach"] == "gsm8k (substitute), tuned"] == ["0.25"]
    console = Console(file=io.StringIO(), force_terminal=False)
    render.finished(console, run)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "gsm8k (substitute)\t0.500 [0.352, 0.648]\t0.250 [0.142, 0.402]\t-0.250 [" in said
    assert "]\tworse\n" in said
    assert f"Note: {NOTE}" in said


def test_published_questions_carry_no_such_name(harness: Harness, asked: Settings) -> None:
    harness.stack.benchmark_data = {"origin": "Hugging Face Hub", "published": True}
    run = harness.run(asked)
    report = (run.path / "report.html").read_text()
    assert "Hugging Face Hub" in report
    assert "substitute" not in report
    harness.stack.benchmark_data = {}  # an Evaluator that does not say
    assert "substitute" not in (harness.run(asked, new=True).path / "report.html").read_text()


@pytest.mark.filterwarnings("ignore")  # mlflow's own
def test_mlflow_has_a_row_for_each_benchmark(
    harness: Harness, asked: Settings, tmp_path: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(str(tmp_path))
    store = f"sqlite:///{tmp_path}/mlflow.db"
    assert Tracker(store, "legal", "run-1").log(asked, {}, comparison_of(harness, asked), None, {}).problem is None
    client = MlflowClient(tracking_uri=store)
    (experiment,) = [e for e in client.search_experiments() if e.name == "legal"]
    runs = {run.info.run_name: run.data for run in client.search_runs([experiment.experiment_id])}
    row = runs["gsm8k (substitute)"]
    assert row.metrics["substitute_base"] == 0.5
    assert row.metrics["substitute_tuned_minus_base"] == -0.25
    assert row.metrics["substitute_tuned_low95"] < 0.25 < row.metrics["substitute_tuned_high95"]
    assert (row.params["questions"], row.params["note"]) == ("nemostack substitute", NOTE)


def test_without_samples_the_summary_is_compared(harness: Harness, asked: Settings) -> None:
    harness.stack.samples = False
    (gsm8k, _) = comparison_of(harness, asked).benchmarks
    assert (gsm8k.base.method, gsm8k.difference.method) == ("normal", "normal")
    half = 1.96 * (0.5 * 0.5 / 40) ** 0.5
    assert (gsm8k.base.low, gsm8k.base.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-4)


def test_a_benchmark_without_a_score_fails_and_the_run_goes_on_later(harness: Harness, asked: Settings) -> None:
    stack, results = harness.stack, harness.stack.results
    stack.results = lambda job_id: (  # type: ignore[method-assign]
        {"tasks": {}} if stack.evaluations[job_id]["config"]["type"] == "mmlu" else results(job_id)
    )
    with pytest.raises(JobFailed, match="completed without a score of mmlu"):
        harness.run(asked)
    stack.results = results  # type: ignore[method-assign]
    assert len(comparison_of(harness, asked).benchmarks) == 2
    assert "benchmark_gsm8k_base" in {record.name for record in harness.run(asked, new=True).stages()}


@pytest.mark.parametrize(("given", "says"), [("gsm8k,../x", "no name of a benchmark"), ("a b", "no name")])
def test_names_that_cannot_be_used_are_refused(given: str, says: str) -> None:
    from cli.runs import build_settings

    with pytest.raises(BadInput, match=says):
        build_settings("run", benchmarks=tuple(given.split(",")))


def test_usual_tasks_and_metrics_of_the_guides_names() -> None:
    assert benchmarks.task_of("truthfulqa") == "truthfulqa_mc2"
    assert benchmarks.task_of("HumanEval") == "humaneval"
    assert benchmarks.task_of("arc_easy") == "arc_easy"
    assert benchmarks.metric_of("hellaswag", ["acc", "acc_norm"]) == "acc_norm"
    assert benchmarks.metric_of("arc_easy", ["acc", "acc_norm"]) == "acc"
    assert benchmarks.metric_of("arc_easy", []) is None


@pytest.mark.parametrize(("right", "n"), [(0, 20), (20, 20), (7, 20), (1, 1), (499, 1000)])
def test_wilson_agrees_with_scipy(right: int, n: int) -> None:
    expected = stats.binomtest(right, n).proportion_ci(method="wilson")
    found = of_shares([1.0] * right + [0.0] * (n - right))
    assert (found.mean, found.low, found.high) == pytest.approx((right / n, expected.low, expected.high))


def test_fractions_are_bootstrapped() -> None:
    items = benchmarks.items_of([])
    assert benchmarks.estimate("acc", items, {"acc": Score(value=None)}, asked=5, seed=0) is None
    summary = benchmarks.estimate("acc", items, {"acc": Score(value=0.4)}, asked=5, seed=0)
    assert summary is not None
    assert (summary.mean, summary.method, summary.n) == (0.4, "none", 5)


def test_runs_without_benchmarks_keep_their_identity(harness: Harness, settings: Settings) -> None:
    """An unfinished run of an older version goes on."""
    identity = settings.identity(harness.stack.outputs, "d")
    assert settings.model_copy(update={"benchmark_items": 99}).identity(harness.stack.outputs, "d") == identity
    assert settings.model_copy(update={"benchmarks": ("mmlu",)}).identity(harness.stack.outputs, "d") != identity
    assert json.loads(settings.model_dump_json())["benchmarks"] == []
