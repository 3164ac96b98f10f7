"""The REST routes: the same five for each kind of entity."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, NamedTuple

from fastapi import Body, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from embedded.common import listing
from embedded.common.errors import Unprocessable
from embedded.common.names import DEFAULT_NAMESPACE, new_id, now
from embedded.common.service import create_service
from embedded.entity_store import Settings, schema
from embedded.entity_store.entities import Record, Storage

JsonObject = dict[str, Any]
# The server's own; what a client sends for them is not stored.
SERVER_FIELDS = ("id", "name", "namespace", "created_at", "updated_at")


class Kind(NamedTuple):
    """A kind of entity: where it is, what it is made of, whether its answer carries the id."""

    name: str
    plural: str
    fields: type[schema.Entity]
    shows_id: bool = False


NAMESPACE = Kind("namespace", "namespaces", schema.Namespace)
IN_NAMESPACES = (
    Kind("project", "projects", schema.Project),
    Kind("dataset", "datasets", schema.Dataset, shows_id=True),
    Kind("model", "models", schema.Model),
)


def _checked(kind: Kind, body: Mapping[str, Any]) -> JsonObject:
    """Validate; 422 in FastAPI's shape."""
    try:
        return kind.fields.model_validate(body).model_dump(mode="json")
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**m, "loc": ("body", *m["loc"])} for m in mistakes]) from error


def _name(check: Callable[[Any, str], str], text: Any, what: str) -> str:
    try:
        return check(text, what)
    except ValueError as error:
        raise Unprocessable(str(error)) from error


def merged(old: Any, patch: Any) -> Any:
    """RFC 7396: objects key by key, null removes, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def _shown(kind: Kind, record: Record) -> JsonObject:
    if kind is NAMESPACE:
        identity = {"id": record.name}
    else:
        identity = {"id": record.id} if kind.shows_id else {}
        identity |= {"namespace": record.namespace, "name": record.name}
    return {**identity, **record.body, "created_at": record.created_at, "updated_at": record.updated_at}


def _without(body: JsonObject, keys: tuple[str, ...]) -> JsonObject:
    return {key: value for key, value in body.items() if key not in keys}


def _patch(storage: Storage, kind: Kind, namespace: str, name: str, patch: JsonObject) -> JsonObject:
    fixed = {"id": name} if kind is NAMESPACE else {"name": name, "namespace": namespace}
    for key, value in fixed.items():
        if patch.get(key, value) != value:
            raise Unprocessable(f"{kind.name} {name}: its {key} cannot be changed; create another one")
    own = _own_fields(kind, patch)
    return _shown(kind, storage.change(kind.name, namespace, name, lambda old: _checked(kind, merged(old, own))))


def _own_fields(kind: Kind, body: JsonObject) -> JsonObject:
    # A namespace has no name, and its `namespace` is a field like others.
    return _without(body, ("id", "created_at", "updated_at") if kind is NAMESPACE else SERVER_FIELDS)


def _page(storage: Storage, kind: Kind, request: Request) -> JsonObject:
    sort_fields = ["created_at", "updated_at"] if kind is NAMESPACE else ["created_at", "updated_at", "name"]
    narrowed = None if kind is NAMESPACE else request.query_params.get("filter[namespace]")
    if narrowed and "," in narrowed:
        narrowed = None
    return listing.page(
        (_shown(kind, record) for record in storage.all(kind.name, narrowed)),
        request.query_params,
        sort_fields=sort_fields,
        filter_fields={*kind.fields.model_fields, *SERVER_FIELDS},
    )


def _deleted(record: Record, what: str) -> JsonObject:
    shown = f"{record.namespace}/{record.name}" if record.namespace else record.name
    return {"id": record.id, "deleted_at": now(), "message": f"{what} {shown} deleted"}


def _add_namespace_routes(app: FastAPI, storage: Storage) -> None:
    kind = NAMESPACE

    @app.post("/v1/namespaces", status_code=201)
    def create(body: Annotated[JsonObject, Body()]) -> JsonObject:
        name = _name(schema.checked_namespace, body["id"], "namespace id") if body.get("id") else new_id(kind.name)
        return _shown(kind, storage.add(kind.name, "", name, name, _checked(kind, _own_fields(kind, body))))

    @app.get("/v1/namespaces")
    def list_all(request: Request) -> JsonObject:
        return _page(storage, kind, request)

    @app.get("/v1/namespaces/{name}")
    def get(name: str) -> JsonObject:
        return _shown(kind, storage.get(kind.name, "", name))

    @app.patch("/v1/namespaces/{name}")
    def update(name: str, body: Annotated[JsonObject, Body()]) -> JsonObject:
        return _patch(storage, kind, "", name, body)

    @app.delete("/v1/namespaces/{name}")
    def delete(name: str) -> JsonObject:
        return _deleted(storage.remove(kind.name, "", name), kind.name)


def _add_routes(app: FastAPI, storage: Storage, kind: Kind) -> None:
    base = f"/v1/{kind.plural}"

    @app.post(base, status_code=201)
    def create(body: Annotated[JsonObject, Body()]) -> JsonObject:
        entity_id = new_id(kind.name)
        namespace = _name(schema.checked_namespace, body.get("namespace") or DEFAULT_NAMESPACE, "namespace")
        name = _name(schema.checked_name, body.get("name") or entity_id, kind.name)
        fields = _checked(kind, _own_fields(kind, body))
        return _shown(kind, storage.add(kind.name, namespace, name, entity_id, fields))

    @app.get(base)
    def list_all(request: Request) -> JsonObject:
        return _page(storage, kind, request)

    @app.get(f"{base}/{{namespace}}/{{name}}")
    def get(namespace: str, name: str) -> JsonObject:
        return _shown(kind, storage.get(kind.name, namespace, name))

    @app.patch(f"{base}/{{namespace}}/{{name}}")
    def update(namespace: str, name: str, body: Annotated[JsonObject, Body()]) -> JsonObject:
        return _patch(storage, kind, namespace, name, body)

    @app.delete(f"{base}/{{namespace}}/{{name}}")
    def delete(namespace: str, name: str) -> JsonObject:
        return _deleted(storage.remove(kind.name, namespace, name), kind.name)


def create_app(settings: Settings) -> FastAPI:
    """Build the app; the database opens when it starts."""
    storage = Storage(settings.data_dir / "entities.sqlite")

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        storage.open()
        yield
        storage.close()

    app = create_service("Entity Store", lifespan)
    _add_namespace_routes(app, storage)
    for kind in IN_NAMESPACES:
        _add_routes(app, storage, kind)
    return app
