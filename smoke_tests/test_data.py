"""Data Store and Entity Store: what goes in comes out, through the official clients."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from nemo_microservices import NotFoundError

from nemostack.clients import Clients
from nemostack.clients.data_store import accepting_empty_commit_url
from nemostack.outputs import StackOutputs
from smoke_tests.conftest import Session
from smoke_tests.journal import Kind, Stack
from smoke_tests.shared import Shared, small_dataset

Make = Callable[[Kind, str], str]


@pytest.mark.product("microservices")
@pytest.mark.services("entity_store")
def test_namespace_project_and_dataset_round_trip(clients: Clients, name: str, made: Make) -> None:
    sdk = clients.sdk
    space = made("namespace", f"smoke-{name}")
    clients.entity_store.ensure_namespace(space)
    assert sdk.namespaces.retrieve(space).id == space
    made("dataset", f"{space}/papers")
    sdk.datasets.create(name="papers", namespace=space, files_url=f"hf://datasets/{space}/papers", description="one")
    dataset = sdk.datasets.retrieve("papers", namespace=space)
    assert (dataset.name, dataset.namespace, dataset.description) == ("papers", space, "one")
    sdk.datasets.update("papers", namespace=space, description="two")
    assert sdk.datasets.retrieve("papers", namespace=space).description == "two"
    assert [d.name for d in sdk.datasets.list(filter={"namespace": space})] == ["papers"]
    sdk.datasets.delete("papers", namespace=space)
    with pytest.raises(NotFoundError):
        sdk.datasets.retrieve("papers", namespace=space)


@pytest.mark.product("microservices")
@pytest.mark.services("data_store")
def test_files_come_back_as_they_were(
    outputs: StackOutputs, clients: Clients, smoke: Session, *, name: str, made: Make, tmp_path: Path
) -> None:
    clients.data_store.ensure_namespace(smoke.namespace)
    api = HfApi(endpoint=f"{outputs.data_store_url}/v1/hf", token=False)
    repo = made("dataset-repo", f"{smoke.namespace}/{name}")
    api.create_repo(repo, repo_type="dataset")
    binary = os.urandom(3_000_000)  # large and binary: goes by LFS where the Data Store asks for it
    folder = tmp_path / "up"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "weights.bin").write_bytes(binary)
    (folder / "notes.txt").write_text("Ünïcode\r\n", newline="")
    with accepting_empty_commit_url():
        api.upload_folder(folder_path=folder, repo_id=repo, repo_type="dataset", commit_message="smoke test")
    # a Data Store may add files of its own, such as .gitattributes
    assert set(api.list_repo_files(repo, repo_type="dataset")) >= {"deep/weights.bin", "notes.txt"}
    down = Path(api.snapshot_download(repo, repo_type="dataset", local_dir=tmp_path / "down"))
    assert hashlib.sha256((down / "deep" / "weights.bin").read_bytes()).digest() == hashlib.sha256(binary).digest()
    assert (down / "notes.txt").read_bytes() == "Ünïcode\r\n".encode()
    with accepting_empty_commit_url():
        api.delete_file("notes.txt", repo, repo_type="dataset")
    assert not api.file_exists(repo, "notes.txt", repo_type="dataset")
    api.delete_repo(repo, repo_type="dataset")
    assert not api.repo_exists(repo, repo_type="dataset")


@pytest.mark.product("platform")
@pytest.mark.services("platform")
def test_files_of_a_fileset_come_back_as_they_were(clients: Clients, smoke: Session, name: str, made: Make) -> None:
    made("namespace", smoke.namespace)
    made("dataset", f"{smoke.namespace}/{name}")
    files = {"deep/weights.bin": os.urandom(3_000_000), "notes.txt": "Ünïcode\r\n".encode()}
    clients.datasets.upload(smoke.namespace, name, files, message="smoke test")
    platform = clients.platform.within(smoke.namespace)
    assert platform.files(name) == {path: len(content) for path, content in files.items()}
    for path, content in files.items():
        assert platform.read(name, path) == content
    platform.upload(name, "notes.txt", b"other")
    assert platform.read(name, "notes.txt") == b"other"
    assert clients.datasets.delete(smoke.namespace, name) == [f"fileset {smoke.namespace}/{name}"]
    assert platform.fileset(name) is None


@pytest.mark.services("data_store", "entity_store", "platform")
def test_dataset_upload(
    clients: Clients, shared: Shared, stack: Stack, smoke: Session, *, name: str, made: Make
) -> None:
    repo, files = f"{smoke.namespace}/{name}", small_dataset()
    shared.upload(repo, files, made)
    for path, content in files.items():
        assert clients.datasets.read(smoke.namespace, name, path) == content
    assert clients.datasets.missing(smoke.namespace, name) is None
    if not clients.on_platform:
        dataset = clients.sdk.datasets.retrieve(name, namespace=smoke.namespace)
        assert dataset.files_url == f"hf://datasets/{repo}"
    assert any(entry.name == repo for entry in stack.in_namespace(smoke.namespace))
