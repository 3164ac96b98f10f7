"""Bodies in the shape of NVIDIA's public pages, and of public clients: each is accepted or refused with the reason.

As test_public_examples.py, for the 25.x pages on entities, configurations and hyperparameters, for the notebook that
goes from a dataset of triage notes to an evaluation, the end-to-end tutorial of the Evaluator, and for what Llama Stack
and Langflow send. The names of keys are theirs; names, texts and addresses are made up here.
"""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from huggingface_hub import HfApi

from tests.contract.conftest import Running
from tests.contract.customizer_support import MODEL_ID, jsonl, make_model, pairs, put_dataset
from tests.contract.public_bodies import CACHED, FILE, MODEL, ROWS, TARGET, custom

CONTAINS = {
    "accuracy": {"type": "string-check", "params": {"check": ["{{sample.output_text}}", "contains", "{{item.answer}}"]}}
}
OWNER = {"created_by": "someone", "access_policies": {"admins": ["leads"], "readers": ["all"]}}


def template(*messages: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in messages], **more}


EVALUATIONS: dict[str, tuple[Any, Any, str]] = {
    # what -> target, config, "" if accepted or else the reason
    "custom types, a chat with its answer": (
        TARGET,
        custom(
            "chat-completion",
            CONTAINS | {"bleu": {"type": "bleu", "params": {"references": ["{{item.reference | trim}}"]}}},
            template(("user", "{{item.question}}"), ("assistant", "{{item.answer}}"), max_tokens=20, top_p=0.9),
            dataset=FILE,
        )
        | {"params": {"parallelism": 8}},
        "",
    ),
    "custom types, roles out of the rows": (
        TARGET,
        custom(
            "completion",
            CONTAINS,
            template(("{{item.messages[0].role}}", "{{item.messages[0].content}}"), max_tokens=20),
            dataset=FILE,
        ),
        "",
    ),
    "triage notebook": (
        {"type": "model", "model": {"api_endpoint": MODEL | {"url": "http://127.0.0.1:9/v1/completions"}}},
        custom(
            "completion",
            CONTAINS,
            template(("system", "You sort."), ("user", 'Note: {{item.content}} As JSON: { "level": "..." }')),
            dataset=FILE,
        )
        | {"params": {"parallelism": 8}},
        "",
    ),
    "judge that answers in JSON": (
        ROWS,
        custom(
            "data",
            {
                "quality": {
                    "type": "llm-judge",
                    "params": {
                        "model": {"api_endpoint": MODEL},
                        "template": template(
                            ("user", "{{item.expected}}"),
                            response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": {}}},
                        ),
                        "scores": {"s": {"type": "int", "parser": {"type": "json", "json_path": "score"}}},
                    },
                }
            },
        ),
        "",
    ),
    "similarity of rows": (
        ROWS,
        custom(
            "data",
            {
                kind: {
                    "type": kind,
                    "params": {"ground_truth": "{{item.expected}}", "prediction": "{{item.some_output}}"},
                }
                for kind in ("rouge", "f1", "em")
            },
        ),
        "",
    ),
    "benchmarks, ifeval": (
        TARGET,
        {"type": "ifeval", "params": {"parallelism": 4, "limit_samples": 5, "extra": {"model_type": "chat"}}},
        "",
    ),
    "Langflow, a list of tasks": (
        TARGET,
        {
            "type": "lm_eval_harness",
            "tasks": [{"type": "gsm8k", "param": {"num_fewshot": 5, "batch_size": 16, "limit": -1}}],
            "params": {"hf_token": None, "use_greedy": True, "top_k": 1, "stop": [], "tokens_to_generate": 1024},
        },
        "",
    ),
    "Langflow, similarity with its dataset outside of the task": (
        TARGET,
        {"type": "similarity_metrics", "tasks": [{"type": "default", "metrics": [{"name": "em"}]}], "dataset": FILE},
        "dataset: missing",
    ),
    "Langflow, judge of MT-Bench": (
        TARGET,
        {"type": "llm_as_a_judge", "tasks": [{"type": "mt_bench", "params": {}}]},
        "'llm_as_a_judge' is not available here",
    ),
    "end-to-end tutorial, calls of an agent": (
        CACHED,
        {"type": "agentic", "tasks": {"calls": {"type": "tool_call_accuracy"}}},
        "config.type: 'agentic' is not available here",
    ),
    "agentic types, topics": (
        CACHED,
        {"type": "agentic", "tasks": {"topics": {"type": "topic_adherence", "params": {"judge": {"model": MODEL}}}}},
        "config.type: 'agentic' is not available here",
    ),
    "end-to-end tutorial, RAG": (
        {"type": "rag", "rag": {"pipeline": {"retriever": {"pipeline": {"top_k": 3}}, "model": TARGET["model"]}}},
        {"type": "rag", "tasks": {"t": {"type": "beir", "dataset": {"files_url": "file://nfcorpus/"}}}},
        "target.type: 'rag' is not available here",
    ),
    "benchmarks, function calling": (TARGET, {"type": "bfclv3_ast"}, "Berkeley Function-Calling Leaderboard"),
    "benchmarks, safety": (TARGET, {"type": "aegis_v2"}, "the safety harness, which is not available here"),
    "benchmarks, Simple-Evals": (TARGET, {"type": "AIME_2024"}, "Simple-Evals, which is not available here"),
    "benchmarks, code": (TARGET, {"type": "mbpp"}, "executes code that the model writes"),
}


