"""What goes wrong, is cancelled or must stay secret, through the official SDK."""
# ruff: noqa: F811 - a fixture that is imported is no redefinition

import json
import time
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


def test_an_item_the_model_refuses_is_nan_and_the_others_count(
    client: Any, start_app: Callable[..., str], upload: Callable[..., str]
) -> None:
    picky = ScriptedModel(lambda prompt: 400 if prompt == "bad" else "x")
    url = upload([{"prompt": p, "ideal": "x"} for p in ("good", "bad", "fine")])
    job = client.evaluation.jobs.create(
        target=target(start_app(picky.app())), config=chat_config(url, {"em": {"type": "em"}})
    )
    done = finish(client, job.id)
    assert "1 items could not be answered" in done.status_details.message
    assert "400: scripted failure" in done.status_details.message
    stats = client.evaluation.jobs.results(job.id).tasks["qa"].metrics["em"].scores["em_score"].stats
    assert (stats.count, stats.nan_count, stats.mean) == (2, 1, 1)
    rows = samples(client, job.id)
    assert rows[1]["scores"] == {"em.em_score": None}
    assert "400" in rows[1]["sample"]["error"]
    assert picky.asked["bad"] == 1  # a refusal is not tried again


def test_busy_model_is_asked_again(client: Any, start_app: Callable[..., str], upload: Callable[..., str]) -> None:
    busy: ScriptedModel = ScriptedModel(lambda prompt: 503 if busy.asked[prompt] < 3 else "x")
    url = upload([{"prompt": "p", "ideal": "x"}])
    job = client.evaluation.jobs.create(
        target=target(start_app(busy.app())), config=chat_config(url, {"em": {"type": "em"}})
    )
    finish(client, job.id)
    assert busy.asked["p"] == 3


def test_model_that_dies_fails_the_job_which_keeps_what_it_has(
    client: Any, start_app: Callable[..., str], upload: Callable[..., str]
) -> None:
    dying: ScriptedModel = ScriptedModel(lambda _prompt: 500 if dying.asked.total() > 3 else "x")
    url = upload([{"prompt": f"p{n}", "ideal": "x"} for n in range(10)])
    config = chat_config(url, {"em": {"type": "em"}}, parallelism=1, max_retries=1)
    job = client.evaluation.jobs.create(target=target(start_app(dying.app()), api_key="sk-hidden"), config=config)
    failed = finish(client, job.id, "failed")
    message = failed.status_details.message
    assert "500: scripted failure" in message
    assert "after 2 attempts" in message
    assert "models there: scripted/model" in message
    assert "sk-hidden" not in message
    assert failed.status_details.task_status == {"qa": "failed"}
    assert [row["sample"]["output_text"] for row in samples(client, job.id)] == ["x", "x", "x"]


@pytest.mark.parametrize(
    ("model_id", "says"),
    [("scripted/wrong", "404: The model `scripted/wrong` does not exist.; models there: scripted/model")],
)
def test_unknown_model_names_those_there(
    client: Any, model: tuple[ScriptedModel, str], qa_url: str, model_id: str, says: str
) -> None:
    job = client.evaluation.jobs.create(
        target=target(model[1], model_id), config=chat_config(qa_url, {"em": {"type": "em"}})
    )
    assert says in finish(client, job.id, "failed").status_details.message


@pytest.mark.parametrize(
    ("truth", "says"),
    [("{{item.idea}}", "has no attribute 'idea'"), ("{{ ''.__class__.__mro__ }}", "unsafe")],
)
def test_templates_that_fail_are_found_before_the_model_is_asked(
    client: Any, start_app: Callable[..., str], upload: Callable[..., str], truth: str, says: str
) -> None:
    untouched = ScriptedModel(lambda _prompt: "x")
    url = upload([{"prompt": "p", "ideal": "x"}])
    config = chat_config(url, {"em": {"type": "em", "params": {"ground_truth": truth}}})
    job = client.evaluation.jobs.create(target=target(start_app(untouched.app())), config=config)
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
def test_data_that_cannot_be_had(client: Any, model: tuple[ScriptedModel, str], files_url: str, says: str) -> None:
    job = client.evaluation.jobs.create(target=target(model[1]), config=chat_config(files_url, {"em": {"type": "em"}}))
    assert says in finish(client, job.id, "failed").status_details.message


