"""The guide's routes: POST `/v1/evaluations` `{"model": {"id"}, "config"}`, and GETs below it. The same jobs as v1."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request

from embedded.common.errors import Unprocessable
from embedded.evaluator.api import find_api, list_page


def seed_routes() -> APIRouter:
    """Aliases of the v1 job routes."""
    routes = APIRouter(prefix="/v1/evaluations")

    @routes.post("", status_code=201)
    def create(request: Request, document: Annotated[dict[str, Any], Body()]) -> Any:
        model = document.get("model")
        model_id = model.get("id") if isinstance(model, dict) else model
        if "target" not in document:
            if not isinstance(model_id, str):
                raise Unprocessable("model.id: missing; give the id of a served model, or a target")
            rest = {key: value for key, value in document.items() if key != "model"}
            document = rest | {"target": {"type": "model", "model": model_id}}
        return find_api(request).create_job(document)

    @routes.get("")
    def listing(request: Request) -> Any:
        return list_page(find_api(request).jobs(), request.query_params)

    @routes.get("/{job_id}")
    def read(request: Request, job_id: str) -> Any:
        return find_api(request).job(job_id)

    @routes.get("/{job_id}/results")
    def result(request: Request, job_id: str) -> Any:
        return find_api(request).result(job_id)

    return routes
