"""Puts the routes together: the Hub's at `/v1/hf` and at the root, NVIDIA's namespaces at `/v1/datastore`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.concurrency import run_in_threadpool

from embedded.common import listing
from embedded.common.service import create_service
from embedded.data_store import Settings, bodies, names
from embedded.data_store.hub_errors import Invalid
from embedded.data_store.hub_routes import add_listing_routes, add_ref_routes, add_repository_routes
from embedded.data_store.lfs_routes import add_lfs_routes
from embedded.data_store.storage import Storage
from embedded.data_store.transfer_routes import add_download_routes, add_upload_routes

JsonObject = dict[str, Any]
NAMESPACES = "/v1/datastore/namespaces"


def _add_namespace_routes(app: FastAPI, storage: Storage) -> None:
    @app.post(NAMESPACES, status_code=201)
    async def create(request: Request) -> JsonObject:
        """Form-encoded as NVIDIA's clients send it, or JSON."""
        if request.headers.get("content-type", "").startswith("application/json"):
            name = (await bodies.json_object(request)).get("namespace")
        else:
            async with request.form(max_files=0, max_fields=10) as form:
                name = form.get("namespace")
        if not name:
            raise Invalid("expected a form field (or JSON key) 'namespace'")
        return await run_in_threadpool(storage.add_namespace, names.namespace_name(name))

    @app.get(NAMESPACES)
    @app.get(f"{NAMESPACES}/")
    def list_all(request: Request) -> JsonObject:
        return listing.page(storage.namespaces(), request.query_params, sort_fields=["created_at", "namespace"])

    @app.get(f"{NAMESPACES}/{{name}}")
    def get(name: str) -> JsonObject:
        return storage.namespace(name)

    @app.delete(f"{NAMESPACES}/{{name}}")
    def delete(name: str) -> JsonObject:
        storage.remove_namespace(name)
        return {"namespace": name, "message": f"namespace {name} deleted"}


def create_app(settings: Settings) -> FastAPI:
    """Build the app; the data folder opens when it starts."""
    storage = Storage(settings.data_dir)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        storage.open()
        yield
        storage.close()

    app = create_service("Data Store", lifespan, max_body_bytes=None)  # bodies.py limits each by its kind
    _add_namespace_routes(app, storage)
    hub = APIRouter()
    add_repository_routes(hub, storage)
    add_ref_routes(hub, storage)
    add_lfs_routes(hub, storage, settings)
    add_listing_routes(hub, storage)
    add_upload_routes(hub, storage, settings)
    add_download_routes(hub, storage)
    app.include_router(hub, prefix="/v1/hf")
    app.include_router(hub, include_in_schema=False)
    return app
