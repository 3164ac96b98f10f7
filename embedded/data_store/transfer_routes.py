"""Contents in and out by the Hub's routes: commits, and downloads with Range."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response
from starlette.concurrency import run_in_threadpool

from embedded.data_store import Settings, bodies, commits, disk, names
from embedded.data_store.hub_errors import HubError, Invalid, RepoNotFound
from embedded.data_store.names import RepoId, RepoType
from embedded.data_store.storage import Storage

JsonObject = dict[str, Any]


def _no_pull_requests(request: Request) -> None:
    if request.query_params.get("create_pr") in {"1", "true", "True"}:
        raise Invalid("there are no pull requests here: commit to a branch")


def add_upload_routes(router: APIRouter, storage: Storage, settings: Settings) -> None:
    """Ask how to upload, then commit."""

    @router.post("/api/{kind}/{namespace}/{name}/preupload/{revision}")
    async def preupload(kind: RepoType, namespace: str, name: str, revision: str, request: Request) -> JsonObject:
        _no_pull_requests(request)
        asked = (await bodies.json_object(request)).get("files")
        if not isinstance(asked, list) or not all(isinstance(file, dict) for file in asked):
            raise Invalid('expected {"files": [{"path", "size", "sample"}]}')
        repo = storage.repository(RepoId(kind, namespace, name))
        tree = repo.tree(repo.resolve(revision))
        answers: list[JsonObject] = []
        for file in asked:
            path, size = names.file_path(file.get("path")), file.get("size")
            threshold = settings.lfs_threshold_bytes
            is_lfs = threshold is not None and isinstance(size, int) and size >= threshold
            answer = {"path": path, "uploadMode": "lfs" if is_lfs else "regular", "shouldIgnore": False}
            if path in tree:  # lets the client skip a file that has not changed
                answer["oid"] = tree[path].sha256 if tree[path].is_lfs else tree[path].git_id
            answers.append(answer)
        return {"files": answers}

    @router.post("/api/{kind}/{namespace}/{name}/commit/{revision}")
    async def commit(kind: RepoType, namespace: str, name: str, revision: str, request: Request) -> JsonObject:
        _no_pull_requests(request)
        repo = storage.repository(RepoId(kind, namespace, name))
        repo.resolve(revision)  # say so before gigabytes have come

        def make(received: disk.Received) -> str:
            asked = commits.read(received.part, repo, storage.temporary)
            return repo.add_commit(revision, asked.title, asked.message, asked.apply, asked.parent).id

        with disk.Receiver(storage.temporary) as receiver:
            received = await bodies.receive(request, receiver, settings.max_commit_bytes)
            commit_id = await run_in_threadpool(make, received)
        url = f"{repo.id.url_path}/commit/{commit_id}"  # relative, as in the answer to a repository's creation
        return {"success": True, "commitOid": commit_id, "commitUrl": url, "hookOutput": ""}


def add_download_routes(router: APIRouter, storage: Storage) -> None:
    """Files at a revision."""

    def resolve(kind: RepoType, namespace: str, name: str, revision: str, path: str) -> Response:
        repo = storage.repository(RepoId(kind, namespace, name))
        at = repo.resolve(revision)
        file = repo.file(at, path)
        blob = repo.blob(file.sha256)
        try:
            stat = blob.stat()
        except FileNotFoundError:
            raise RepoNotFound(f"{repo.id} has just been deleted") from None
        if stat.st_size != file.size:
            raise HubError(f"{repo.id}: {path!r} is damaged on our disk: upload it again")
        headers = {
            "X-Repo-Commit": at.id,
            "ETag": f'"{file.sha256 if file.is_lfs else file.git_id}"',
            # Never a page of this host, whatever somebody has uploaded.
            "X-Content-Type-Options": "nosniff",
        }
        filename = path.rpartition("/")[2]
        return FileResponse(
            blob, headers=headers, stat_result=stat, media_type="application/octet-stream", filename=filename
        )

    @router.api_route("/datasets/{namespace}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
    def dataset_file(namespace: str, name: str, revision: str, path: str) -> Response:
        return resolve("datasets", namespace, name, revision, path)

    @router.api_route("/{namespace}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
    def model_file(namespace: str, name: str, revision: str, path: str) -> Response:
        return resolve("models", namespace, name, revision, path)
