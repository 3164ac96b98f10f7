"""Targets whose weights are a model repository of the Data Store (`model_uri`), and what such a repository may hold."""

import json
from collections.abc import Callable
from typing import Any

import nemo_microservices
import pytest
from huggingface_hub import HfApi
from nemo_microservices import NeMoMicroservices

from embedded.customizer import stored_model
from embedded.customizer.model import TunedModel
from embedded.customizer.progress import Reporter
from embedded.customizer.spec import JobError, JobFolder, JobSpec
from tests.contract.customizer_support import MODEL_ID, finished, job_spec, jsonl, make_model, pairs, put_dataset

LORA = {"finetuning_type": "lora", "training_type": "sft", "epochs": 1, "batch_size": 16, "seed": 3}
OTHER_LAYERS = 3  # one more than the model of the settings has, so that nobody can mistake the one for the other


@pytest.fixture(scope="module")
def service(start_service: Callable[..., Any], tmp_path_factory, data_store_url, entity_store_url):
    return start_service(
        "customizer",
        entity_store_url=entity_store_url,
        data_store_url=data_store_url,
        base_models={MODEL_ID: str(make_model(tmp_path_factory.mktemp("settings")))},
        threads=2,
    )


@pytest.fixture(scope="module")
def client(service):
    with NeMoMicroservices(base_url=service.url) as sdk:
        yield sdk


@pytest.fixture(scope="module")
def dataset(hub: HfApi):
    files = {"training/a.jsonl": jsonl(pairs(32)), "validation/v.jsonl": jsonl(pairs(8, 1000))}
    return {"files_url": f"hf://datasets/{put_dataset(hub, 'stored-model-rows', files)}"}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("uploaded"), layers=OTHER_LAYERS)


@pytest.fixture
def put_model(hub: HfApi, unique, model_folder):
    """Upload the model, with files added, replaced or (None) left out; returns the repository."""

    def put(changes: dict[str, bytes | None] | None = None) -> str:
        changes, repo = changes or {}, f"uploads/{unique}"
        hub.create_repo(repo, repo_type="model")
        files = {path.name: path.read_bytes() for path in model_folder.iterdir()} | changes
        for name, content in files.items():
            if content is not None:
                hub.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=repo, repo_type="model")
        return repo

    return put


def _job(client, dataset, unique: str, uri: str, **target: Any) -> Any:
    client.customization.targets.create(
        name=f"{unique}@v1", namespace="team", num_parameters=1234, precision="fp32", model_uri=uri, **target
    )
    option = {"finetuning_type": "lora", "training_type": "sft", "num_gpus": 0, "micro_batch_size": 1}
    client.customization.configs.create(
        name=f"{unique}@v1+CPU",
        namespace="team",
        target=f"team/{unique}@v1",
        max_seq_length=256,
        training_options=[option],
    )
    job = client.customization.jobs.create(config=f"team/{unique}@v1+CPU", dataset=dataset, hyperparameters=LORA)
    return finished(client, job.id)


def test_a_job_trains_on_the_models_files_from_the_data_store(  # noqa: PLR0917
    client, service, dataset, put_model, hub, unique, tmp_path, entity_store_url
):
    job = _job(client, dataset, unique, f"hf://{put_model()}@main")
    assert job.status == "completed", job.status_details
    assert job.config_snapshot.base_model == f"team/{unique}", "a target without base_model gives its own name"
    namespace, _, name = job.output_model.partition("/")
    hub.snapshot_download(f"{namespace}/{name.partition('@')[0]}", revision=job.id, local_dir=tmp_path)
    from safetensors import safe_open

    with safe_open(tmp_path / "adapter_model.safetensors", framework="np") as adapter:
        layers = {key.partition(".layers.")[2].partition(".")[0] for key in adapter.keys()}  # noqa: SIM118
    assert layers == {str(number) for number in range(OTHER_LAYERS)}
    left = {path.name for path in (service.data_dir / "jobs" / job.id).iterdir()}
    assert not any(name.startswith(("base", "dataset")) for name in left), left
    with NeMoMicroservices(base_url=entity_store_url) as entities:
        model = entities.models.retrieve(name, namespace=namespace)
    assert (model.base_model, model.spec.num_parameters) == (f"team/{unique}", 1234)


