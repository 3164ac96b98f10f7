"""The abilities of storage classes, read from the objects of the API server. Pure."""

from collections.abc import Mapping
from typing import Any

ONE_NODE_ONLY = frozenset(
    {
        *("pd.csi.storage.gke.io", "ebs.csi.aws.com", "disk.csi.azure.com"),
        *("kubernetes.io/gce-pd", "kubernetes.io/aws-ebs", "kubernetes.io/azure-disk"),
        "rancher.io/local-path",  # K3s
    }
)
"""Provisioners of block or local storage, whose volumes one node at a time can mount: they refuse ReadWriteMany."""
_DEFAULT = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")


def is_default(storage_class: Mapping[str, Any]) -> bool:
    """Whether claims that name no class get this one."""
    notes = storage_class["metadata"].get("annotations") or {}
    return any(notes.get(key) == "true" for key in _DEFAULT)
