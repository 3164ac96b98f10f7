"""Git LFS: the batch API and the plain (`basic`) transfer. Contents are checked against the id they come under."""

import re
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from embedded.data_store import Settings, bodies, disk
from embedded.data_store.hub_errors import EntryNotFound, Invalid
from embedded.data_store.names import RepoId, RepoType
from embedded.data_store.repository import Repository
from embedded.data_store.storage import Storage

JsonObject = dict[str, Any]
MEDIA_TYPE = "application/vnd.git-lfs+json"
_SHA256 = re.compile(r"[0-9a-f]{64}")


def _oid(value: object) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise Invalid(f"LFS object {value!r}: expected 64 hex digits (sha256)")
    return value


def _answer(repo: Repository, operation: str, asked: Any, here: str) -> JsonObject:
    """Say what the client has to do for one object: nothing when an upload is there already."""
    oid = _oid(asked.get("oid") if isinstance(asked, dict) else None)
    answer: JsonObject = {"oid": oid, "size": asked.get("size", 0)}
    stored = repo.blob(oid).exists()
    if operation == "upload" and not stored:
        verify = {"href": f"{here}/verify"}
        answer["actions"] = {"upload": {"href": f"{here}/{oid}", "header": {}}, "verify": verify}
    elif operation == "download" and stored:
        answer["actions"] = {"download": {"href": f"{here}/{oid}", "header": {}}}
    elif operation == "download":
        answer["error"] = {"code": 404, "message": f"{repo.id} has no LFS object {oid}"}
    return answer


def add_lfs_routes(router: APIRouter, storage: Storage, settings: Settings) -> None:
    """Both kinds of repository; models have no prefix in these addresses."""
    kinds: tuple[tuple[str, RepoType], ...] = (("/datasets", "datasets"), ("", "models"))
    for prefix, kind in kinds:
        _add_routes(router, storage, settings, prefix, kind)


def _add_routes(router: APIRouter, storage: Storage, settings: Settings, prefix: str, kind: RepoType) -> None:
    base = f"{prefix}/{{namespace}}/{{name}}.git/info/lfs/objects"

    @router.post(f"{base}/batch")
    async def batch(namespace: str, name: str, request: Request) -> Response:
        body = await bodies.json_object(request)
        operation, objects = body.get("operation"), body.get("objects")
        if operation not in {"upload", "download"} or not isinstance(objects, list):
            raise Invalid('expected {"operation": "upload" or "download", "objects": [{"oid", "size"}]}')
        if body.get("hash_algo", "sha256") != "sha256":
            raise Invalid(f"hash_algo {body['hash_algo']!r}: there is sha256")
        repo = storage.repository(RepoId(kind, namespace, name))
        here = str(request.url).partition("?")[0].removesuffix("/batch")
        answers = [_answer(repo, operation, asked, here) for asked in objects]
        return JSONResponse({"transfer": "basic", "objects": answers}, media_type=MEDIA_TYPE)

    @router.post(f"{base}/verify")
    async def verify(namespace: str, name: str, request: Request) -> JsonObject:
        body = await bodies.json_object(request)
        blob = storage.repository(RepoId(kind, namespace, name)).blob(_oid(body.get("oid")))
        if not blob.exists():
            raise EntryNotFound(f"LFS object {body['oid']} has not been uploaded")
        if blob.stat().st_size != body.get("size"):
            raise Invalid(f"LFS object {body['oid']}: its size is {blob.stat().st_size}, not {body.get('size')!r}")
        return {}

    @router.put(f"{base}/{{oid}}")
    async def upload(namespace: str, name: str, oid: str, request: Request) -> JsonObject:
        repo = storage.repository(RepoId(kind, namespace, name))
        _oid(oid)
        with disk.Receiver(storage.temporary) as receiver:
            received = await bodies.receive(request, receiver, settings.max_file_bytes)
            if received.sha256 != oid:
                raise Invalid(
                    f"LFS object {oid}: what came has sha256 {received.sha256}: damaged on the way, send again"
                )
            await run_in_threadpool(repo.keep, received)
        return {}

    @router.get(f"{base}/{{oid}}")
    def download(namespace: str, name: str, oid: str) -> Response:
        blob = storage.repository(RepoId(kind, namespace, name)).blob(_oid(oid))
        if not blob.exists():
            raise EntryNotFound(f"LFS object {oid} does not exist")
        return FileResponse(blob, media_type="application/octet-stream", headers={"ETag": f'"{oid}"'})
