"""The common part of the v1, v2 and seed routes: expanding references, masking, logs and downloads."""

from typing import Any, Literal

from starlette.datastructures import QueryParams
from starlette.requests import Request

from embedded.common.errors import NotFound, Unprocessable
from embedded.common.listing import page
from embedded.common.names import DEFAULT_NAMESPACE, is_entity_name, is_name, new_id
from embedded.evaluator import results
from embedded.evaluator.evaluation_jobs import Jobs
from embedded.evaluator.plan import parse_config, parse_target, validated
from embedded.evaluator.records import Records
from embedded.evaluator.request_models import JobRequest
from embedded.evaluator.settings import Settings
from embedded.evaluator.store import Store, masked

Part = Literal["target", "config"]


class Api:
    """The Evaluator behind its routes. Everything it returns is masked."""

    def __init__(self, settings: Settings, store: Store, queue: Jobs) -> None:
        self.settings, self.store, self.queue = settings, store, queue

    # --- targets and configurations ---

    def create_entity(self, kind: Part, document: dict[str, Any]) -> dict[str, Any]:
        """Store a target or a configuration."""
        (parse_target if kind == "target" else parse_config)(document)
        return masked(self.store.add(kind, self._entity(kind, document)))  # type: ignore[no-any-return]

    def update_entity(self, kind: Part, key: str, changes: dict[str, Any]) -> dict[str, Any]:
        """Lay `changes` over a stored entity; id, name and namespace stay."""
        old = self.store.get(kind, key)
        kept = {name: old[name] for name in ("id", "name", "namespace", "created_at")}
        (parse_target if kind == "target" else parse_config)(old | changes | kept)
        return masked(self.store.update(kind, key, **(changes | kept)))  # type: ignore[no-any-return]

    def _entity(self, kind: Part, document: dict[str, Any]) -> dict[str, Any]:
        new = new_id(f"eval-{kind}")
        entity = {"description": None, "project": None, "custom_fields": {}} | document | {"id": new}
        entity["name"] = entity.get("name") or new
        entity["namespace"] = entity.get("namespace") or DEFAULT_NAMESPACE
        for field, fits in (("name", is_entity_name), ("namespace", is_name)):
            if not isinstance(entity[field], str) or not fits(entity[field]):
                raise Unprocessable(f"{kind}.{field}: {entity[field]!r} is no name: letters, digits and . _ @ + -")
        return entity

    def expand(self, kind: Part, given: str | dict[str, Any]) -> dict[str, Any]:
        """Give an inline part as an entity, or the stored one that a reference names."""
        if isinstance(given, dict):
            return self._entity(kind, given)
        return self.store.get(
            kind, given if "/" in given or given.startswith(f"eval-{kind}-") else f"{DEFAULT_NAMESPACE}/{given}"
        )

    # --- jobs ---

    def create_job(self, document: dict[str, Any]) -> dict[str, Any]:
        """Check and queue a job."""
        request = validated(JobRequest, document, "job")
        job = request.model_dump(include={"name", "namespace", "description", "project", "custom_fields"})
        if request.name is not None and not is_entity_name(request.name):
            raise Unprocessable(f"job.name: {request.name!r} is no name: letters, digits and . _ @ + : -")
        if not is_name(request.namespace):
            raise Unprocessable(f"job.namespace: {request.namespace!r} is no name")
        job |= {"config": self.expand("config", request.config), "target": self.expand("target", request.target)}
        job |= {"ownership": document.get("ownership")}
        return masked(self.queue.create(job))  # type: ignore[no-any-return]

    def job(self, job_id: str) -> dict[str, Any]:
        """Give a job as it stands now."""
        return masked(self.queue.get(job_id))  # type: ignore[no-any-return]

    def jobs(self) -> list[dict[str, Any]]:
        return [self.job(job["id"]) for job in self.store.all("job")]

    def result(self, job_id: str) -> dict[str, Any]:
        """Give a job's result document; without tasks before it has ended."""
        return masked(self.store.get("result", self.store.get("job", job_id)["result_id"]))  # type: ignore[no-any-return]

    def archive(self, job_id: str) -> bytes:
        """Zip a job's results; NotFound while there is nothing to download."""
        job = self.store.get("job", job_id)
        folder = self.queue.folder(job_id)
        if job["status"] not in {"completed", "failed", "cancelled"} or not results.has_files(folder):
            raise NotFound(f"job {job_id} is {job['status']} and has no results to download")
        return results.archive(folder, self.result(job_id))

    def log(self, job_id: str) -> list[dict[str, Any]]:
        """Lines `{timestamp, message}` of a job's log, oldest first."""
        self.store.get("job", job_id)
        return list(Records(self.queue.folder(job_id) / "log.jsonl").read())


def find_api(request: Request) -> Api:
    """Find the Api behind a request."""
    api = request.app.state.api
    assert isinstance(api, Api)
    return api


def list_page(items: list[dict[str, Any]], query: QueryParams) -> dict[str, Any]:
    """List as `listing.page`, with the SDK's `filter[config]=namespace/name` and `filter[job_id]` too."""
    rest = []
    for key, value in query.multi_items():
        if key in {"filter[config]", "filter[target]"} and "/" in value:
            part = key[7:-1]
            items = [item for item in items if f"{item[part]['namespace']}/{item[part]['name']}" == value]
        else:
            rest.append((key.replace("filter[job_id]", "filter[job]"), value))
    return page(items, QueryParams(rest))
