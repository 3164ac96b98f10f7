"""The Entity Store of the fake stack: namespaces, datasets and models, by the routes that the harness uses."""

import json
import math
from collections.abc import Callable, Iterable
from typing import Any

from tests.unit.fake_data_store import Answer

TIME = "2026-01-01T00:00:00.000000"
PAGE_SIZE = 10
NO_RETRY = {"x-should-retry": "false"}


class FakeEntityStore:
    """State of the entities by `namespace/name`, and routes over it."""

    query: dict[str, str]

    def __init__(self) -> None:
        self.namespaces: set[str] = {"default"}
        self.datasets: dict[str, dict[str, Any]] = {}
        self.models: dict[str, dict[str, Any]] = {}
        super().__init__()

    def page(self, rows: Iterable[Any]) -> dict[str, Any]:
        """Answer with the page that the query asks for."""
        everything = list(rows)
        number, size = int(self.query.get("page", 1)), int(self.query.get("page_size", PAGE_SIZE))
        shown = everything[(number - 1) * size : number * size]
        pagination = {
            "page": number,
            "page_size": size,
            "current_page_size": len(shown),
            "total_pages": math.ceil(len(everything) / size),
            "total_results": len(everything),
        }
        return {"object": "list", "data": shown, "pagination": pagination}

    def list_namespaces(self, _body: bytes) -> Any:
        return self.page({"id": name} for name in sorted(self.namespaces))

    def add_namespace(self, body: bytes) -> Any:
        name = json.loads(body)["id"]
        if name in self.namespaces:
            raise Answer(409, {"detail": f"namespace {name} exists already"}, NO_RETRY)
        self.namespaces.add(name)
        raise Answer(201, {"id": name})

    def namespace(self, name: str) -> Any:
        if name not in self.namespaces:
            raise not_found("namespace", name)
        return {"id": name}

    def drop_namespace(self, name: str) -> Any:
        self.namespace(name)
        self.namespaces.remove(name)
        return {"id": name, "deleted_at": TIME, "message": "gone"}

    def add_dataset(self, body: bytes) -> Any:
        raw = json.loads(body)
        name = f"{raw['namespace']}/{raw['name']}"
        if name in self.datasets:
            raise Answer(409, {"detail": f"dataset {name} exists already"}, NO_RETRY)
        self.datasets[name] = raw | {"id": f"dataset-{len(self.datasets):022}"}
        raise Answer(201, self.entity("datasets", name))

    def add_model(self, body: bytes) -> Any:
        raw = json.loads(body)
        name = f"{raw['namespace']}/{raw['name']}"
        if name in self.models:
            raise Answer(409, {"detail": f"model {name} exists already"}, NO_RETRY)
        self.models[name] = raw
        raise Answer(201, self.entity("models", name))

    def entity(self, kind: str, full_name: str) -> Any:
        """Show an entity with what the server adds of its own."""
        entities: dict[str, dict[str, Any]] = getattr(self, kind)
        if full_name not in entities:
            raise not_found(kind.removesuffix("s"), full_name)
        namespace, _, name = full_name.partition("/")
        own = {"namespace": namespace, "name": name, "created_at": TIME, "updated_at": TIME}
        return {**entities[full_name], **own}

    def entities(self, kind: str) -> Any:
        """List a page, of one namespace where the query asks for it."""
        namespace = self.query.get("filter[namespace]")
        rows = [self.entity(kind, name) for name in getattr(self, kind)]
        return self.page(row for row in rows if namespace in {None, row["namespace"]})

    def change_dataset(self, body: bytes, name: str) -> Any:
        self.entity("datasets", name)
        self.datasets[name].update(json.loads(body))
        return self.entity("datasets", name)

    def change_model(self, body: bytes, name: str) -> Any:
        self.entity("models", name)
        change = json.loads(body)
        fields = {**self.models[name].get("custom_fields", {}), **change.get("custom_fields", {})}
        self.models[name].update({**change, "custom_fields": fields})
        return self.entity("models", name)

    def drop_entity(self, kind: str, name: str) -> Any:
        entity = self.entity(kind, name)
        del getattr(self, kind)[name]
        return {"id": entity.get("id", name), "deleted_at": TIME, "message": "gone"}


def not_found(kind: str, name: str) -> Answer:
    """Make the answer about what does not exist."""
    return Answer(404, {"detail": f"{kind} {name} does not exist"})


ENTITY_STORE_ROUTES: tuple[tuple[str, Callable[..., Any]], ...] = (
    ("GET /v1/namespaces", FakeEntityStore.list_namespaces),
    ("POST /v1/namespaces", FakeEntityStore.add_namespace),
    ("GET /v1/namespaces/(.+)", lambda s, _b, name: s.namespace(name)),
    ("DELETE /v1/namespaces/(.+)", lambda s, _b, name: s.drop_namespace(name)),
    ("POST /v1/datasets", FakeEntityStore.add_dataset),
    ("POST /v1/models", FakeEntityStore.add_model),
    ("PATCH /v1/models/(.+)", FakeEntityStore.change_model),
    ("GET /v1/(datasets|models)", lambda s, _b, kind: s.entities(kind)),
    ("PATCH /v1/datasets/(.+)", FakeEntityStore.change_dataset),
    ("GET /v1/(datasets|models)/(.+)", lambda s, _b, kind, name: s.entity(kind, name)),
    ("DELETE /v1/(datasets|models)/(.+)", lambda s, _b, kind, name: s.drop_entity(kind, name)),
)