def test_cancel_gives_up_requests_at_once(
    client: Any, start_app: Callable[..., str], upload: Callable[..., str]
) -> None:
    slow = ScriptedModel(lambda _prompt: "x", delay_s=0.3)
    url = upload([{"prompt": f"p{n}", "ideal": "x"} for n in range(200)])
    config = chat_config(url, {"em": {"type": "em"}}, parallelism=2)
    job = client.evaluation.jobs.create(target=target(start_app(slow.app())), config=config)
    wait_until(lambda: client.evaluation.jobs.status(job.id).samples_processed or 0, "some samples")
    with pytest.raises(ConflictError, match="cancel it first"):
        client.evaluation.jobs.delete(job.id)
    client.evaluation.jobs.cancel(job.id)
    wait_until(lambda: client.evaluation.jobs.retrieve(job.id).status == "cancelled", "cancelled")
    asked = slow.asked.total()
    assert asked < 200, "the job was not carried out to its end"
    with pytest.raises(ConflictError, match="cancelled already"):
        client.evaluation.jobs.cancel(job.id)
    assert client.evaluation.jobs.results(job.id).tasks == {}
    time.sleep(0.7)  # twice as long as a request takes
    assert slow.asked.total() == asked
    client.evaluation.jobs.delete(job.id)
    with pytest.raises(NotFoundError):
        client.evaluation.jobs.retrieve(job.id)


def test_keys_are_sent_and_never_shown(
    client: Any, service: Running, model: tuple[ScriptedModel, str], qa_url: str, unique: str
) -> None:
    key = f"sk-{unique}"
    stored = client.evaluation.targets.create(namespace="default", name=unique, **target(model[1], api_key=key))
    assert stored.model.api_endpoint.api_key == "******"
    assert client.evaluation.targets.retrieve(unique, namespace="default").model.api_endpoint.api_key == "******"
    params = {
        "model": {
            "api_endpoint": {"url": f"{model[1]}/v1/chat/completions", "model_id": "scripted/model", "api_key": key}
        },
        "template": {"messages": [{"role": "user", "content": "{{sample.output_text}}"}]},
        "scores": {"s": {"parser": {"pattern": "(x)"}}},
    }
    config = chat_config(qa_url, {"em": {"type": "em"}, "j": {"type": "llm-judge", "params": params}})
    job = client.evaluation.jobs.create(target=f"default/{unique}", config=config)
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
    for file in service.data_dir.glob("evaluator.db*"):  # the ended job keeps none, the log of writes neither
        assert key.encode() not in file.read_bytes(), file.name


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"type": "custom"}, "at least one task"),
        ({"type": "custom", "tasks": {"../x": {"type": "data", "metrics": {"em": {"type": "em"}}}}}, "config.tasks"),
        ({"type": "custom", "tasks": {"t": {"type": "magic", "metrics": {"em": {"type": "em"}}}}}, "magic"),
        ({"type": "custom", "tasks": {"t": {"type": "data", "metrics": {}}}}, "at least one"),
        (
            {"type": "custom", "tasks": {"t": {"type": "data", "metrics": {"m": {"type": "nope"}}}}},
            "'nope' is not known",
        ),
        (
            {
                "type": "custom",
                "params": {"temperature": "warm"},
                "tasks": {"t": {"type": "data", "metrics": {"em": {"type": "em"}}}},
            },
            "temperature",
        ),
        (
            {"type": "custom", "tasks": {"t": {"type": "chat-completion", "metrics": {"em": {"type": "em"}}}}},
            "use type 'data'",
        ),
        ({"type": "gsm8k"}, "needs a model"),
    ],
)
def test_wrong_configurations_are_422_with_the_field(client: Any, config: dict[str, Any], says: str) -> None:
    with pytest.raises(UnprocessableEntityError, match=says):
        client.evaluation.jobs.create(target={"type": "rows", "rows": [{"output": "a", "answer": "a"}]}, config=config)
