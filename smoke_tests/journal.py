"""The journal of what the tests create on a stack: written before each creation, so that nothing can be left behind.

Every process of a session (pytest-xdist has several) appends to one file. Tests remove what they made themselves;
when all are done the controlling process looks for what is still there, removes it and fails the session. What
several tests share is removed by it without complaint.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from nemostack.clients import Clients
from nemostack.errors import NotFound, ServiceError
from workflows.stages.cleanup import RESULTS_NAMESPACE

Kind = Literal[
    "dataset", "model", "dataset-repo", "model-repo", "evaluation", "customization", "experiment", "namespace"
]
GONE_ALREADY = {400, 404, 409, 422}  # services differ in what they say of a job that has ended


@dataclass(frozen=True)
class Made:
    """One thing. `name` is an id or `namespace/name`; `test` is who made it, empty for what is shared."""

    kind: Kind
    name: str
    test: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f" of {self.test}" if self.test else "")


class Journal:
    """The file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "made.jsonl"

    def add(self, made: Made) -> None:
        """Append; small appends of several processes do not mix."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(made)) + "\n")

    def entries(self) -> list[Made]:
        """All, in the order they were made, each once."""
        if not self._path.exists():
            return []
        lines = self._path.read_text(encoding="utf-8").splitlines()
        return list(dict.fromkeys(Made(**json.loads(line)) for line in lines))


class Stack:
    """Finds and removes things on the stack."""

    def __init__(self, clients: Clients) -> None:
        self.clients = clients

    @cache  # noqa: B019 - one Stack a process, as long as the process
    def mlflow(self) -> Any:
        """MLflow's client."""
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.clients.outputs.mlflow_url)

    def exists(self, made: Made) -> bool:
        """Whether it is there; for jobs of the Customizer, which keeps them for good: whether it still runs."""
        clients, (namespace, _, name) = self.clients, made.name.partition("/")
        match made.kind:
            case "dataset":
                return clients.entity_store.has_dataset(namespace, name)
            case "model":
                return _found(lambda: clients.sdk.models.retrieve(name, namespace=namespace))
            case "dataset-repo":
                return _found(lambda: clients.data_store.files(made.name))
            case "model-repo":
                return _model_repo_exists(clients, made.name)
            case "evaluation":
                published = f"{RESULTS_NAMESPACE}/{made.name}"
                return _found(lambda: clients.evaluator.get(made.name)) or clients.data_store.has(published)
            case "customization":
                try:
                    return not clients.customizer.get(made.name).ended
                except NotFound:
                    return False
            case "namespace":
                return _found(lambda: clients.sdk.namespaces.retrieve(made.name))
            case "experiment":
                experiment = self.mlflow().get_experiment_by_name(made.name)
                return experiment is not None and experiment.lifecycle_stage == "active"

    def remove(self, made: Made) -> None:
        """Remove it; fine if it has gone."""
        clients, (namespace, _, name) = self.clients, made.name.partition("/")
        match made.kind:
            case "dataset":
                clients.entity_store.delete_dataset(namespace, name)
            case "model":
                clients.entity_store.delete_model(made.name)
            case "dataset-repo":
                clients.data_store.delete(made.name, "dataset")
            case "model-repo":
                clients.data_store.delete(made.name, "model")
            case "evaluation":
                _unless_ended(lambda: clients.evaluator.cancel(made.name))
                clients.evaluator.delete(made.name)
                clients.data_store.delete(f"{RESULTS_NAMESPACE}/{made.name}", "dataset")
            case "customization":
                _unless_ended(lambda: clients.customizer.cancel(made.name))
            case "namespace":
                _unless_ended(lambda: _call(lambda: clients.sdk.namespaces.delete(made.name)))
                _delete_store_namespace(clients.outputs.data_store_url, made.name)
            case "experiment":
                experiment = self.mlflow().get_experiment_by_name(made.name)
                if experiment is not None and experiment.lifecycle_stage == "active":
                    self.mlflow().delete_experiment(experiment.experiment_id)

    def in_namespace(self, namespace: str) -> list[Made]:
        """List what the Entity Store has there, however it came to be: a look that does not rely on the journal."""
        sdk = self.clients.sdk
        rows: list[Made] = []
        for kind, names in (
            ("dataset", _call(lambda: list(sdk.datasets.list(filter={"namespace": namespace}, page_size=100)))),
            ("model", _call(lambda: list(sdk.models.list(filter={"namespace": namespace}, page_size=100)))),
        ):
            rows += [Made(kind, f"{row.namespace}/{row.name}") for row in names]  # type: ignore[arg-type]
        return rows


def _call(action: Callable[[], Any]) -> Any:
    from nemostack.clients.error_mapping import calling

    with calling("the stack", "its address", "looking for what the tests made"):
        return action()


def _found(look: Callable[[], Any]) -> bool:
    try:
        _call(look)
    except NotFound:
        return False
    return True


def _unless_ended(action: Callable[[], None]) -> None:
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
