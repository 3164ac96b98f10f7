"""The two services that the Customizer depends on: Entity Store (datasets, models) and Data Store (files).

Each call is retried a few times when the service does not answer or answers 5xx; then StoreError says so.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
from huggingface_hub import HfApi

from embedded.common.errors import Conflict
from embedded.common.files_url import HUB_ERRORS, FilesUrlError
from embedded.common.names import Ref
from embedded.customizer.spec import StoreError
from nemostack.clients.data_store import accepting_empty_commit_url

Result = TypeVar("Result")
PAUSES_S = (0.5, 1.0, 2.0, 4.0)
NO_SUCCESS: tuple[type[Exception], ...] = (httpx.HTTPError, *HUB_ERRORS, FilesUrlError)


def _transient(error: BaseException | None) -> bool:
    """Whether it may pass: no answer, or one of 5xx. Local errors (a full disk) and refusals may not."""
    if isinstance(error, FilesUrlError):
        return _transient(error.__cause__)
    response = getattr(error, "response", None)
    if response is not None:
        return bool(response.status_code >= 500)
    return isinstance(error, NO_SUCCESS) and (
        not isinstance(error, OSError) or isinstance(error, ConnectionError | TimeoutError)
    )


def patiently(call: Callable[[], Result], pauses: tuple[float, ...] = PAUSES_S) -> Result:
    """Return `call`'s result; what is likely to pass is tried again after each pause."""
    for pause in pauses:
        try:
            return call()
        except NO_SUCCESS as error:
            if not _transient(error):
                raise
            time.sleep(pause)
    return call()


class EntityStore:
    """Entities by REST."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = httpx.Client(base_url=url, timeout=httpx.Timeout(10, connect=3))

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def _ask(self, method: str, path: str, body: Any, pauses: tuple[float, ...]) -> httpx.Response:
        def call() -> httpx.Response:
            response = self._client.request(method, path, json=body)
            if response.status_code >= 500:
                response.raise_for_status()
            return response

        try:
            return patiently(call, pauses)
        except httpx.HTTPError as error:
            raise StoreError(
                f"Entity Store at {self._url} does not answer ({method} {path}: {error})",
                "Check that it runs, then start the job again.",
            ) from error

    def dataset(self, ref: Ref) -> dict[str, Any] | None:
        """Find the dataset entity, or None. Retries briefly: a client waits for the answer."""
        response = self._ask("GET", f"/v1/datasets/{ref}", None, PAUSES_S[:2])
        return None if response.status_code == 404 else self._entity(response, f"dataset {ref}")

    def register(self, model: dict[str, Any]) -> None:
        """Create the output model's entity. Raises Conflict where there is one of that name."""
        response = self._ask("POST", "/v1/models", model, PAUSES_S[:2])
        if response.status_code == httpx.codes.CONFLICT:
            name = f"{model['namespace']}/{model['name']}"
            raise Conflict(f"output_model {name} exists: choose another name or version, or delete it")
        self._entity(response, f"model {model['namespace']}/{model['name']}")

    def update(self, ref: Ref, change: dict[str, Any]) -> None:
        """PATCH a model entity; one that was deleted meanwhile stays deleted."""
        response = self._ask("PATCH", f"/v1/models/{ref}", change, PAUSES_S)
        if response.status_code != 404:
            self._entity(response, f"model {ref}")

    def _entity(self, response: httpx.Response, what: str) -> dict[str, Any]:
        if not response.is_success:
            raise StoreError(f"Entity Store refuses {what}: {response.status_code} {response.text[:500]}")
        entity: dict[str, Any] = response.json()
        return entity


def has_dataset_repo(data_store_url: str, repo: Ref) -> bool:
    """Whether the Data Store has a dataset repository of that name. StoreError when it does not answer."""
    api = HfApi(endpoint=f"{data_store_url}/v1/hf", token=False)
    try:
        return patiently(lambda: api.repo_exists(str(repo), repo_type="dataset"), PAUSES_S[:2])
    except NO_SUCCESS as error:
        raise StoreError(f"Data Store at {data_store_url} does not answer: {error}", "Check that it runs.") from error


def upload(data_store_url: str, folder: Path, repo: Ref, branch: str) -> None:
    """Put all files of `folder` on a branch of a model repository; makes both if need be, and may be repeated."""
    api = HfApi(endpoint=f"{data_store_url}/v1/hf", token=False)

    def call() -> None:
        api.create_repo(str(repo), repo_type="model", exist_ok=True)
        api.create_branch(str(repo), branch=branch, repo_type="model", exist_ok=True)
        with accepting_empty_commit_url():
            api.upload_folder(
                repo_id=str(repo),
                repo_type="model",
                revision=branch,
                folder_path=folder,
                commit_message="Upload artifact",
            )

    try:
        patiently(call)
    except NO_SUCCESS as error:
        raise StoreError(
            f"Data Store at {data_store_url}: uploading to {repo}@{branch} failed: {error}",
            "Check that it runs and has disk space, then start the job again.",
        ) from error
