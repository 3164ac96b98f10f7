"""Entity Store through the official SDK, and plain HTTP where the SDK hides what matters."""

import threading
from datetime import UTC, datetime, timedelta

import httpx
import nemo_microservices
import pytest
from nemo_microservices import NeMoMicroservices

LORA = {"finetuning_type": "lora", "lora": {"alpha": 16, "apply_lora_to_mlp": True, "apply_lora_to_output": False}}
SPEC = {"context_size": 2048, "is_chat": True, "num_parameters": 5_000_000, "num_virtual_tokens": 0}


def artifact(files_url: str, status: str = "created") -> dict[str, str]:
    return {"files_url": files_url, "status": status, "backend_engine": "hugging_face", "precision": "fp32"}


def test_namespace_life(sdk: NeMoMicroservices, unique: str) -> None:
    made = sdk.namespaces.create(id=unique, description="d", custom_fields={"a": 1})
    assert made.id == unique
    assert made.custom_fields == {"a": 1}
    got = sdk.namespaces.retrieve(unique)
    assert got.created_at == made.created_at
    changed = sdk.namespaces.update(unique, project="p")
    assert (changed.description, changed.project) == ("d", "p")
    assert changed.updated_at > changed.created_at
    assert unique in [n.id for n in sdk.namespaces.list(page_size=1)]
    gone = sdk.namespaces.delete(unique)
    assert gone.id == unique
    assert gone.deleted_at
    with pytest.raises(nemo_microservices.NotFoundError, match=unique):
        sdk.namespaces.retrieve(unique)


def test_project_life(sdk: NeMoMicroservices, unique: str) -> None:
    sdk.projects.create(name="p", namespace=unique, description="one")
    assert sdk.projects.retrieve("p", namespace=unique).description == "one"
    sdk.projects.update("p", namespace=unique, description="two")
    assert [p.description for p in sdk.projects.list(filter={"namespace": unique, "name": "p"})] == ["two"]
    sdk.projects.delete("p", namespace=unique)
    assert list(sdk.projects.list(filter={"namespace": unique})) == []


def test_name_and_namespace_have_defaults(sdk: NeMoMicroservices) -> None:
    made = sdk.datasets.create(files_url="s3://bucket/x")
    assert (made.namespace, made.name) == ("default", made.id)
    sdk.datasets.delete(made.name, namespace="default")
    model = sdk.models.create()
    assert model.name.startswith("model-")
    sdk.models.delete(model.name, namespace="default")


def test_customized_model_name_with_at_and_plus(sdk: NeMoMicroservices, entity_store_url: str, unique: str) -> None:
    name = "legal-lora@cust-8Yb2KfWmQpXtNs4VhDz7Ra"
    url = f"hf://models/{unique}/{name}"
    sdk.models.create(name=name, namespace=unique, base_model="meta/m", peft=LORA, spec=SPEC, artifact=artifact(url))
    sdk.models.create(name="m@v1.0.0+A100", namespace=unique)
    assert sdk.models.retrieve(name, namespace=unique).artifact.status == "created"
    assert sdk.models.retrieve("m@v1.0.0+A100", namespace=unique).name == "m@v1.0.0+A100"
    raw = httpx.get(f"{entity_store_url}/v1/models/{unique}/{name}").json()
    assert raw["name"] == name
    assert "id" not in raw
    assert httpx.get(f"{entity_store_url}/v1/models/{unique}/legal-lora%40cust-8Yb2KfWmQpXtNs4VhDz7Ra").json() == raw


def test_patch_merges_and_null_takes_back(sdk: NeMoMicroservices, entity_store_url: str, unique: str) -> None:
    sdk.models.create(name="m", namespace=unique, artifact=artifact("hf://models/a/b"), custom_fields={"a": 1, "b": 2})
    url = f"{entity_store_url}/v1/models/{unique}/m"
    got = httpx.patch(
        url, json={"artifact": {"status": "upload_completed"}, "custom_fields": {"a": None, "c": 3}}
    ).json()
    assert got["artifact"]["status"] == "upload_completed"
    assert got["artifact"]["files_url"] == "hf://models/a/b"
    assert got["custom_fields"] == {"b": 2, "c": 3}
    assert httpx.patch(url, json={"artifact": None}).json()["artifact"] is None
    assert httpx.patch(url, json={"name": "m", "namespace": unique}).status_code == 200


def test_a_refused_patch_changes_nothing(sdk: NeMoMicroservices, entity_store_url: str, unique: str) -> None:
    sdk.models.create(name="m", namespace=unique, artifact=artifact("hf://models/a/b"))
    url = f"{entity_store_url}/v1/models/{unique}/m"
    before = httpx.get(url).json()
    answer = httpx.patch(url, json={"artifact": {"status": "finished"}})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "artifact", "status"]
    assert httpx.patch(url, json={"name": "other"}).status_code == 422
    assert httpx.get(url).json() == before


