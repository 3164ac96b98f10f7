"""Who holds the keys of the bucket."""

from typing import Any

import pytest

from infra.cluster.outputs import expected_secrets
from infra.platform.identities import key_holders
from infra.platform.mlflow import mlflow_values
from tests.unit.infra.cluster_support import config_for

AMAZONS = {"kind": "s3", "bucket": "mine", "region": "eu-central-1", "secret": "keys"}
BOTH = {"nemo-datastore", "mlflow"}


def values(target: str, store: dict[str, str]) -> dict[str, Any]:
    """Of MLflow's chart: place and keys of the bucket, without annotations."""
    found: dict[str, Any] = mlflow_values(config_for(target, object_store=store), {})
    return found


def test_mlflow_needs_no_keys_of_amazons_bucket_on_eks() -> None:
    config = config_for("eks", object_store=AMAZONS)
    assert key_holders(config) == ("nemo-datastore",)
    looked_for = expected_secrets(config, {"ngc_api_key"})
    assert {namespace for namespace, wanted in looked_for.items() if "keys" in wanted} == {"nemo-datastore"}
    made = values("eks", AMAZONS)
    assert made["artifactRoot"]["s3"] == {"enabled": True, "bucket": "mine", "path": "mlflow"}
    assert made["extraEnvVars"]["AWS_DEFAULT_REGION"] == "eu-central-1"


@pytest.mark.parametrize(
    ("target", "store"),
    [
        ("eks", AMAZONS | {"endpoint": "https://s3.example.com"}),
        ("eks", {"kind": "in-cluster"}),
        ("gke", AMAZONS),
    ],
)
def test_elsewhere_it_does(target: str, store: dict[str, str]) -> None:
    assert set(key_holders(config_for(target, object_store=store))) == BOTH
    assert values(target, store)["artifactRoot"]["s3"]["existingSecret"]["keyOfAccessKeyId"] == "access_key"
