"""Jobs through the official SDK: results from a scripted model, failures, cancel, keys, legacy shapes."""

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from huggingface_hub import HfApi
from nemo_microservices import ConflictError, NeMoMicroservices, NotFoundError, UnprocessableEntityError

from tests.contract.conftest import Running, wait_until
from tests.contract.scripted_model import ScriptedModel

JUDGE = "nemostack/similarity-judge"
# question -> (what the scripted model says, what is true)
QA = {
    "Capital of France?": ("Paris", "Paris"),
    "Who signs a will?": ("The testator signs.", "the testator"),
    "Is it a tort?": ("no", "yes"),
    "Say nothing": ("", "something"),
}


@pytest.fixture(scope="module")
def model(start_app: Callable[..., str]) -> tuple[ScriptedModel, str]:
    scripted = ScriptedModel(lambda prompt: QA[prompt][0] if prompt in QA else f"echo: {prompt}")
    return scripted, start_app(scripted.app())


@pytest.fixture(scope="module")
def service(
    start_service: Callable[..., Running], data_store_url: str, entity_store_url: str, model: tuple[ScriptedModel, str]
) -> Running:
    judge = start_service("judge")
    return start_service(
        "evaluator", data_store_url=data_store_url, entity_store_url=entity_store_url, nim_url=model[1],
        judge_url=judge.url, judge_model=JUDGE,
    )  # fmt: skip


@pytest.fixture(scope="module")
def client(service: Running) -> NeMoMicroservices:
    return NeMoMicroservices(base_url=service.url, timeout=60, max_retries=0)


@pytest.fixture
def upload(hub: HfApi, unique: str) -> Callable[..., str]:
    def send(rows: list[dict[str, Any]], name: str = "testing/test.jsonl") -> str:
        hub.create_repo(f"default/{unique}", repo_type="dataset", exist_ok=True)
        data = "\n".join(json.dumps(row) for row in rows).encode()
        hub.upload_file(path_or_fileobj=data, path_in_repo=name, repo_id=f"default/{unique}", repo_type="dataset")
        return f"hf://datasets/default/{unique}/{name}"

    return send


@pytest.fixture
def qa_url(upload: Callable[..., str]) -> str:
    return upload([{"prompt": question, "ideal": truth} for question, (_, truth) in QA.items()])


def finish(client: NeMoMicroservices, job_id: str, status: str = "completed") -> Any:
    wait_until(lambda: client.evaluation.jobs.retrieve(job_id).status in {"completed", "failed", "cancelled"}, job_id, 90)
    job = client.evaluation.jobs.retrieve(job_id)
    assert job.status == status, job.status_details
    return job


def chat_config(files_url: str, metrics: dict[str, Any], **params: Any) -> dict[str, Any]:
    template = {"messages": [{"role": "user", "content": "{{item.prompt}}"}], "max_tokens": 9}
    task = {"type": "chat-completion", "dataset": {"files_url": files_url}, "params": {"template": template}}
    return {"type": "custom", "params": params, "tasks": {"qa": task | {"metrics": metrics}}}


def target(url: str, model_id: str = "scripted/model", **more: Any) -> dict[str, Any]:
    endpoint = {"url": f"{url}/v1/chat/completions", "model_id": model_id} | more
    return {"type": "model", "model": {"api_endpoint": endpoint}}


def samples(client: NeMoMicroservices, job_id: str, task: str = "qa") -> list[dict[str, Any]]:
    archive = zipfile.ZipFile(io.BytesIO(client.evaluation.jobs.download_results(job_id).read()))
    assert {"results.json", f"{task}/samples.jsonl"} <= set(archive.namelist())
    assert json.loads(archive.read("results.json"))["job"] == job_id
    return [json.loads(line) for line in archive.read(f"{task}/samples.jsonl").splitlines()]