@pytest.fixture(scope="module")
def evaluator(start_service: Callable[..., Running], data_store_url: str, entity_store_url: str) -> str:
    nowhere = "http://127.0.0.1:9"
    stores = {"data_store_url": data_store_url, "entity_store_url": entity_store_url}
    return start_service("evaluator", **stores, nim_url=nowhere, judge_url=nowhere, judge_model="judge").url


@pytest.mark.parametrize("what", EVALUATIONS)
def test_evaluations(what: str, evaluator: str) -> None:
    target, config, reason = EVALUATIONS[what]
    answer = httpx.post(f"{evaluator}/v1/evaluation/jobs", json={"target": target, "config": config}, timeout=30)
    if reason:
        assert (answer.status_code, reason in answer.text) == (422, True), answer.text
    else:
        assert answer.status_code in {200, 201}, answer.text
        httpx.post(f"{evaluator}/v1/evaluation/jobs/{answer.json()['id']}/cancel")


def test_a_benchmark_of_llama_stack(evaluator: str) -> None:
    """A config by name, a target whose model is a name."""
    config = {"namespace": "nvidia", "name": "bench:1", "type": "gsm8k", "params": {"limit_samples": 2}}
    assert httpx.post(f"{evaluator}/v1/evaluation/configs", json=config).status_code in {200, 201}
    body = {"config": "nvidia/bench:1", "target": {"type": "model", "model": "meta/llama-3.1-8b-instruct"}}
    answer = httpx.post(f"{evaluator}/v1/evaluation/jobs", json=body)
    assert answer.status_code in {200, 201}, answer.text
    httpx.post(f"{evaluator}/v1/evaluation/jobs/{answer.json()['id']}/cancel", json={})


