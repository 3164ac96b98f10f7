"""GKE under mocks: what Google Cloud answers, and the program run for its settings."""

import functools
from typing import Any

from infra import clusters
from tests.unit.infra import from_settings
from tests.unit.infra.cluster_support import (
    CLOUDS,
    Registrations,
    config_for,
    of_type,
    run,
)

CLUSTER = "gcp:container/cluster:Cluster"
OUTPUTS: dict[str, dict[str, Any]] = {
    CLUSTER: {"endpoint": "10.0.0.1", "masterAuth": {"clusterCaCertificate": "Q0E="}},
    "gcp:serviceaccount/account:Account": {"email": "nodes@x", "member": "serviceAccount:nodes@x", "name": "n"},
}


def found(*, filestore: bool = True, pool: str = "project-1.svc.id.goog") -> dict[str, Any]:
    """What Google answers about a cluster that is there."""
    return {
        "name": "nemostack",
        "endpoint": "10.9.9.9",
        "network": "there",
        "masterAuths": [{"clusterCaCertificate": "Q0E="}],
        "addonsConfigs": [{"gcpFilestoreCsiDriverConfigs": [{"enabled": filestore}]}],
        "workloadIdentityConfigs": [{"workloadPool": pool}] if pool else [],
    }


def connect(answer: dict[str, Any] | None = None, **sections: Any) -> tuple[clusters.Cluster, Registrations]:
    made: list[clusters.Cluster] = []
    sections["gke"] = CLOUDS["gke"] | sections.get("gke", {})
    settings = config_for("gke", **sections)
    calls = {"gcp:container/getCluster:getCluster": answer} if answer else {}
    registered = run(lambda: made.append(from_settings.connect(settings)), outputs=OUTPUTS, calls=calls)
    return made[0], registered


@functools.cache
def as_shipped() -> tuple[clusters.Cluster, Registrations]:
    """The least settings."""
    return connect()


def pool(gpu: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """Inputs of the node pool made of `gpu`, beside one that can train."""
    gke = {"gpu_pools": [gpu, CLOUDS["gke"]["gpu_pools"][1]]} | sections.pop("gke", {})
    _, registered = connect(gke=gke, **sections)
    return of_type(registered, ":NodePool")[f"gpu-{gpu['name']}"].inputs


KEYS = {"object_store_access_key": "a", "object_store_secret_key": "b"}