def test_chat_job_gives_the_scores_worked_out_by_hand(
    client: NeMoMicroservices, model: tuple[ScriptedModel, str], qa_url: str, hub: HfApi
) -> None:
    truth = {"ground_truth": "{{item.ideal}}"}
    metrics = {
        "f1": {"type": "f1", "params": truth},
        "em": {"type": "em", "params": truth},
        "starts": {"type": "string-check", "params": {"check": ["{{sample.output_text}}", "startswith", "{{item.ideal}}"]}},
    }
    created = client.evaluation.jobs.create(target=target(model[1]), config=chat_config(qa_url, metrics))  # type: ignore[arg-type]
    assert created.status == "created"
    assert created.result is None
    job = finish(client, created.id)
    assert job.status_details.progress == 100
    assert job.status_details.samples_processed == 4
    assert job.status_details.task_status == {"qa": "completed"}

    result = client.evaluation.jobs.results(created.id)
    assert result.id == job.result
    assert result.job == created.id
    scores = result.tasks["qa"].metrics
    # tokens: [paris]=[paris]; {testator, signs} v. {testator}: 2*1/3; no v. yes; nothing v. something
    by_item = [1, 2 / 3, 0, 0]
    assert scores["f1"].scores["f1_score"].value == pytest.approx(sum(by_item) / 4)
    assert scores["f1"].scores["f1_score"].stats.count == 4
    assert scores["em"].scores["em_score"].value == 0.25
    assert scores["starts"].scores["string-check"].value == 0.25  # "The testator" does not start with "the testator"

    rows = samples(client, created.id)
    assert [row["index"] for row in rows] == [0, 1, 2, 3]
    assert [row["item"]["prompt"] for row in rows] == list(QA)
    assert [row["sample"]["output_text"] for row in rows] == [said for said, _ in QA.values()]
    assert [row["scores"]["f1.f1_score"] for row in rows] == pytest.approx(by_item)
    assert rows[0]["sample"]["usage"]["prompt_tokens"] == 3
    assert rows[0]["sample"]["latency_s"] >= 0
    body = model[0].bodies[-1]
    assert (body["max_tokens"], body["temperature"]) == (9, 0.0)

    assert job.output_files_url == f"hf://datasets/evaluation-results/{created.id}"
    names = hub.list_repo_files(f"evaluation-results/{created.id}", repo_type="dataset")
    assert {"results.json", "qa/samples.jsonl"} <= set(names)
    assert "completed" in client.evaluation.jobs.download_logs(created.id)["logs"]  # type: ignore[index]


def test_completion_task_by_served_name_and_limits(
    client: NeMoMicroservices, model: tuple[ScriptedModel, str], upload: Callable[..., str]
) -> None:
    url = upload([{"prompt": f"p{n}", "completion": f"echo: p{n}"} for n in range(9)])
    task = {"type": "completion", "dataset": {"files_url": url, "limit": 7}, "params": {"template": "{{item.prompt}}"}}
    config = {"type": "custom", "params": {"limit_samples": 5}, "tasks": {"t": task | {"metrics": {"em": {"type": "em"}}}}}
    job = client.evaluation.jobs.create(target={"type": "model", "model": "scripted/model"}, config=config)  # type: ignore[arg-type]
    finish(client, job.id)
    stats = client.evaluation.jobs.results(job.id).tasks["t"].metrics["em"].scores["em_score"].stats
    assert (stats.count, stats.mean) == (5, 1)


def test_requests_run_in_parallel_as_told(
    client: NeMoMicroservices, start_app: Callable[..., str], upload: Callable[..., str]
) -> None:
    slow = ScriptedModel(lambda _prompt: "x", delay_s=0.2)
    url = upload([{"prompt": f"p{n}", "ideal": "x"} for n in range(24)])
    config = chat_config(url, {"em": {"type": "em"}}, parallelism=6)
    job = client.evaluation.jobs.create(target=target(start_app(slow.app())), config=config)  # type: ignore[arg-type]
    finish(client, job.id)
    assert slow.most_at_once == 6
    assert set(slow.asked.values()) == {1}