OPTIONS_PAGE: dict[str, Any] = {
    "finetuning_type": "lora",
    "training_type": "sft",
    "warmup_steps": 200,
    "seed": 42,
    "max_steps": -1,
    "optimizer": "adamw_with_cosine_annealing",
    "adam_beta1": 0.9,
    "adam_beta2": 0.99,
    "min_learning_rate": None,
    "batch_size": 8,
    "epochs": 1,
    "learning_rate": 0.0001,
    "log_every_n_steps": None,
    "val_check_interval": None,
    "weight_decay": None,
    "sequence_packing_enabled": None,
    "sft": None,
    "lora": {"adapter_dim": 8, "alpha": 16, "adapter_dropout": None, "target_modules": None},
    "dpo": None,
    "distillation": None,
    "grpo": None,
}
CUSTOMIZATIONS: dict[str, tuple[dict[str, Any], int, str]] = {
    "hyperparameter options, those without a value as null": (OPTIONS_PAGE, 200, ""),
    "hyperparameter options, flat": (OPTIONS_PAGE | {"optimizer": "adam_with_flat_lr", "max_steps": 5}, 200, ""),
    "hyperparameter options, merged": (OPTIONS_PAGE | {"finetuning_type": "lora_merged"}, 200, ""),
    "hyperparameter options, distillation": (
        OPTIONS_PAGE | {"training_type": "distillation", "distillation": {"teacher": "meta/llama-3.2-3b@v1"}},
        400,
        "training_type 'distillation' is not available here",
    ),
    "hyperparameter options, GRPO": (
        OPTIONS_PAGE | {"training_type": "grpo", "grpo": {}},
        400,
        "training_type 'grpo' is not available here",
    ),
}


@pytest.fixture(scope="module")
def customizer(
    start_service: Callable[..., Running],
    tmp_path_factory: pytest.TempPathFactory,
    data_store_url: str,
    entity_store_url: str,
    hub: HfApi,
) -> str:
    put_dataset(hub, "public-pages", {"training/training.jsonl": jsonl(pairs(8))})
    return start_service(
        "customizer",
        entity_store_url=entity_store_url,
        data_store_url=data_store_url,
        base_models={MODEL_ID: str(make_model(tmp_path_factory.mktemp("weights")))},
        keep_warm=False,
    ).url


def create_job(customizer: str, **more: Any) -> httpx.Response:
    body = {
        "config": MODEL_ID,
        "dataset": {"name": "public-pages", "namespace": "default"},
        "hyperparameters": {"training_type": "sft", "finetuning_type": "lora", "epochs": 1},
    }
    answer = httpx.post(f"{customizer}/v1/customization/jobs", json=body | more, timeout=30)
    if answer.is_success:
        httpx.post(f"{customizer}/v1/customization/jobs/{answer.json()['id']}/cancel")
    return answer


@pytest.mark.parametrize("what", CUSTOMIZATIONS)
def test_customizations(what: str, customizer: str) -> None:
    hyperparameters, status, reason = CUSTOMIZATIONS[what]
    answer = create_job(customizer, hyperparameters=hyperparameters)
    assert (answer.status_code, reason in answer.text) == (status, True), answer.text


def test_a_version_of_the_output_model_is_kept(customizer: str, entity_store_url: str, unique: str) -> None:
    """Llama Stack asks for `NAME@v1`, and then for inference by that name; a second job of that name is a conflict."""
    answer = create_job(customizer, output_model=f"{unique}@v1", project="test-project")
    assert answer.status_code == 200, answer.text
    assert answer.json()["output_model"] == f"default/{unique}@v1"
    assert {"created_at", "updated_at", "status", "id"} <= answer.json().keys()
    model = httpx.get(f"{entity_store_url}/v1/models/default/{unique}@v1").json()
    assert model["artifact"]["files_url"] == f"hf://models/default/{unique}@v1"
    again = create_job(customizer, output_model=f"{unique}@v1")
    assert (again.status_code, f"default/{unique}@v1 exists" in again.text) == (409, True), again.text
    assert create_job(customizer, output_model=f"{unique}@v2").status_code == 200


def test_the_whole_page_on_jobs(customizer: str, unique: str) -> None:
    answer = create_job(
        customizer,
        name=unique,
        namespace="default",
        description="for a use case",
        project="my-project",
        output_model=f"default/{unique}",
        ownership=OWNER,
        custom_fields={"team": "a"},
        integrations=[{"type": "wandb", "wandb": {"project": "p", "entity": "e", "notes": "n", "tags": ["a"]}}],
        dataset_parameters={"in_context_learning": {}},
    )
    assert answer.status_code == 200, answer.text
    assert "Nothing is sent to Weights & Biases" in answer.text


