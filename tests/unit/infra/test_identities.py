"""Who holds the keys of the bucket."""

from typing import Any

import pytest

from infra.cluster.outputs import expected_secrets
from infra.platform.credentials import credential_names
from infra.topology import resolve_topology
from infra.topology.bucket import Bucket
from tests.unit.infra.cluster_support import config_for
from tests.unit.infra.from_settings import mlflow_values

AMAZONS = {"kind": "s3", "bucket": "mine", "region": "eu-central-1", "secret": "keys"}
BOTH = {"nemo-datastore", "mlflow"}


def values(target: str, store: dict[str, str]) -> dict[str, Any]:
    """Of MLflow's chart: place and keys of the bucket, without annotations."""
    return mlflow_values(config_for(target, object_store=store))


def bucket(target: str, store: dict[str, str]) -> Bucket:
    found = resolve_topology(config_for(target, object_store=store)).bucket
    assert found is not None
    return found


def test_mlflow_needs_no_keys_of_amazons_bucket_on_eks() -> None:
    config = config_for("eks", object_store=AMAZONS)
    assert bucket("eks", AMAZONS).key_holders == ("nemo-datastore",)
    found = credential_names(config.credentials, {"ngc_api_key"})
    looked_for = expected_secrets(resolve_topology(config), found, None)
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
    assert set(bucket(target, store).key_holders) == BOTH
    assert values(target, store)["artifactRoot"]["s3"]["existingSecret"]["keyOfAccessKeyId"] == "access_key"
