"""One look of the simulated operators at the cluster, and the parts of the objects that they make."""

from dataclasses import dataclass, field
from typing import Any

from simulator.api import Api, ApiError, Object

MANAGER = "simulated-operators"
GENERATION = "simulated.nemostack.dev/generation"
CLAIMS = "/api/v1/persistentvolumeclaims"
CONFIG_MAPS = "/api/v1/configmaps"
NAMESPACES = "/api/v1/namespaces"
NODES = "/api/v1/nodes"
PODS = "/api/v1/pods"
SECRETS = "/api/v1/secrets"
WITHOUT_RECORDS = "?fieldSelector=type%21%3Dhelm.sh%2Frelease.v1"
SERVICES = "/api/v1/services"
JOBS = "/apis/batch/v1/jobs"
DEPLOYMENTS = "/apis/apps/v1/deployments"
STATEFUL_SETS = "/apis/apps/v1/statefulsets"


@dataclass
class Round:
    """What is there in one look of the operators: each collection is read once."""

    api: Api
    groups: set[str]
    changed: bool = False
    _read: dict[str, dict[tuple[str, str], Object]] = field(default_factory=dict)

    def collection(self, path: str) -> dict[tuple[str, str], Object]:
        """Return the objects of a collection by namespace and name; none if the API does not know it."""
        if path not in self._read:
            group = path.split("/")[2]
            served = group in self.groups or path.startswith("/api/")
            self._read[path] = {
                (it["metadata"].get("namespace", ""), it["metadata"]["name"]): it
                for it in (self._items(path) if served else [])
            }
        return self._read[path]

    @property
    def secrets(self) -> dict[tuple[str, str], Object]:
        """Secrets by namespace and name, without Helm's records, which are large."""
        return self.collection(f"{SECRETS}{WITHOUT_RECORDS}")

    def _items(self, path: str) -> list[Object]:
        try:
            return self.api.items(path)
        except ApiError as error:
            if error.code != 404:  # a group that lacks this kind
                raise
            return []

    def child(
        self, owner: Object, path: str, kind: str, name: str, body: Object, *, notes: dict[str, str] | None = None
    ) -> Object:
        """Return the child `name` of `owner`, made or changed first if it is not of the owner's present generation."""
        namespace, metadata = owner["metadata"]["namespace"], owner["metadata"]
        generation = str(metadata.get("generation", 1))
        found = self.collection(path).get((namespace, name))
        if found and found["metadata"].get("annotations", {}).get(GENERATION) == generation:
            return found
        version = path.removeprefix("/apis/").removeprefix("/api/").rsplit("/", 1)
        reference = {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "controller": True,
        }
        whole = body | {
            "apiVersion": version[0],
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": namespace,
                "annotations": {**(notes or {}), GENERATION: generation},
                "ownerReferences": [reference],
            },
        }
        self.changed = True
        return self.api.apply(f"{at(path, namespace)}/{name}", whole, MANAGER)

    def status(self, path: str, thing: Object, status: Object) -> None:
        """Give `thing` a status, if it has another."""
        now = thing.get("status", {})
        if all(now.get(key) == value for key, value in status.items()):
            return
        self.change(path, thing, {"status": status}, part="/status")
        thing["status"] = now | status  # what comes later in this round has to see it

    def change(self, path: str, thing: Object, body: Object, *, part: str = "") -> None:
        """Merge `body` into `thing`, or into a part of it that has a path of its own."""
        metadata = thing["metadata"]
        self.api.patch(f"{at(path, metadata.get('namespace'))}/{metadata['name']}{part}", body)
        self.changed = True


def at(collection: str, namespace: str | None) -> str:
    """Path of a collection in one namespace."""
    head, plural = collection.rsplit("/", 1)
    return f"{head}/namespaces/{namespace}/{plural}" if namespace else collection


def condition(kind: str, true: bool = True, *, reason: str = "Simulated", message: str = "") -> Object:
    """Return a condition as every operator writes it. Its time stands still, so that it changes only once."""
    return {
        "type": kind,
        "status": str(true),
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


def container(image: str, resources: Object | None = None, **more: Any) -> Object:
    """Return the one container of a pod."""
    return {"name": "main", "image": image, "resources": resources or {}, **more}


RESTRICTED_POD: Object = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
}
RESTRICTED_CONTAINER: Object = {
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}


def claim(size: str, mode: str, storage_class: str | None) -> Object:
    """Return the spec of a PersistentVolumeClaim."""
    chosen = {"storageClassName": storage_class} if storage_class else {}
    return {"accessModes": [mode], "resources": {"requests": {"storage": size}}, **chosen}


def rolled_out(workload: Object, counter: str, wanted: int) -> bool:
    """Whether a workload's controller has seen its spec, and all replicas are of that spec and ready."""
    status = workload.get("status", {})
    return bool(
        status.get("observedGeneration") == workload["metadata"]["generation"]
        and status.get(counter, 0) == wanted
        and status.get("readyReplicas", 0) >= wanted
    )
