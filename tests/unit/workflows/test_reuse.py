"""Unchanged items are not asked again; anything that may change an answer has them asked."""

import json
from pathlib import Path

import pytest

from nemostack.clients import Clients
from tests.unit.fake_stack import BASE
from tests.unit.pipeline_harness import Harness
from workflows.engine.run_directory import RunDirectory
from workflows.results.approach import Approach, ItemResult
from workflows.results.reuse import Answers, Kept, version_of
from workflows.settings import Settings

ASKED = r"POST /v1/evaluation/jobs$"


def _evaluated(run: RunDirectory, name: str = "evaluation") -> Approach:
    return Approach.model_validate(run.stage(name).outputs)


@pytest.fixture
def evaluation(settings: Settings) -> Settings:
    return settings.model_copy(update={"kind": "evaluate", "shots": 0, "limit": 6})


def test_the_same_items_are_not_asked_twice(harness: Harness, evaluation: Settings) -> None:
    first = harness.run(evaluation)
    asked = harness.stack.count(ASKED)
    again = harness.run(evaluation, new=True)
    assert harness.stack.count(ASKED) == asked == 1
    one, other = _evaluated(first), _evaluated(again)
    assert (one.reused, other.reused) == (0, 6)
    assert other.scores == one.scores
    assert other.job_id == one.job_id
    assert (again.path / "samples/evaluation.jsonl").read_text() == (
        first.path / "samples/evaluation.jsonl"
    ).read_text()
    assert "6 of 6 answers reused" in harness.said


def test_only_new_items_are_asked_and_all_stand_in_their_order(harness: Harness, evaluation: Settings) -> None:
    harness.run(evaluation)
    jobs: list[dict[str, object]] = []
    harness.stack.on(r"GET /v1/evaluation/jobs/eval-1$", lambda: jobs.append(dict(harness.stack.evaluations["eval-1"])))
    run = harness.run(evaluation.model_copy(update={"limit": 9}))
    [job] = jobs
    dataset = job["config"]["tasks"]["answers"]["dataset"]  # type: ignore[index]
    assert dataset["limit"] == 3
    assert dataset["files_url"].endswith("/testing/evaluation_missing.jsonl")
    items = run.load_samples("evaluation", ItemResult)
    assert [item.prompt for item in items] == [f"test question {n}?" for n in range(9)]
    assert [item.index for item in items] == list(range(9))
    assert _evaluated(run).reused == 6


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": 77},
        {"shots": 2},
        {"judge": False},
        {"reuse": False},
        {"temperature": 0.0002},
    ],
)
def test_a_change_has_all_items_asked(harness: Harness, evaluation: Settings, change: dict[str, object]) -> None:
    harness.run(evaluation)
    run = harness.run(evaluation.model_copy(update=change), new=True)
    assert harness.stack.count(ASKED) == 2
    assert _evaluated(run).reused == 0


def test_sampled_answers_are_neither_kept_nor_reused(harness: Harness, evaluation: Settings) -> None:
    sampled = evaluation.model_copy(update={"temperature": 0.7})
    harness.run(sampled)
    assert _evaluated(harness.run(sampled, new=True)).reused == 0


def test_a_judge_that_was_silent_is_asked_again(harness: Harness, evaluation: Settings) -> None:
    answers = harness.stack.item_scores

    def silent(job: dict[str, object]) -> list[dict[str, object]]:
        samples = answers(job)
        samples[2]["scores"] = {k: v for k, v in samples[2]["scores"].items() if not k.startswith("judge.")}
        return samples

    harness.stack.item_scores = silent  # type: ignore[method-assign]
    harness.run(evaluation)
    harness.stack.item_scores = answers  # type: ignore[method-assign]
    run = harness.run(evaluation, new=True)
    assert _evaluated(run).reused == 5
    assert "judge" in run.load_samples("evaluation", ItemResult)[2].scores


def test_an_interrupted_evaluation_is_read_by_the_list_that_its_job_was_given(
    harness: Harness, evaluation: Settings
) -> None:
    more = evaluation.model_copy(update={"limit": 8})
    harness.run(evaluation.model_copy(update={"limit": 2}))
    harness.stack.looks_needed = 3
    harness.stack.interrupt_on(r"GET /v1/evaluation/jobs/eval-1$")
    with pytest.raises(KeyboardInterrupt):
        harness.run(more)
    harness.run(evaluation.model_copy(update={"limit": 5}))  # another run learns three of the six that were asked
    run = harness.run(more)
    items = run.load_samples("evaluation", ItemResult)
    assert [item.prompt for item in items] == [f"test question {n}?" for n in range(8)]
    assert _evaluated(run).reused == 2


def test_an_adapter_goes_by_its_content(harness: Harness) -> None:
    stack = harness.stack

    def version(name: str, weights: bytes) -> str | None:
        stack.models[name] = {
            "namespace": "default",
            "name": name.partition("/")[2],
            "artifact": {"status": "upload_completed", "files_url": f"hf://models/{name}"},
        }
        stack.repos["model", name] = {"adapter_model.safetensors": weights, "README.md": name.encode()}
        with Clients(stack.outputs, max_retries=0) as clients:
            return version_of(clients, name, BASE)

    one = version("default/a", b"w" * 100)
    assert one is not None
    assert version("default/b", b"w" * 100) == one
    assert version("default/c", b"x" * 100) != one
    with Clients(stack.outputs, max_retries=0) as clients:
        base = version_of(clients, BASE, BASE)
        assert base is not None
        assert base != one
        assert version_of(clients, "prod", BASE) is None  # an alias leads elsewhere tomorrow
        stack.models["default/nowhere"] = {"artifact": {"status": "upload_completed", "files_url": "hf://models/d/no"}}
        assert version_of(clients, "default/nowhere", BASE) is None


def test_a_line_cut_short_costs_that_line_alone(tmp_path: Path) -> None:
    answers = Answers(tmp_path, "v")
    result = ItemResult(index=0, prompt="p", reference="r", output="o", scores={"em": 1.0})
    answers.add([Kept(key="a", job_id="j", seconds=1, result=result)])
    [file] = (tmp_path / "answers").iterdir()
    with file.open("ab") as stream:
        stream.write(json.dumps({"key": "b"}).encode()[:-3])
    answers.add([Kept(key="c", job_id="j", seconds=1, result=result)])
    assert answers.read().keys() == {"a", "c"}
    assert Answers(tmp_path, "another").read() == {}
