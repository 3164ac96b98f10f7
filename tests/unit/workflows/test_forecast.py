"""The dry run's look ahead: times by the work of earlier runs on the same stack, their cost, and what nobody knows."""

import json
from pathlib import Path

import pytest

from tests.unit.command_line import run_command
from tests.unit.fake_stack import FakeStack
from tests.unit.pipeline_harness import Harness
from workflows.forecast import Forecast, forecast
from workflows.settings import Settings
from workflows.sweep.space import SweepSettings


def took(run: Path, **seconds: float) -> None:
    """Let stages of a run have taken so long."""
    for name, value in seconds.items():
        file = run / "stages" / f"{name}.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"seconds": value}))


def look(harness: Harness, settings: Settings) -> Forecast:
    return forecast(harness.root, settings, harness.stack.outputs, new=False)


def middle(ahead: Forecast, name: str) -> float | None:
    (stage,) = (stage for stage in ahead.stages if stage.name == name)
    return None if stage.seconds is None else stage.seconds.middle


@pytest.fixture
def earlier(harness: Harness, settings: Settings) -> list[Path]:
    """Two runs with 8 items and 12 rows to train on; the second was twice as slow."""
    asked = settings.model_copy(update={"reuse": False})
    runs = [harness.run(asked, new=True).path for _ in range(2)]
    for run, times in zip(runs, (1, 2), strict=True):
        took(run, zero_shot=16.0 * times, lora=8.0 * times, customization=60.0 * times)
    return runs


@pytest.mark.usefixtures("earlier")
def test_times_follow_the_work(harness: Harness, settings: Settings) -> None:
    epochs = settings.hyperparameters.epochs
    less = settings.model_copy(
        update={
            "limit": 4,
            "train_rows": 6,
            "hyperparameters": settings.hyperparameters.model_copy(update={"epochs": 3 * epochs}),
        }
    )
    ahead = look(harness, less)
    assert (ahead.earlier, ahead.unknown) == (2, ())
    assert middle(ahead, "zero_shot") == pytest.approx(4 / 8 * 24)
    assert middle(ahead, "customization") == pytest.approx(6 / 12 * 3 * 90)
    (stage,) = (stage for stage in ahead.stages if stage.name == "zero_shot")
    assert stage.seconds is not None
    assert (stage.seconds.low, stage.seconds.high, stage.seconds.measured) == (8, 16, 2)


@pytest.mark.usefixtures("earlier")
def test_a_sweep_is_reckoned_by_its_trials(harness: Harness, settings: Settings) -> None:
    grid = SweepSettings(ranks=(4, 8), learning_rates=(1e-4,), epochs=(1, 2))
    assert middle(look(harness, settings.model_copy(update={"sweep": grid})), "customization") == pytest.approx(
        90 / settings.hyperparameters.epochs * (1 + 2 + 1 + 2)
    )


def test_trials_of_a_sweep_tell_of_one_training(harness: Harness, settings: Settings) -> None:
    grid = SweepSettings(ranks=(4, 8), learning_rates=(1e-4,), epochs=(1,))
    run = harness.run(settings.model_copy(update={"sweep": grid})).path
    for number, seconds in ((1, 12.0), (2, 24.0)):
        (file,) = (run / "trials" / "stages").glob(f"*_{number:03d}.json")
        file.write_text(json.dumps(json.loads(file.read_text()) | {"seconds": seconds}))
    epochs = settings.hyperparameters.epochs
    assert middle(look(harness, settings), "customization") == pytest.approx(18 * epochs)


def test_what_tells_nothing_is_left_out(harness: Harness, settings: Settings, earlier: list[Path]) -> None:
    ahead = look(harness, settings.model_copy(update={"judge": False, "benchmarks": ("gsm8k",)}))
    assert middle(ahead, "zero_shot") is None  # with a judge it takes longer
    assert "Zero-shot evaluation" in ahead.unknown
    assert "Benchmark gsm8k of the base model" in ahead.unknown
    other = harness.stack.outputs.model_copy(update={"nemo_url": "http://elsewhere"})
    assert forecast(harness.root, settings, other, new=False).earlier == 0
    file = earlier[0] / "stages" / "zero_shot.json"
    record = json.loads(file.read_text())
    record["outputs"]["reused"] = 8  # nothing was asked
    file.write_text(json.dumps(record))
    assert middle(look(harness, settings), "zero_shot") == 32


def test_an_unfinished_run_would_go_on(harness: Harness, settings: Settings, earlier: list[Path]) -> None:
    harness.stack.interrupt_on(r"POST /v1/customization/jobs$")
    other = settings.model_copy(update={"seed": 1})
    with pytest.raises(KeyboardInterrupt):
        harness.run(other)
    ahead = look(harness, other)
    assert ahead.resumes not in {None, *earlier}
    assert {stage.name for stage in ahead.stages if stage.settled} == {"dataset", "zero_shot", "prompt", "in_context"}
    assert ahead.serving is not None
    assert ahead.serving.middle == middle(ahead, "lora")


@pytest.mark.usefixtures("earlier")
def test_the_command_says_time_and_cost(
    stack: FakeStack, harness: Harness, settings: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for run in harness.root.glob("*/"):
        took(run, zero_shot=1800, in_context=0, prompt=0, lora=1800, customization=7200) if run.is_dir() else None
    (tmp_path / "outputs.json").write_text(stack.outputs.model_dump_json())
    asked = ("--outputs", str(tmp_path / "outputs.json"), "--runs", str(harness.root), "--limit", "8")
    command = ("run", "--dry-run", "--dataset", str(settings.dataset), *asked)
    stack.requests.clear()
    assert run_command(*command, "--gpu", "aws/a10g-24gb") == 0
    out = capfd.readouterr().out
    assert "3. Zero-shot evaluation: about 30 min (30 min to 30 min)" in out
    assert "Cost: about 3.02 USD (3.02 to 3.02), 3 GPU hours at 1.006 USD a GPU hour" in out
    assert stack.requests == []
    assert run_command(*command) == 0
    assert "Cost: 3 GPU hours; no price is known" in capfd.readouterr().out
    assert run_command(*command, "--gpu", "abacus") == 2
