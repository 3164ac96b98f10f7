"""The in-context prompt of a run: chosen on the validation split, kept as an artifact and as a model."""

import json
from typing import Any

from tests.unit.fake_stack import BASE
from tests.unit.pipeline_harness import Harness
from workflows.results.approach import Approach
from workflows.results.prompted import Prompted
from workflows.settings import Settings


def test_the_number_of_examples_is_chosen_on_the_validation_split(harness: Harness, settings: Settings) -> None:
    stack = harness.stack
    stack.level_of_shots = {1: 0.4, 2: 0.6, 5: 0.6}
    jobs: list[dict[str, Any]] = []
    stack.on(r"DELETE /v1/evaluation/jobs/eval-1", lambda: jobs.extend(map(dict, stack.evaluations.values())))
    run = harness.run(settings.model_copy(update={"choose_shots": (1, 2, 5), "keep_adapter": True}))
    prompted = Prompted.model_validate_json((run.path / "prompt.json").read_text())
    assert [tried.shots for tried in prompted.tried] == [1, 2, 5]
    assert prompted.shots == 2, "of equals the fewest"
    assert Approach.model_validate(run.stage("in_context").outputs).shots == 2
    urls = [job["config"]["tasks"]["answers"]["dataset"]["files_url"].rpartition("/")[2] for job in jobs]
    assert urls == [
        "test.jsonl",
        "validation_1.jsonl",
        "validation_2.jsonl",
        "validation_5.jsonl",
        "test.jsonl",
        "test.jsonl",
    ]
    assert all("judge" not in job["config"]["tasks"]["answers"]["metrics"] for job in jobs[1:4])
    entity = stack.models[prompted.model]
    assert entity["base_model"] == BASE
    assert json.loads(entity["prompt"]["icl_few_shot_examples"]) == prompted.shared
    assert entity["custom_fields"]["nemostack_shots"] == 2
    assert run.stage("cleanup").outputs["prompts"] == [prompted.model]


def test_similar_examples_come_with_each_item(harness: Harness, settings: Settings) -> None:
    stack = harness.stack
    files: dict[str, bytes] = {}
    stack.on(r"DELETE /ds/v1/hf/api/repos/delete", lambda: [files.update(repo) for repo in stack.repos.values()])
    run = harness.run(settings.model_copy(update={"examples": "similar", "shots": 1}))
    items = [json.loads(line) for line in files["testing/in_context.jsonl"].decode().splitlines()]
    assert [item["prompt"] for item in items] == [f"test question {n}?" for n in range(8)]
    assert [item["messages"][0]["content"] for item in items] == [f"train question {n}?" for n in range(8)]
    assert "TF-IDF" in harness.said
    assert stack.models == {}, "without --keep-adapter the prompt goes too"
    assert run.stage("in_context").outputs["shots"] == 1


def test_no_more_examples_than_the_context_takes(harness: Harness, settings: Settings) -> None:
    harness.stack.context, harness.stack.tokens_per_character = 100, 1.0
    run = harness.run(settings.model_copy(update={"shots": 3, "max_tokens": 16}))
    assert run.stage("prompt").outputs["shots"] == 2  # 84 tokens for examples of 33 or 34 and a question of 16
    assert "got fewer than 3 examples: the context has no room" in harness.said
