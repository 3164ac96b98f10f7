"""Sweeps on the fake stack, whose losses follow from the hyperparameters: who wins, what is asked, what is left."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from cli import render
from nemostack.errors import JobFailed
from tests.unit.pipeline_harness import Harness
from workflows.settings import Settings
from workflows.stages.cleanup import Cleaned
from workflows.stages.customization import Trained
from workflows.stages.training_advice import advise
from workflows.sweep.search import Search
from workflows.sweep.space import Choice, SweepSettings
from workflows.sweep.trial import results_of, sparkline

GRID = SweepSettings(ranks=(4, 8), learning_rates=(1e-4, 1e-3, 1e-2))


def best_at_rank_8_and_1e_3(hyperparameters: dict[str, Any], looks: int) -> float:
    wrong: float = (
        abs(hyperparameters["lora"]["adapter_dim"] - 8) / 8 + abs(hyperparameters["learning_rate"] - 1e-3) * 100
    )
    return 1.0 + wrong + 1.0 / looks


@pytest.fixture
def sweeping(harness: Harness, settings: Settings) -> Settings:
    harness.stack.loss_after = best_at_rank_8_and_1e_3
    return settings.model_copy(update={"sweep": GRID})


def test_the_winner_by_validation_loss_alone_is_tested_once(harness: Harness, sweeping: Settings) -> None:
    evaluated = []
    stack = harness.stack
    stack.on(r"DELETE /v1/evaluation/jobs/eval-1", lambda: evaluated.extend([*stack.evaluations.values()]))
    run = harness.run(sweeping)
    results = results_of(run)
    asked = [(one.choice.adapter_dim, one.choice.learning_rate) for one in results]
    assert asked == [(4, 1e-4), (4, 1e-3), (4, 1e-2), (8, 1e-4), (8, 1e-3), (8, 1e-2)]
    trained = Trained.model_validate(run.stage("customization").outputs)
    assert (trained.hyperparameters["adapter_dim"], trained.hyperparameters["learning_rate"]) == (8, 1e-3)
    assert trained.job_id == results[4].job_id == "cust-5"
    models = [job["target"]["model"]["api_endpoint"]["model_id"] for job in evaluated]
    assert models == [stack.base_model, stack.base_model, trained.model]  # no other adapter, and once
    assert json.loads((run.path / "gate.json").read_text())["candidates"][0]["model"] == trained.model
    assert "trial 5 wins: rank 8, learning rate 0.001, epochs 1" in harness.said
    assert "best so far" in harness.said


def test_a_sweep_leaves_nothing_on_the_stack(harness: Harness, sweeping: Settings) -> None:
    run = harness.run(sweeping)
    stack = harness.stack
    assert (stack.datasets, stack.models, stack.repos, stack.evaluations) == ({}, {}, {}, {})
    removed = Cleaned.model_validate(run.stage("cleanup").outputs).removed
    assert sum("adapter" in what for what in removed) == 1  # the losers were gone before the evaluation
    kept = harness.run(sweeping.model_copy(update={"keep_adapter": True}), new=True)
    (prompt, model) = stack.models
    assert prompt.endswith("-prompt")
    assert model == Trained.model_validate(kept.stage("customization").outputs).model


def test_an_interrupted_sweep_goes_on_with_its_trial(harness: Harness, sweeping: Settings) -> None:
    harness.stack.interrupt_on(r"GET /v1/customization/jobs/cust-3$")
    with pytest.raises(KeyboardInterrupt):
        harness.run(sweeping)
    assert len(harness.stack.customizations) == 3
    run = harness.run(sweeping)
    assert len(harness.stack.customizations) == 6  # none twice
    assert "picking up customization job cust-3 again" in harness.said
    whole = harness.run(sweeping, new=True)
    told = [[(one.number, one.choice, one.ended) for one in results_of(one)] for one in (run, whole)]
    assert told[0] == told[1]


def test_an_interrupted_sweep_can_be_cleaned_up(harness: Harness, sweeping: Settings) -> None:
    from nemostack.clients import Clients
    from nemostack.console import Progress
    from workflows.engine.launch import clean_up

    harness.stack.interrupt_on(r"GET /v1/customization/jobs/cust-3$")
    with pytest.raises(KeyboardInterrupt):
        harness.run(sweeping)
    with Clients(harness.stack.outputs, max_retries=0) as clients:
        clean_up(harness.prepare(sweeping), clients, Progress(Console(file=io.StringIO())))
    assert harness.stack.models == {}
    assert harness.stack.customizations["cust-3"]["status"] == "cancelled"


def test_a_failed_trial_costs_its_trial_and_says_what_to_do(harness: Harness, sweeping: Settings) -> None:
    harness.stack.failure_of = lambda asked: "CUDA error: out of memory" if asked["lora"]["adapter_dim"] == 8 else ""
    run = harness.run(sweeping)
    results = results_of(run)
    assert [one.ended for one in results] == ["completed"] * 3 + ["failed"] * 3
    assert "halve --batch-size" in results[3].reason
    assert Trained.model_validate(run.stage("customization").outputs).hyperparameters["adapter_dim"] == 4


def test_a_sweep_of_failures_ends_with_their_reasons(harness: Harness, sweeping: Settings) -> None:
    harness.stack.failure_of = lambda _asked: "the training loss is not a number at step 3"
    with pytest.raises(JobFailed, match=r"no trial of the sweep has completed .*lower --learning-rate"):
        harness.run(sweeping)


def test_halving_gives_up_what_is_behind(harness: Harness, settings: Settings) -> None:
    harness.stack.loss_after, harness.stack.looks_needed = best_at_rank_8_and_1e_3, 8
    space = SweepSettings(search="halving", ranks=(8,), learning_rates=(1e-3, 1e-1), trials=8, reduction=2)
    run = harness.run(settings.model_copy(update={"sweep": space}))
    results = results_of(run)
    pruned = [one for one in results if one.ended == "pruned"]
    assert pruned
    assert all(len(one.val_loss) < 9 for one in pruned)
    assert all(harness.stack.customizations[str(one.job_id)]["status"] == "cancelled" for one in pruned)
    winner = Trained.model_validate(run.stage("customization").outputs)
    completed = [one for one in results if one.ended == "completed"]
    assert winner.job_id == min(completed, key=lambda one: one.loss or 9).job_id
    assert min(one.loss or 9 for one in completed) <= min(one.loss or 9 for one in pruned)


@pytest.mark.parametrize("kind", ["random", "tpe", "halving"])
def test_a_search_that_is_told_its_past_goes_on_as_if_never_interrupted(kind: Any) -> None:
    space = SweepSettings(search=kind, ranks=(4, 8, 16), learning_rates=(1e-5, 1e-3), epochs=(1, 2), trials=6)

    def choices(search: Search, count: int) -> list[Choice]:
        found = []
        for _ in range(count):
            attempt = search.next()
            loss = abs(attempt.choice.learning_rate - 1e-4)
            attempt.report(loss)
            search.end(attempt, [loss], ended="completed")
            found.append(attempt.choice)
        return found

    whole = choices(Search(space, seed=3), 6)
    assert len(set(whole)) == 6
    assert all(1e-5 <= one.learning_rate <= 1e-3 for one in whole)
    resumed = Search(space, seed=3)
    for choice in whole[:4]:
        resumed.replay(choice, [abs(choice.learning_rate - 1e-4)], ended="completed")
    assert choices(resumed, 2) == whole[4:]
    assert choices(Search(space, seed=3), 6) == whole
    assert choices(Search(space, seed=4), 6) != whole


def test_a_part_of_the_grid_is_drawn_by_the_seed() -> None:
    part = GRID.model_copy(update={"trials": 3})
    assert part.count == len(part.grid(0)) == 3
    assert part.grid(0) == part.grid(0)
    assert set(part.grid(0)) < set(GRID.grid(0))
    assert any(part.grid(0) != part.grid(seed) for seed in range(1, 9))


@pytest.mark.parametrize(
    "bad",
    [{"ranks": ()}, {"ranks": (0,)}, {"search": "bayes"}, {"search": "tpe", "learning_rates": (1e-5, 1e-4, 1e-3)}],
)
def test_spaces_that_cannot_be_searched_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        SweepSettings.model_validate(bad)


def test_the_report_and_the_terminal_show_every_trial(harness: Harness, sweeping: Settings) -> None:
    run = harness.run(sweeping)
    page = (run.path / "report.html").read_text()
    assert "The sweep" in page
    assert "Validation loss of each trial" in page
    console = Console(file=io.StringIO(), force_terminal=False)
    render.trials(console, run)
    rows = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert rows[1].split("\t")[:4] == ["5", "8", "0.001", "1"]  # the best first
    assert len(rows) == 7


@pytest.mark.filterwarnings("ignore")  # mlflow's own
def test_mlflow_has_a_child_for_each_trial_while_it_runs(
    harness: Harness, sweeping: Settings, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    store = f"sqlite:///{tmp_path}/mlflow.db"
    outputs = harness.stack.outputs.model_copy(update={"mlflow_url": store})
    monkeypatch.setattr(type(harness.stack), "outputs", outputs)
    harness.stack.interrupt_on(r"GET /v1/customization/jobs/cust-3$")
    with pytest.raises(KeyboardInterrupt):
        harness.run(sweeping)
    client = MlflowClient(tracking_uri=store)

    def runs() -> dict[str, Any]:
        (experiment,) = [e for e in client.search_experiments() if e.name == sweeping.experiment]
        return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}

    assert {"trial 1", "trial 2", "trial 3"} < set(runs())
    run = harness.run(sweeping)
    found = runs()
    assert len([name for name in found if name.startswith("trial")]) == 6
    parent = found[f"{run.path.name} sweep"]
    assert parent.data.tags["nemostack.winner"] == "trial 5"
    for one in results_of(run):
        child = found[f"trial {one.number}"]
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        history = client.get_metric_history(child.info.run_id, "val_loss")
        assert [point.value for point in history] == [point.value for point in one.val_loss]
        assert child.info.status == "FINISHED"


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("torch.OutOfMemoryError: CUDA error: out of memory", "halve --batch-size"),
        ("the training loss is not a number at step 4", "lower --learning-rate"),
        ("dataset default/x: training/train.jsonl line 3 has no column prompt", "a prompt and a completion"),
        ("0/3 nodes are available: insufficient nvidia.com/gpu", "no GPU was free"),
        ("ImagePullBackOff", "NGC key"),
        ("something else entirely", ""),
    ],
)
def test_advice(message: str, says: str) -> None:
    found = advise(message)
    assert says in found
    assert bool(found) == bool(says)


def test_a_sparkline_rises_and_falls_with_its_values() -> None:
    assert sparkline([1.0, 2.0, 3.0]) == "▁▅█"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline([1.0]) == ""
    assert len(sparkline([float(i) for i in range(100)])) == 16
