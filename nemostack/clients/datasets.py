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

    def fields(self, namespace: str) -> dict[str, dict[str, Any]]:
        """Return name and fields of every dataset in a namespace; none for a namespace that is not there."""

    def has(self, namespace: str, name: str) -> bool:
        """Whether a dataset is there with its files."""

    def missing(self, namespace: str, name: str) -> str | None:
        """Why a dataset cannot be used any more, or None."""

    def upload(self, namespace: str, name: str, files: dict[str, bytes], *, message: str) -> None:
        """Store files (path -> content) under a dataset's name; creates the namespace."""

    def register(self, namespace: str, name: str, *, description: str, fields: dict[str, Any]) -> str:
        """Make a stored dataset known, or change its fields, and return how jobs name it."""

    def file_of(self, reference: str, path: str) -> str:
        """Name one file of a dataset as jobs do, from what `register` returned."""

    def add(self, namespace: str, name: str, files: dict[str, bytes], *, message: str) -> None:
        """Put more files into a dataset that is there."""

    def read(self, namespace: str, name: str, path: str) -> bytes:
        """Content of one small file."""

    def delete(self, namespace: str, name: str) -> list[str]:
        """Delete a dataset with its files; the names of what was there."""


class StoresOfMicroservices:
    """Data Store and Entity Store."""

    def __init__(self, clients: "Clients") -> None:
        self._clients = clients

    def fields(self, namespace: str) -> dict[str, dict[str, Any]]:
        return self._clients.entity_store.dataset_fields(namespace)

    def has(self, namespace: str, name: str) -> bool:
        return self._clients.data_store.has(f"{namespace}/{name}")

    def missing(self, namespace: str, name: str) -> str | None:
        repo = f"{namespace}/{name}"
        if not self._clients.entity_store.has_dataset(namespace, name):
            return f"dataset {repo} is not in the Entity Store any more"
        return None if self.has(namespace, name) else f"repository {repo} is not in the Data Store any more"

    def upload(self, namespace: str, name: str, files: dict[str, bytes], *, message: str) -> None:
        self._clients.entity_store.ensure_namespace(namespace)
        self._clients.data_store.ensure_namespace(namespace)
        self._clients.data_store.upload(f"{namespace}/{name}", files, message=message)

    def register(self, namespace: str, name: str, *, description: str, fields: dict[str, Any]) -> str:
        store = self._clients.entity_store
        return store.register_dataset(namespace, name, project=PROJECT, description=description, fields=fields)

    def file_of(self, reference: str, path: str) -> str:
        return f"{reference}/{path}"

    def add(self, namespace: str, name: str, files: dict[str, bytes], *, message: str) -> None:
        self._clients.data_store.upload(f"{namespace}/{name}", files, message=message)

    def read(self, namespace: str, name: str, path: str) -> bytes:
        return self._clients.data_store.read(f"{namespace}/{name}", path)

    def delete(self, namespace: str, name: str) -> list[str]:
        repo, removed = f"{namespace}/{name}", []
        if self._clients.entity_store.delete_dataset(namespace, name):
            removed.append(f"dataset {repo}")
        if self._clients.data_store.delete(repo, "dataset"):
            removed.append(f"dataset repository {repo}")
        return removed


class FilesetsOfPlatform:
    """Filesets with the purpose `dataset`."""

    def __init__(self, clients: "Clients") -> None:
        self._platform = clients.platform

    def fields(self, namespace: str) -> dict[str, dict[str, Any]]:
        rows = self._platform.within(namespace).filesets()
        return {row["name"]: row.get("custom_fields") or {} for row in rows}

    def has(self, namespace: str, name: str) -> bool:
        platform = self._platform.within(namespace)
        return platform.fileset(name) is not None and bool(platform.files(name))

    def missing(self, namespace: str, name: str) -> str | None:
        return None if self.has(namespace, name) else f"fileset {namespace}/{name} is not on the platform any more"

    def upload(self, namespace: str, name: str, files: dict[str, bytes], *, message: str) -> None:
        platform = self._platform.within(namespace)
        platform.ensure_workspace()
        platform.create_fileset(name, "dataset", message)
        self.add(namespace, name, files, message=message)

    def register(self, namespace: str, name: str, *, description: str, fields: dict[str, Any]) -> str:
        self._platform.within(namespace).describe_fileset(name, description, fields)
        return f"{namespace}/{name}"

    def file_of(self, reference: str, path: str) -> str:
        return f"{reference}#{path}"

    def add(self, namespace: str, name: str, files: dict[str, bytes], *, message: str) -> None:
        del message  # a fileset has no history
        for path, content in files.items():
            self._platform.within(namespace).upload(name, path, content)

    def read(self, namespace: str, name: str, path: str) -> bytes:
        return self._platform.within(namespace).read(name, path)

    def delete(self, namespace: str, name: str) -> list[str]:
        platform = self._platform.within(namespace)
        if platform.fileset(name) is None:
            return []
        platform.delete_fileset(name)
        return [f"fileset {namespace}/{name}"]
