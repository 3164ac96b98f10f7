"""The journal of what the tests create on a stack: written before each creation, so that nothing can be left behind.

Every process of a session (pytest-xdist has several) appends to one file. Tests remove what they made themselves;
when all are done the controlling process looks for what is still there, removes it and fails the session. What
several tests share is removed by it without complaint.
"""

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from nemostack.clients import Clients
from smoke_tests.inventory import inventory_of

Kind = Literal[
    "dataset", "model", "dataset-repo", "model-repo", "evaluation", "customization", "experiment", "namespace"
]


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
        self._inventory = inventory_of(clients)

    @cache  # noqa: B019 - one Stack a process, as long as the process
    def mlflow(self) -> Any:
        """MLflow's client."""
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.clients.outputs.mlflow_url)

    def exists(self, made: Made) -> bool:
        """Whether it is there; for jobs of the Customizer, which keeps them for good: whether it still runs."""
        if made.kind != "experiment":
            return self._inventory.exists(made.kind, made.name)
        experiment = self.mlflow().get_experiment_by_name(made.name)
        return experiment is not None and experiment.lifecycle_stage == "active"

    def remove(self, made: Made) -> None:
        """Remove it; fine if it has gone."""
        if made.kind != "experiment":
            self._inventory.remove(made.kind, made.name)
        elif self.exists(made):
            self.mlflow().delete_experiment(self.mlflow().get_experiment_by_name(made.name).experiment_id)

    def in_namespace(self, namespace: str) -> list[Made]:
        """List what is there, however it came to be: a look that does not rely on the journal."""
        return [Made(kind, name) for kind, name in self._inventory.in_namespace(namespace)]  # type: ignore[arg-type]
