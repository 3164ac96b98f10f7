"""Storage of the simulated cluster: two StorageClasses and a provisioner that makes volumes without a disk.

Simulated, and that is all: for a claim that the real controller hands to an external provisioner it creates a
PersistentVolume (a hostPath that nobody mounts), which the real controller binds; it deletes volumes that are released.
`standard` is the default and, like the block storage of clouds, refuses claims that many nodes want to write; `shared`
takes any. No data, no capacity, no topology.
"""

import contextlib
import threading
from typing import Any

import httpx

from tests.cluster.api import Api, ApiError, Object

PROVISIONER = "simulated.nemostack.dev/volumes"
STANDARD = "standard"
SHARED = "shared"
PERIOD_S = 0.25
SINGLE_NODE = {"ReadWriteOnce", "ReadWriteOncePod"}
ASKED = "volume.kubernetes.io/storage-provisioner"
MADE_BY = "pv.kubernetes.io/provisioned-by"


def storage_classes() -> list[Object]:
    """Return both classes."""
    return [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": name,
                "annotations": {"storageclass.kubernetes.io/is-default-class": str(name == STANDARD).lower()},
            },
            "provisioner": PROVISIONER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "Immediate",
        }
        for name in (STANDARD, SHARED)
    ]


def volume_for(claim: Object) -> Object:
    """Return the volume that satisfies `claim`."""
    metadata, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pvc-{metadata['uid']}", "annotations": {MADE_BY: PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "volumeMode": spec.get("volumeMode", "Filesystem"),
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec["storageClassName"],
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "hostPath": {"path": f"/simulated/{metadata['uid']}"},
        },
    }


def refusal(claim: Object) -> Object:
    """Return the event that tells why `claim` gets no volume."""
    metadata = claim["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{metadata['uid'][:8]}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
        "type": "Warning",
        "reason": "ProvisioningFailed",
        "message": f"storage class {STANDARD} cannot serve {', '.join(claim['spec']['accessModes'])}",
        "source": {"component": PROVISIONER},
        "count": 1,
    }


class Provisioner:
    """A thread that looks for claims and released volumes until it is stopped."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._refused: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="volume provisioner", daemon=True)

    def start(self) -> None:
        """Create the classes and begin."""
        self._api.create_all("/apis/storage.k8s.io/v1/storageclasses", storage_classes())
        self._thread.start()

    def stop(self) -> None:
        """End the thread, if it was started."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            # Whatever goes wrong is looked at again next time; a claim that stays Pending fails its test.
            with contextlib.suppress(ApiError, httpx.HTTPError):
                self.once()

    def once(self) -> None:
        """Serve every claim that waits, remove every volume that is done with."""
        for claim in self._api.items("/api/v1/persistentvolumeclaims"):
            if is_ours(claim, ASKED) and claim["status"]["phase"] == "Pending":
                self._serve(claim)
        for volume in self._api.items("/api/v1/persistentvolumes"):
            if is_ours(volume, MADE_BY) and volume["status"].get("phase") == "Released":
                self._api.delete(f"/api/v1/persistentvolumes/{volume['metadata']['name']}")

    def _serve(self, claim: Object) -> None:
        uid = claim["metadata"]["uid"]
        if claim["spec"]["storageClassName"] == STANDARD and not set(claim["spec"]["accessModes"]) <= SINGLE_NODE:
            if uid not in self._refused:
                self._api.create(f"/api/v1/namespaces/{claim['metadata']['namespace']}/events", refusal(claim))
                self._refused.add(uid)
            return
        try:
            self._api.create("/api/v1/persistentvolumes", volume_for(claim))
        except ApiError as error:
            if error.code != 409:  # made before, and not bound yet
                raise


def is_ours(thing: dict[str, Any], annotation: str) -> bool:
    """Whether an annotation names our provisioner."""
    return bool(thing["metadata"].get("annotations", {}).get(annotation) == PROVISIONER)
