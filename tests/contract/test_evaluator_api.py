"""Targets, configurations, results, lists, live; the v2 face; the shapes of the guide."""
# ruff: noqa: F811 - a fixture that is imported is no redefinition

import io
import zipfile
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from nemo_microservices import ConflictError, NotFoundError, UnprocessableEntityError

from tests.contract.conftest import Running, wait_until
from tests.contract.evaluator_support import (  # noqa: F401 - fixtures among them
    QA,
    chat_config,
    client,
    finish,
    model,
    qa_url,
    samples,
    service,
    target,
    upload,
)
from tests.contract.scripted_model import ScriptedModel


def test_targets_and_configs_through_the_sdk(client: Any, unique: str) -> None:
    config = client.evaluation.configs.create(
        type="gsm8k", name=unique, namespace="default", params={"limit_samples": 3}
    )
    assert config.id.startswith("eval-config-")
    with pytest.raises(ConflictError):
        client.evaluation.configs.create(type="gsm8k", name=unique, namespace="default")
    changed = client.evaluation.configs.update(
        unique, path_namespace="default", description="new", params={"limit_samples": 4}
    )
    assert (changed.description, changed.params.limit_samples, changed.name) == ("new", 4, unique)
    found = client.evaluation.configs.list(filter={"name": unique})
    assert [one.name for one in found] == [unique]
    client.evaluation.configs.delete(unique, namespace="default")
    with pytest.raises(NotFoundError):
        client.evaluation.configs.retrieve(unique, namespace="default")
    rows = client.evaluation.targets.create(type="rows", rows=[{"a": 1}])
    assert rows.id.startswith("eval-target-")
    assert rows.name == rows.id


def test_live_answers_within_the_request(client: Any) -> None:
    task = {"type": "data", "metrics": {"em": {"type": "em"}}}
    rows = {"type": "rows", "rows": [{"output": "a", "answer": "a"}, {"output": "b", "answer": "a"}]}
    live = client.evaluation.live(target=rows, config={"type": "custom", "tasks": {"t": task}})
    assert live.status == "completed"
    assert live.result.tasks["t"].metrics["em"].scores["em_score"].value == 0.5
    many = {"type": "rows", "rows": [{"output": "a", "answer": "a"}] * 101}
    with pytest.raises(UnprocessableEntityError, match="at most"):
        client.evaluation.live(target=many, config={"type": "custom", "tasks": {"t": task}})


def test_lists_page_and_filter(client: Any, unique: str) -> None:
    task = {"type": "data", "metrics": {"em": {"type": "em"}}}
    rows = {"type": "rows", "rows": [{"output": "a", "answer": "a"}]}
    client.evaluation.configs.create(type="custom", name=unique, tasks={"t": task})
    made = [client.evaluation.jobs.create(target=rows, config=f"default/{unique}", project=unique).id for _ in range(3)]
    for job_id in made:
        finish(client, job_id)
    found = client.evaluation.jobs.list(filter={"project": unique}, page_size=2)
    assert sorted(job.id for job in found) == sorted(made)
    assert len(list(client.evaluation.jobs.list(filter={"config": f"default/{unique}"}))) == 3
    assert [r.job for r in client.evaluation.results.list(filter={"job_id": made[0]})] == [made[0]]
    with pytest.raises(NotFoundError):
        client.evaluation.jobs.retrieve("eval-unknown")


def test_results_resource(client: Any) -> None:
    made = client.evaluation.results.create(
        job="eval-elsewhere", tasks={"t": {"metrics": {"m": {"scores": {"s": {"value": 0.5}}}}}}
    )
    assert client.evaluation.results.retrieve(made.id).tasks["t"].metrics["m"].scores["s"].value == 0.5
    assert client.evaluation.results.update(made.id, description="d").description == "d"
    client.evaluation.results.delete(made.id)
    with pytest.raises(NotFoundError):
        client.evaluation.results.retrieve(made.id)