def test_unknown_fields_come_back(entity_store_url: str, unique: str) -> None:
    sent = {
        "name": "m",
        "namespace": unique,
        "from_the_future": [1],
        "artifact": artifact("nds://models/a/b@v1") | {"x": 1},
    }
    got = httpx.post(f"{entity_store_url}/v1/models", json=sent)
    assert got.status_code == 201
    assert got.json()["from_the_future"] == [1]
    assert got.json()["artifact"]["x"] == 1


def test_server_fields_cannot_be_sent(entity_store_url: str, unique: str) -> None:
    sent = {"name": "d", "namespace": unique, "files_url": "s3://x", "id": "mine", "created_at": "1999-01-01T00:00:00"}
    got = httpx.post(f"{entity_store_url}/v1/datasets", json=sent).json()
    assert got["id"].startswith("dataset-")
    assert not got["created_at"].startswith("1999")


def test_timestamps_are_naive_utc_with_microseconds(entity_store_url: str, unique: str) -> None:
    text = httpx.post(f"{entity_store_url}/v1/namespaces", json={"id": unique}).json()["created_at"]
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f").replace(tzinfo=UTC)  # fails with a zone
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("namespaces", {"id": "{u}"}),
        ("projects", {"name": "x", "namespace": "{u}"}),
        ("datasets", {"name": "x", "namespace": "{u}", "files_url": "s3://x"}),
        ("models", {"name": "x", "namespace": "{u}"}),
    ],
)
def test_duplicates_are_409_and_not_retried(
    entity_store_url: str, unique: str, path: str, body: dict[str, str]
) -> None:
    body = {key: value.format(u=unique) for key, value in body.items()}
    assert httpx.post(f"{entity_store_url}/v1/{path}", json=body).status_code == 201
    again = httpx.post(f"{entity_store_url}/v1/{path}", json=body)
    assert again.status_code == 409
    assert again.headers["x-should-retry"] == "false"
    assert "exists already" in again.json()["detail"]


@pytest.mark.parametrize("path", ["namespaces/x", "projects/x/y", "datasets/x/y", "models/x/y"])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_unknown_is_404_naming_it(entity_store_url: str, path: str, method: str) -> None:
    answer = httpx.request(method, f"{entity_store_url}/v1/{path}", json={} if method == "PATCH" else None)
    assert answer.status_code == 404
    kind, _, name = path.partition("/")
    assert answer.json()["detail"] == f"{kind.removesuffix('s')} {name} does not exist"


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("datasets", {}, "files_url"),
        ("datasets", {"files_url": "hf://datasets/a/b/../c"}, "'..'"),
        ("datasets", {"files_url": "s3://x", "limit": "many"}, "limit"),
        ("datasets", {"files_url": "s3://x", "name": "a/b"}, "name"),
        ("datasets", {"files_url": "s3://x", "namespace": "../x"}, "namespace"),
        ("namespaces", {"id": ".."}, "namespace id"),
        ("namespaces", {"id": 5}, "namespace id"),
        ("models", {"artifact": {"files_url": "s3://x"}}, "status"),
        ("models", {"peft": {"finetuning_type": "qlora"}}, "finetuning_type"),
        ("models", {"spec": {"context_size": 1}}, "is_chat"),
        ("models", [], "dict"),
    ],
)
def test_nonsense_is_422_saying_what(entity_store_url: str, path: str, body: object, says: str) -> None:
    answer = httpx.post(f"{entity_store_url}/v1/{path}", json=body)
    assert answer.status_code == 422
    assert says in answer.text


def test_the_public_hub_has_repositories_without_namespace(sdk: NeMoMicroservices, unique: str) -> None:
    made = sdk.datasets.create(namespace=unique, files_url="hf://squad", hf_endpoint="https://huggingface.co")
    assert made.files_url == "hf://squad"


