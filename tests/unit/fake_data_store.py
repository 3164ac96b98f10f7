"""The Data Store of the fake stack: namespaces, and the part of the Hugging Face API that the official client uses.

Commits take files by their content, and delete them; files by LFS are refused, and so is everything that the harness
does not use.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

SHA = "a" * 40
HF = "/ds/v1/hf"


class Answer(Exception):  # noqa: N818
    """Leaves a route with a status."""

    def __init__(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


class FakeDataStore:
    """State of the repositories, and routes over it."""

    url: str

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], dict[str, bytes]] = {}
        self.store_namespaces: set[str] = set()
        self.empty_commit_url = False

    def add_store_namespace(self, body: bytes) -> Any:
        [name] = parse_qs(body.decode())["namespace"]
        if name in self.store_namespaces:
            raise Answer(409, {"error": f"namespace {name} exists"})
        self.store_namespaces.add(name)
        raise Answer(201, {"namespace": name})

    def drop_store_namespace(self, name: str) -> Any:
        if name not in self.store_namespaces:
            raise Answer(404, {"error": f"no namespace {name}"})
        self.store_namespaces.remove(name)
        return {"namespace": name}

    def create_repo(self, body: bytes) -> Any:
        raw = json.loads(body)
        key = (raw["type"], f"{raw['organization']}/{raw['name']}")
        url = f"datasets/{key[1]}"
        if key in self.repos:
            raise Answer(409, {"error": f"repository {key[1]} exists already", "url": url})
        self.repos[key] = {}
        return {"url": url}

    def delete_repo(self, body: bytes) -> Any:
        raw = json.loads(body)
        self._repo(raw["type"], f"{raw['organization']}/{raw['name']}")
        del self.repos[raw["type"], f"{raw['organization']}/{raw['name']}"]
        return {}

    def _repo(self, kind: str, name: str) -> dict[str, bytes]:
        if (kind, name) not in self.repos:
            raise Answer(404, {"error": f"{kind} {name} does not exist"}, {"X-Error-Code": "RepoNotFound"})
        return self.repos[kind, name]

    def repo_info(self, name: str) -> Any:
        return {
            "id": name,
            "sha": SHA,
            "siblings": [{"rfilename": path} for path in sorted(self._repo("dataset", name))],
        }

    def preupload(self, body: bytes, name: str) -> Any:
        self._repo("dataset", name)
        files = json.loads(body)["files"]
        return {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}

    def commit(self, body: bytes, name: str) -> Any:
        repo = self._repo("dataset", name)
        for line in body.decode().splitlines():
            entry = json.loads(line)
            path = entry["value"].get("path", "")
            if entry["key"] == "file":
                repo[path] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "deletedFile":
                if path not in repo:
                    raise Answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
                del repo[path]
            elif entry["key"] != "header":
                raise Answer(400, {"error": f"the fake stack knows no {entry['key']} in a commit"})
        url = "" if self.empty_commit_url else f"datasets/{name}/commit/{SHA}"
        return {"success": True, "commitOid": SHA, "commitUrl": url, "hookOutput": ""}

    def tree(self, name: str, kind: str = "dataset") -> Any:
        files = self._repo(kind, name)
        return [
            {"type": "file", "path": path, "size": len(files[path]), "oid": git_id(files[path])}
            for path in sorted(files)
        ]

    def resolve(self, name: str, path: str) -> Any:
        repo = self._repo("dataset", name)
        if path not in repo:
            raise Answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        raise Answer(200, repo[path], {"ETag": f'"{git_id(repo[path])}"', "X-Repo-Commit": SHA})


def git_id(data: bytes) -> str:
    """Return the id that git gives a file of this content."""
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()  # noqa: S324


DATA_STORE_ROUTES: tuple[tuple[str, Callable[..., Any]], ...] = (
    ("POST /ds/v1/datastore/namespaces", FakeDataStore.add_store_namespace),
    ("DELETE /ds/v1/datastore/namespaces/(.+)", lambda s, _b, name: s.drop_store_namespace(name)),
    (f"POST {HF}/api/repos/create", FakeDataStore.create_repo),
    (f"DELETE {HF}/api/repos/delete", FakeDataStore.delete_repo),
    (f"GET {HF}/api/datasets/([^/]+/[^/]+)(?:/revision/(?:main|{SHA}))?", lambda s, _b, name: s.repo_info(name)),
    (f"POST {HF}/api/datasets/([^/]+/[^/]+)/preupload/main", FakeDataStore.preupload),
    (f"POST {HF}/api/datasets/([^/]+/[^/]+)/commit/main", FakeDataStore.commit),
    (f"GET {HF}/api/datasets/([^/]+/[^/]+)/tree/(?:main|{SHA})", lambda s, _b, name: s.tree(name)),
    (f"GET {HF}/api/models/([^/]+/[^/]+)/tree/.+", lambda s, _b, name: s.tree(name, "model")),
    (
        f"(?:GET|HEAD) {HF}/datasets/([^/]+/[^/]+)/resolve/(?:main|{SHA})/(.+)",
        lambda s, _b, name, path: s.resolve(name, path),
    ),
)
