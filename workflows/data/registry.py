"""`dataset upload`: a dataset in the stores of a stack, by versions that never change.

Version n of `legal` is `namespace/legal-v<n>`, a repository and entity or a fileset; its fields carry the hash of what
the rows say. The same content is never uploaded twice: its version is found by the hash. Refuses data that a run would
refuse.
"""

from dataclasses import dataclass

from nemostack.clients import Clients
from nemostack.models import Model
from workflows.data.dataset import Dataset
from workflows.data.rows import as_chats, as_test_items, content_hash

HASH, VERSION, NAME = "nemostack_sha256", "nemostack_version", "nemostack_dataset"


class Registered(Model):
    """A version of a dataset on a stack; `new` unless it was there."""

    dataset: str
    version: int
    sha256: str
    files_url: str
    new: bool


@dataclass(frozen=True)
class _Known:
    version: int
    sha256: str


def upload(data: Dataset, clients: Clients, *, namespace: str, name: str) -> Registered:
    """Upload and register the next version, unless this content is one already."""
    sha256 = content_hash({"train": data.train, "validation": data.validation, "test": data.test})
    known = _versions(clients, namespace, name)
    same = next((one for one in known if one.sha256 == sha256), None)
    version = same.version if same else max((one.version for one in known), default=0) + 1
    full = f"{name}-v{version}"
    repo = f"{namespace}/{full}"
    new = same is None or not clients.datasets.has(namespace, full)
    if new:
        message = f"{name} version {version}, sha256 {sha256}"
        clients.datasets.upload(namespace, full, files_of(data), message=message)
    files_url = clients.datasets.register(
        namespace,
        full,
        description=f"{name}, version {version}; uploaded by nemostack",
        fields={NAME: name, VERSION: version, HASH: sha256},
    )
    return Registered(dataset=repo, version=version, sha256=sha256, files_url=files_url, new=new)


def files_of(data: Dataset) -> dict[str, bytes]:
    """Return the files of a repository, where Customizer and Evaluator look for them."""
    return {
        "training/train.jsonl": as_chats(data.train),
        "validation/validation.jsonl": as_chats(data.validation),
        "testing/test.jsonl": as_test_items(data.test),
    }


def _versions(clients: Clients, namespace: str, name: str) -> list[_Known]:
    fields = clients.datasets.fields(namespace).values()
    ours = [one for one in fields if one.get(NAME) == name]
    return [_Known(int(str(one[VERSION])), str(one[HASH])) for one in ours if VERSION in one and HASH in one]