def test_judge_metric_with_the_similarity_judge(client: NeMoMicroservices, model: tuple[ScriptedModel, str], qa_url: str) -> None:
    prompt = "Ground truth: {{item.ideal}}\nAnswer: {{sample.output_text}}"
    params = {
        "template": {"messages": [{"role": "system", "content": "Rate 1-5."}, {"role": "user", "content": prompt}]},
        "scores": {"faith": {"type": "int", "parser": {"type": "regex", "pattern": r"RATING:\s*(\d+)"}}},
    }
    config = chat_config(qa_url, {"faith": {"type": "llm-judge", "params": params}})
    job = client.evaluation.jobs.create(target=target(model[1]), config=config)  # type: ignore[arg-type]
    finish(client, job.id)
    rows = samples(client, job.id)
    ratings = [row["scores"]["faith.faith"] for row in rows]
    assert ratings[0] == 5  # the same text
    assert ratings[3] == 1  # no answer
    assert ratings[1] > ratings[3]
    assert "no language model" in rows[0]["sample"]["judges"]["faith"]


def test_judge_replies_without_a_rating_are_nan(
    client: NeMoMicroservices, model: tuple[ScriptedModel, str], start_app: Callable[..., str], qa_url: str
) -> None:
    judge = ScriptedModel(lambda prompt: "I cannot say" if "Paris" in prompt else "RATING: 3")
    params = {
        "model": {"api_endpoint": {"url": f"{start_app(judge.app())}/v1/chat/completions", "model_id": "scripted/model"}},
        "template": {"messages": [{"role": "user", "content": "{{sample.output_text}}"}]},
        "scores": {"s": {"type": "int", "parser": {"type": "regex", "pattern": r"RATING:\s*(\d+)"}}},
    }
    config = chat_config(qa_url, {"j": {"type": "llm-judge", "params": params}})
    job = client.evaluation.jobs.create(target=target(model[1]), config=config)  # type: ignore[arg-type]
    finish(client, job.id)
    stats = client.evaluation.jobs.results(job.id).tasks["qa"].metrics["j"].scores["s"].stats
    assert (stats.count, stats.nan_count, stats.sum, stats.mean) == (3, 1, 9, 3)
    assert samples(client, job.id)[0]["scores"]["j.s"] is None


def test_an_item_the_model_refuses_is_nan_and_the_others_count(
    client: NeMoMicroservices, start_app: Callable[..., str], upload: Callable[..., str]
) -> None:
    picky = ScriptedModel(lambda prompt: 400 if prompt == "bad" else "x")
    url = upload([{"prompt": p, "ideal": "x"} for p in ("good", "bad", "fine")])
    job = client.evaluation.jobs.create(target=target(start_app(picky.app())), config=chat_config(url, {"em": {"type": "em"}}))  # type: ignore[arg-type]
    done = finish(client, job.id)
    assert "1 items could not be answered" in done.status_details.message
    assert "400: scripted failure" in done.status_details.message
    stats = client.evaluation.jobs.results(job.id).tasks["qa"].metrics["em"].scores["em_score"].stats
    assert (stats.count, stats.nan_count, stats.mean) == (2, 1, 1)
    rows = samples(client, job.id)
    assert rows[1]["scores"] == {"em.em_score": None}
    assert "400" in rows[1]["sample"]["error"]
    assert picky.asked["bad"] == 1  # a refusal is not tried again


def test_busy_model_is_asked_again(client: NeMoMicroservices, start_app: Callable[..., str], upload: Callable[..., str]) -> None:
    busy: ScriptedModel = ScriptedModel(lambda prompt: 503 if busy.asked[prompt] < 3 else "x")
    url = upload([{"prompt": "p", "ideal": "x"}])
    job = client.evaluation.jobs.create(target=target(start_app(busy.app())), config=chat_config(url, {"em": {"type": "em"}}))  # type: ignore[arg-type]
    finish(client, job.id)
    assert busy.asked["p"] == 3


def test_model_that_dies_fails_the_job_which_keeps_what_it_has(
    client: NeMoMicroservices, start_app: Callable[..., str], upload: Callable[..., str]
) -> None:
    dying: ScriptedModel = ScriptedModel(lambda _prompt: 500 if dying.asked.total() > 3 else "x")
    url = upload([{"prompt": f"p{n}", "ideal": "x"} for n in range(10)])
    config = chat_config(url, {"em": {"type": "em"}}, parallelism=1, max_retries=1)
    job = client.evaluation.jobs.create(target=target(start_app(dying.app()), api_key="sk-hidden"), config=config)  # type: ignore[arg-type]
    failed = finish(client, job.id, "failed")
    message = failed.status_details.message
    assert "500: scripted failure" in message
    assert "after 2 attempts" in message
    assert "models there: scripted/model" in message
    assert "sk-hidden" not in message
    assert failed.status_details.task_status == {"qa": "failed"}
    assert [row["sample"]["output_text"] for row in samples(client, job.id)] == ["x", "x", "x"]


