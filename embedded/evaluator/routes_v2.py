"""The v2 routes: another face of the same jobs. `active` and `error` are v1's `running` and `failed`."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response

from embedded.common.errors import NotFound, Unprocessable
from embedded.evaluator.api import find_api, list_page

_STATUS = {"running": "active", "failed": "error"}
_TASK_STATUS = {"running": "active", "failed": "error", "completed": "completed", "pending": "pending"}
_RESULTS = ("evaluation-results", "artifacts")
_ENTITY_FIELDS = {
    "id",
    "name",
    "namespace",
    "created_at",
    "updated_at",
    "description",
    "project",
    "custom_fields",
    "ownership",
}


def _as_v2(job: dict[str, Any]) -> dict[str, Any]:
    details = job["status_details"]
    status = _STATUS.get(job["status"], job["status"])
    spec = {part: {k: v for k, v in job[part].items() if k not in _ENTITY_FIELDS} for part in ("target", "config")}
    same = {
        key: job.get(key)
        for key in (
            "id",
            "namespace",
            "description",
            "project",
            "custom_fields",
            "ownership",
            "created_at",
            "updated_at",
        )
    }
    errors = {"message": details["message"]} if status == "error" else {}
    return same | {
        "name": job.get("name") or job["id"],
        "spec": spec,
        "status": status,
        "status_details": details,
        "error_details": errors,
    }


def _status(job: dict[str, Any]) -> dict[str, Any]:
    v2 = _as_v2(job)
    common = {"status": v2["status"], "status_details": v2["status_details"], "error_details": v2["error_details"]}
    tasks = [
        {
            "id": name,
            "status": "cancelled" if v2["status"] == "cancelled" and state != "completed" else _TASK_STATUS[state],
            "status_details": {},
            "error_details": v2["error_details"] if state == "failed" else {},
            "error_stack": "",
        }
        for name, state in v2["status_details"]["task_status"].items()
    ]
    return {"job_id": v2["id"]} | common | {"steps": [{"name": "evaluation"} | common | {"tasks": tasks}]}


def _number(request: Request, key: str, default: int) -> int:
    text = request.query_params.get(key) or str(default)
    if not text.isdecimal():
        raise Unprocessable(f"{key}={text!r}: expected a whole number")
    return int(text)


def _entry(job: dict[str, Any], name: str) -> dict[str, Any]:
    """Describe one result of a job; NotFound when it has none of that name, or none yet."""
    if name not in _RESULTS or job["status"] != "completed":
        raise NotFound(
            f"job {job['id']} is {job['status']} and has no result {name!r}; results are {', '.join(_RESULTS)}"
        )
    same = {"job_id": job["id"], "namespace": job["namespace"], "project": job.get("project")}
    address = {"artifact_url": job["output_files_url"] or "", "artifact_storage_type": "nds"}
    return same | address | {"result_name": name, "created_at": job["updated_at"], "updated_at": job["updated_at"]}


def v2_routes() -> APIRouter:
    """Jobs, status, logs and results of v2."""
    routes = APIRouter(prefix="/v2/evaluation/jobs")
    _add_job_routes(routes)
    _add_result_routes(routes)
    return routes


def _add_job_routes(routes: APIRouter) -> None:
    @routes.post("", status_code=201)
    def create(request: Request, document: Annotated[dict[str, Any], Body()]) -> Any:
        spec = document.get("spec")
        if not isinstance(spec, dict) or not {"target", "config"} <= set(spec):
            raise Unprocessable("spec: `target` and `config` are needed")
        rest = {key: value for key, value in document.items() if key != "spec"}
        return _as_v2(find_api(request).create_job(rest | {"target": spec["target"], "config": spec["config"]}))

    @routes.get("")
    def listing(request: Request) -> Any:
        return list_page([_as_v2(job) for job in find_api(request).jobs()], request.query_params)

    @routes.get("/{job_id}")
    def read(request: Request, job_id: str) -> Any:
        return _as_v2(find_api(request).job(job_id))

    @routes.delete("/{job_id}")
    def delete(request: Request, job_id: str) -> Any:
        find_api(request).queue.delete(job_id)
        return {"id": job_id, "message": "job deleted"}

    @routes.post("/{job_id}/cancel")
    def cancel(request: Request, job_id: str) -> Any:
        find_api(request).queue.cancel(job_id)
        return _as_v2(find_api(request).job(job_id))

    @routes.get("/{job_id}/status")
    def status(request: Request, job_id: str) -> Any:
        return _status(find_api(request).job(job_id))

    @routes.get("/{job_id}/logs")
    def logs(request: Request, job_id: str) -> Any:
        lines = find_api(request).log(job_id)
        limit, start = max(1, _number(request, "limit", 100)), _number(request, "page_cursor", 0)
        entries = [{"job_id": job_id, "job_step": "evaluation", "job_task": "evaluation", **line} for line in lines]
        after = start + limit
        return {
            "object": "list",
            "data": entries[start:after],
            "next_page": str(after) if after < len(entries) else "",
            "prev_page": str(max(0, start - limit)) if start else "",
            "total": len(entries),
        }


def _add_result_routes(routes: APIRouter) -> None:
    @routes.get("/{job_id}/results")
    def results(request: Request, job_id: str) -> Any:
        job = find_api(request).job(job_id)
        done = job["status"] == "completed"
        return {"object": "list", "data": [_entry(job, name) for name in _RESULTS] if done else []}

    @routes.get("/{job_id}/results/{name}")
    def result(request: Request, job_id: str, name: str) -> Any:
        return _entry(find_api(request).job(job_id), name)

    @routes.get("/{job_id}/results/{name}/download")
    def download(request: Request, job_id: str, name: str) -> Response:
        _entry(find_api(request).job(job_id), name)
        if name == "artifacts":
            return Response(find_api(request).archive(job_id), media_type="application/octet-stream")
        whole = find_api(request).result(job_id)
        return Response(json.dumps({"tasks": whole["tasks"], "groups": whole["groups"]}), media_type="application/json")
