"""Helm's own record of the releases in a cluster: state, the command out of a half-done one, the objects of each.

Pulumi's state does not say any of this: a killed upgrade looks done to it after a refresh, and it never looks at the
objects of a release. Helm keeps a Secret for each revision. Their labels are read as a table, because with `-o json`
all manifests would travel; those of the deployed revisions come in one call where they are asked for. Repairs nothing:
the commands are for `helm`, and docs/operations.md tells them by what happened.
"""

import base64
import gzip
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import yaml

from nemostack.kubectl.client import Kubectl

HALF_DONE = ("pending-install", "pending-upgrade", "pending-rollback", "uninstalling")
COLUMNS = 8
Identity = tuple[str, str, str]
"""Kind, namespace and name of an object."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """A Helm release in its latest revision. `deployed`: the last revision that is, None if there is none."""

    namespace: str
    name: str
    status: str
    revision: int
    deployed: int | None = None

    @property
    def is_half_done(self) -> bool:
        """Whether Helm refuses to go on with it until somebody has decided what becomes of it."""
        return self.status in HALF_DONE

    @property
    def way_out(self) -> str:
        """The command that ends a half-done operation: what never ran is removed, what ran before is put back."""
        if self.status == "uninstalling" or self.revision == 1:
            return f"helm uninstall {self.name} -n {self.namespace}"
        return f"helm rollback {self.name} {self.deployed or self.revision - 1} -n {self.namespace}"

    @property
    def repair(self) -> str:
        """The command that makes the release's objects again that somebody has deleted."""
        return f"helm rollback {self.name} {self.revision} -n {self.namespace}"

    def __str__(self) -> str:
        """Say what Helm knows of it, in a few words."""
        before = f", revision {self.deployed} is deployed" if self.deployed and self.is_half_done else ""
        return f"{self.namespace}/{self.name}: {self.status} (revision {self.revision}{before})"


def read_releases(kubectl: Kubectl, *, timeout_s: float = 60.0) -> list[Release]:
    """Read all releases of the cluster. Raises ServiceError."""
    table = kubectl.run(
        *("get", "secrets", "--all-namespaces", "--selector=owner=helm", "--no-headers"),
        *("--label-columns=name", "--label-columns=status", "--label-columns=version"),
        timeout_s=timeout_s,
    )
    return parse_releases(table)


def parse_releases(table: str) -> list[Release]:
    """Read lines of namespace, Secret, type, count, age, release, status, revision; one entry for each release."""
    revisions: dict[tuple[str, str], dict[int, str]] = {}
    for line in table.splitlines():
        cells = line.split()
        if len(cells) == COLUMNS and cells[7].isdigit():
            revisions.setdefault((cells[0], cells[5]), {})[int(cells[7])] = cells[6]
    return [
        Release(
            namespace=namespace,
            name=name,
            status=states[max(states)],
            revision=max(states),
            deployed=max((number for number, state in states.items() if state == "deployed"), default=None),
        )
        for (namespace, name), states in sorted(revisions.items())
    ]


def read_manifests(kubectl: Kubectl, *, timeout_s: float = 60.0) -> dict[tuple[str, str], frozenset[Identity]]:
    """Read which objects each deployed release holds, by its namespace and name. Raises ServiceError."""
    wanted = '{range .items[*]}{.metadata.namespace} {.metadata.labels.name} {.data.release}{"\\n"}{end}'
    listed = kubectl.run(
        *("get", "secrets", "--all-namespaces", "--selector=owner=helm,status=deployed"),
        *("-o", f"jsonpath={wanted}"),
        timeout_s=timeout_s,
    )
    return parse_manifests(listed.splitlines())


def parse_manifests(lines: Iterable[str]) -> dict[tuple[str, str], frozenset[Identity]]:
    """Read lines of namespace, release and Helm's record; leave out records that nobody can read."""
    held: dict[tuple[str, str], frozenset[Identity]] = {}
    for line in lines:
        namespace, name, packed = ([*line.split(), "", "", ""])[:3]
        try:
            record = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(packed))))
            documents = yaml.load_all(record["manifest"], Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            held[namespace, name] = frozenset(_identities(documents, namespace))
        except (ValueError, OSError, EOFError, KeyError, TypeError, yaml.YAMLError):
            continue
    return held


def _identities(documents: Iterable[object], namespace: str) -> Iterable[Identity]:
    for document in documents:
        if isinstance(document, Mapping):
            metadata = document["metadata"]
            yield document["kind"], metadata.get("namespace") or namespace, metadata["name"]


def missing(held: Collection[Identity], there: Collection[Identity], kinds: Collection[str]) -> list[Identity]:
    """Return which objects of a release, of the kinds that were looked for, are not there."""
    return sorted(one for one in held if one[0] in kinds and one not in there)
