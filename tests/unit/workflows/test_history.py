"""The history of an alias: what MLflow's model registry is told."""

from types import SimpleNamespace
from typing import cast

import pytest

from nemostack.clients import Clients
from workflows.promotion.history import History


@pytest.mark.parametrize(
    ("on_platform", "source"),
    [(True, "adapter://default/x-lora@cust-1"), (False, "hf://models/default/x-lora@cust-1")],
)
def test_mlflow_is_told_no_address_of_another_host_for_a_models_files(on_platform: bool, source: str) -> None:
    clients = cast("Clients", SimpleNamespace(on_platform=on_platform, outputs=SimpleNamespace(mlflow_url="")))
    assert History(clients, "prod", "experiment", "me")._source("default/x-lora@cust-1") == source
