"""Where a stack keeps datasets: one small interface, and its implementation on each product line.

On the microservices a dataset is a repository of the Data Store that is registered in the Entity Store; on the NeMo
Platform it is a fileset, whose workspace is the namespace.
"""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from nemostack.clients import Clients

PROJECT = "nemostack"


class Datasets(Protocol):
    """Datasets by namespace and name; `fields` are values of ours that stay with a dataset."""

    def fields(self, namespace: str) -> list[dict[str, Any]]:
        """Return the fields of every dataset in a namespace; none for a namespace that is not there."""

    def has(self, namespace: str, name: str) -> bool:
        """Whether a dataset is there with its files."""

    def upload(self, namespace: str, name: str, files: dict[str, bytes], *, message: str) -> None:
        """Store files (path -> content) under a dataset's name; creates the namespace."""

    def register(self, namespace: str, name: str, *, description: str, fields: dict[str, Any]) -> str:
        """Make a stored dataset known, or change its fields, and return how jobs name its files."""


class StoresOfMicroservices:
    """Data Store and Entity Store."""

    def __init__(self, clients: "Clients") -> None:
        self._clients = clients

    def fields(self, namespace: str) -> list[dict[str, Any]]:
        return self._clients.entity_store.dataset_fields(namespace)

    def has(self, namespace: str, name: str) -> bool:
        return self._clients.data_store.has(f"{namespace}/{name}")

    def upload(self, namespace: str, name: str, files: dict[str, bytes], *, message: str) -> None:
        self._clients.entity_store.ensure_namespace(namespace)
        self._clients.data_store.ensure_namespace(namespace)
        self._clients.data_store.upload(f"{namespace}/{name}", files, message=message)

    def register(self, namespace: str, name: str, *, description: str, fields: dict[str, Any]) -> str:
        store = self._clients.entity_store
        return store.register_dataset(namespace, name, project=PROJECT, description=description, fields=fields)


class FilesetsOfPlatform:
    """Filesets with the purpose `dataset`."""

    def __init__(self, clients: "Clients") -> None:
        self._platform = clients.platform

    def fields(self, namespace: str) -> list[dict[str, Any]]:
        return [fileset["custom_fields"] for fileset in self._platform.within(namespace).filesets()]

    def has(self, namespace: str, name: str) -> bool:
        platform = self._platform.within(namespace)
        return platform.fileset(name) is not None and bool(platform.files(name))

    def upload(self, namespace: str, name: str, files: dict[str, bytes], *, message: str) -> None:
        platform = self._platform.within(namespace)
        platform.ensure_workspace()
        platform.create_fileset(name, "dataset", message)
        for path, content in files.items():
            platform.upload(name, path, content)

    def register(self, namespace: str, name: str, *, description: str, fields: dict[str, Any]) -> str:
        self._platform.within(namespace).describe_fileset(name, description, fields)
        return f"{namespace}/{name}"
