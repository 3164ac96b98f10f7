"""Finds and removes what the tests make on a stack, by its kind: one implementation for each product line."""

from collections.abc import Callable
from typing import Any, Protocol

from nemostack.clients import Clients
from nemostack.clients.error_mapping import calling
from nemostack.clients.evaluator import RESULTS_NAMESPACE
from nemostack.errors import NotFound, ServiceError

GONE_ALREADY = {400, 404, 409, 422}  # services differ in what they say of a job that has ended


class Inventory(Protocol):
    """What a line has of one kind. MLflow's experiments are the same on both, and not here."""

    def exists(self, kind: str, name: str) -> bool:
        """Whether it is there; for jobs that are kept for good: whether it still runs."""

    def remove(self, kind: str, name: str) -> None:
        """Remove it; fine if it has gone."""

    def in_namespace(self, namespace: str) -> list[tuple[str, str]]:
        """List (kind, name) of what is there, however it came to be: a look that does not rely on the journal."""


def inventory_of(clients: Clients) -> Inventory:
    """Return the one of the stack's line."""
    return OfPlatform(clients) if clients.on_platform else OfMicroservices(clients)


class OfMicroservices:
    """Entity Store, Data Store, Evaluator and Customizer."""

    def __init__(self, clients: Clients) -> None:
        self.clients = clients

    def exists(self, kind: str, name: str) -> bool:
        clients, (namespace, _, short) = self.clients, name.partition("/")
        match kind:
            case "dataset":
                return clients.entity_store.has_dataset(namespace, short)
            case "model":
                return found(lambda: clients.sdk.models.retrieve(short, namespace=namespace))
            case "dataset-repo":
                return found(lambda: clients.data_store.files(name))
            case "model-repo":
                return _model_repo_exists(clients, name)
            case "evaluation":
                published = f"{RESULTS_NAMESPACE}/{name}"
                return found(lambda: clients.evaluator.get(name)) or clients.data_store.has(published)
            case "customization":
                return runs(clients, name)
            case _:
                return found(lambda: clients.sdk.namespaces.retrieve(name))

    def remove(self, kind: str, name: str) -> None:
        clients, (namespace, _, short) = self.clients, name.partition("/")
        match kind:
            case "dataset":
                clients.entity_store.delete_dataset(namespace, short)
            case "model":
                clients.entity_store.delete_model(name)
            case "dataset-repo":
                clients.data_store.delete(name, "dataset")
            case "model-repo":
                clients.data_store.delete(name, "model")
            case "evaluation":
                unless_ended(lambda: clients.evaluator.cancel(name))
                clients.evaluator.delete(name)
            case "customization":
                unless_ended(lambda: clients.customizer.cancel(name))
            case "namespace":
                unless_ended(lambda: call(lambda: clients.sdk.namespaces.delete(name)))
                _delete_store_namespace(clients.outputs.data_store_url, name)

    def in_namespace(self, namespace: str) -> list[tuple[str, str]]:
        sdk, chosen = self.clients.sdk, {"namespace": namespace}
        datasets = call(lambda: list(sdk.datasets.list(filter=chosen, page_size=100)))  # type: ignore[arg-type]
        models = call(lambda: list(sdk.models.list(filter=chosen, page_size=100)))  # type: ignore[arg-type]
        kinds = (("dataset", datasets), ("model", models))
        return [(kind, f"{row.namespace}/{row.name}") for kind, rows in kinds for row in rows]


class OfPlatform:
    """Filesets, adapters, jobs and workspaces. A dataset is a fileset, and an adapter's files go with it."""

    def __init__(self, clients: Clients) -> None:
        self.clients = clients

    def exists(self, kind: str, name: str) -> bool:
        clients, (namespace, _, short) = self.clients, name.partition("/")
        match kind:
            case "dataset" | "dataset-repo":
                return clients.platform.within(namespace).fileset(short) is not None
            case "model":
                return clients.models.has_model(name)
            case "model-repo":
                return False
            case "evaluation":
                return found(lambda: clients.evaluator.get(name))
            case "customization":
                return runs(clients, name)
            case _:
                return clients.platform.has_workspace(name)

    def remove(self, kind: str, name: str) -> None:
        clients, (namespace, _, short) = self.clients, name.partition("/")
        match kind:
            case "dataset" | "dataset-repo":
                clients.datasets.delete(namespace, short)
            case "model":
                clients.models.delete_model(name)
            case "evaluation":
                unless_ended(lambda: clients.evaluator.cancel(name))
                clients.evaluator.delete(name)
            case "customization":
                unless_ended(lambda: clients.customizer.cancel(name))
                unless_ended(lambda: clients.customizer.delete(name))
            case "namespace":
                clients.platform.delete_workspace(name)

    def in_namespace(self, namespace: str) -> list[tuple[str, str]]:
        return [("dataset", f"{namespace}/{row['name']}") for row in self.clients.platform.within(namespace).filesets()]


def call(action: Callable[[], Any]) -> Any:
    """Do it, with errors of ours."""
    with calling("the stack", "its address", "looking for what the tests made"):
        return action()


def found(look: Callable[[], Any]) -> bool:
    """Whether a look finds anything."""
    try:
        call(look)
    except NotFound:
        return False
    return True


def runs(clients: Clients, job: str) -> bool:
    """Whether a LoRA job still runs."""
    try:
        return not clients.customizer.get(job).ended
    except NotFound:
        return False


def unless_ended(action: Callable[[], Any]) -> None:
    """Do it; fine if there is nothing to do any more."""
    try:
        action()
    except ServiceError as error:
        if error.status not in GONE_ALREADY:
            raise


def _model_repo_exists(clients: Clients, repo: str) -> bool:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=f"{clients.outputs.data_store_url}/v1/hf", token=False)
    return bool(api.repo_exists(repo, repo_type="model"))


def _delete_store_namespace(data_store_url: str, namespace: str) -> None:
    import httpx

    answer = httpx.delete(f"{data_store_url}/v1/datastore/namespaces/{namespace}", timeout=30)
    if answer.status_code not in GONE_ALREADY:
        answer.raise_for_status()
