"""Differences between an object as it is and as the program wants it, and those among them that need a new object.

As the official plugin does (`provider.go`: Diff, normalizeInputs, pruneLiveState; `diff.go`), the live object is cut
down to the fields the program set last time and compared with what it sets now. So a field that only the server fills
in is no change, and a field that somebody else changed is one. Kinds that Kubernetes itself has pass through its own
types first, where empty and null fields vanish. Secrets, CustomResourceDefinitions and custom resources do not: there
an empty map and a null stay a difference for ever.
"""

import base64
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

from simulator import quantities

Json = dict[str, Any]
Path = tuple[str | int, ...]


class Change(Enum):
    """What happened to the value at a path."""

    ADD = "added"
    DELETE = "deleted"
    UPDATE = "changed"


SERVER_FIELDS = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
)
# Fields whose change needs a new object, by kind; the first two hold for every kind.
IDENTITY = ("metadata.name", "metadata.namespace")
IMMUTABLE: dict[str, tuple[str, ...]] = {
    "Deployment": ("spec.selector",),
    "DaemonSet": ("spec.selector",),
    "StatefulSet": (
        "spec.podManagementPolicy",
        "spec.revisionHistoryLimit",
        "spec.selector",
        "spec.serviceName",
        "spec.volumeClaimTemplates",
    ),
    "Job": ("spec.completions", "spec.parallelism", "spec.selector", "spec.template"),
    "PersistentVolumeClaim": ("spec.accessModes", "spec.selector", "spec.storageClassName", "spec.volumeName"),
    "PersistentVolume": ("spec.csi", "spec.hostPath", "spec.local", "spec.nfs"),
    "Pod": ("spec",),
    "ResourceQuota": ("spec.scopes",),
    "Secret": ("type",),
    "Service": ("spec.clusterIP",),
    "StorageClass": ("parameters", "provisioner"),
    "RoleBinding": ("roleRef",),
    "ClusterRoleBinding": ("roleRef",),
}
# ... and those that need one unless the provider is told that the kind is mutable, or the object says that it is not.
CONTENT: dict[str, tuple[str, ...]] = {
    "Secret": ("type", "stringData", "data"),
    "ConfigMap": ("binaryData", "data"),
}
# Groups whose objects the plugin passes through Kubernetes' own types before it compares them.
BUILT_IN_GROUPS = frozenset(
    {
        "",
        "apps",
        "batch",
        "autoscaling",
        "policy",
        *(
            f"{name}.k8s.io"
            for name in (
                "admissionregistration",
                "apiregistration",
                "certificates",
                "coordination",
                "discovery",
                "events",
                "networking",
                "node",
                "rbac.authorization",
                "resource",
                "scheduling",
                "storage",
            )
        ),
    }
)
# Below these the server rewrites quantities: 1024Mi comes back as 1Gi, 1000m as 1.
QUANTITIES = frozenset(
    {"requests", "limits", "capacity", "hard", "sizeLimit", "min", "max", "default", "defaultRequest"}
)
SEGMENT = re.compile(r'\["((?:[^"\\]|\\.)*)"\]|\[(\d+|\*)\]|([^.\[\]]+)')


def normalized(obj: Json) -> Json:
    """Bring an object into the form in which the server keeps it: no nulls, no server fields, Secrets as base64."""
    result: Json = _without_nulls(obj)
    metadata = result.get("metadata")
    if isinstance(metadata, dict):
        result["metadata"] = {key: value for key, value in metadata.items() if key not in SERVER_FIELDS}
    if result.get("kind") == "Secret" and isinstance(result.get("stringData"), dict):
        data = {key: base64.b64encode(str(text).encode()).decode() for key, text in result.pop("stringData").items()}
        result["data"] = (result.get("data") or {}) | data
    if result.get("kind") == "CustomResourceDefinition":
        result.pop("status", None)
    return result