def test_a_repository_that_is_missing_fails_the_job_and_is_named(client, dataset, unique):
    job = _job(client, dataset, unique, f"hf://models/uploads/{unique}", base_model=MODEL_ID)
    assert job.status == "failed"
    assert f"base model hf://models/uploads/{unique}: " in job.status_details.error_message
    assert "is not in the Data Store: upload the files first" in job.status_details.error_message
    error = client.customization.jobs.container_logs(job.id).error
    assert "model_uri" in error.explanation
    assert error.stack_trace is None


def test_a_model_uri_of_a_dataset_is_refused(client):
    with pytest.raises(nemo_microservices.BadRequestError, match="names a dataset"):
        client.customization.targets.create(num_parameters=1, precision="fp32", model_uri="hf://datasets/default/x")


@pytest.fixture
def spec_of(data_store_url):
    """Make the terms of a job that trains on these weights."""

    def make(weights: str) -> JobSpec:
        return job_spec(weights, LORA, data_store_url=data_store_url)

    return make


@pytest.fixture
def fetch(spec_of, tmp_path):
    """Fetch a repository as a job would; returns the folder."""
    folder = JobFolder(tmp_path / "job")
    folder.root.mkdir()
    return lambda address: stored_model.fetch(spec_of(address), folder)


def test_pickles_code_and_folders_below_are_left_behind(fetch, put_model, hub, model_folder):
    repo = put_model(
        {
            "pytorch_model.bin": b"pickle",
            "modeling_x.py": b"import os",
            "adapter_config.json": b"{}",
            "original/model.safetensors": b"x",
        }
    )
    found = fetch(f"hf://models/{repo}")
    fetched = {
        str(path.relative_to(found)) for path in found.rglob("*") if path.is_file() and ".cache" not in path.parts
    }
    assert fetched == {path.name for path in model_folder.iterdir()}
    hub.delete_repo(repo, repo_type="model")
    assert fetch(f"hf://models/{repo}") == found, "a job that goes on has its base model already"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config.json": None}, "it has no config.json"),
        ({"model.safetensors": None, "pytorch_model.bin": b"pickle"}, r"it has no \*\.safetensors"),
        ({"model.safetensors": b"no tensors"}, "model.safetensors cannot be read: "),
        ({stored_model.INDEX: json.dumps({"weight_map": {"w": "../other.safetensors"}}).encode()}, "'../other.safe"),
        ({stored_model.INDEX: b"[]"}, "is no index of weights"),
    ],
)
def test_what_is_no_model_is_refused_with_the_reason(fetch, put_model, changes, message):
    address = f"hf://models/{put_model(changes)}"
    with pytest.raises(JobError, match=f"^base model {address}: .*{message}"):
        fetch(address)


def test_a_model_above_the_limit_is_refused_before_it_is_fetched(fetch, put_model, monkeypatch, tmp_path):
    address = f"hf://models/{put_model()}"
    monkeypatch.setattr(stored_model, "MAX_BYTES", 1000)
    with pytest.raises(JobError, match="at most 1,000 are fetched"):
        fetch(address)
    assert not list((tmp_path / "job").rglob("*.safetensors"))


def test_a_model_that_lacks_weights_is_refused_and_not_filled_up_with_random_ones(spec_of, tmp_path):
    from safetensors.numpy import load_file, save_file

    weights = make_model(tmp_path / "model") / "model.safetensors"
    tensors = load_file(weights)
    del tensors["model.norm.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(JobError, match=r"has no model\.norm\.weight"):
        TunedModel(spec_of(str(weights.parent)), Reporter(tmp_path / "progress.jsonl"))
