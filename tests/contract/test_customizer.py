"""The Customizer's REST API through the official SDK and through the guide's bare requests, on real stores."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import nemo_microservices
import peft
import pytest
import torch
from huggingface_hub import HfApi
from nemo_microservices import NeMoMicroservices

from tests.contract.customizer_support import LIVE, MODEL_ID, finished, jsonl, make_model, pairs, put_dataset
from tests.contract_suite.customization import CustomizationContract

LORA = {"finetuning_type": "lora", "training_type": "sft"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def service(start_service: Callable[..., Any], weights, data_store_url, entity_store_url):
    return start_service(
        "customizer",
        entity_store_url=entity_store_url,
        data_store_url=data_store_url,
        base_models={MODEL_ID: str(weights), "meta/other": str(weights)},
        threads=2,
    )


@pytest.fixture(scope="module")
def client(service):
    with NeMoMicroservices(base_url=service.url) as sdk:
        yield sdk


@pytest.fixture(scope="module")
def dataset(hub: HfApi, entity_store_url):
    name = "customizer-rows"
    put_dataset(hub, name, {"training/a.jsonl": jsonl(pairs(64)), "validation/v.jsonl": jsonl(pairs(16, 1000))})
    with NeMoMicroservices(base_url=entity_store_url) as entities:
        entities.datasets.create(name=name, namespace="default", files_url=f"hf://datasets/default/{name}")
    return name


@pytest.fixture(scope="module")
def done(client, dataset):
    """One finished job for all tests that only look."""
    job = client.customization.jobs.create(
        config=f"{MODEL_ID}@v1.0.0+CPU",
        dataset={"namespace": "default", "name": dataset},
        output_model="default/colours",
        project="legal",
        description="what colour things are",
        hyperparameters={
            **LORA,
            "epochs": 3,
            "batch_size": 16,
            "learning_rate": 5e-3,
            "seed": 11,
            "lora": {"adapter_dim": 8, "adapter_dropout": 0.1},
        },
    )
    assert job.status == "created"
    assert job.id.startswith("cust-")
    assert job.output_model == f"default/colours@{job.id}"
    job = finished(client, job.id)
    assert job.status == "completed", job.status_details
    return job


def test_built_in_config_and_target_are_there(client):
    config = client.customization.configs.retrieve("tiny-random@v1.0.0+CPU", namespace="nemostack")
    assert config.target.base_model == MODEL_ID
    assert config.max_seq_length == 512, "the model's context is shorter than the default"
    assert {option.finetuning_type for option in config.training_options} == {"lora", "lora_merged", "all_weights"}
    target = client.customization.targets.retrieve("tiny-random@v1.0.0", namespace="nemostack")
    assert (target.status, target.enabled) == ("ready", True)
    # 261 tokens x 64, two layers of q,o 64x64 + k,v 64x32 + 3 x 64x128 + 2 norms, last norm
    assert target.num_parameters == 261 * 64 + 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128 + 2 * 64) + 64


def test_a_job_shows_what_was_asked_and_what_was_measured(done, dataset):
    assert done.dataset == f"default/{dataset}"
    assert done.project == "legal"
    assert done.config_snapshot.base_model == MODEL_ID
    assert done.config_snapshot.training_option.finetuning_type == "lora"
    assert (done.hyperparameters.lora.alpha, done.hyperparameters.lora.adapter_dim) == (16, 8)
    details = done.status_details
    assert (details.steps_per_epoch, details.steps_completed) == (4, 12)
    assert (details.epochs_completed, details.percentage_done) == (3, 100.0)
    assert [p.step for p in details.metrics.metrics.train_loss] == list(range(12))
    assert [p.step for p in details.metrics.metrics.val_loss] == [3, 7, 11]
    values = [p.value for p in details.metrics.metrics.val_loss]
    assert values[-1] < values[0]
    assert details.val_loss == min(values)
    assert details.best_epoch == values.index(min(values)) + 1
    assert 0 < details.elapsed_time < 120
    assert details.error_message is None
    messages = [entry.message for entry in details.status_logs]
    assert [m for m in messages if m in {"created", "running", "training", "uploading", "completed"}] == [
        "created",
        "running",
        "training",
        "uploading",
        "completed",
    ]


def test_status_is_the_details_alone(client, done):
    status = client.customization.jobs.status(done.id)
    assert status.status == "completed"
    assert status.metrics.keys == ["train_loss", "val_loss"]


def test_the_artifact_is_an_adapter_on_the_branch_and_the_entity_says_so(
    done, hub, entity_store_url, weights, tmp_path
):
    with NeMoMicroservices(base_url=entity_store_url) as entities:
        model = entities.models.retrieve(f"colours@{done.id}", namespace="default")
    assert model.base_model == MODEL_ID
    assert model.artifact.status == "upload_completed"
    assert model.artifact.files_url == f"hf://models/default/colours@{done.id}"
    assert (model.peft.finetuning_type, model.peft.lora.alpha) == ("lora", 16)
    assert (model.spec.is_chat, model.spec.context_size) == (True, 512)
    folder = hub.snapshot_download("default/colours", revision=done.id, local_dir=tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == MODEL_ID
    # Independent of the trainer: the adapter's loss on the validation rows is the loss that the job reported.
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(weights)
    tuned = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(weights), folder).eval()
    total = count = 0
    for row in pairs(16, 1000):
        prompt = tokenizer(f"<|user|>{row['prompt']}\n<|assistant|>").input_ids
        answer = tokenizer(row["completion"] + "<|end|>").input_ids
        labels = torch.tensor([[-100] * len(prompt) + answer])
        with torch.no_grad():
            loss = tuned(input_ids=torch.tensor([prompt + answer]), labels=labels).loss
        total, count = total + loss.item() * len(answer), count + len(answer)
    assert total / count == pytest.approx(done.status_details.val_loss, rel=1e-4)


def test_container_logs_show_the_workers_output(client, done):
    logs = client.customization.jobs.container_logs(done.id)
    (entry,) = logs.entries.values()
    assert "training" in entry.logs["worker"]
    assert logs.error is None


def test_same_seed_same_losses(client, done, dataset):
    again = client.customization.jobs.create(
        config=MODEL_ID,
        dataset=dataset,
        output_model="again",
        hyperparameters=done.hyperparameters.model_dump(exclude_none=True),
    )
    again = finished(client, again.id)
    values = [[p.value for p in job.status_details.metrics.metrics.train_loss] for job in (done, again)]
    assert values[0] == values[1]


def test_the_guides_requests_work_as_they_stand(service, hub):
    """Unversioned config, dataset by name alone and never registered, no output_model; its polling loop and pandas."""
    put_dataset(hub, "legal_dataset", {"training/training.jsonl": jsonl(pairs(40))})
    body = {
        "config": MODEL_ID,
        "dataset": {"name": "legal_dataset"},
        "hyperparameters": {
            "training_type": "sft",
            "finetuning_type": "lora",
            "epochs": 1,
            "batch_size": 32,
            "learning_rate": 1e-4,
            "lora": {"adapter_dim": 8, "adapter_dropout": 0.1},
        },
    }
    jobs = f"{service.url}/v1/customization/jobs"
    job = httpx.post(jobs, json=body, timeout=30).json()
    status = "running"
    while status in {"initializing", "running", "created"}:
        job = httpx.get(f"{jobs}/{job['id']}", timeout=30).json()
        status = job["status"]
    assert status == "completed", job
    assert job["output_model"] == f"default/tiny-random-legal_dataset@{job['id']}"
    metrics = job["status_details"]["metrics"]["metrics"]
    assert {"step", "value", "timestamp"} <= metrics["train_loss"][0].keys()
    assert min(point["value"] for point in metrics["val_loss"]) > 0
    assert {"dataset default/legal_dataset is not registered in the Entity Store"} < {
        warning["message"] for warning in job["warnings"]
    }
    assert "4 of the training rows are held out" in json.dumps(job["warnings"])


def test_list_filters_sorts_and_pages(client, done, dataset):
    def ids(**query):
        return [job.id for job in client.customization.jobs.list(page_size=2, **query)]

    everything = ids(sort="created_at")
    assert everything[0] == done.id
    assert ids(sort="-created_at") == everything[::-1]
    same = {"namespace": "default", "status": "completed", "base_model": MODEL_ID, "epochs": 3, "batch_size": 16}
    assert done.id in ids(filter={**same, "finetuning_type": "lora", "training_type": "sft", "project": "legal"})
    assert done.id in ids(filter={"dataset": f"hf://datasets/default/{dataset}"})
    assert ids(filter={"status": "failed", "project": "legal"}) == []
    with pytest.raises(nemo_microservices.UnprocessableEntityError, match="no such field"):
        client.customization.jobs.list(extra_query={"filter[nonsense]": "1"})


def test_configs_and_targets_can_be_made_changed_listed_and_deleted(client, unique, dataset):
    target = client.customization.targets.create(
        name=f"{unique}@v1", namespace="team", num_parameters=90_752, precision="fp32", base_model=MODEL_ID
    )
    assert target.id.startswith("customization-target-")
    config = client.customization.configs.create(
        name=f"{unique}@v1.2.0+CPU",
        namespace="team",
        target=f"team/{unique}@v1",
        max_seq_length=128,
        prompt_template="{prompt} {completion}",
        training_options=[{**LORA, "num_gpus": 0, "micro_batch_size": 4}],
    )
    assert config.target.name == f"{unique}@v1"
    with pytest.raises(nemo_microservices.ConflictError, match="exists"):
        client.customization.targets.create(
            name=f"{unique}@v1", namespace="team", num_parameters=1, precision="fp32", base_model=MODEL_ID
        )
    newer = client.customization.configs.create(
        name=f"{unique}@v1.10.0+CPU",
        namespace="team",
        target=f"team/{unique}@v1",
        max_seq_length=64,
        training_options=[{**LORA, "num_gpus": 0, "micro_batch_size": 1}],
    )
    job = client.customization.jobs.create(
        config=f"team/{unique}", dataset=dataset, hyperparameters={**LORA, "max_steps": 1}
    )
    assert job.config_snapshot.max_seq_length == 64, "1.10 is newer than 1.2"
    found = client.customization.configs.list(filter={"target_name": f"{unique}@v1"}, sort="-name")
    assert [c.name for c in found] == [config.name, newer.name]
    assert not list(client.customization.configs.list(filter={"namespace": "team", "finetuning_type": "all_weights"}))
    assert [t.name for t in client.customization.targets.list(filter={"namespace": "team", "enabled": True})] == [
        f"{unique}@v1"
    ]
    changed = client.customization.configs.update(
        config.name,
        namespace="team",
        max_seq_length=256,
        add_training_options=[{**LORA, "finetuning_type": "all_weights", "num_gpus": 0, "micro_batch_size": 1}],
        remove_training_options=[LORA],
    )
    assert changed.max_seq_length == 256
    assert [option.finetuning_type for option in changed.training_options] == ["all_weights"]
    with pytest.raises(nemo_microservices.ConflictError, match="is used by config"):
        client.customization.targets.delete(f"{unique}@v1", namespace="team")
    client.customization.targets.update(f"{unique}@v1", namespace="team", enabled=False)
    with pytest.raises(nemo_microservices.BadRequestError, match="disabled"):
        client.customization.jobs.create(config=f"team/{unique}", dataset=dataset, hyperparameters=LORA)
    for name in (config.name, newer.name):
        client.customization.configs.delete(name, namespace="team")
    client.customization.targets.delete(f"{unique}@v1", namespace="team")
    with pytest.raises(nemo_microservices.NotFoundError, match="there are"):
        client.customization.targets.retrieve(f"{unique}@v1", namespace="team")


def test_a_config_whose_target_is_gone_does_not_hide_the_others(  # noqa: PLR0917
    start_service, weights, data_store_url, entity_store_url, dataset, tmp_path
):
    """A change of the settings' base models takes their targets away, also from configs that name them."""
    settings = {"entity_store_url": entity_store_url, "data_store_url": data_store_url, "keep_warm": False}
    first = start_service("customizer", **settings, base_models={"old/one": str(weights)}, data_dir=tmp_path)
    with NeMoMicroservices(base_url=first.url) as client:
        client.customization.configs.create(
            name="mine",
            target="old/one@v1.0.0",
            max_seq_length=64,
            training_options=[
                {"finetuning_type": "lora", "training_type": "sft", "num_gpus": 0, "micro_batch_size": 1}
            ],
        )
    first.stop()
    second = start_service("customizer", **settings, base_models={MODEL_ID: str(weights)}, data_dir=tmp_path)
    with NeMoMicroservices(base_url=second.url) as client:
        found = {config.name: config.target for config in client.customization.configs.list(sort="num_parameters")}
        assert found["mine"] == "old/one@v1.0.0"
        assert found["tiny-random@v1.0.0+CPU"].base_model == MODEL_ID
        assert [c.name for c in client.customization.configs.list(filter={"target_name": "one@v1.0.0"})] == ["mine"]
        with pytest.raises(nemo_microservices.NotFoundError, match=r"target old/one@v1\.0\.0 does not exist"):
            client.customization.jobs.create(config="mine", dataset=dataset, hyperparameters=LORA)
    second.stop()


