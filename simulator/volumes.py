"""Storage of the simulated cluster: two StorageClasses and a provisioner that makes volumes without a disk.

Simulated, and that is all: for a claim that the real controller hands to an external provisioner it creates a
PersistentVolume (a hostPath that nobody mounts), which the real controller binds; it deletes volumes that are released
and not to be retained.
`standard` is the default and, like the block storage of clouds, refuses claims that many nodes want to write; `shared`
takes any. No data, no capacity, no topology.
"""

from typing import Any

from simulator.api import Api, ApiError, Object

PROVISIONER = "simulated.nemostack.dev/volumes"
STANDARD = "standard"
SHARED = "shared"
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
    """Serves claims and removes released volumes."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._refused: set[str] = set()

    def create_classes(self) -> None:
        """Create both storage classes."""
        self._api.create_all("/apis/storage.k8s.io/v1/storageclasses", storage_classes())

    def once(self) -> bool:
        """Serve every claim that waits, remove every volume that is done with; whether there was any."""
        waiting = [
            claim
            for claim in self._api.items("/api/v1/persistentvolumeclaims")
            if is_ours(claim, ASKED)
            and claim["status"]["phase"] == "Pending"
            and claim["metadata"]["uid"] not in self._refused
        ]
        released = [
            volume["metadata"]["name"]
            for volume in self._api.items("/api/v1/persistentvolumes")
            if is_ours(volume, MADE_BY)
            and volume["status"].get("phase") == "Released"
            and volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
        ]
        for claim in waiting:
            self._serve(claim)
        for name in released:
            self._api.delete(f"/api/v1/persistentvolumes/{name}")
        return bool(waiting or released)

    def _serve(self, claim: Object) -> None:
        if claim["spec"]["storageClassName"] == STANDARD and not set(claim["spec"]["accessModes"]) <= SINGLE_NODE:
            self._api.create(f"/api/v1/namespaces/{claim['metadata']['namespace']}/events", refusal(claim))
            self._refused.add(claim["metadata"]["uid"])
            return
        try:
            self._api.create("/api/v1/persistentvolumes", volume_for(claim))
        except ApiError as error:
            if error.code != 409:  # made before, and not bound yet
                raise


def is_ours(thing: dict[str, Any], annotation: str) -> bool:
    """Whether an annotation names our provisioner."""
    return bool(thing["metadata"].get("annotations", {}).get(annotation) == PROVISIONER)
