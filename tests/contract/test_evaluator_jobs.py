"""Jobs through the official SDK: scores from a scripted model, worked out by hand."""
# ruff: noqa: F811 - a fixture that is imported is no redefinition

from collections.abc import Callable
from typing import Any

import pytest
from huggingface_hub import HfApi

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
from tests.contract_suite.evaluation import ROWS, EvaluationContract


def test_chat_job_gives_the_scores_worked_out_by_hand(
    client: Any, model: tuple[ScriptedModel, str], qa_url: str, hub: HfApi
) -> None:
    truth = {"ground_truth": "{{item.ideal}}"}
    metrics = {
        "f1": {"type": "f1", "params": truth},
        "em": {"type": "em", "params": truth},
        "starts": {
            "type": "string-check",
            "params": {"check": ["{{sample.output_text}}", "startswith", "{{item.ideal}}"]},
        },
    }
    created = client.evaluation.jobs.create(target=target(model[1]), config=chat_config(qa_url, metrics))
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
    assert "completed" in client.evaluation.jobs.download_logs(created.id)["logs"]


def test_completion_task_by_served_name_and_limits(
    client: Any, model: tuple[ScriptedModel, str], upload: Callable[..., str]
) -> None:
    url = upload([{"prompt": f"p{n}", "completion": f"echo: p{n}"} for n in range(9)])
    task = {"type": "completion", "dataset": {"files_url": url, "limit": 7}, "params": {"template": "{{item.prompt}}"}}
    config = {
        "type": "custom",
        "params": {"limit_samples": 5},
        "tasks": {"t": task | {"metrics": {"em": {"type": "em"}}}},
    }
    job = client.evaluation.jobs.create(target={"type": "model", "model": "scripted/model"}, config=config)
    finish(client, job.id)
    stats = client.evaluation.jobs.results(job.id).tasks["t"].metrics["em"].scores["em_score"].stats
    assert (stats.count, stats.mean) == (5, 1)


def test_requests_run_in_parallel_as_told(
    client: Any, start_app: Callable[..., str], upload: Callable[..., str]
) -> None:
    slow = ScriptedModel(lambda _prompt: "x", delay_s=0.2)
    url = upload([{"prompt": f"p{n}", "ideal": "x"} for n in range(24)])
    config = chat_config(url, {"em": {"type": "em"}}, parallelism=6)
    job = client.evaluation.jobs.create(target=target(start_app(slow.app())), config=config)
    finish(client, job.id)
    assert slow.most_at_once == 6
    assert set(slow.asked.values()) == {1}


def test_judge_metric_with_the_similarity_judge(client: Any, model: tuple[ScriptedModel, str], qa_url: str) -> None:
    prompt = "Ground truth: {{item.ideal}}\nAnswer: {{sample.output_text}}"
    params = {
        "template": {"messages": [{"role": "system", "content": "Rate 1-5."}, {"role": "user", "content": prompt}]},
        "scores": {"faith": {"type": "int", "parser": {"type": "regex", "pattern": r"RATING:\s*(\d+)"}}},
    }
    config = chat_config(qa_url, {"faith": {"type": "llm-judge", "params": params}})
    job = client.evaluation.jobs.create(target=target(model[1]), config=config)
    finish(client, job.id)
    rows = samples(client, job.id)
    ratings = [row["scores"]["faith.faith"] for row in rows]
    assert ratings[0] == 5  # the same text
    assert ratings[3] == 1  # no answer
    assert ratings[1] > ratings[3]
    assert "no language model" in rows[0]["sample"]["judges"]["faith"]


def test_judge_replies_without_a_rating_are_nan(
    client: Any, model: tuple[ScriptedModel, str], start_app: Callable[..., str], qa_url: str
) -> None:
    judge = ScriptedModel(lambda prompt: "I cannot say" if "Paris" in prompt else "RATING: 3")
    params = {
        "model": {
            "api_endpoint": {"url": f"{start_app(judge.app())}/v1/chat/completions", "model_id": "scripted/model"}
        },
        "template": {"messages": [{"role": "user", "content": "{{sample.output_text}}"}]},
        "scores": {"s": {"type": "int", "parser": {"type": "regex", "pattern": r"RATING:\s*(\d+)"}}},
    }
    config = chat_config(qa_url, {"j": {"type": "llm-judge", "params": params}})
    job = client.evaluation.jobs.create(target=target(model[1]), config=config)
    finish(client, job.id)
    stats = client.evaluation.jobs.results(job.id).tasks["qa"].metrics["j"].scores["s"].stats
    assert (stats.count, stats.nan_count, stats.sum, stats.mean) == (3, 1, 9, 3)
    assert samples(client, job.id)[0]["scores"]["j.s"] is None


def test_cached_outputs_and_rows(client: Any, upload: Callable[..., str]) -> None:
    outputs = upload([{"response": "a"}, {"response": "b"}], "outputs.jsonl")
    dataset = upload([{"answer": "a"}, {"answer": "c"}], "truth.jsonl")
    task = {"type": "data", "dataset": dataset, "metrics": {"em": {"type": "em"}}}
    cached = {"type": "cached_outputs", "cached_outputs": {"files_url": outputs}}
    job = client.evaluation.jobs.create(target=cached, config={"type": "custom", "tasks": {"t": task}})
    finish(client, job.id)
    assert [row["scores"]["em.em_score"] for row in samples(client, job.id, "t")] == [1, 0]


