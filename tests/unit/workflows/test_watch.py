"""Watching an alias on the fake stack: drift of questions and of answers, its false alarms, and what is left behind."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nemostack.clients import Clients
from nemostack.clone import ROOT
from tests.deadlines import Deadline
from tests.unit.command_line import run_command
from tests.unit.fake_stack import FakeStack
from tests.unit.inference_pool import kubectl_of
from tests.unit.operations import healthy_cluster as h
from tests.unit.pipeline_harness import Harness, write_dataset
from workflows.settings import Settings
from workflows.watch.drift import LEVEL, Questions, Shift, unknown
from workflows.watch.quality import loss, rating_of
from workflows.watch.watch import Look, Notes

WORDS = [f"word{number}" for number in range(400)]


def question(draw: random.Random, more: tuple[str, ...] = ()) -> str:
    return " ".join([*draw.choices(WORDS, k=draw.randint(4, 12)), *more])


def questions(seed: int) -> Questions:
    draw = random.Random(seed)
    return Questions([question(draw) for _ in range(300)], [question(draw) for _ in range(80)], lambda _t: None, "x")


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (question, set()),
        (lambda draw: question(draw, ("word1",) * 30), {"length in characters"}),
        (lambda draw: " ".join(f"새말{draw.randint(0, 99)}" for _ in range(8)), {"share of unknown words"}),
    ],
)
def test_what_has_changed_is_named(asked: Callable[[random.Random], str], names: set[str]) -> None:
    draw = random.Random(5)
    shifts = questions(1).shifts([asked(draw) for _ in range(60)])
    found = {shift.name for shift in shifts if shift.drifted}
    assert found >= names
    assert bool(found) is bool(names)


def test_false_alarms_are_as_rare_as_the_level_says() -> None:
    draw, reference = random.Random(9), questions(2)
    looks = [reference.shifts([question(draw) for _ in range(40)]) for _ in range(60)]
    assert sum(shift.drifted for shifts in looks for shift in shifts) <= 1  # 0.2 are to be expected
    assert LEVEL == 0.001


def test_numbers_of_a_question() -> None:
    assert unknown("Is this NEW, or new?", {"is", "this", "or"}) == pytest.approx(2 / 5)
    assert unknown("?!", set()) == 0.0
    with pytest.raises(ValueError, match="30 of both are needed"):
        questions(1).shifts(["one"] * 29)


def test_ratings() -> None:
    assert rating_of("RELEVANCE: 4\ncoherence: 5\n**Fluency**: 3\nHelpfulness: 4") == 4.0
    assert rating_of("RELEVANCE: 4") is None
    assert loss([5.0] * 20, [2.0] * 20).drifted
    assert not loss([2.0] * 20, [5.0] * 20).drifted  # better is no drift


@pytest.fixture
def watched(harness: Harness, tmp_path: Path) -> tuple[list[str], Path]:
    """The arguments of a watch of a run behind `prod`, and its dataset."""
    dataset = write_dataset(tmp_path / "data", {"train": 60, "validation": 20, "test": 40})
    run = harness.run(Settings(dataset=dataset, limit=40, keep_adapter=True, judge=False))
    outputs = tmp_path / "outputs.json"
    outputs.write_text(harness.stack.outputs.model_copy(update={"mlflow_url": ""}).model_dump_json())
    assert run_command("promote", str(run.path), "--outputs", str(outputs)) == 0
    command = ["watch", str(run.path), "--outputs", str(outputs), "--for", "0.5", "--every", "0.1", "--share", "1"]
    return command, dataset


def traffic(prompts: list[str], answer: str = "a good answer") -> list[dict[str, Any]]:
    at = "2026-01-05T09:10:11Z"
    rows = enumerate(prompts, start=1)
    return [{"number": n, "at": at, "model": "m", "prompt": text, "answer": answer} for n, text in rows]


def usual(dataset: Path) -> list[str]:
    return [json.loads(line)["prompt"] for line in (dataset / "test.jsonl").read_text().splitlines()]


def test_the_command(stack: FakeStack, watched: tuple[list[str], Path], capfd: pytest.CaptureFixture[str]) -> None:
    command, dataset = watched
    stack.traffic = traffic(usual(dataset))
    assert run_command(*command) == 0
    said = capfd.readouterr().err
    assert "look 1, 40 questions: length in characters" in said
    assert "judged quality, 1 to 5 5 -> 5" in said
    assert "prod: no drift" in said
    assert "warning: this stack has no MLflow" in said
    assert stack.samplings == {}
    stack.traffic = traffic(usual(dataset), "a bad answer")
    assert run_command(*command) == 13
    assert "prod has drifted in 1 of 1 look(s): judged quality" in capfd.readouterr().err
    stack.traffic = traffic([f"새 질문 {number} " * 9 for number in range(40)])
    assert run_command(*command, "--no-judge") == 13
    assert "share of unknown words" in capfd.readouterr().err
    assert stack.samplings == {}


def test_what_cannot_be_watched(
    stack: FakeStack, watched: tuple[list[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    command, dataset = watched
    stack.traffic = traffic(usual(dataset)[:29])
    assert run_command(*command) == 11
    assert "29 request(s) of prod were sampled, and a look needs 30" in capfd.readouterr().err
    assert run_command(*command, "--alias", "other") == 2
    assert "there is no alias other" in capfd.readouterr().err
    (dataset / "train.jsonl").write_text((dataset / "train.jsonl").read_text().replace("question 1?", "question X?"))
    assert run_command(*command) == 2
    assert "has changed since run" in capfd.readouterr().err
    assert stack.samplings == {}


def test_where_nobody_samples_the_runs_questions_are_asked_anew(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stack, kubectl = harness.stack, kubectl_of(tmp_path / "kubectl")
    monkeypatch.setattr("nemostack.kubectl.process.program", lambda: str(kubectl.path))
    monkeypatch.setattr("workflows.promotion.promote.NEW_ALIAS_S", 0.0)  # no router is there to answer by the alias
    stack.aliases = None
    dataset = write_dataset(tmp_path / "data", {"train": 60, "validation": 20, "test": 40})
    run = harness.run(Settings(dataset=dataset, limit=40, keep_adapter=True, judge=False))
    outputs = tmp_path / "outputs.json"
    changes = {"mlflow_url": "", "cluster": h.cluster_outputs()}
    outputs.write_text(stack.outputs.model_copy(update=changes).model_dump_json())
    assert run_command("promote", str(run.path), "--outputs", str(outputs)) == 0
    command = ["watch", str(run.path), "--outputs", str(outputs), "--for", "0.2", "--every", "0.1"]
    assert run_command(*command) == 0
    said = capfd.readouterr().err
    assert "what users ask is not sampled here" in said
    assert "look 1, 40 questions: judged quality, 1 to 5 5 -> 5" in said
    assert "length in characters" not in said
    stack.says = "a bad answer"
    assert run_command(*command) == 13
    assert "prod has drifted in" in capfd.readouterr().err
    assert run_command(*command, "--no-judge") == 2
    assert "only the NIM of the local stack samples what users ask" in capfd.readouterr().err
    assert stack.count("/samples") == 0


@pytest.mark.filterwarnings("ignore")  # mlflow's own
def test_mlflow_gets_numbers_and_no_text(
    harness: Harness, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    store = f"sqlite:///{tmp_path}/mlflow.db"
    run, outputs = harness.run(settings), harness.stack.outputs.model_copy(update={"mlflow_url": store})
    with Clients(outputs) as clients:
        notes = Notes(clients, "legal", run, "prod")
        for number, p in enumerate((0.5, 0.0001), start=1):
            notes.add(
                number, Look(questions=40, shifts=[Shift(name="share of unknown words", before=0.1, now=0.2, p=p)])
            )
        notes.close()
    assert notes.problem is None
    client = MlflowClient(tracking_uri=store)
    (found,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert (found.info.run_name, found.info.status) == ("watch prod", "FINISHED")
    assert found.data.tags["nemostack.run_id"] == run.path.name
    history = client.get_metric_history(found.info.run_id, "share_of_unknown_words_p")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.0001)]
    assert found.data.metrics["questions"] == 40


@pytest.mark.slow
def test_a_watch_that_is_ended_leaves_no_sample(stack: FakeStack, watched: tuple[list[str], Path]) -> None:
    command, _ = watched
    argv = [sys.executable, "-m", "cli", *command, "--for", "600"]
    process = subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = Deadline(180)
    while not stack.count("GET /nim/v1/aliases/prod/samples"):
        assert not deadline.passed
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=180)
    assert (process.returncode, stack.samplings) == (130, {}), err