@pytest.mark.parametrize(
    ("model_id", "says"), [("scripted/wrong", "404: The model `scripted/wrong` does not exist.; models there: scripted/model")]
)
def test_unknown_model_names_those_there(
    client: NeMoMicroservices, model: tuple[ScriptedModel, str], qa_url: str, model_id: str, says: str
) -> None:
    job = client.evaluation.jobs.create(target=target(model[1], model_id), config=chat_config(qa_url, {"em": {"type": "em"}}))  # type: ignore[arg-type]
    assert says in finish(client, job.id, "failed").status_details.message


@pytest.mark.parametrize(
    ("truth", "says"),
    [("{{item.idea}}", "has no attribute 'idea'"), ("{{ ''.__class__.__mro__ }}", "unsafe")],
)
def test_templates_that_fail_are_found_before_the_model_is_asked(
    client: NeMoMicroservices, start_app: Callable[..., str], upload: Callable[..., str], truth: str, says: str
) -> None:
    untouched = ScriptedModel(lambda _prompt: "x")
    url = upload([{"prompt": "p", "ideal": "x"}])
    config = chat_config(url, {"em": {"type": "em", "params": {"ground_truth": truth}}})
    job = client.evaluation.jobs.create(target=target(start_app(untouched.app())), config=config)  # type: ignore[arg-type]
    message = finish(client, job.id, "failed").status_details.message
    assert says in message
    assert not untouched.asked


@pytest.mark.parametrize(
    ("files_url", "says"),
    [
        ("hf://datasets/default/nowhere/test.jsonl", "default/nowhere is not in the Data Store"),
        ("hf://datasets/default/../../etc/passwd", "files_url"),
        ("file:///etc/passwd", "files_url"),
    ],
)
def test_data_that_cannot_be_had(client: NeMoMicroservices, model: tuple[ScriptedModel, str], files_url: str, says: str) -> None:
    job = client.evaluation.jobs.create(target=target(model[1]), config=chat_config(files_url, {"em": {"type": "em"}}))  # type: ignore[arg-type]
    assert says in finish(client, job.id, "failed").status_details.message


def test_cancel_gives_up_requests_at_once(
    client: NeMoMicroservices, start_app: Callable[..., str], upload: Callable[..., str]
) -> None:
    slow = ScriptedModel(lambda _prompt: "x", delay_s=0.3)
    url = upload([{"prompt": f"p{n}", "ideal": "x"} for n in range(200)])
    config = chat_config(url, {"em": {"type": "em"}}, parallelism=2)
    job = client.evaluation.jobs.create(target=target(start_app(slow.app())), config=config)  # type: ignore[arg-type]
    wait_until(lambda: client.evaluation.jobs.status(job.id).samples_processed or 0, "some samples")
    with pytest.raises(ConflictError, match="cancel it first"):
        client.evaluation.jobs.delete(job.id)
    client.evaluation.jobs.cancel(job.id)
    wait_until(lambda: client.evaluation.jobs.retrieve(job.id).status == "cancelled", "cancelled", 3)
    asked = slow.asked.total()
    assert asked < 100
    with pytest.raises(ConflictError, match="cancelled already"):
        client.evaluation.jobs.cancel(job.id)
    assert client.evaluation.jobs.results(job.id).tasks == {}
    wait_until(lambda: True, "a moment")
    assert slow.asked.total() == asked
    client.evaluation.jobs.delete(job.id)
    with pytest.raises(NotFoundError):
        client.evaluation.jobs.retrieve(job.id)


