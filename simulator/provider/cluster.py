"""The API server over REST: one HTTP client for all threads, kinds resolved by discovery, objects as plain JSON.

It knows no Pulumi. Errors of the API server are ApiError with its status code, reason and text.
"""

import threading
import time
from dataclasses import dataclass
from typing import Any

import httpx

from simulator.provider.kubeconfig import Kubeconfig

Json = dict[str, Any]
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
TRIES = 4


class ApiError(Exception):
    """The API server said no: status code, reason and message as it gave them."""

    def __init__(self, code: int, reason: str, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.kind = kind  # of the object that is missing, for NotFound

    @property
    def not_found(self) -> bool:
        """Whether the object, or something it needs, does not exist."""
        return self.code == 404


class UnknownKindError(ApiError):
    """No API of this server serves the kind: mostly a CustomResourceDefinition that is not there (yet)."""

    def __init__(self, api_version: str, kind: str) -> None:
        super().__init__(404, "NoMatch", f'no matches for kind "{kind}" in version "{api_version}"')


@dataclass(frozen=True)
class Endpoint:
    """Where objects of one kind live."""

    prefix: str  # /api/v1, /apis/apps/v1
    plural: str
    namespaced: bool

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """Return the path of one object, or of the collection without a name."""
        middle = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{self.prefix}{middle}/{self.plural}" + (f"/{name}" if name else "")


class Cluster:
    """Reads, applies and deletes objects of one API server. Safe to share between threads."""

    def __init__(self, kubeconfig: Kubeconfig) -> None:
        self.kubeconfig = kubeconfig
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        self._http = httpx.Client(
            base_url=kubeconfig.server,
            headers={"User-Agent": "nemostack-test-provider"} | kubeconfig.headers,
            verify=kubeconfig.verify,
            limits=limits,
            timeout=httpx.Timeout(60, pool=300),
            trust_env=False,  # the control plane is on loopback
        )
        self._endpoints: dict[tuple[str, str], Endpoint] = {}
        self._discovered = threading.Lock()
        self.announced: dict[tuple[str, str], bool] = {}  # kinds of CRDs in the program: namespaced or not

    def endpoint(self, api_version: str, kind: str) -> Endpoint:
        """Find where a kind is served; asks the server again before it gives up. Raises UnknownKindError."""
        known = self._endpoints
        if (api_version, kind) not in known:
            with self._discovered:
                if self._endpoints is known:
                    self._endpoints = self._discover()
        try:
            return self._endpoints[api_version, kind]
        except KeyError:
            raise UnknownKindError(api_version, kind) from None

    def is_namespaced(self, api_version: str, kind: str) -> bool:
        """Say whether the kind lives in namespaces; a kind nobody knows yet counts as one that does."""
        try:
            return self.endpoint(api_version, kind).namespaced
        except UnknownKindError:
            return self.announced.get((api_version, kind), True)

    def _discover(self) -> dict[tuple[str, str], Endpoint]:
        endpoints = {}
        for root in ("/api", "/apis"):
            for group in self._request("GET", root, headers={"Accept": DISCOVERY})["items"]:
                name = group["metadata"].get("name", "")
                for version in group["versions"]:
                    api_version = f"{name}/{version['version']}" if name else version["version"]
                    for resource in version.get("resources", []):
                        kind = resource["responseKind"]["kind"]
                        endpoints[api_version, kind] = Endpoint(
                            prefix=f"{root}/{api_version}",
                            plural=resource["resource"],
                            namespaced=resource["scope"] == "Namespaced",
                        )
        return endpoints

    def get(self, api_version: str, kind: str, namespace: str | None, name: str) -> Json:
        """Read one object. Raises ApiError."""
        return self._request("GET", self.endpoint(api_version, kind).path(namespace, name))

    def find(self, api_version: str, kind: str, namespace: str | None, name: str) -> Json | None:
        """Read one object, None if it does not exist."""
        try:
            return self.get(api_version, kind, namespace, name)
        except ApiError as error:
            if error.not_found:
                return None
            raise

    def list(self, api_version: str, kind: str, namespace: str | None = None, **query: str) -> list[Json]:
        """List objects; query is labelSelector or fieldSelector."""
        path = self.endpoint(api_version, kind).path(namespace)
        items: list[Json] = self._request("GET", path, params=query).get("items", [])
        return items

    def apply(self, obj: Json, *, manager: str, force: bool = False, dry_run: bool = False) -> Json:
        """Server-side apply: create the object, or change what this manager owns of it. Raises ApiError."""
        query = {"fieldManager": manager, "force": str(force).lower(), "fieldValidation": "Strict"}
        return self._request(
            "PATCH",
            self._path(obj),
            params=query | ({"dryRun": "All"} if dry_run else {}),
            headers={"Content-Type": "application/apply-patch+yaml"},
            json=obj,
        )

    def replace(self, obj: Json, *, manager: str) -> Json:
        """Put an object in the place of the one that is there, as the official plugin does with CRDs."""
        there = self._request("GET", self._path(obj))
        metadata = obj["metadata"] | {"resourceVersion": there["metadata"]["resourceVersion"]}
        query = {"fieldManager": manager, "fieldValidation": "Strict"}
        return self._request("PUT", self._path(obj), params=query, json=obj | {"metadata": metadata})

    def delete(self, obj: Json, *, propagation: str = "Foreground") -> None:
        """Ask for an object's deletion; it is no error if it is gone. Raises ApiError otherwise."""
        try:
            self._request("DELETE", self._path(obj), json={"propagationPolicy": propagation})
        except ApiError as error:
            if not error.not_found:
                raise

    def _path(self, obj: Json) -> str:
        metadata = obj["metadata"]
        return self.endpoint(obj["apiVersion"], obj["kind"]).path(metadata.get("namespace"), metadata["name"])

    def _request(self, method: str, path: str, **options: Any) -> Json:
        for attempt in range(TRIES):
            try:
                response = self._http.request(method, path, **options)
            except httpx.TransportError as error:
                if attempt == TRIES - 1:
                    address = self.kubeconfig.server
                    raise ApiError(0, "Unreachable", f"the API server {address} is unreachable: {error}") from error
            else:
                if response.status_code not in (429, 503) or attempt == TRIES - 1:
                    return _answer(response)
            time.sleep(0.2 * 2**attempt)
        raise AssertionError("unreachable")


def _answer(response: httpx.Response) -> Json:
    try:
        body: Json = response.json()
    except ValueError:
        body = {"message": response.text.strip() or response.reason_phrase, "reason": response.reason_phrase}
    if response.is_success:
        return body
    kind = (body.get("details") or {}).get("kind", "")
    raise ApiError(response.status_code, body.get("reason", ""), body.get("message", ""), kind)