def test_an_inline_config_trains_on_chat_rows_with_its_template(client, hub, unique):
    rows = [
        {"messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]}
        for row in pairs(24)
    ]
    put_dataset(hub, unique, {"training/a.jsonl": jsonl(rows), "validation/a.jsonl": jsonl(rows[:4])})
    job = client.customization.jobs.create(
        config={
            "target": f"{MODEL_ID}@v1.0.0",
            "max_seq_length": 200,
            "training_precision": "bf16-mixed",
            "training_options": [{**LORA, "num_gpus": 0, "micro_batch_size": 1}],
        },
        dataset={"files_url": f"hf://datasets/default/{unique}"},
        output_model=f"default/{unique}",
        hyperparameters={**LORA, "epochs": 1, "sequence_packing_enabled": True},
        integrations=[{"type": "wandb", "wandb": {"project": "x"}}],
    )
    assert job.hyperparameters.sequence_packing_enabled is False
    assert {"sequence packing is not supported for this model", "integrations are not available here"} == {
        warning.message for warning in job.warnings
    }
    job = finished(client, job.id)
    assert job.status == "completed", job.status_details
    assert job.config_snapshot.precision == "bf16-mixed"


@pytest.mark.parametrize("kind", ["lora_merged", "all_weights"])
def test_whole_models_are_uploaded_with_their_tokenizer(client, hub, dataset, unique, kind):
    job = client.customization.jobs.create(
        config=MODEL_ID,
        dataset=dataset,
        output_model=unique[:80],
        hyperparameters={"finetuning_type": kind, "epochs": 1, "learning_rate": 1e-3},
    )
    job = finished(client, job.id)
    assert job.status == "completed", job.status_details
    files = hub.list_repo_files(f"default/{unique[:80]}", revision=job.id)
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= set(files)


def _refused(client, error, match, **changes):
    body: dict[str, Any] = {"config": MODEL_ID, "dataset": "customizer-rows", "hyperparameters": LORA, **changes}
    with pytest.raises(error, match=match):
        client.customization.jobs.create(**body)


def test_requests_that_make_no_sense_are_refused_before_a_job_exists(client, dataset, entity_store_url):
    before = len(list(client.customization.jobs.list(page_size=100)))
    bad, missing = nemo_microservices.BadRequestError, nemo_microservices.NotFoundError
    malformed = nemo_microservices.UnprocessableEntityError
    _refused(client, missing, "config nemostack/nope does not exist; there are: ", config="nemostack/nope")
    _refused(client, bad, "no reference", config="a/b/c/../d")
    _refused(client, missing, "upload its files", dataset="default/nope")
    _refused(client, malformed, "give its name", dataset={"namespace": "default"})
    _refused(client, bad, "files_url", dataset={"files_url": "s3://bucket/x"})
    _refused(client, bad, "'..'", dataset={"files_url": "hf://datasets/default/x/../../etc"})
    for kind in ("dpo", "grpo", "distillation"):
        _refused(client, bad, "use 'sft'", hyperparameters={"finetuning_type": "lora", "training_type": kind})
    _refused(client, malformed, "power of 2", hyperparameters={**LORA, "lora": {"adapter_dim": 9}})
    _refused(client, malformed, "epochs", hyperparameters={**LORA, "epochs": 0})
    _refused(client, malformed, "up to 1.0", hyperparameters={**LORA, "val_check_interval": 1.5})
    _refused(client, bad, "a version is", output_model="default/a@b@..")
    _refused(client, bad, "at most 96", output_model="default/" + "a" * 120)
    inline = {"target": f"{MODEL_ID}@v1.0.0", "max_seq_length": 64}
    option = {**LORA, "num_gpus": 0, "micro_batch_size": 3}
    _refused(client, bad, "no multiple of the micro_batch_size 3", config={**inline, "training_options": [option]})
    other = {**option, "finetuning_type": "all_weights"}
    _refused(client, bad, "allows sft/all_weights, not sft/lora", config={**inline, "training_options": [other]})
    template = {**inline, "training_options": [option], "prompt_template": "{prompt}"}
    _refused(client, bad, "prompt_template", config=template)
    low = {**inline, "training_options": [option], "training_precision": "int8"}
    _refused(client, bad, "precision int8", config=low, hyperparameters={**LORA, "batch_size": 3})
    assert len(list(client.customization.jobs.list(page_size=100))) == before
    for path, weights in (("/etc", {"model_path": "/etc"}), ("ngc", {"model_uri": "ngc://nvidia/x:1"})):
        with pytest.raises(bad, match=r"not served here|ngc"):
            client.customization.targets.create(name=path.strip("/"), num_parameters=1, precision="fp32", **weights)


def test_creations_answer_200_as_nvidias_clients_demand(service, dataset, unique):
    bodies = {
        "targets": {"name": unique, "num_parameters": 1, "precision": "fp32", "base_model": MODEL_ID},
        "configs": {
            "name": unique,
            "target": f"default/{unique}",
            "max_seq_length": 64,
            "training_options": [{**LORA, "num_gpus": 0, "micro_batch_size": 1}],
        },
        "jobs": {"config": MODEL_ID, "dataset": dataset, "hyperparameters": {**LORA, "max_steps": 1}},
    }
    url = f"{service.url}/v1/customization"
    assert {kind: httpx.post(f"{url}/{kind}", json=body).status_code for kind, body in bodies.items()} == {
        "targets": 200,
        "configs": 200,
        "jobs": 200,
    }
    assert {kind: httpx.post(f"{url}/{kind}", json=bodies[kind]).status_code for kind in ("targets", "configs")} == {
        "targets": 409,
        "configs": 409,
    }


def test_the_older_address_cancels_too(service, client, dataset):
    body = {"config": MODEL_ID, "dataset": dataset, "hyperparameters": {**LORA, "epochs": 5000}}
    job = httpx.post(f"{service.url}/v1/customization/jobs", json=body).json()
    answer = httpx.post(f"{service.url}/v1/customizations/{job['id']}/cancel")
    assert (answer.status_code, answer.json()["status"] in {"cancelling", "cancelled"}) == (200, True)
    assert finished(client, job["id"]).status == "cancelled"
    assert httpx.post(f"{service.url}/v1/customizations/cust-nope/cancel").status_code == 404


def _warnings(service, **hyperparameters):
    body = {"config": MODEL_ID, "dataset": "customizer-rows", "hyperparameters": {**LORA, **hyperparameters}}
    body["hyperparameters"].setdefault("max_steps", 1)
    answer = httpx.post(f"{service.url}/v1/customization/jobs", json=body)
    assert answer.status_code == 200, answer.text
    job = answer.json()
    return [warning["message"] for warning in job["warnings"] or []], job["hyperparameters"]


def test_values_of_nvidias_example_job_are_taken_with_warnings(service, dataset):
    said, hyper = _warnings(
        service,
        log_every_n_steps=0,
        val_check_interval=0.01,
        sft={"hidden_dropout": 1, "attention_dropout": 1, "ffn_dropout": 1},
        lora={"adapter_dim": 8, "adapter_dropout": 1},
    )
    assert said == [
        "val_check_interval 0.01 is raised to 0.1",
        "lora.adapter_dropout 1 is ignored",
        "sft.hidden_dropout 1 is ignored",
        "sft.attention_dropout 1 is ignored",
        "sft.ffn_dropout 1 is ignored",
    ]
    assert (hyper["val_check_interval"], hyper["lora"]["adapter_dropout"]) == (0.1, 0.0)


def test_unknown_keys_are_ignored_and_named(service, client, dataset, unique, caplog):
    said, hyper = _warnings(service, epoch=9, lora={"adapter_dim": 8, "rslora": True})
    assert said == [
        "unknown key 'hyperparameters.epoch' is ignored (did you mean 'epochs'?)",
        "unknown key 'hyperparameters.lora.rslora' is ignored",
    ]
    assert "epoch" not in hyper
    assert "rslora" not in hyper["lora"]
    made = client.customization.targets.create(
        name=unique, num_parameters=1, precision="fp32", base_model=MODEL_ID, extra_body={"replicas": 3}
    )
    assert not hasattr(made, "replicas")
    assert "POST /v1/customization/targets: unknown key 'replicas' is ignored" in caplog.text
    changed = client.customization.targets.update(unique, namespace="default", extra_body={"replicas": 3})
    assert changed.warning_message == "unknown key 'replicas' is ignored"


def test_a_rank_that_nim_does_not_serve_is_warned_of(start_service, weights, data_store_url, entity_store_url, dataset):
    service = start_service(
        "customizer",
        entity_store_url=entity_store_url,
        data_store_url=data_store_url,
        base_models={MODEL_ID: str(weights)},
        keep_warm=False,
        max_served_rank=32,
    )
    assert _warnings(service, lora={"adapter_dim": 32})[0] == []
    said, _ = _warnings(service, lora={"adapter_dim": 64})
    assert said == ["adapter_dim 64 is above the rank 32 that NIM serves"]
    assert _warnings(service, finetuning_type="lora_merged", lora={"adapter_dim": 64})[0] == []
    service.stop()


def test_unknown_jobs_and_finished_jobs(client, done):
    for call in ("retrieve", "status", "cancel", "container_logs"):
        with pytest.raises(nemo_microservices.NotFoundError, match="cust-nope"):
            getattr(client.customization.jobs, call)("cust-nope")
    with pytest.raises(nemo_microservices.ConflictError, match="is completed already"):
        client.customization.jobs.cancel(done.id)
    assert done.status not in LIVE


class TestPromises(CustomizationContract):
    """Those that the fake stack of the unit tests shares."""

    @pytest.fixture
    def config(self):
        return f"{MODEL_ID}@v1.0.0+CPU"