def test_keys_are_sent_and_never_shown(
    client: NeMoMicroservices, service: Running, model: tuple[ScriptedModel, str], qa_url: str, unique: str
) -> None:
    key = f"sk-{unique}"
    stored = client.evaluation.targets.create(namespace="default", name=unique, **target(model[1], api_key=key))
    assert stored.model.api_endpoint.api_key == "******"  # type: ignore[union-attr]
    assert client.evaluation.targets.retrieve(unique, namespace="default").model.api_endpoint.api_key == "******"  # type: ignore[union-attr]
    params = {
        "model": {"api_endpoint": {"url": f"{model[1]}/v1/chat/completions", "model_id": "scripted/model", "api_key": key}},
        "template": {"messages": [{"role": "user", "content": "{{sample.output_text}}"}]},
        "scores": {"s": {"parser": {"pattern": "(x)"}}},
    }
    config = chat_config(qa_url, {"em": {"type": "em"}, "j": {"type": "llm-judge", "params": params}})
    job = client.evaluation.jobs.create(target=f"default/{unique}", config=config)  # type: ignore[arg-type]
    done = finish(client, job.id)
    assert done.target.name == unique  # a reference comes back expanded
    assert f"Bearer {key}" in model[0].keys
    everything = httpx.get(f"{service.url}/v1/evaluation/jobs?page_size=100").text + done.to_json()
    everything += json.dumps(samples(client, job.id)) + str(client.evaluation.jobs.download_logs(job.id))
    assert key not in everything
    folder = service.data_dir / "jobs" / job.id
    assert all(key.encode() not in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert (service.data_dir / "evaluator.db").stat().st_mode & 0o077 == 0
    client.evaluation.targets.delete(unique, namespace="default")
    assert key.encode() not in (service.data_dir / "evaluator.db").read_bytes()  # the ended job keeps none


def test_targets_and_configs_through_the_sdk(client: NeMoMicroservices, unique: str) -> None:
    config = client.evaluation.configs.create(type="gsm8k", name=unique, namespace="default", params={"limit_samples": 3})
    assert config.id.startswith("eval-config-")
    with pytest.raises(ConflictError):
        client.evaluation.configs.create(type="gsm8k", name=unique, namespace="default")
    changed = client.evaluation.configs.update(unique, path_namespace="default", description="new", params={"limit_samples": 4})
    assert (changed.description, changed.params.limit_samples, changed.name) == ("new", 4, unique)
    found = client.evaluation.configs.list(filter={"name": unique})
    assert [one.name for one in found] == [unique]
    client.evaluation.configs.delete(unique, namespace="default")
    with pytest.raises(NotFoundError):
        client.evaluation.configs.retrieve(unique, namespace="default")
    rows = client.evaluation.targets.create(type="rows", rows=[{"a": 1}])
    assert rows.id.startswith("eval-target-")
    assert rows.name == rows.id


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"type": "custom"}, "at least one task"),
        ({"type": "custom", "tasks": {"../x": {"type": "data", "metrics": {"em": {"type": "em"}}}}}, "config.tasks"),
        ({"type": "custom", "tasks": {"t": {"type": "magic", "metrics": {"em": {"type": "em"}}}}}, "magic"),
        ({"type": "custom", "tasks": {"t": {"type": "data", "metrics": {}}}}, "at least one"),
        ({"type": "custom", "tasks": {"t": {"type": "data", "metrics": {"m": {"type": "nope"}}}}}, "'nope' is not known"),
        ({"type": "custom", "params": {"temprature": 1}, "tasks": {"t": {"type": "data", "metrics": {"em": {"type": "em"}}}}}, "temprature"),
        ({"type": "custom", "tasks": {"t": {"type": "chat-completion", "metrics": {"em": {"type": "em"}}}}}, "use type 'data'"),
        ({"type": "gsm8k"}, "needs a model"),
    ],
)
def test_wrong_configurations_are_422_with_the_field(client: NeMoMicroservices, config: dict[str, Any], says: str) -> None:
    with pytest.raises(UnprocessableEntityError, match=says):
        client.evaluation.jobs.create(target={"type": "rows", "rows": [{"output": "a", "answer": "a"}]}, config=config)  # type: ignore[arg-type]