def is_compared_as_written(obj: Json) -> bool:
    """Return whether empty and null fields of the object count: it does not pass through Kubernetes' own types."""
    group = str(obj.get("apiVersion", "")).rpartition("/")[0]
    return group not in BUILT_IN_GROUPS or obj.get("kind") in ("Secret", "CustomResourceDefinition")


def comparable(obj: Json) -> Json:
    """Bring an object into the form in which the plugin compares it, see `is_compared_as_written`."""
    result = normalized(obj)
    return _with_nulls(result, obj) if is_compared_as_written(obj) else result


def _with_nulls(value: Any, source: Any) -> Any:
    """Return the value with the nulls that `source` has at the same places."""
    if isinstance(value, dict) and isinstance(source, dict):
        kept = {key: _with_nulls(item, source.get(key)) for key, item in value.items()}
        return kept | {key: None for key, item in source.items() if item is None}
    if isinstance(value, list) and isinstance(source, list):
        return [_with_nulls(item, mark) for item, mark in zip(value, source, strict=False)]
    return value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def pruned(live: Any, shape: Any) -> Any:
    """Cut the live value down to the keys and list items that `shape` has."""
    if isinstance(live, dict) and isinstance(shape, dict):
        return {key: pruned(live[key], item) for key, item in shape.items() if key in live}
    if isinstance(live, list) and isinstance(shape, list):
        return [pruned(item, mark) for item, mark in zip(live, shape, strict=False)]
    return live


def compare(old: Any, new: Any, path: Path = (), *, as_written: bool = False) -> Iterator[tuple[Path, Change]]:
    """Yield the path and kind (ADD, DELETE, UPDATE) of each difference.

    `as_written`: an empty or null field that the old value lacks is a difference too.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if key not in new:
                yield (*path, key), Change.DELETE
            elif key in old:
                yield from compare(old[key], new[key], (*path, key), as_written=as_written)
            elif new[key] is None:
                if as_written:
                    yield (*path, key), Change.DELETE  # a merge patch writes it as a deletion
            elif as_written or new[key] not in ("", [], {}, False, 0):  # the types leave zero values out
                yield (*path, key), Change.ADD
    elif isinstance(old, list) and isinstance(new, list):
        for index, (before, after) in enumerate(zip(old, new, strict=False)):
            yield from compare(before, after, (*path, index), as_written=as_written)
        for index in range(min(len(old), len(new)), max(len(old), len(new))):
            kind = Change.ADD if len(new) > len(old) else Change.DELETE
            yield (*path, index), kind
    elif old != new and not _same_quantity(old, new, path):
        yield path, Change.UPDATE


def _same_quantity(old: Any, new: Any, path: Path) -> bool:
    if not QUANTITIES.intersection(path):
        return False
    first, second = quantities.parse(old), quantities.parse(new)
    return first is not None and first == second


def needs_replacement(obj: Json, path: Path, mutable: frozenset[str] = frozenset()) -> bool:
    """Say whether a difference at this path needs a new object.

    `mutable`: those of Secret and ConfigMap that the provider may change in place.
    """
    kind = str(obj.get("kind", ""))
    fields = IMMUTABLE.get(kind, ())
    if kind in CONTENT and (kind not in mutable or obj.get("immutable")):
        fields = CONTENT[kind]
    dotted = ".".join(str(part) for part in path if isinstance(part, str)) + "."
    return any(dotted.startswith(f"{field}.") for field in (*IDENTITY, *fields))


def written(path: Path) -> str:
    """Write a path as Pulumi does: `spec.containers[0].image`, `metadata.labels["a.b/c"]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z_$][\w$-]*", part):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text


def is_ignored(path: Path, ignored: list[str]) -> bool:
    """Say whether the program told Pulumi to ignore changes at this path or above it."""
    for pattern in ignored:
        segments = [quoted or index or name for quoted, index, name in SEGMENT.findall(pattern)]
        if len(segments) <= len(path) and all(
            want in ("*", str(have)) for want, have in zip(segments, path, strict=False)
        ):
            return True
    return False
