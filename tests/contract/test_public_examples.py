"""Bodies in the shape of NVIDIA's public notebooks, pages and clients: each is accepted or refused with the reason.

The names of keys and the order of calls are theirs (NVIDIA/GenerativeAIExamples, NVIDIA-AI-Blueprints/data-flywheel,
the 25.x pages of the NeMo microservices); names, texts and addresses are made up here.
"""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from huggingface_hub import HfApi

from tests.contract.conftest import Running
from tests.contract.customizer_support import MODEL_ID, jsonl, make_model, pairs, put_dataset
from tests.contract.public_bodies import CACHED, FILE, MODEL, ROWS, TARGET, custom

JUDGE = {"model": {"api_endpoint": MODEL | {"api_key": "k"}}}
MESSAGES = {"messages": [{"role": "user", "content": "Question: {{item.question}}"}]}
TOOLS = {
    "messages": "{{ item.messages | tojson}}",
    "tools": "{{ item.tools | tojson }}",
    "tool_choice": "auto",
}


def judge(pattern: str, **params: Any) -> dict[str, Any]:
    scores = {"similarity": {"type": "int", "parser": {"type": "regex", "pattern": pattern}}}
    return {"type": "llm-judge", "params": JUDGE | {"template": MESSAGES, "scores": scores} | params}


TRUTH = {"tool_calls_ground_truth": "{{ item.tool_calls | tojson }}"}
EVALUATIONS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    # what -> target, config, "" if accepted or else the reason
    "judge notebook": (
        TARGET,
        custom("chat-completion", {"completeness": judge(r"COMPLETENESS:\s*(\d)")}, MESSAGES, dataset=FILE),
        "",
    ),
    "completion with messages": (
        TARGET,
        custom(
            "completion",
            {
                "accuracy": {
                    "type": "string-check",
                    "params": {"check": ["{{sample.output_text}}", "contains", "{{item.answer}}"]},
                },
                "bleu": {"type": "bleu", "params": {"references": ["{{item.reference_answer}}"]}},
                "accuracy-llm-judge": judge(r"SIMILARITY:\s*(\d+)"),
            },
            MESSAGES,
            dataset=FILE,
        ),
        "",
    ),
    "tool calling notebook": (
        {"type": "model", "model": "meta/llama-3.2-1b-instruct"},
        custom("chat-completion", {"accuracy": {"type": "tool-calling", "params": TRUTH}}, TOOLS, dataset=FILE),
        "",
    ),
    "data flywheel, tools": (
        TARGET,
        custom(
            "chat-completion",
            {
                "tool-calling-accuracy": {"type": "tool-calling", "params": JUDGE | TRUTH},
                "correctness": judge(r"RATING:\s*(\d+)"),
            },
            TOOLS | {"messages": "{{ item.request.messages | tojson }}", "tool_choice": "required"},
            dataset=FILE,
        ),
        "",
    ),
    "data flywheel, judge": (
        TARGET,
        custom("chat-completion", {"llm-judge": judge("(\\d)")}, TOOLS | {"nvext": "{{ item.nvext }}"}, dataset=FILE),
        "",
    ),
    "gsm8k with all extras": (
        TARGET,
        {
            "type": "gsm8k",
            "name": "gsm8k-chat-config",
            "params": {
                "temperature": 0.00001,
                "top_p": 0.00001,
                "max_tokens": 256,
                "stop": ["<|eot|>"],
                "extra": {
                    "num_fewshot": 8,
                    "batch_size": 16,
                    "bootstrap_iters": 100000,
                    "dataset_seed": 42,
                    "use_greedy": True,
                    "top_k": 1,
                    "hf_token": "hf_x",
                    "tokenizer_backend": "hf",
                    "tokenizer": "meta-llama/Llama-3.1-8B-Instruct",
                    "apply_chat_template": True,
                    "fewshot_as_multiturn": True,
                },
            },
        },
        "",
    ),
    "number-check, operator first": (
        ROWS,
        custom(
            "data",
            {
                "n": {
                    "type": "number-check",
                    "params": {
                        "check": ["absolute difference", "{{item.a | trim}}", "{{item.b | trim}}", "epsilon", 1]
                    },
                }
            },
        ),
        "",
    ),
    "live notebook": (
        ROWS,
        custom(
            "data",
            {
                "accuracy": {
                    "type": "string-check",
                    "params": {"check": ["{{some_output}}", "contains", "{{expected}}"]},
                }
            },
        ),
        "",
    ),
    "similarity metrics": (
        TARGET,
        {
            "type": "similarity_metrics",
            "params": {"max_tokens": 200, "temperature": 0.7, "extra": {"top_k": 20}},
            "tasks": {
                "t": {"type": "default", "dataset": FILE, "metrics": {name: {"type": name} for name in ("bleu", "em")}}
            },
        },
        "",
    ),
    "similarity metrics with accuracy": (
        TARGET,
        {
            "type": "similarity_metrics",
            "tasks": {"t": {"dataset": FILE, "metrics": {"accuracy": {"type": "accuracy"}}}},
        },
        "metric type 'accuracy' is not known",
    ),
    "agent's goal": (
        CACHED,
        {"type": "agentic", "tasks": {"goal": {"type": "agent_goal_accuracy_with_reference", "params": {"judge": {}}}}},
        "config.type: 'agentic' is not available here",
    ),
    "retriever": (
        {"type": "retriever", "retriever": {"pipeline": {"top_k": 10}}},
        {"type": "retriever", "tasks": {"t": {"type": "beir", "dataset": {"files_url": "file://fiqa/"}}}},
        "target.type: 'retriever' is not available here",
    ),
    "prompt optimization": (
        TARGET,
        custom("prompt-optimization", {"em": {"type": "em"}}, dataset=FILE),
        "'prompt-optimization'; a custom task is one of",
    ),
    "humaneval": (TARGET, {"type": "humaneval"}, "executes code that the model writes"),
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
        assert "hf_x" not in answer.text
        httpx.post(f"{evaluator}/v1/evaluation/jobs/{answer.json()['id']}/cancel")