def test_cached_outputs_and_rows(client: NeMoMicroservices, upload: Callable[..., str]) -> None:
    outputs = upload([{"response": "a"}, {"response": "b"}], "outputs.jsonl")
    dataset = upload([{"answer": "a"}, {"answer": "c"}], "truth.jsonl")
    task = {"type": "data", "dataset": dataset, "metrics": {"em": {"type": "em"}}}
    cached = {"type": "cached_outputs", "cached_outputs": {"files_url": outputs}}
    job = client.evaluation.jobs.create(target=cached, config={"type": "custom", "tasks": {"t": task}})  # type: ignore[arg-type]
    finish(client, job.id)
    assert [row["scores"]["em.em_score"] for row in samples(client, job.id, "t")] == [1, 0]


def test_live_answers_within_the_request(client: NeMoMicroservices) -> None:
    task = {"type": "data", "metrics": {"em": {"type": "em"}}}
    rows = {"type": "rows", "rows": [{"output": "a", "answer": "a"}, {"output": "b", "answer": "a"}]}
    live = client.evaluation.live(target=rows, config={"type": "custom", "tasks": {"t": task}})  # type: ignore[arg-type]
    assert live.status == "completed"
    assert live.result.tasks["t"].metrics["em"].scores["em_score"].value == 0.5
    with pytest.raises(UnprocessableEntityError, match="at most"):
        many = {"type": "rows", "rows": [{"output": "a", "answer": "a"}] * 101}
        client.evaluation.live(target=many, config={"type": "custom", "tasks": {"t": task}})  # type: ignore[arg-type]


def test_lists_page_and_filter(client: NeMoMicroservices, unique: str) -> None:
    task = {"type": "data", "metrics": {"em": {"type": "em"}}}
    rows = {"type": "rows", "rows": [{"output": "a", "answer": "a"}]}
    client.evaluation.configs.create(type="custom", name=unique, tasks={"t": task})  # type: ignore[dict-item]
    made = [client.evaluation.jobs.create(target=rows, config=f"default/{unique}", project=unique).id for _ in range(3)]  # type: ignore[arg-type]
    for job_id in made:
        finish(client, job_id)
    found = client.evaluation.jobs.list(filter={"project": unique}, page_size=2)
    assert sorted(job.id for job in found) == sorted(made)
    assert len(list(client.evaluation.jobs.list(filter={"config": f"default/{unique}"}))) == 3
    assert [r.job for r in client.evaluation.results.list(filter={"job_id": made[0]})] == [made[0]]
    with pytest.raises(NotFoundError):
        client.evaluation.jobs.retrieve("eval-unknown")


def test_results_resource(client: NeMoMicroservices) -> None:
    made = client.evaluation.results.create(job="eval-elsewhere", tasks={"t": {"metrics": {"m": {"scores": {"s": {"value": 0.5}}}}}})
    assert client.evaluation.results.retrieve(made.id).tasks["t"].metrics["m"].scores["s"].value == 0.5
    assert client.evaluation.results.update(made.id, description="d").description == "d"
    client.evaluation.results.delete(made.id)
    with pytest.raises(NotFoundError):
        client.evaluation.results.retrieve(made.id)


class TestV2:
    def test_same_engine_in_v2_words(self, client: NeMoMicroservices, model: tuple[ScriptedModel, str], qa_url: str) -> None:
        config = chat_config(qa_url, {"em": {"type": "em", "params": {"ground_truth": "{{item.ideal}}"}}})
        spec: Any = {"target": target(model[1], api_key="sk-v2"), "config": config}
        job = client.v2.evaluation.jobs.create(spec=spec, name="by-v2")
        assert job.name == "by-v2"
        assert job.spec.target.model.api_endpoint.api_key == "******"  # type: ignore[union-attr]
        jobs = client.v2.evaluation.jobs
        wait_until(lambda: jobs.status.retrieve(job.id).status == "completed", "v2 job", 60)
        status = jobs.status.retrieve(job.id)
        assert [task.id for task in status.steps[0].tasks] == ["qa"]
        assert [one.result_name for one in jobs.results.list(job.id).data] == ["evaluation-results", "artifacts"]
        scores = jobs.results.evaluation_results.retrieve(job.id).tasks["qa"].metrics["em"].scores
        assert scores["em_score"].value == 0.25
        archive = zipfile.ZipFile(io.BytesIO(jobs.results.artifacts.retrieve(job.id).read()))
        assert "qa/samples.jsonl" in archive.namelist()
        assert [line.message for line in jobs.logs.list(job.id, limit=1)][-1] == "completed"
        assert job.id in [one.id for one in jobs.list(page_size=100)]
        assert client.evaluation.jobs.retrieve(job.id).status == "completed"
        jobs.delete(job.id)
        with pytest.raises(NotFoundError):
            jobs.retrieve(job.id)

    def test_failure_is_error_with_details(self, client: NeMoMicroservices, model: tuple[ScriptedModel, str], qa_url: str) -> None:
        spec: Any = {"target": target(model[1], "scripted/wrong"), "config": chat_config(qa_url, {"em": {"type": "em"}})}
        job = client.v2.evaluation.jobs.create(spec=spec)
        wait_until(lambda: client.v2.evaluation.jobs.retrieve(job.id).status == "error", "error", 30)
        status = client.v2.evaluation.jobs.status.retrieve(job.id)
        assert "scripted/wrong" in str(status.error_details["message"])
        assert status.steps[0].tasks[0].status == "error"


