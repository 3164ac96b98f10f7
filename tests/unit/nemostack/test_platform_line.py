"""The NeMo Platform's side of the harness: evaluations and trainings in its terms, and what it says in ours."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from nemostack.clients import Timeouts
from nemostack.clients.jobs import Job
from nemostack.clients.platform import USER_VARIABLE, Platform
from nemostack.clients.platform.evaluation import fileset_of, metrics_of, translate
from nemostack.clients.platform.evaluator import JUDGE_SECRET, PlatformEvaluator
from nemostack.clients.platform.training import PlatformTraining
from nemostack.errors import BadInput
from nemostack.models import Hyperparameters, is_served_as
from nemostack.outputs import StackOutputs
from tests.unit.fake_stack import FakeStack
from workflows.engine.launch import prepare
from workflows.results import approach
from workflows.settings import Settings

URL = "http://platform.test"
CUSTOM = {"params": {"template": {"messages": [], "max_tokens": 5}}, "dataset": {"files_url": "ws/d#t.jsonl"}}


class JobService:
    """Remembers what it is sent; answers `answers` by the end of a path."""

    def __init__(self) -> None:
        self.sent: dict[str, Any] = {}
        self.answers: dict[str, Any] = {}
        self.deleted: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method == "POST":
            self.sent[path] = json.loads(request.read())
            workspace = f"{path}/".split("/")[5]
            return httpx.Response(201, json={"workspace": workspace, "name": "job-1", "status": "created"})
        if request.method == "DELETE":
            self.deleted.append(path)
        for end, answer in self.answers.items():
            if path.endswith(end):
                return (
                    httpx.Response(200, content=answer)
                    if isinstance(answer, bytes)
                    else httpx.Response(200, json=answer)
                )
        return httpx.Response(404, json={"detail": "nothing there"})


@pytest.fixture
def service() -> JobService:
    return JobService()


@pytest.fixture
def platform(service: JobService) -> Iterator[Platform]:
    made = Platform(URL, Timeouts(), transport=httpx.MockTransport(service))
    yield made
    made.close()


def started(platform: Platform, outputs: StackOutputs, key: str | None = None) -> None:
    config = approach.config(
        Settings(limit=7, parallelism=3),
        outputs,
        name="n",
        test_url="legal/rows#testing/test.jsonl",
        max_tokens=20,
        judge_key=key,
    )
    target = approach.target(outputs, "default/m")
    PlatformEvaluator(platform).start(config=config, target=target, namespace="legal", run_id="r", stage="s")


def test_an_evaluation_says_the_same_in_the_platforms_terms(
    platform: Platform, service: JobService, stack: FakeStack
) -> None:
    outputs = stack.outputs.model_copy(update={"product": "platform", "nemo_url": URL})
    started(platform, outputs)
    body = service.sent["/apis/evaluator/v2/workspaces/legal/evaluate/jobs"]
    assert body["custom_fields"] == {"nemostack_run": "r", "nemostack_stage": "s"}
    spec = body["spec"]
    assert spec["dataset"] == "legal/rows#testing/test.jsonl"
    assert spec["params"] == {
        "inference": {"max_tokens": 20, "temperature": 0.0001},
        "limit_samples": 7,
        "parallelism": 3,
    }
    gateway = f"{URL}/apis/inference-gateway/v2/workspaces/default/openai/-/v1/chat/completions"
    assert spec["target"] == {"url": gateway, "name": "default/m", "format": "openai"}
    assert spec["prompt_template"] == {"messages": [{"role": "user", "content": "{{ item.prompt }}"}]}
    assert [metric["metric_type"] for metric in spec["metrics"]] == ["rouge", "bleu", "f1", "exact-match", "llm-judge"]
    judge = spec["metrics"][-1]["payload"]["metric"]
    assert judge["scores"][0]["parser"]["method"] == "search"
    assert "api_key_secret" not in judge["model"]


def test_a_judges_key_goes_into_a_secret_and_not_into_the_job(
    platform: Platform, service: JobService, stack: FakeStack
) -> None:
    started(platform, stack.outputs.model_copy(update={"product": "platform", "nemo_url": URL}), key="hush-hush")
    spec = service.sent["/apis/evaluator/v2/workspaces/legal/evaluate/jobs"]["spec"]
    assert service.sent["/apis/secrets/v2/workspaces/legal/secrets"] == {"name": JUDGE_SECRET, "value": "hush-hush"}
    assert spec["metrics"][-1]["payload"]["metric"]["model"]["api_key_secret"] == JUDGE_SECRET
    assert "hush-hush" not in json.dumps(spec)


def test_a_users_token_goes_into_a_secret_of_the_run_and_not_into_the_job(
    service: JobService, stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(USER_VARIABLE, "token-of-ann")
    with closing(Platform(URL, Timeouts(), transport=httpx.MockTransport(service))) as platform:
        started(platform, stack.outputs.model_copy(update={"product": "platform", "nemo_url": URL}))
        spec = service.sent["/apis/evaluator/v2/workspaces/legal/evaluate/jobs"]["spec"]
        secret = {"name": "nemostack-user-r", "value": "token-of-ann"}
        assert service.sent["/apis/secrets/v2/workspaces/legal/secrets"] == secret
        assert spec["target"]["api_key_secret"] == "nemostack-user-r"
        assert "token-of-ann" not in json.dumps(spec)
        service.answers = {"/jobs/job-1/status": {"status": "completed"}, "/jobs/job-1": {"spec": spec}}
        assert PlatformEvaluator(platform).delete("legal/job-1") == ["evaluation job legal/job-1"]
    assert "/apis/secrets/v2/workspaces/legal/secrets/nemostack-user-r" in service.deleted


def test_a_secret_that_is_not_ours_stays_when_a_job_is_deleted(platform: Platform, service: JobService) -> None:
    spec = {"target": {"url": "u", "name": "m", "api_key_secret": "key-of-bob"}}
    service.answers = {"/jobs/job-1/status": {"status": "completed"}, "/jobs/job-1": {"spec": spec}}
    PlatformEvaluator(platform).delete("legal/job-1")
    assert service.deleted == ["/apis/jobs/v2/workspaces/legal/jobs/job-1"]


def test_metrics_without_a_counterpart_are_named() -> None:
    bundles, left_out = metrics_of(
        {"m": {"type": "meteor", "params": {}}, "e": {"type": "em", "params": {"ground_truth": "{{ item.a }}"}}},
        judge_secret=None,
    )
    assert [bundle["metric_type"] for bundle in bundles] == ["exact-match"]
    assert left_out == ["m: the NeMo Platform's evaluator has no metric meteor"]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"type": "gsm8k", "tasks": {"t": {}}}, "no benchmarks"),
        ({"type": "custom", "tasks": {"t": CUSTOM | {"metrics": {"m": {"type": "meteor"}}}}}, "has no metric meteor"),
    ],
)
def test_an_evaluation_without_a_counterpart_is_refused(config: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        translate(config, task="t", url="u", model="m")


def test_addresses_of_files_are_those_of_filesets() -> None:
    assert fileset_of("hf://datasets/a/b/testing/x.jsonl") == "a/b#testing/x.jsonl"
    assert fileset_of("hf://datasets/a/b") == "a/b"
    assert fileset_of("a/b#c") == "a/b#c"


def test_rows_and_scores_come_back_under_the_names_of_the_other_line(platform: Platform, service: JobService) -> None:
    outputs = {
        "rouge": [{"name": "rouge_L_score", "value": 0.5}],
        "exact-match": [{"name": "exact-match", "value": 1}],
        "f1": [{"name": "f1", "value": "NaN"}],
        "llm-judge": [{"name": "rating", "value": 4.0}],
    }
    response = {"choices": [{"finish_reason": "length"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    rows = [
        {"row_index": index, "item": {"prompt": "p"}, "sample": {"output_text": "t", "response": response}}
        | {"metrics": outputs}
        for index in (1, 0)
    ]
    aggregates = {"scores": [{"name": "f1.f1", "mean": 0.25, "count": 2, "std_dev": 0.1, "nan_count": 1}]}
    service.answers = {
        "/results/row-scores/download": "\n".join(map(json.dumps, rows)).encode(),
        "/results/aggregate-scores/download": aggregates,
    }
    evaluator = PlatformEvaluator(platform)
    samples = evaluator.samples("legal/job", "answers")
    assert samples is not None
    assert [sample.index for sample in samples] == [0, 1]
    assert samples[0].scores == {"rouge.rouge_L_score": 0.5, "em.em_score": 1.0, "judge.rating": 4.0}
    assert samples[0].cut
    assert (samples[0].prompt_tokens, samples[0].completion_tokens) == (3, 2)
    score = evaluator.scores("legal/job")["answers"]["f1.f1_score"]
    assert (score.mean, score.count, score.stddev, score.nan_count) == (0.25, 2, 0.1, 1)


def test_a_failed_job_says_why_in_one_line(platform: Platform, service: JobService) -> None:
    task = {"error_stack": "Traceback\nValueError: row 3 is no JSON", "error_details": {"message": "exit code 1"}}
    service.answers = {"/status": {"status": "error", "steps": [{"name": "e", "status": "error", "tasks": [task]}]}}
    job = PlatformEvaluator(platform).get("legal/job")
    assert job.status == "failed"
    assert job.message == "exit code 1: ValueError: row 3 is no JSON"


def test_a_lora_job_asks_for_what_was_chosen_and_no_more(platform: Platform, service: JobService) -> None:
    PlatformTraining(platform).start(
        config="default/m",
        dataset="legal/rows",
        output_model="legal/rows-lora",
        asked=Hyperparameters(adapter_dim=16, epochs=2),
        seed=7,
        run_id="r",
        stage="s",
    )
    spec = service.sent["/apis/customization/v2/workspaces/legal/automodel/jobs"]["spec"]
    name = spec.pop("output")["name"]
    assert name.startswith("rows-lora-")
    assert spec == {
        "model": "default/m",
        "dataset": {"training": "legal/rows"},
        "training": {"finetuning_type": "lora", "lora": {"rank": 16}},
        "schedule": {"epochs": 2, "val_check_interval": 0.25, "seed": 7},
        "batch": {},
        "optimizer": {"optimizer": "AdamW"},
    }


def test_a_lora_job_tells_its_losses_and_its_adapter(platform: Platform, service: JobService) -> None:
    spec = {
        "output": {"name": "a"},
        "training": {"lora": {"rank": 8, "alpha": 16}},
        "schedule": {"epochs": 2},
        "batch": {"global_batch_size": 4},
        "optimizer": {"learning_rate": 0.1},
    }
    losses = {"train_loss": [{"step": 1, "value": 2.0}], "val_loss": []}
    details = {"step": 3, "max_steps": 10, "num_epochs": 2, "metrics": losses}
    progress = {"status": "active", "steps": [{"name": "training", "tasks": [{"status_details": details}]}]}
    service.answers = {"/status": progress, "/jobs/job": {"spec": spec}}
    job = PlatformTraining(platform).get("legal/job")
    assert (job.status, job.output_model) == ("running", "default/a")
    assert (job.steps_completed, job.steps_per_epoch) == (3, 5)
    assert [(point.step, point.value) for point in job.train_loss] == [(0, 2.0)]
    assert job.hyperparameters == {
        "adapter_dim": 8,
        "alpha": 16,
        "epochs": 2,
        "batch_size": 4,
        "learning_rate": 0.1,
    }


def test_jobs_are_listed_and_those_of_a_run_found(platform: Platform, service: JobService) -> None:
    rows = [
        {"workspace": "w", "name": "two", "status": "error", "created_at": "2026-01-05T09:10:11"},
        {"workspace": "w", "name": "one", "status": "active", "custom_fields": {"nemostack_run": "r"}},
    ]
    service.answers = {"evaluate/jobs": {"data": rows}, "automodel/jobs": {"data": rows}}
    for jobs in (PlatformEvaluator(platform), PlatformTraining(platform)):
        newest: list[Job] = [*jobs.newest()]
        assert [(job.id, job.status) for job in newest] == [("w/two", "failed"), ("w/one", "running")]
        assert [job.created_at for job in newest] == [datetime(2026, 1, 5, 9, 10, 11, tzinfo=UTC), None]
        assert (jobs.ids_of_run("r"), jobs.ids_of_run("s")) == (["w/one"], [])


def test_the_same_model_is_known_on_both_lines() -> None:
    assert is_served_as("Org/Model-1B", "Org/Model-1B")
    assert is_served_as("default/org-model-1b", "Org/Model-1B")
    assert not is_served_as("default/org-model-2b", "Org/Model-1B")


def test_benchmarks_are_refused_before_a_run_begins(stack: FakeStack, tmp_path: Path) -> None:
    outputs = stack.outputs.model_copy(update={"product": "platform"})
    with pytest.raises(BadInput, match="benchmark of lm-eval needs the NeMo microservices"):
        prepare(tmp_path / "runs", Settings(benchmarks=("gsm8k",)), outputs, new=True)
    assert not (tmp_path / "runs").exists()