def test_live_evaluation_of_the_notebook(evaluator: str) -> None:
    target, config, _ = EVALUATIONS["live notebook"]
    answer = httpx.post(f"{evaluator}/v1/evaluation/live", json={"target": target, "config": config}).json()
    assert answer["status"] == "completed", answer
    assert answer["result"]["tasks"]["qa"]["metrics"]["accuracy"]["scores"]["string-check"]["value"] == 1


LORA = {"training_type": "sft", "finetuning_type": "lora", "epochs": 2, "batch_size": 16, "learning_rate": 0.0001}
PAGE = {
    "training_type": "sft",
    "finetuning_type": "lora",
    "epochs": 10,
    "batch_size": 16,
    "learning_rate": 0.0001,
    "log_every_n_steps": 0,
    "val_check_interval": 0.01,
    "weight_decay": 0,
    "sequence_packing_enabled": False,
    "sft": {"hidden_dropout": 1, "attention_dropout": 1, "ffn_dropout": 1},
    "lora": {"adapter_dim": 8, "adapter_dropout": 1},
}
CUSTOMIZATIONS = {
    "tool calling notebook": ({**LORA, "lora": {"adapter_dim": 32, "adapter_dropout": 0.1}}, 200, ""),
    "create job page": (PAGE, 200, ""),
    "embedding notebook": ({"finetuning_type": "all_weights", "epochs": 1, "batch_size": 256}, 200, ""),
    "preference optimization": (
        {"finetuning_type": "all_weights", "training_type": "dpo", "dpo": {"ref_policy_kl_penalty": 0.1}},
        400,
        "training_type 'dpo' is not available here",
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
    put_dataset(hub, "public-examples", {"training/training.jsonl": jsonl(pairs(8))})
    return start_service(
        "customizer",
        entity_store_url=entity_store_url,
        data_store_url=data_store_url,
        base_models={MODEL_ID: str(make_model(tmp_path_factory.mktemp("weights")))},
        keep_warm=False,
    ).url


@pytest.mark.parametrize("what", CUSTOMIZATIONS)
def test_customizations(what: str, customizer: str) -> None:
    hyperparameters, status, reason = CUSTOMIZATIONS[what]
    body = {
        "name": "llama-3.2-1b-tools-ft",
        "output_model": "default/llama-tools@v1".partition("@")[0],
        "config": MODEL_ID,
        "dataset": {"name": "public-examples", "namespace": "default"},
        "hyperparameters": hyperparameters,
    }
    answer = httpx.post(f"{customizer}/v1/customization/jobs", json=body, headers={"wandb-api-key": "w"}, timeout=30)
    assert (answer.status_code, reason in answer.text) == (status, True), answer.text
    if status == 200:
        cancel = httpx.post(f"{customizer}/v1/customizations/{answer.json()['id']}/cancel")
        assert cancel.status_code in {200, 409}, cancel.text


def test_configuration_of_the_data_flywheel(customizer: str) -> None:
    option = {
        "training_type": "sft",
        "finetuning_type": "lora",
        "num_gpus": 1,
        "num_nodes": 1,
        "tensor_parallel_size": 1,
        "data_parallel_size": 1,
        "use_sequence_parallel": False,
        "micro_batch_size": 1,
    }
    body = {
        "name": "flywheel@v1.0.0+dfw",
        "namespace": "dfw",
        "target": f"{MODEL_ID}@v1.0.0",
        "training_options": [option],
        "training_precision": "bf16-mixed",
        "max_seq_length": 8192,
    }
    assert [httpx.post(f"{customizer}/v1/customization/configs", json=body).status_code for _ in range(2)] == [200, 409]


def test_stores_of_the_notebooks(data_store_url: str, entity_store_url: str, unique: str) -> None:
    """Namespaces in both stores, twice; a dataset by its address; its project changed by PATCH."""
    spaces = [httpx.post(f"{entity_store_url}/v1/namespaces", json={"id": unique}).status_code for _ in range(2)] + [
        httpx.post(f"{data_store_url}/v1/datastore/namespaces", data={"namespace": unique}).status_code for _ in "12"
    ]
    assert all(status in {200, 201, 409, 422} for status in spaces), spaces
    dataset = {
        "name": "consults",
        "namespace": unique,
        "description": "summaries",
        "files_url": f"hf://datasets/{unique}/consults",
        "project": "judge-test",
    }
    assert httpx.post(f"{entity_store_url}/v1/datasets", json=dataset).status_code in {200, 201}
    url = f"{entity_store_url}/v1/datasets/{unique}/consults"
    assert httpx.get(url).json()["files_url"] == dataset["files_url"]
    assert httpx.patch(url, json={"project": "other"}).json()["project"] == "other"
    model = {
        "name": "llama-3.1-8b-instruct",
        "namespace": unique,
        "config": {"model": "meta/llama", "nim_deployment": {}},
    }
    answer = httpx.post(f"{entity_store_url}/v1/deployment/model-deployments", json=model)
    assert (answer.status_code, "no such route" in answer.text) == (404, True)
