"""The Entity Store: namespaces, datasets and models, made, found, changed and deleted.

Fixtures: `sdk` on the service at `entity_store_url`, and `unique`, a name that no other test uses.
"""

from typing import Any

import httpx
import pytest
from nemo_microservices import ConflictError, NeMoMicroservices, NotFoundError


class EntityStoreContract:
    """What clients may rely on."""

    def test_a_namespace_is_made_found_and_deleted(self, sdk: NeMoMicroservices, unique: str) -> None:
        assert sdk.namespaces.create(id=unique).id == unique
        assert sdk.namespaces.retrieve(unique).id == unique
        assert unique in [namespace.id for namespace in sdk.namespaces.list(page_size=1)]
        gone = sdk.namespaces.delete(unique)
        assert gone.id == unique
        assert gone.deleted_at
        with pytest.raises(NotFoundError, match=unique):
            sdk.namespaces.retrieve(unique)

    def test_a_dataset_is_made_found_changed_and_deleted(self, sdk: NeMoMicroservices, unique: str) -> None:
        url = f"hf://datasets/{unique}/legal"
        made = sdk.datasets.create(name="legal", namespace=unique, files_url=url, project="law", limit=5, split="train")
        assert made.id is not None
        assert made.id.startswith("dataset-")
        assert len(made.id) == len("dataset-") + 22
        got = sdk.datasets.retrieve("legal", namespace=unique)
        assert (got.files_url, got.project, got.limit, got.split, got.hf_endpoint) == (url, "law", 5, "train", None)
        changed = sdk.datasets.update("legal", namespace=unique, files_url=f"{url}/testing/a.jsonl")
        assert changed.files_url == f"{url}/testing/a.jsonl"
        assert changed.limit == 5
        assert sdk.datasets.delete("legal", namespace=unique).id == made.id
        with pytest.raises(NotFoundError, match=f"dataset {unique}/legal does not exist"):
            sdk.datasets.retrieve("legal", namespace=unique)

    def test_custom_fields_of_a_model_are_replaced_list_by_list(self, sdk: NeMoMicroservices, unique: str) -> None:
        sdk.models.create(name="prod", namespace=unique, base_model="a/b", custom_fields={"changes": [1], "kept": "x"})
        sdk.models.update("prod", namespace=unique, base_model="a/c", custom_fields={"changes": [1, {"two": None}]})
        found = sdk.models.retrieve("prod", namespace=unique)
        assert found.custom_fields == {"changes": [1, {"two": None}], "kept": "x"}
        assert found.base_model == "a/c"
        with pytest.raises(NotFoundError):
            sdk.models.update("none", namespace=unique, base_model="a/c")

    def test_lists_are_of_one_namespace_and_in_pages(
        self, sdk: NeMoMicroservices, entity_store_url: str, unique: str
    ) -> None:
        for name in ("one", "two", "three"):
            sdk.datasets.create(name=name, namespace=unique, files_url="hf://datasets/a/b")
        sdk.datasets.create(name="four", namespace=f"{unique}-other", files_url="hf://datasets/a/b")
        listed = sdk.datasets.list(filter={"namespace": unique}, page_size=2)
        assert [dataset.name for dataset in listed] == ["one", "two", "three"]
        query = {"filter[namespace]": unique, "page_size": "2", "page": "2"}
        last = httpx.get(f"{entity_store_url}/v1/datasets", params=query).json()
        assert last["object"] == "list"
        assert [dataset["name"] for dataset in last["data"]] == ["three"]
        assert last["pagination"] == {
            "page": 2,
            "page_size": 2,
            "current_page_size": 1,
            "total_pages": 2,
            "total_results": 3,
        }

    @pytest.mark.parametrize("path", ["namespaces", "datasets"])
    def test_duplicates_are_409_and_not_retried(self, entity_store_url: str, unique: str, path: str) -> None:
        bodies: dict[str, dict[str, Any]] = {
            "namespaces": {"id": unique},
            "datasets": {"name": "x", "namespace": unique, "files_url": "s3://x"},
        }
        assert httpx.post(f"{entity_store_url}/v1/{path}", json=bodies[path]).status_code == 201
        again = httpx.post(f"{entity_store_url}/v1/{path}", json=bodies[path])
        assert again.status_code == 409
        assert again.headers["x-should-retry"] == "false"
        assert "exists already" in again.json()["detail"]

    def test_the_sdk_sends_a_duplicate_once(self, entity_store_url: str, unique: str) -> None:
        sent = []
        hooks = {"request": [lambda request: sent.append(request.method)]}
        with NeMoMicroservices(base_url=entity_store_url, http_client=httpx.Client(event_hooks=hooks)) as sdk:
            sdk.namespaces.create(id=unique)
            with pytest.raises(ConflictError):
                sdk.namespaces.create(id=unique)
        assert sent == ["POST", "POST"]

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "namespaces/x"),
            ("DELETE", "namespaces/x"),
            ("GET", "datasets/x/y"),
            ("PATCH", "datasets/x/y"),
            ("DELETE", "datasets/x/y"),
            ("GET", "models/x/y"),
            ("DELETE", "models/x/y"),
        ],
    )
    def test_unknown_is_404_naming_it(self, entity_store_url: str, method: str, path: str) -> None:
        answer = httpx.request(method, f"{entity_store_url}/v1/{path}", json={} if method == "PATCH" else None)
        assert answer.status_code == 404
        kind, _, name = path.partition("/")
        assert answer.json()["detail"] == f"{kind.removesuffix('s')} {name} does not exist"