def test_targets_and_configs_of_the_pages(customizer: str) -> None:
    """They name models that only NVIDIA has: the answer says which there are."""
    target = {
        "name": "llama-3.1-8b-instruct@2.0",
        "namespace": "meta",
        "enabled": True,
        "base_model": "meta/llama-3.1-8b",
        "model_path": "llama-3_1-8b-instruct_2_0",
        "model_uri": "ngc://nvidia/nemo/llama-3_1-8b:2.0",
        "hf_endpoint": "https://huggingface.co",
        "tokenizer": {},
        "num_parameters": 123456789,
        "precision": "bf16-mixed",
        "project": "urn:your-project-id",
    }
    answer = httpx.post(f"{customizer}/v1/customization/targets", json=target)
    assert (answer.status_code, f"there are: {MODEL_ID}" in answer.text) == (400, True), answer.text
    option = {"training_type": "sft", "finetuning_type": "lora", "num_gpus": 1, "num_nodes": 1, "micro_batch_size": 1}
    config = {
        "name": "mine:a@v1.0.0+80GB",
        "target": "meta/llama-3.1-8b-instruct@2.0",
        "training_options": [option],
        "training_precision": "bf16",
        "max_seq_length": 2048,
        "prompt_template": "{prompt} {completion}",
        "pod_spec": {"node_selectors": {"a": "b"}, "annotations": {}, "tolerations": []},
        "ownership": OWNER,
    }
    answer = httpx.post(f"{customizer}/v1/customization/configs", json=config)
    assert (answer.status_code, f"there are: {MODEL_ID}" in answer.text) == (404, True), answer.text
    mine = {**config, "target": f"{MODEL_ID}@v1.0.0"}
    assert httpx.post(f"{customizer}/v1/customization/configs", json=mine).status_code == 200
    found = httpx.get(f"{customizer}/v1/customization/configs/default/mine:a@v1.0.0+80GB")
    assert found.json()["pod_spec"] == config["pod_spec"]


def test_entities_of_the_pages(data_store_url: str, entity_store_url: str, unique: str) -> None:
    namespace = {"id": unique, "custom_fields": {"department": "research"}, "ownership": OWNER}
    answer = httpx.post(f"{entity_store_url}/v1/namespaces", json=namespace)
    assert answer.json()["ownership"]["access_policies"] == OWNER["access_policies"], answer.text
    project = {"name": "Documentation Test Project", "namespace": unique, "custom_fields": {"due": "2024-03-31"}}
    assert httpx.post(f"{entity_store_url}/v1/projects", json=project | {"ownership": OWNER}).status_code == 201
    address = f"{entity_store_url}/v1/projects/{unique}/Documentation%20Test%20Project"
    assert httpx.get(address).json()["custom_fields"] == {"due": "2024-03-31"}
    assert httpx.delete(address).is_success
    dataset = {"name": "a:b", "namespace": unique, "format": "json", "files_url": "file://a.json/", "project": "p"}
    assert httpx.post(f"{entity_store_url}/v1/datasets", json=dataset).status_code == 201
    assert httpx.get(f"{entity_store_url}/v1/datasets/{unique}/a:b").json()["files_url"] == "file://a.json/"
    # Langflow sends the Data Store's namespace as JSON, the pages as a form
    store = f"{data_store_url}/v1/datastore/namespaces"
    assert httpx.post(store, json={"namespace": unique}).status_code == 201
    assert httpx.get(f"{store}/{unique}").json()["namespace"] == unique


@pytest.mark.parametrize("name", [" leading", "trailing ", "a/b", "..", ".", "a..b", "a\nb"])
def test_names_that_no_page_has_are_refused(name: str, entity_store_url: str, unique: str) -> None:
    answer = httpx.post(f"{entity_store_url}/v1/projects", json={"name": name, "namespace": unique})
    assert (answer.status_code, "project name" in answer.text) == (422, True), answer.text
