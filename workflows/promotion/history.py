"""What has happened to an alias, by whom and why: kept on the stack, and in MLflow's model registry.

On the stack the last 200 changes are in the record `aliases/NAME`: custom fields of a model entity of the Entity Store,
or a file of the platform. In MLflow the adapters of a base model are versions of one registered model, with their
lineage as tags; its aliases follow ours. Trouble with MLflow is said and ends nothing.
"""

import getpass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field

from nemostack.aliases import Alias
from nemostack.clients import Clients
from nemostack.errors import BadInput
from nemostack.models import Model
from workflows.engine.run_directory import RunDirectory
from workflows.gate.verdict import GateReport
from workflows.results.mlflow_export import Tracker
from workflows.stages.comparison import Compared
from workflows.stages.customization import Trained
from workflows.stages.load_test import LoadTested
from workflows.stages.upload import Uploaded

NAMESPACE = "aliases"
_KEPT = 200
Action = Literal["promote", "canary", "split", "shadow", "rollback", "remove"]


class Lineage(Model):
    """Where a model comes from."""

    model: str
    base_model: str
    run: str = ""
    dataset: str = ""
    dataset_sha256: dict[str, str] = Field(default_factory=dict)
    config: str = ""
    training_job: str = ""
    evaluation_job: str = ""
    hyperparameters: dict[str, float] = Field(default_factory=dict)
    gate: str = ""
    gate_reason: str = ""
    load_test: str = ""
    commit: str = ""
    mlflow_run: str = ""


class Change(Model):
    """One change of an alias: where it leads from then on, and where it led."""

    at: datetime
    by: str
    action: Action
    alias: Alias
    before: Alias | None
    reason: str
    lineage: Lineage | None = None


def lineage_of(run: RunDirectory) -> Lineage:
    """Read the lineage of a run's tuned model. BadInput for a run that has none."""
    info, trained = run.info(), run.stage("customization")
    if trained.status != "done":
        raise BadInput(f"run {run.path} has no tuned model: its customization is {trained.status}")
    made = Trained.model_validate(trained.outputs)
    uploaded, compared = run.stage("dataset"), run.stage("comparison")
    data = Uploaded.model_validate(uploaded.outputs)
    found: dict[str, Any] = {}
    if compared.status == "done":
        outcome = Compared.model_validate(compared.outputs)
        found["mlflow_run"] = outcome.mlflow.run_id or ""
        if outcome.gate is not None:
            found |= {"gate": outcome.gate.outcome, "gate_reason": outcome.gate.reason}
    if run.stage("load_test").status == "done":
        found["load_test"] = LoadTested.model_validate(run.stage("load_test").outputs).line
    return Lineage(
        model=made.model,
        base_model=str(info.outputs.get("base_model", "")),
        run=info.id,
        dataset=data.repo,
        dataset_sha256={name: split.sha256 for name, split in data.facts.splits.items()},
        config=str(info.outputs.get("customization_config", "")),
        training_job=made.job_id,
        evaluation_job=str(run.stage("lora").outputs.get("job_id", "")),
        hyperparameters=made.hyperparameters,
        commit=info.git_commit or "",
        **found,
    )


def gate_of(run: RunDirectory) -> GateReport | None:
    """What the gate has said at the end of the run."""
    record = run.stage("comparison")
    return Compared.model_validate(record.outputs).gate if record.status == "done" else None


class History:
    """The changes of one alias, oldest first."""

    def __init__(self, clients: Clients, name: str, experiment: str, by: str | None = None) -> None:
        self._clients, self._name = clients, name
        self._tracker = Tracker(clients.outputs.mlflow_url, experiment, name)
        self.by = by or getpass.getuser()
        self.problem: str | None = None

    def changes(self) -> list[Change]:
        """Read them; empty for an alias that never was."""
        fields = self._clients.records.record(NAMESPACE, self._name) or {}
        return [Change.model_validate(row) for row in fields.get("changes", [])]

    def add(
        self, action: Action, alias: Alias, before: Alias | None, reason: str, lineage: Lineage | None = None
    ) -> Change:
        """Write a change down, here and in MLflow."""
        at = datetime.now(UTC)
        change = Change(at=at, by=self.by, action=action, alias=alias, before=before, reason=reason, lineage=lineage)
        rows = [one.model_dump(mode="json") for one in [*self.changes(), change][-_KEPT:]]
        self._clients.records.save_record(NAMESPACE, self._name, alias.stable, {"changes": rows})
        try:
            self._register(change)
        except Exception as error:  # noqa: BLE001 - the stack has it
            self.problem = self._tracker.problem("registering the change in", error)
        return change

    def _register(self, change: Change) -> None:
        client, _ = self._tracker.open()
        base = change.lineage.base_model if change.lineage else self._clients.outputs.base_model
        name = base.replace("/", "--").replace(":", "-")
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name, description=f"Adapters of {base}, promoted by nemostack")
        versions = {
            version.tags.get("nemostack.model"): version.version
            for version in client.search_model_versions(f"name = '{name}'")
        }
        places = {"stable": change.alias.stable, "canary": self._canary(change.alias)}
        for place, model in places.items():
            mlflow_alias = self._name if place == "stable" else f"{self._name}-canary"
            if model is None:
                if mlflow_alias in client.get_registered_model(name).aliases:
                    client.delete_registered_model_alias(name, mlflow_alias)
                continue
            if model not in versions:
                lineage = change.lineage if change.lineage and change.lineage.model == model else None
                versions[model] = _version(client, name, model, self._source(model), lineage)
            client.set_registered_model_alias(name, mlflow_alias, versions[model])
        text = f"{change.by}: {change.action}, {change.alias}; {change.reason}"[:5000]
        client.set_registered_model_tag(name, f"nemostack.{self._name}.{change.at:%Y%m%dT%H%M%S%f}Z", text)

    def _source(self, model: str) -> str:
        """Name of a model's files, in words of the stack: MLflow refuses an address of another host."""
        if self._clients.on_platform:
            return f"adapter://{model}"
        repository, _, revision = model.partition("@")
        return f"hf://models/{repository}@{revision or 'main'}"

    @staticmethod
    def _canary(alias: Alias) -> str | None:
        return next((route.model for route in alias.routes[1:] if route.weight), None)


def _version(client: Any, name: str, model: str, source: str, lineage: Lineage | None) -> str:
    tags = {"nemostack.model": model}
    if lineage is not None:
        values = lineage.model_dump(mode="json", exclude={"model", "mlflow_run"})
        tags |= {f"nemostack.{key}": str(value)[:5000] for key, value in values.items() if value}
    return str(
        client.create_model_version(
            name,
            source=source,
            run_id=lineage.mlflow_run or None if lineage else None,
            tags=tags,
            await_creation_for=0,  # MLflow has made it; what it would wait for is Databricks, and it says so on stderr
        ).version
    )