def test_answers_cut_by_their_limit_are_counted(
    client: Any, start_app: Callable[..., str], upload: Callable[..., str]
) -> None:
    model = ScriptedModel(lambda _prompt: "x", finish_reason=lambda prompt: "length" if prompt < "p3" else "stop")
    url = upload([{"prompt": f"p{n}", "ideal": "x"} for n in range(5)])
    truth = {"ground_truth": "{{item.ideal}}"}
    config = chat_config(url, {"em": {"type": "em", "params": truth}})
    job = client.evaluation.jobs.create(target=target(start_app(model.app())), config=config)
    done = finish(client, job.id)
    assert "3 outputs were cut by their limit of tokens" in done.status_details.message
    assert client.evaluation.jobs.results(job.id).tasks["qa"].outputs_cut_by_length == 3
    reasons = [row["sample"]["finish_reason"] for row in samples(client, job.id)]
    assert reasons == ["length"] * 3 + ["stop"] * 2
    assert "3 of 5 outputs were cut" in client.evaluation.jobs.download_logs(job.id)["logs"]


CALLS = [{"type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Ulm"}'}}]
ANSWER: Any = {
    "choices": [{"message": {"role": "assistant", "content": None, "tool_calls": CALLS}, "finish_reason": "stop"}]
}
TOOL_METRIC: Any = {"t": {"type": "tool-calling", "params": {"tool_calls_ground_truth": "{{ item.truth | tojson }}"}}}


def _tool_scores(client: Any, target: dict[str, Any], **task: Any) -> tuple[float, float]:
    config = {"type": "custom", "tasks": {"t": {"type": "data", "metrics": TOOL_METRIC, **task}}}
    job = client.evaluation.jobs.create(target=target, config=config)
    finish(client, job.id)
    scores = client.evaluation.jobs.results(job.id).tasks["t"].metrics["t"].scores
    return scores["function_name_accuracy"].value, scores["function_name_and_args_accuracy"].value


def test_calls_of_tools_in_rows_and_cached_outputs_are_read(client: Any, upload: Callable[..., str]) -> None:
    other = [{"function": {"name": "get_weather", "arguments": {"city": "Bonn"}}}]
    rows = [{"truth": CALLS, "response": ANSWER}, {"truth": other, "response": ANSWER}]
    assert _tool_scores(client, {"type": "rows", "rows": rows}) == (1, 0.5)
    outputs = upload([{"response": ANSWER}], "outputs.jsonl")
    truth = upload([{"truth": CALLS, "output": "an older one"}], "truth.jsonl")
    cached = {"type": "cached_outputs", "cached_outputs": {"files_url": outputs}}
    assert _tool_scores(client, cached, dataset=truth) == (1, 1)


def test_the_text_of_an_openai_shaped_response_is_the_output(client: Any) -> None:
    chat = {"choices": [{"message": {"role": "assistant", "content": "Paris"}}]}
    rows = [{"response": chat, "answer": "Paris"}, {"response": {"choices": [{"text": "Rome"}]}, "answer": "Rome"}]
    config = {"type": "custom", "tasks": {"t": {"type": "data", "metrics": {"em": {"type": "em"}}}}}
    job = client.evaluation.jobs.create(target={"type": "rows", "rows": rows}, config=config)
    finish(client, job.id)
    assert client.evaluation.jobs.results(job.id).tasks["t"].metrics["em"].scores["em_score"].value == 1


def test_tool_calls_of_a_model_are_scored_with_nvidias_extra_keys(
    client: Any, start_app: Callable[..., str], upload: Callable[..., str]
) -> None:
    """The data flywheel sends `params.model` with this metric; the key is ignored and named in the log."""
    model = ScriptedModel(lambda _prompt: ANSWER["choices"][0]["message"])
    metric = {"type": "tool-calling", "params": {**TOOL_METRIC["t"]["params"], "model": {"api_endpoint": {}}}}
    config = chat_config(upload([{"prompt": "weather?", "truth": CALLS}]), {"t": metric})
    config["tasks"]["qa"]["params"]["template"] |= {"tools": [{"type": "function"}], "tool_choice": "auto"}
    job = client.evaluation.jobs.create(target=target(start_app(model.app())), config=config)
    finish(client, job.id)
    scores = client.evaluation.jobs.results(job.id).tasks["qa"].metrics["t"].scores
    assert scores["function_name_and_args_accuracy"].value == 1
    assert model.bodies[0]["tool_choice"] == "auto"
    log = client.evaluation.jobs.download_logs(job.id)["logs"]
    assert "warning: config.tasks.qa.metrics.t.params: unknown key 'model' is ignored" in log


class TestPromises(EvaluationContract):
    """Those that the fake stack of the unit tests shares."""

    @pytest.fixture
    def rows_url(self, upload: Callable[..., str]) -> str:
        return upload(ROWS)

    @pytest.fixture
    def model_target(self, model: tuple[ScriptedModel, str]) -> dict[str, Any]:
        return target(model[1])
