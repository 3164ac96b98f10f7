"""NVIDIA's NeMo Platform: whether it is ready, filesets, model entities, providers, and what its gateway serves.

Over plain HTTP by the paths of its API: the official SDK comes with sixty packages and wants older versions of ours, so
that it stays in the platform's own environment. Its OpenAI routes are for the openai client, like NIM's.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from copy import copy
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from nemostack.clients.error_mapping import PLATFORM, calling
from nemostack.clients.tls import shared_context
from nemostack.entity_names import WORKSPACE
from nemostack.errors import Conflict, NotFound, ServiceError
from nemostack.outputs import gateway_url

if TYPE_CHECKING:
    import httpx

    from nemostack.clients import Timeouts

_CHUNK_BYTES = 1 << 20
PAGE_SIZE = 100
USER_VARIABLE = "NMP_ACCESS_TOKEN"
"""As NVIDIA's SDK and command line read it."""


def access_token() -> str | None:
    """Return the user's token for a platform that asks for one, as `nemo auth token` prints it; None without."""
    return os.environ.get(USER_VARIABLE) or None


class Platform:
    """One platform, in one workspace."""

    def __init__(self, url: str, timeouts: "Timeouts", *, workspace: str = WORKSPACE, transport: Any = None) -> None:
        import httpx

        self.url, self.workspace = url, workspace
        timeout = httpx.Timeout(timeouts.read, connect=timeouts.connect, write=timeouts.upload)
        # Loopback goes through no proxy; elsewhere the environment decides.
        context = shared_context(httpx)
        self.token = access_token()
        self._http = httpx.Client(
            base_url=url,
            timeout=timeout,
            transport=transport,
            verify=context,
            follow_redirects=True,
            headers={"Authorization": f"Bearer {self.token}"} if self.token else None,
        )

    def within(self, workspace: str) -> Self:
        """Return the same platform in another workspace, over the same connections."""
        other = copy(self)
        other.workspace = workspace
        return other

    def ensure_workspace(self) -> None:
        """Create the workspace unless it exists."""
        try:
            with calling(PLATFORM, self.url, f"creating the workspace {self.workspace}"):
                self._http.post("/apis/entities/v2/workspaces", json={"name": self.workspace}).raise_for_status()
        except Conflict:
            return

    def has_workspace(self, name: str) -> bool:
        """Whether there is a workspace of this name."""
        try:
            self.call(f"looking up the workspace {name}", "GET", f"/apis/entities/v2/workspaces/{quote(name)}")
        except NotFound:
            return False
        return True

    def delete_workspace(self, name: str) -> None:
        """Delete a workspace, which must be empty; nothing happens if there is none."""
        with suppress(NotFound):
            self.call(f"deleting the workspace {name}", "DELETE", f"/apis/entities/v2/workspaces/{quote(name)}")

    def close(self) -> None:
        self._http.close()

    def call(self, doing: str, method: str, path: str, **request: Any) -> "httpx.Response":
        """Send one request to a path below the host, and return its answer. `doing` reads like "listing the jobs"."""
        with calling(PLATFORM, self.url, doing):
            return self._http.request(method, path, **request).raise_for_status()

    def ready(self) -> str:
        """Say which services and controllers run. ServiceError or Unreachable unless all are ready."""
        with calling(PLATFORM, self.url, "asking whether it is ready"):
            self._http.get("/health/ready").raise_for_status()
            status = self._http.get("/status").raise_for_status().json()
        try:
            ready = len(status["services"]["ready"])
            late = [name for name, runs in status["controllers"]["status"].items() if not runs]
        except (KeyError, TypeError, AttributeError):
            raise ServiceError(f"{self.url}/status is not of a {PLATFORM}", hint="is the URL right?") from None
        return f"{ready} services ready" + (f"; controllers that are late: {', '.join(late)}" if late else "")

    def training_backends(self) -> list[str]:
        """Names of the backends that the customization hub has."""
        answer = self.call("asking for training backends", "GET", "/apis/customization/v2/healthz")
        return [str(name) for name in answer.json().get("contributors") or []]

    def served(self) -> list[str]:
        """Ids of the models that the gateway has a route for."""
        path = f"{gateway_url('', self.workspace)}/v1/models"
        with calling(PLATFORM, self.url, "listing the models of the inference gateway"):
            return [model["id"] for model in _rows(self._http.get(path).raise_for_status())]

    def provider(self, name: str) -> dict[str, Any] | None:
        """Return a model provider; None when there is none."""
        return self._find("models", "providers", name)

    def models(self) -> list[dict[str, Any]]:
        """List the model entities of the workspace."""
        return self._pages("models", "models")

    def model(self, name: str) -> dict[str, Any] | None:
        """Return a model entity; None when there is none."""
        return self._find("models", "models", name)

    def create_model(self, name: str, *, fileset: str | None, description: str) -> None:
        """Create a model entity unless it exists."""
        body = {"name": name, "description": description, "backend_format": "OPENAI_CHAT"}
        self._ensure("models", "models", body | ({"fileset": f"{self.workspace}/{fileset}"} if fileset else {}))

    def create_provider(self, name: str, *, host_url: str, description: str) -> None:
        """Register a server of models, unless it exists: the gateway finds out what it serves."""
        self._ensure("models", "providers", {"name": name, "host_url": host_url, "description": description})

    def delete_provider(self, name: str) -> None:
        """Withdraw a provider; nothing happens if there is none."""
        self._delete("models", "providers", name)

    def create_adapter(self, model: str, name: str, *, fileset: str) -> None:
        """Announce an adapter, whose files are in a fileset, on a model entity: soon served as `workspace/name`."""
        body = {"name": name, "fileset": f"{self.workspace}/{fileset}", "finetuning_type": "lora", "enabled": True}
        with calling(PLATFORM, self.url, f"creating the adapter {name}"):
            path = f"{self._path('models', 'models')}/{quote(model)}/adapters"
            self._http.post(path, json=body).raise_for_status()

    def delete_adapter(self, model: str, name: str) -> None:
        """Withdraw an adapter; nothing happens if there is none."""
        self._delete("models", "models", f"{model}/adapters/{name}")

    def withdraw_adapter(self, name: str) -> None:
        """Withdraw an adapter, whichever model it belongs to; nothing happens if there is none."""
        self._delete("models", "adapters", name)

    def adapters(self) -> list[dict[str, Any]]:
        """List the adapters of the workspace."""
        return self._pages("models", "adapters")

    def adapter(self, name: str) -> dict[str, Any] | None:
        """Return an adapter, whichever model it belongs to; None when there is none."""
        return self._find("models", "adapters", name)

    def virtual_models(self) -> list[dict[str, Any]]:
        """List what the gateway routes by name, in the workspace."""
        return self._pages("inference-gateway", "virtual-models")

    def virtual_model(self, name: str) -> dict[str, Any] | None:
        """Return a virtual model; None when there is none."""
        return self._find("inference-gateway", "virtual-models", name)

    def save_virtual_model(self, name: str, fields: dict[str, Any]) -> None:
        """Create a virtual model, or change these fields of it."""
        path = self._path("inference-gateway", "virtual-models")
        try:
            self.call(f"changing the virtual model {name}", "PATCH", f"{path}/{quote(name)}", json=fields)
        except NotFound:
            self.call(f"creating the virtual model {name}", "POST", path, json={"name": name, **fields})

    def delete_virtual_model(self, name: str) -> None:
        """Delete a virtual model. NotFound when there is none."""
        path = self._path("inference-gateway", "virtual-models")
        self.call(f"deleting the virtual model {name}", "DELETE", f"{path}/{quote(name)}")

    def prompt(self, name: str) -> dict[str, Any] | None:
        """Return a stored prompt; None when there is none."""
        return self._find("models", "prompts", name)

    def save_prompt(self, name: str, messages: list[dict[str, str]], description: str) -> None:
        """Store a prompt, in the place of one of this name."""
        self.delete_prompt(name)
        self._ensure("models", "prompts", {"name": name, "messages": messages, "description": description})

    def delete_prompt(self, name: str) -> None:
        """Delete a stored prompt; nothing happens if there is none."""
        self._delete("models", "prompts", name)

    def save_secret(self, name: str, value: str) -> None:
        """Keep a secret, in the place of one of this name."""
        self.delete_secret(name)
        self._ensure("secrets", "secrets", {"name": name, "value": value})

    def delete_secret(self, name: str) -> None:
        """Delete a secret; nothing happens if there is none."""
        self._delete("secrets", "secrets", name)

    def create_fileset(self, name: str, purpose: str, description: str = "") -> None:
        """Create a fileset (purpose dataset, model or generic) unless it exists."""
        self._ensure("files", "filesets", {"name": name, "purpose": purpose, "description": description})

    def filesets(self) -> list[dict[str, Any]]:
        """List the filesets of the workspace, page by page; none where there is no such workspace."""
        return self._pages("files", "filesets")

    def _pages(self, api: str, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        with calling(PLATFORM, self.url, f"listing the {kind} of {self.workspace}"):
            while True:
                query = {"page": len(found) // PAGE_SIZE + 1, "page_size": PAGE_SIZE}
                answer = self._http.get(self._path(api, kind), params=query)
                if answer.status_code == HTTPStatus.NOT_FOUND:
                    return []
                rows = _rows(answer.raise_for_status())
                found += rows
                if len(rows) < PAGE_SIZE:
                    return found

    def fileset(self, name: str) -> dict[str, Any] | None:
        """Return a fileset; None when there is none."""
        return self._find("files", "filesets", name)

    def describe_fileset(self, name: str, description: str, fields: dict[str, Any]) -> None:
        """Change what is said of a fileset: its description and our own fields."""
        with calling(PLATFORM, self.url, f"describing the fileset {name}"):
            body = {"description": description, "custom_fields": fields}
            self._http.patch(f"{self._path('files', 'filesets')}/{quote(name)}", json=body).raise_for_status()

    def files(self, fileset: str) -> dict[str, int]:
        """Path -> size of the files in a fileset. NotFound when there is none."""
        with calling(PLATFORM, self.url, f"listing the files of {fileset}"):
            answer = self._http.get(f"{self._path('files', 'filesets')}/{quote(fileset)}/files")
            return {file["path"]: file["size"] for file in _rows(answer.raise_for_status())}

    def upload(self, fileset: str, path: str, content: bytes | Path) -> None:
        """Put a file into a fileset, in place of one that is there; of a Path without holding it in memory."""
        with calling(PLATFORM, self.url, f"uploading {path} to the fileset {fileset}"):
            headers = {"content-type": "application/octet-stream"}
            body = _chunks(content) if isinstance(content, Path) else content
            self._http.put(self._file(fileset, path), content=body, headers=headers).raise_for_status()

    def read(self, fileset: str, path: str) -> bytes:
        """Content of one small file."""
        with calling(PLATFORM, self.url, f"reading {path} of the fileset {fileset}"):
            return self._http.get(self._file(fileset, path)).raise_for_status().content

    def digest(self, fileset: str, path: str) -> str:
        """SHA-256 of a file, read without holding it in memory. NotFound when there is none."""
        found = hashlib.sha256()
        with (
            calling(PLATFORM, self.url, f"reading {path} of the fileset {fileset}"),
            self._http.stream("GET", self._file(fileset, path)) as answer,
        ):
            answer.raise_for_status()
            for chunk in answer.iter_bytes(_CHUNK_BYTES):
                found.update(chunk)
        return found.hexdigest()

    def delete_fileset(self, name: str) -> None:
        """Delete a fileset with its files; nothing happens if there is none."""
        self._delete("files", "filesets", name)

    def _path(self, api: str, kind: str) -> str:
        return f"/apis/{api}/v2/workspaces/{quote(self.workspace)}/{kind}"

    def _file(self, fileset: str, path: str) -> str:
        return f"{self._path('files', 'filesets')}/{quote(fileset)}/-/{quote(path)}"

    def _find(self, api: str, kind: str, name: str) -> dict[str, Any] | None:
        try:
            with calling(PLATFORM, self.url, f"reading {name} of {kind}"):
                found: dict[str, Any] = (
                    self._http.get(f"{self._path(api, kind)}/{quote(name)}").raise_for_status().json()
                )
        except NotFound:
            return None
        return found

    def _ensure(self, api: str, kind: str, body: dict[str, Any]) -> None:
        try:
            with calling(PLATFORM, self.url, f"creating {body['name']} in {kind}"):
                self._http.post(self._path(api, kind), json=body).raise_for_status()
        except Conflict:
            return

    def _delete(self, api: str, kind: str, name: str) -> None:
        try:
            with calling(PLATFORM, self.url, f"deleting {name} of {kind}"):
                self._http.delete(f"{self._path(api, kind)}/{quote(name)}").raise_for_status()
        except NotFound:
            return


def _rows(answer: Any) -> list[dict[str, Any]]:
    """Read the list in an answer. ServiceError when there is none."""
    body = answer.json()
    rows = body.get("data") if isinstance(body, dict) else None
    if not isinstance(rows, list):
        raise ServiceError(f"{PLATFORM}: {answer.request.url} answered no list", hint="is the URL right?")
    return rows


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
