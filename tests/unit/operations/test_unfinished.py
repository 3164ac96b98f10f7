"""What is known of a stack whose last `up` was killed: Pulumi's state as its engine writes it, and the settings."""

from pathlib import Path

import pytest

from infra.config import stack_file
from nemostack.errors import SettingsError
from operations.stacks import unfinished
from tests.unit.operations import healthy_cluster as h
from tests.unit.operations.unfinished_state import SETTINGS, connection, namespace, secret


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "Pulumi.mine.yaml"
    file.write_text(SETTINGS)
    return file


def test_namespaces_of_the_state_join_those_of_the_outputs() -> None:
    outputs = h.outputs(h.cluster_outputs(namespaces=["llama", "mlflow"]))
    being_made = {key: value for key, value in namespace("later").items() if key != "outputs"}
    deployment = {"resources": [namespace("second"), namespace("llama"), being_made]}
    completed = unfinished.with_namespaces(outputs, deployment)
    assert completed.cluster is not None
    assert completed.cluster.namespaces == ["llama", "mlflow", "second"]
    assert unfinished.with_namespaces(outputs, {}) == outputs


def test_a_first_up_that_was_killed_is_known_by_its_settings(settings: Path) -> None:
    deployment = {
        "resources": [connection("default_4_1"), connection(kubeconfig="/k", context="lab"), namespace("earlier")]
    }
    outputs = unfinished.from_settings(settings, deployment)
    assert outputs is not None
    assert outputs.cluster is not None
    assert (outputs.target, outputs.cluster.kubeconfig, outputs.cluster.context) == ("existing", "/k", "lab")
    assert {"nemo-customizer", "mlflow", "earlier"} <= set(outputs.cluster.namespaces)
    assert "ngc-api" in outputs.cluster.secrets["nemo-customizer"]
    assert outputs.kubeconfig == ""


def test_the_kubeconfig_of_a_cluster_of_ours_is_a_secret_of_the_state(settings: Path) -> None:
    filled = stack_file.starter("gke", "mine").replace(stack_file.PLACEHOLDER, "a-project")
    settings.write_text(f"{filled}  nemostack:ngc_api_key: {{secure: v1:abc}}\n")
    outputs = unfinished.from_settings(settings, {"resources": [connection(kubeconfig=secret("apiVersion: v1"))]})
    assert outputs is not None
    assert outputs.cluster is not None
    assert (outputs.target, outputs.cluster.kubeconfig, outputs.kubeconfig) == ("gke", None, "apiVersion: v1")


def test_without_a_connection_nothing_is_said(settings: Path) -> None:
    assert unfinished.from_settings(settings, {}) is None
    assert unfinished.from_settings(settings, {"resources": [connection("default")]}) is None
    with pytest.raises(SettingsError, match="there is no"):
        unfinished.from_settings(settings.with_name("Pulumi.gone.yaml"), {"resources": [connection()]})
