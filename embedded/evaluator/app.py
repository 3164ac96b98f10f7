"""The Evaluator's app: lifetime of store and engine, and the v1 routes. Routes of v2 and of the guide are beside it."""

import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, FastAPI, Request, Response

from embedded.common.errors import Unprocessable
from embedded.common.job_queue import Stopped
from embedded.common.names import new_id, now
from embedded.common.service import create_service
from embedded.evaluator.api import Api, Part, find_api, list_page
from embedded.evaluator.errors import DataError, EvaluationError
from embedded.evaluator.evaluation_jobs import Evaluation, Jobs
from embedded.evaluator.plan import Plan, make_plan
from embedded.evaluator.records import Records
from embedded.evaluator.request_models import Dataset
from embedded.evaluator.routes_seed import seed_routes
from embedded.evaluator.routes_v2 import v2_routes
from embedded.evaluator.rows import RowSource
from embedded.evaluator.settings import Settings
from embedded.evaluator.store import Store, masked

Document = Annotated[dict[str, Any], Body()]
_LIVE_ROWS = 100  # a live evaluation answers within one request


def create_app(settings: Settings) -> FastAPI:
    """Make the service; its store is opened at start-up."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        store = Store(settings.data_dir / "evaluator.db")
        jobs = Jobs(settings, store)
        app.state.api = Api(settings, store, jobs)
        jobs.start()
        yield
        jobs.stop()
        store.close()

    app = create_service("Evaluator", lifespan)
    app.include_router(_entity_routes("target"))
    app.include_router(_entity_routes("config"))
    app.include_router(_job_routes())
    app.include_router(_result_routes())
    app.include_router(v2_routes())
    app.include_router(seed_routes())
    return app


def _entity_routes(kind: Part) -> APIRouter:
    routes = APIRouter(prefix=f"/v1/evaluation/{kind}s")

    @routes.post("", status_code=201)
    def create(request: Request, document: Document) -> Any:
        return find_api(request).create_entity(kind, document)

    @routes.get("")
    def listing(request: Request) -> Any:
        return list_page(masked(find_api(request).store.all(kind)), request.query_params)

    @routes.get("/{namespace}/{name}")
    def read(request: Request, namespace: str, name: str) -> Any:
        return masked(find_api(request).store.get(kind, f"{namespace}/{name}"))

    @routes.patch("/{namespace}/{name}")
    def update(request: Request, namespace: str, name: str, document: Document) -> Any:
        return find_api(request).update_entity(kind, f"{namespace}/{name}", document)

    @routes.delete("/{namespace}/{name}")
    def delete(request: Request, namespace: str, name: str) -> Any:
        gone = find_api(request).store.delete(kind, f"{namespace}/{name}")
        return {"id": gone["id"], "deleted_at": now(), "message": f"{kind} {namespace}/{name} deleted"}

    return routes


def _job_routes() -> APIRouter:
    routes = APIRouter(prefix="/v1/evaluation")

    @routes.post("/jobs", status_code=201)
    def create(request: Request, document: Document) -> Any:
        return find_api(request).create_job(document)

    @routes.get("/jobs")
    def listing(request: Request) -> Any:
        return list_page(find_api(request).jobs(), request.query_params)

    @routes.get("/jobs/{job_id}")
    def read(request: Request, job_id: str) -> Any:
        return find_api(request).job(job_id)

    @routes.delete("/jobs/{job_id}")
    def delete(request: Request, job_id: str) -> Any:
        find_api(request).queue.delete(job_id)
        return {"id": job_id, "deleted_at": now(), "message": "job deleted"}

    @routes.post("/jobs/{job_id}/cancel")
    def cancel(request: Request, job_id: str) -> Any:
        return masked(find_api(request).queue.cancel(job_id))

    @routes.get("/jobs/{job_id}/status")
    def status(request: Request, job_id: str) -> Any:
        return find_api(request).job(job_id)["status_details"]

    @routes.get("/jobs/{job_id}/results")
    def result(request: Request, job_id: str) -> Any:
        return find_api(request).result(job_id)

    @routes.get("/jobs/{job_id}/download-results")
    def download(request: Request, job_id: str) -> Response:
        headers = {"content-disposition": f'attachment; filename="{job_id}.zip"'}
        return Response(find_api(request).archive(job_id), media_type="application/zip", headers=headers)

    @routes.get("/jobs/{job_id}/logs")
    def logs(request: Request, job_id: str) -> Any:
        lines = find_api(request).log(job_id)
        return {
            "job": job_id,
            "entries": lines,
            "logs": "".join(f"{line['timestamp']} {line['message']}\n" for line in lines),
        }

    @routes.post("/live")
    def live(request: Request, document: Document) -> Any:
        return _evaluate_live(find_api(request), document)

    return routes


def _evaluate_live(api: Api, document: dict[str, Any]) -> dict[str, Any]:
    """Evaluate within the request; nothing is stored."""
    if "config" not in document or "target" not in document:
        raise Unprocessable("live: `config` and `target` are needed")
    config, target = api.expand("config", document["config"]), api.expand("target", document["target"])
    plan = make_plan(config, target, api.settings)
    _check_live_rows(api, plan)
    with tempfile.TemporaryDirectory(prefix="nemostack-live-") as folder:
        evaluation = Evaluation(plan, api.settings, Path(folder), threading.Event())
        result: dict[str, Any] = {"tasks": {}, "groups": {}}
        try:
            result, status = evaluation.run(), "completed"
        except (EvaluationError, Stopped) as error:
            evaluation.message, status = str(error), "failed"
        lines = [line["message"] for line in Records(Path(folder) / "log.jsonl").read()]
    identity = {
        "id": new_id("evaluation_result"),
        "job": new_id("eval"),
        "namespace": document.get("namespace") or "default",
    }
    return {
        "status": status,
        "status_details": evaluation.details(),
        "result": identity | result,
        "logs": {"evaluation": lines},
    }


def _check_live_rows(api: Api, plan: Plan) -> None:
    """Unprocessable when a task has more rows than one request may wait for."""
    for task in plan.tasks:
        limit, target = task.params.limit_samples, plan.target
        if limit is not None and limit <= _LIVE_ROWS:
            continue
        source: str | Dataset | None = (
            task.dataset or target.dataset or (target.cached_outputs.files_url if target.cached_outputs else None)
        )
        if task.kind == "benchmark" and task.dataset is None:
            raise Unprocessable(f"live: set params.limit_samples to at most {_LIVE_ROWS}, or create a job")
        if source is None:
            count = len(target.rows or [])
        else:
            try:
                count = len(RowSource(api.settings).read(source, limit))
            except DataError:
                continue  # the evaluation itself says what is wrong
        if count > _LIVE_ROWS:
            raise Unprocessable(
                f"live: task {task.name} has {count} rows, at most {_LIVE_ROWS} are evaluated in one request; set "
                "params.limit_samples or the dataset's limit, or create a job"
            )


def _result_routes() -> APIRouter:
    routes = APIRouter(prefix="/v1/evaluation/results")
    own = ("id", "job", "created_at")

    @routes.post("", status_code=201)
    def create(request: Request, document: Document) -> Any:
        if not isinstance(document.get("job"), str):
            raise Unprocessable("result.job: the id of the job is needed")
        defaults: dict[str, Any] = {
            "namespace": "default",
            "tasks": {},
            "groups": {},
            "custom_fields": {},
            "files_url": None,
        }
        return masked(find_api(request).store.add("result", defaults | document | {"id": new_id("evaluation_result")}))

    @routes.get("")
    def listing(request: Request) -> Any:
        return list_page(find_api(request).store.all("result"), request.query_params)

    @routes.get("/{result_id}")
    def read(request: Request, result_id: str) -> Any:
        return find_api(request).store.get("result", result_id)

    @routes.patch("/{result_id}")
    def update(request: Request, result_id: str, document: Document) -> Any:
        changes = {key: value for key, value in document.items() if key not in own}
        return find_api(request).store.update("result", result_id, **changes)

    @routes.delete("/{result_id}")
    def delete(request: Request, result_id: str) -> Any:
        find_api(request).store.delete("result", result_id)
        return {"id": result_id, "deleted_at": now(), "message": "result deleted"}

    return routes