def test_live_counts_the_rows_of_files_and_obeys_limits(client: Any, upload: Callable[..., str]) -> None:
    few = upload([{"output": "a", "answer": "a"}] * 4, "few.jsonl")
    many = upload([{"output": "a", "answer": "a"}] * 101, "many.jsonl")

    def live(target: dict[str, Any], **dataset: Any) -> Any:
        task = {"type": "data", "metrics": {"em": {"type": "em"}}} | ({"dataset": dataset} if dataset else {})
        answer = client.evaluation.live(target=target, config={"type": "custom", "tasks": {"t": task}})
        assert answer.status == "completed", answer.status_details
        return answer.result.tasks["t"].metrics["em"].scores["em_score"].stats.count

    rows: Any = {"type": "rows", "rows": [{}]}
    assert live(rows, files_url=few) == 4
    assert live(rows, files_url=few, limit=2) == 2
    assert live(rows, files_url=many, limit=3) == 3
    assert live({"type": "dataset", "dataset": {"files_url": few}}) == 4
    with pytest.raises(UnprocessableEntityError, match="task t has 101 rows, at most 100"):
        live(rows, files_url=many)
    missing = client.evaluation.live(
        target=rows,
        config={
            "type": "custom",
            "tasks": {"t": {"type": "data", "dataset": few + "x", "metrics": {"em": {"type": "em"}}}},
        },
    )
    assert missing.status == "failed"


class TestV2:
    def test_same_engine_in_v2_words(self, client: Any, model: tuple[ScriptedModel, str], qa_url: str) -> None:
        config = chat_config(qa_url, {"em": {"type": "em", "params": {"ground_truth": "{{item.ideal}}"}}})
        spec: Any = {"target": target(model[1], api_key="sk-v2"), "config": config}
        job = client.v2.evaluation.jobs.create(spec=spec, name="by-v2")
        assert job.name == "by-v2"
        assert job.spec.target.model.api_endpoint.api_key == "******"
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

    def test_failure_is_error_with_details(self, client: Any, model: tuple[ScriptedModel, str], qa_url: str) -> None:
        spec: Any = {
            "target": target(model[1], "scripted/wrong"),
            "config": chat_config(qa_url, {"em": {"type": "em"}}),
        }
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
        config = {
            "type": "similarity_metrics",
            "name": "n",
            "tasks": {"legal": {"dataset": {"files_url": url}, "metrics": metrics}},
        }
        found = self.run(service, config)["legal"]["metrics"]
        assert found["f1"]["scores"]["f1_score"]["value"] == pytest.approx((1 + 2 / 3) / 4)
        assert set(found["bleu"]["scores"]) == {"sentence", "corpus"}
        assert set(found["rouge"]["scores"]) == {f"rouge_{n}_score" for n in ("1", "2", "3", "L")}

    def test_similarity_metrics_with_lists(self, service: Running, upload: Callable[..., str]) -> None:
        url = upload([{"prompt": "Capital of France?", "ideal_response": "Paris"}])
        task = {
            "type": "default",
            "name": "old",
            "metrics": [{"name": "em"}],
            "dataset": {"files_url": url},
            "params": {"max_tokens": 5},
        }
        found = self.run(service, {"type": "similarity_metrics", "tasks": [task]})
        assert found["old"]["metrics"]["em"]["scores"]["em_score"]["value"] == 1

    def test_llm_as_judge(self, service: Running, upload: Callable[..., str]) -> None:
        url = upload([{"prompt": "Capital of France?", "ground_truth": "Paris"}])
        user = "Ground truth: {{ item.ground_truth }}\nAnswer: {{ sample.output_text }}"
        template = {"messages": [{"role": "system", "content": "Score 1 to 5."}, {"role": "user", "content": user}]}
        config = {
            "type": "llm_as_judge",
            "name": "f",
            "tasks": {"faithfulness": {"dataset": {"files_url": url}, "template": template}},
        }
        found = self.run(service, config)
        assert found["faithfulness"]["metrics"]["faithfulness"]["scores"]["faithfulness"]["value"] == 5

    def test_missing_dataset_says_so(self, service: Running) -> None:
        config = {"type": "similarity_metrics", "tasks": {"legal": {"metrics": {"f1": {"type": "f1"}}}}}
        answer = httpx.post(f"{service.url}/v1/evaluations", json={"model": {"id": "m"}, "config": config})
        assert answer.status_code == 422
        assert "config.tasks.legal.dataset: missing" in answer.json()["detail"]
