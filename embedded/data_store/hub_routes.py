"""The Hub's routes but for contents: repositories, listings, branches and tags; as `huggingface_hub` has them."""

from typing import Annotated, Any

import yaml
from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from embedded.common.names import is_name
from embedded.data_store import bodies, names, views
from embedded.data_store.hub_errors import Exists
from embedded.data_store.names import RepoId, RepoType
from embedded.data_store.storage import Storage

JsonObject = dict[str, Any]
MAX_LISTED_PATHS = 10_000


def _front_matter_error(text: str) -> str | None:
    """Say what is wrong with the YAML between two lines of dashes at the beginning; None if nothing is."""
    lines = text.splitlines()
    stripped = [line.strip() for line in lines]
    if not lines or stripped[0] != "---" or "---" not in stripped[1:]:
        return None
    try:
        yaml.safe_load("\n".join(lines[1 : stripped.index("---", 1)]))
    except yaml.YAMLError as error:
        return " ".join(str(error).split())
    return None


def add_repository_routes(router: APIRouter, storage: Storage) -> None:
    """Create, delete, find, describe."""

    @router.post("/api/repos/create")
    async def create(request: Request) -> JsonObject:
        body = await bodies.json_object(request)
        repo_id = names.repo_id(body.get("type") or "model", body.get("organization"), body.get("name"))
        private = body.get("visibility") == "private" or body.get("private") is True
        try:
            await run_in_threadpool(storage.add_repository, repo_id, private=private)
        except Exists as error:
            raise Exists(error.detail, url=repo_id.url_path) from None
        # Relative, as NVIDIA's Data Store answers: clients from 0.26 to 1.3 cannot read an address of another host.
        return {"url": repo_id.url_path, "name": repo_id.full_name}

    @router.delete("/api/repos/delete")
    async def delete(request: Request) -> JsonObject:
        body = await bodies.json_object(request)
        repo_id = names.repo_id(body.get("type") or "model", body.get("organization"), body.get("name"))
        await run_in_threadpool(storage.remove_repository, repo_id)
        return {}

    @router.get("/api/whoami-v2")
    def whoami() -> JsonObject:
        orgs = [
            {"type": "org", "name": known["namespace"], "fullname": known["namespace"]}
            for known in storage.namespaces()
        ]
        token = {"type": "access_token", "accessToken": {"displayName": "any", "role": "write"}}
        return {
            "type": "user",
            "name": "default",
            "fullname": "Anybody (no access control)",
            "orgs": orgs,
            "auth": token,
        }

    @router.post("/api/validate-yaml")
    async def validate_yaml(request: Request) -> Response:
        """Check the front matter of a README.md, which the client asks for before it commits one."""
        error = _front_matter_error(str((await bodies.json_object(request)).get("content") or ""))
        body = {"errors": [] if error is None else [{"message": error}], "warnings": []}
        return JSONResponse(body, status_code=200 if error is None else 400)

    @router.get("/api/{kind}")
    def find(
        kind: RepoType, author: str | None = None, search: str = "", limit: Annotated[int, Query(ge=1)] = 1000
    ) -> list[JsonObject]:
        if author is not None and not is_name(author):
            return []
        matching = [r for r in storage.repositories(kind, author) if search.lower() in r.id.full_name.lower()]
        return [views.repository(repo, repo.resolve("main"), files=False) for repo in matching[:limit]]

    @router.get("/api/{kind}/{namespace}/{name}")
    @router.get("/api/{kind}/{namespace}/{name}/revision/{revision}")
    def describe(
        kind: RepoType, namespace: str, name: str, revision: str = "main", *, blobs: bool = False
    ) -> JsonObject:
        repo = storage.repository(RepoId(kind, namespace, name))
        return views.repository(repo, repo.resolve(revision), blobs=blobs)


def add_listing_routes(router: APIRouter, storage: Storage) -> None:
    """List what is in a repository."""

    @router.get("/api/{kind}/{namespace}/{name}/tree/{revision}")
    @router.get("/api/{kind}/{namespace}/{name}/tree/{revision}/{path:path}")
    def tree(
        kind: RepoType,
        namespace: str,
        name: str,
        revision: str,
        path: str = "",
        *,
        recursive: bool = False,
        expand: bool = False,
    ) -> list[JsonObject]:
        repo = storage.repository(RepoId(kind, namespace, name))
        at = repo.resolve(revision)
        entries = views.listing(repo, at, path.strip("/"), recursive=recursive)
        if expand:
            views.add_last_commits(repo, at, entries)
        return entries

    @router.post("/api/{kind}/{namespace}/{name}/paths-info/{revision}")
    def paths_info(
        kind: RepoType,
        namespace: str,
        name: str,
        revision: str,
        paths: Annotated[list[str], Form(max_length=MAX_LISTED_PATHS)],
        *,
        expand: Annotated[bool, Form()] = False,
    ) -> list[JsonObject]:
        repo = storage.repository(RepoId(kind, namespace, name))
        at = repo.resolve(revision)
        entries = [shown for path in paths if (shown := views.entry(repo.tree(at), path.strip("/")))]
        if expand:
            views.add_last_commits(repo, at, entries)
        return entries


def add_ref_routes(router: APIRouter, storage: Storage) -> None:
    """Branches, tags, history."""

    @router.get("/api/{kind}/{namespace}/{name}/refs")
    def refs(kind: RepoType, namespace: str, name: str) -> JsonObject:
        return views.refs(storage.repository(RepoId(kind, namespace, name)))

    @router.get("/api/{kind}/{namespace}/{name}/commits/{revision}")
    def history(kind: RepoType, namespace: str, name: str, revision: str) -> list[JsonObject]:
        repo = storage.repository(RepoId(kind, namespace, name))
        return views.history(repo, repo.resolve(revision))

    @router.post("/api/{kind}/{namespace}/{name}/branch/{branch}")
    async def add_branch(kind: RepoType, namespace: str, name: str, branch: str, request: Request) -> JsonObject:
        start = (await bodies.json_object(request)).get("startingPoint") or "main"
        repo = storage.repository(RepoId(kind, namespace, name))
        await run_in_threadpool(repo.add_ref, "heads", branch, repo.resolve(str(start)))
        return {}

    @router.delete("/api/{kind}/{namespace}/{name}/branch/{branch}")
    def remove_branch(kind: RepoType, namespace: str, name: str, branch: str) -> JsonObject:
        storage.repository(RepoId(kind, namespace, name)).remove_ref("heads", branch)
        return {}

    @router.post("/api/{kind}/{namespace}/{name}/tag/{revision}")
    async def add_tag(kind: RepoType, namespace: str, name: str, revision: str, request: Request) -> JsonObject:
        tag = (await bodies.json_object(request)).get("tag")
        repo = storage.repository(RepoId(kind, namespace, name))
        await run_in_threadpool(repo.add_ref, "tags", str(tag or ""), repo.resolve(revision))
        return {}

    @router.delete("/api/{kind}/{namespace}/{name}/tag/{tag}")
    def remove_tag(kind: RepoType, namespace: str, name: str, tag: str) -> JsonObject:
        storage.repository(RepoId(kind, namespace, name)).remove_ref("tags", tag)
        return {}