@pytest.fixture
def models(sdk: NeMoMicroservices, unique: str) -> str:
    """Five models in a namespace of their own: base, two adapters of it, one prompt, one of another base."""
    sdk.models.create(name="base", namespace=unique, spec=SPEC, description="Llama of five million")
    for name in ("a@cust-1", "b@cust-2"):
        sdk.models.create(name=name, namespace=unique, base_model=f"{unique}/base", peft=LORA, project="law")
    sdk.models.create(name="icl", namespace=unique, base_model=f"{unique}/base", prompt={"system_prompt": "Be brief."})
    full = {"finetuning_type": "all_weights"}
    sdk.models.create(
        name="full", namespace=unique, base_model=f"{unique}/other", peft=full, custom_fields={"k": "v w"}
    )
    return unique


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"filter": {"peft": True}}, ["a@cust-1", "b@cust-2", "full"]),
        ({"filter": {"peft": False}}, ["base", "icl"]),
        ({"filter": {"peft": {"lora": True}}}, ["a@cust-1", "b@cust-2"]),
        ({"filter": {"prompt": True}}, ["icl"]),
        ({"filter": {"base_model": "{ns}/base"}}, ["a@cust-1", "b@cust-2", "icl"]),
        ({"filter": {"base_model": {"name": "base"}}}, ["a@cust-1", "b@cust-2", "icl"]),
        ({"filter": {"base_model": {"name": "{ns}/other"}}}, ["full"]),
        ({"filter": {"project": "law", "peft": True}}, ["a@cust-1", "b@cust-2"]),
        ({"filter": {"created_at": {"gte": "2020-01-01"}}}, ["base", "a@cust-1", "b@cust-2", "icl", "full"]),
        ({"filter": {"created_at": {"lte": "2020-01-01"}}}, []),
        ({"search": {"name": "CUST"}}, ["a@cust-1", "b@cust-2"]),
        ({"search": {"name": ["cust-1", "icl"]}}, ["a@cust-1", "icl"]),
        ({"search": {"name": "cust", "project": "tax"}}, []),
        ({"search": {"description": "five mill"}}, ["base"]),
        ({"search": {"custom_fields": {"k": "w"}}}, ["full"]),
        ({"search": {"peft": "all_weights"}}, ["full"]),
        ({"search": {"created_at": {"end": datetime.now(UTC).strftime("%Y-%m-%d")}, "name": "icl"}}, ["icl"]),
        ({"sort": "-created_at"}, ["full", "icl", "b@cust-2", "a@cust-1", "base"]),
        ({"sort": "name"}, ["a@cust-1", "b@cust-2", "base", "full", "icl"]),
        ({"sort": "-name"}, ["icl", "full", "base", "b@cust-2", "a@cust-1"]),
    ],
)
def test_model_lists(sdk: NeMoMicroservices, models: str, query: dict, expected: list[str]) -> None:
    def filled(value):
        if isinstance(value, dict):
            return {key: filled(inner) for key, inner in value.items()}
        return value.format(ns=models) if isinstance(value, str) else value

    query = filled(query)
    query["filter"] = {"namespace": models} | query.get("filter", {})
    assert [m.name for m in sdk.models.list(**query, page_size=2)] == expected


def test_pages(sdk: NeMoMicroservices, entity_store_url: str, models: str) -> None:
    query = {"filter[namespace]": models, "page_size": "2", "sort": "name"}
    first = httpx.get(f"{entity_store_url}/v1/models", params=query).json()
    assert first["object"] == "list"
    assert first["sort"] == "name"
    assert first["filter"] == {"namespace": models}
    assert first["pagination"] == {
        "page": 1,
        "page_size": 2,
        "current_page_size": 2,
        "total_pages": 3,
        "total_results": 5,
    }
    last = httpx.get(f"{entity_store_url}/v1/models", params=query | {"page": "3"}).json()
    assert [m["name"] for m in last["data"]] == ["icl"]
    beyond = httpx.get(f"{entity_store_url}/v1/models", params=query | {"page": "4"})
    assert beyond.status_code == 200
    assert beyond.json()["data"] == []
    assert sdk.models.list(filter={"namespace": models}).pagination.page_size == 10


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=x",
        "page_size=1001",
        "sort=colour",
        "filter[colour]=red",
        "filter=x",
        "filter[a",
        "page=-1",
        "filter[created_at][gte]=soon",
        "filter[created_at][near]=2020-01-01",
    ],
)
def test_bad_queries_are_422(sdk: NeMoMicroservices, models: str, entity_store_url: str, query: str) -> None:
    answer = httpx.get(f"{entity_store_url}/v1/models?{query}")
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)


def test_one_of_many_simultaneous_creates_wins(entity_store_url: str, unique: str) -> None:
    codes: list[int] = []

    def create() -> None:
        codes.append(httpx.post(f"{entity_store_url}/v1/namespaces", json={"id": unique}, timeout=30).status_code)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [201] + [409] * 7


def test_simultaneous_patches_all_count(entity_store_url: str, unique: str) -> None:
    url = f"{entity_store_url}/v1/namespaces"
    httpx.post(url, json={"id": unique})

    def patch(number: int) -> None:
        httpx.patch(f"{url}/{unique}", json={"custom_fields": {str(number): number}}, timeout=30)

    threads = [threading.Thread(target=patch, args=[number]) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert httpx.get(f"{url}/{unique}").json()["custom_fields"] == {str(n): n for n in range(16)}


def test_entities_survive_kill_9(start_process, tmp_path) -> None:
    first = start_process("entity_store", data_dir=tmp_path)
    assert httpx.post(f"{first.url}/v1/namespaces", json={"id": "kept"}).status_code == 201
    first.process.kill()
    first.process.wait()
    second = start_process("entity_store", data_dir=tmp_path)
    assert httpx.get(f"{second.url}/v1/namespaces/kept").json()["id"] == "kept"
    second.stop()
    assert second.process.returncode == 0
