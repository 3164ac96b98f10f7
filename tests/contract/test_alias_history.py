"""What promotions write down, in the real Entity Store and in a real MLflow registry."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nemostack.aliases import Alias, Route
from nemostack.clients import Clients
from nemostack.outputs import StackOutputs
from workflows.promotion.history import History, Lineage


@pytest.fixture
def clients(entity_store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clients]:
    monkeypatch.chdir(tmp_path)
    nowhere = "http://127.0.0.1:9"
    outputs = StackOutputs(
        target="given",
        nemo_url=entity_store_url,
        data_store_url=nowhere,
        nim_url=nowhere,
        nim_internal_url=nowhere,
        mlflow_url=f"sqlite:///{tmp_path}/mlflow.db",
        judge_url=nowhere,
        judge_model="j",
        base_model="org/base",
        customization_config="c",
        log_commands={},
    )
    with Clients(outputs) as made:
        yield made


def leads_to(*routes: tuple[str, float]) -> Alias:
    return Alias(routes=tuple(Route(model=model, weight=weight) for model, weight in routes))


@pytest.mark.filterwarnings("ignore")  # mlflow's own
def test_changes_are_kept_with_their_lineage_in_both(clients: Clients, unique: str) -> None:
    from mlflow import MlflowClient

    name = f"prod-{unique.lower()}"[:60]
    history = History(clients, name, "legal", by="kim")
    assert history.changes() == []
    first, second = "default/x-lora@cust-1", "default/x-lora@cust-2"
    lineage = Lineage(
        model=first,
        base_model="org/base",
        run="r1",
        dataset_sha256={"train": "ab" * 32},
        training_job="cust-1",
        evaluation_job="eval-1",
        gate="GO",
        load_test="PASS",
        hyperparameters={"adapter_dim": 8},
    )
    history.add("promote", leads_to((first, 100)), None, "GO", lineage)
    history.add("canary", leads_to((first, 95), (second, 5)), leads_to((first, 100)), "step 1")
    assert history.problem is None
    changes = History(clients, name, "legal").changes()
    assert [(one.by, one.action, one.reason) for one in changes] == [
        ("kim", "promote", "GO"),
        ("kim", "canary", "step 1"),
    ]
    assert changes[0].lineage == lineage
    assert changes[1].before == leads_to((first, 100))

    registry = MlflowClient(tracking_uri=clients.outputs.mlflow_url)
    version = registry.get_model_version_by_alias("org--base", name)
    assert version.tags["nemostack.model"] == first
    assert version.tags["nemostack.training_job"] == "cust-1"
    assert "abab" in version.tags["nemostack.dataset_sha256"]
    assert registry.get_model_version_by_alias("org--base", f"{name}-canary").tags["nemostack.model"] == second
    history.add("rollback", leads_to((first, 100)), leads_to((first, 95), (second, 5)), "quality")
    model: Any = registry.get_registered_model("org--base")
    assert set(model.aliases) == {name}  # the canary's is gone
    assert any("kim: rollback" in value for value in model.tags.values())


def test_without_mlflow_the_change_is_kept_and_the_trouble_said(clients: Clients, unique: str) -> None:
    clients.outputs = clients.outputs.model_copy(update={"mlflow_url": ""})
    history = History(clients, f"a-{unique.lower()}"[:60], "legal")
    history.add("promote", leads_to(("default/x@cust-1", 1)), None, "GO")
    assert len(history.changes()) == 1
    assert "no MLflow" in (history.problem or "")