class TestSeedShapes:
    def run(self, service: Running, config: dict[str, Any]) -> dict[str, Any]:
        answer = httpx.post(f"{service.url}/v1/evaluations", json={"model": {"id": "scripted/model"}, "config": config})
        assert answer.status_code == 201, answer.text
        url = f"{service.url}/v1/evaluations/{answer.json()['id']}"
        wait_until(lambda: httpx.get(url).json()["status"] in {"completed", "failed"}, "the job", 60)
        assert httpx.get(url).json()["status"] == "completed", httpx.get(url).text
        tasks: dict[str, Any] = httpx.get(f"{url}/results").json()["tasks"]
        return tasks

    def test_similarity_metrics(self, service: Running, upload: Callable[..., str]) -> None:
        url = upload([{"prompt": q, "completion": truth} for q, (_, truth) in QA.items()])
        metrics = {"rouge": {"type": "rouge"}, "bleu": {"type": "bleu"}, "f1": {"type": "f1"}}
        config = {"type": "similarity_metrics", "name": "n", "tasks": {"legal": {"dataset": {"files_url": url}, "metrics": metrics}}}
        found = self.run(service, config)["legal"]["metrics"]
        assert found["f1"]["scores"]["f1_score"]["value"] == pytest.approx((1 + 2 / 3) / 4)
        assert set(found["bleu"]["scores"]) == {"sentence", "corpus"}
        assert set(found["rouge"]["scores"]) == {f"rouge_{n}_score" for n in ("1", "2", "3", "L")}

    def test_similarity_metrics_with_lists(self, service: Running, upload: Callable[..., str]) -> None:
        url = upload([{"prompt": "Capital of France?", "ideal_response": "Paris"}])
        task = {"type": "default", "name": "old", "metrics": [{"name": "em"}], "dataset": {"files_url": url}, "params": {"max_tokens": 5}}
        found = self.run(service, {"type": "similarity_metrics", "tasks": [task]})
        assert found["old"]["metrics"]["em"]["scores"]["em_score"]["value"] == 1

    def test_llm_as_judge(self, service: Running, upload: Callable[..., str]) -> None:
        url = upload([{"prompt": "Capital of France?", "ground_truth": "Paris"}])
        user = "Ground truth: {{ item.ground_truth }}\nAnswer: {{ sample.output_text }}"
        template = {"messages": [{"role": "system", "content": "Score 1 to 5."}, {"role": "user", "content": user}]}
        config = {"type": "llm_as_judge", "name": "f", "tasks": {"faithfulness": {"dataset": {"files_url": url}, "template": template}}}
        found = self.run(service, config)
        assert found["faithfulness"]["metrics"]["faithfulness"]["scores"]["faithfulness"]["value"] == 5

    def test_missing_dataset_says_so(self, service: Running) -> None:
        config = {"type": "similarity_metrics", "tasks": {"legal": {"metrics": {"f1": {"type": "f1"}}}}}
        answer = httpx.post(f"{service.url}/v1/evaluations", json={"model": {"id": "m"}, "config": config})
        assert answer.status_code == 422
        assert "config.tasks.legal.dataset: missing" in answer.json()["detail"]
