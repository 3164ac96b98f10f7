"""A plain client of the Kubernetes API: JSON in, JSON out, paths as in the API's own reference.

For what the tests set up and look at. Refuses to hide an answer: anything but success is an ApiError with its message.
"""

import ssl
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import httpx

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
STRICT = "?dryRun=All&fieldValidation=Strict"
"""Behind the path of a collection: an object is validated, unknown fields included, and not stored."""
Object = dict[str, Any]
Seen = TypeVar("Seen")
POLL_S = 0.1
TIMEOUT_S = 60.0
PARALLEL = 8


class ApiError(Exception):
    """An answer of the API that is no success."""

    def __init__(self, request: str, code: int, message: str) -> None:
        super().__init__(f"{request}: {code} {message}")
        self.code = code


class Api:
    """The API at `url`, as the user whose certificate it is."""

    def __init__(self, url: str, *, authority: Path, certificate: Path, key: Path) -> None:
        context = ssl.create_default_context(cafile=str(authority))
        context.load_cert_chain(certificate, key)
        self._client = httpx.Client(base_url=url, verify=context, timeout=TIMEOUT_S, trust_env=False)

    def close(self) -> None:
        self._client.close()

    def request(
        self,
        method: str,
        path: str,
        body: Object | list[Object] | None = None,
        kind: str = "application/json",
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> httpx.Response:
        """Send one request. Raises ApiError for an answer of 400 or more, httpx.HTTPError when there is none."""
        headers = {"Content-Type": kind} if body is not None else {}
        answer = self._client.request(method, path, json=body, headers=headers, timeout=timeout_s)
        if answer.status_code >= 400:
            try:
                message = answer.json()["message"]
            except (ValueError, KeyError, TypeError):
                message = answer.text[:300]
            raise ApiError(f"{method} {path}", answer.status_code, message)
        return answer

    def get(self, path: str) -> Object:
        """Return the object at `path`."""
        thing: Object = self.request("GET", path).json()
        return thing

    def items(self, path: str) -> list[Object]:
        """Return the objects of the collection at `path`."""
        things: list[Object] = self.get(path)["items"]
        return things

    def exists(self, path: str) -> bool:
        """Whether there is an object at `path`."""
        try:
            self.get(path)
        except ApiError as error:
            if error.code == 404:
                return False
            raise
        return True

    def serves(self, path: str) -> bool:
        """Whether objects of the collection at `path` can be listed: of a new kind they cannot for a moment."""
        try:
            self.get(path)
        except ApiError as error:
            if error.code in (404, 429, 503):
                return False
            raise
        return True

    def create(self, path: str, body: Object) -> Object:
        """Create an object in the collection at `path`; what became of it."""
        created: Object = self.request("POST", path, body).json()
        return created

    def create_all(self, path: str, bodies: Iterable[Object]) -> None:
        """Create many objects, a few at a time."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(lambda body: self.create(path, body), bodies))

    def patch(self, path: str, body: Object) -> Object:
        """Merge `body` into the object at `path`."""
        changed: Object = self.request("PATCH", path, body, "application/merge-patch+json").json()
        return changed

    def apply(self, path: str, body: Object, manager: str) -> Object:
        """Make the object at `path` say what `body` says, and keep what others said (server-side apply)."""
        query = f"?fieldManager={manager}&force=true"
        applied: Object = self.request("PATCH", path + query, body, "application/apply-patch+yaml").json()
        return applied

    def delete(self, path: str, *, grace_s: int | None = None) -> None:
        """Delete the object at `path`, and what it owns after it. It may be gone already."""
        options: Object = {"propagationPolicy": "Background"}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        try:
            self.request("DELETE", path, options)
        except ApiError as error:
            if error.code != 404:
                raise


def wait(
    what: str, look: Callable[[], Seen], until: Callable[[Seen], object] = bool, *, timeout_s: float = 90.0
) -> Seen:
    """Look again and again `until` what is seen will do; what was seen. Raises TimeoutError with the last sight."""
    deadline = time.monotonic() + timeout_s
    while not until(seen := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s; last seen: {seen!r:.2000}")
        time.sleep(POLL_S)
    return seen
