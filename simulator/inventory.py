"""Objects that are in a cluster beside those of the system, and their removal by force.

For tests: what one of them leaves behind, because it failed, is taken away before the next one looks.
"""

import time

from simulator.api import DEFINITIONS, Api, ApiError, Object, wait

NAMESPACES = "/api/v1/namespaces"
HOOKS = "/apis/admissionregistration.k8s.io/v1"
VOLUMES = "/api/v1/persistentvolumes"
COLLECTIONS = (
    f"{HOOKS}/validatingwebhookconfigurations",
    f"{HOOKS}/mutatingwebhookconfigurations",
    f"{HOOKS}/validatingadmissionpolicybindings",
    f"{HOOKS}/validatingadmissionpolicies",
    NAMESPACES,
    DEFINITIONS,
)
"""What other tests would see, in the order of its removal. Volumes are not in it: they go after their namespace."""
SYSTEM_NAMESPACES = frozenset({"default", "kube-node-lease", "kube-public", "kube-system"})
DISCOVERY = "/apis"
PATIENCE_S = 20.0
"""How long objects may take to go by themselves before their finalizers are taken away."""
GONE_S = 120.0


def contents(api: Api, *, also_on_the_way_out: bool = False) -> set[str]:
    """Return the paths of all objects in COLLECTIONS; with those that are being deleted, and volumes, if asked for."""
    collections = (*COLLECTIONS, VOLUMES) if also_on_the_way_out else COLLECTIONS
    return {
        f"{path}/{item['metadata']['name']}"
        for path in collections
        for item in api.items(path)
        if also_on_the_way_out or "deletionTimestamp" not in item["metadata"]
    } - {f"{NAMESPACES}/{name}" for name in SYSTEM_NAMESPACES}


def remove(api: Api, paths: set[str]) -> None:
    """Delete the objects at `paths` and wait until they are gone, without their finalizers if they do not go."""
    order = {collection: number for number, collection in enumerate(COLLECTIONS)}
    for path in sorted(paths, key=lambda path: order.get(path.rpartition("/")[0], len(order))):
        api.delete(path)
    deadline = time.monotonic() + PATIENCE_S
    while left := {path for path in paths if api.exists(path)}:
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    if not left:
        return
    for path in left:
        if path.startswith(f"{NAMESPACES}/"):
            release_objects(api, path.rpartition("/")[2])
        release(api, path)
    wait("all gone", lambda: {path for path in left if api.exists(path)}, lambda still: not still, timeout_s=GONE_S)


def release(api: Api, path: str) -> None:
    """Take the finalizers of the object at `path` away. It may be gone already."""
    try:
        api.patch(path, {"metadata": {"finalizers": None}})
    except ApiError as error:
        if error.code not in (404, 409, 422):
            raise


def release_objects(api: Api, namespace: str) -> None:
    """Take the finalizers of all objects of a namespace away that are being deleted."""
    for collection in namespaced_collections(api):
        head, plural = collection.rsplit("/", 1)
        try:
            items = api.items(f"{head}/namespaces/{namespace}/{plural}")
        except ApiError as error:
            if error.code in (404, 405, 503):
                continue
            raise
        for item in items:
            if item["metadata"].get("finalizers") and "deletionTimestamp" in item["metadata"]:
                release(api, f"{head}/namespaces/{namespace}/{plural}/{item['metadata']['name']}")


def namespaced_collections(api: Api) -> list[str]:
    """Return the collections of all kinds that live in namespaces."""
    versions = ["/api/v1"]
    versions += [f"/apis/{group['preferredVersion']['groupVersion']}" for group in api.get(DISCOVERY)["groups"]]
    remains: list[str] = []
    for version in versions:
        resources: list[Object] = api.get(version)["resources"]
        remains += [
            f"{version}/{resource['name']}"
            for resource in resources
            if resource["namespaced"] and "/" not in resource["name"] and "list" in resource["verbs"]
        ]
    return remains
