"""AKS under mocks: what Azure answers, and the program run for its settings."""

import base64
import functools
from collections.abc import Sequence
from typing import Any

import grpc  # type: ignore[import-untyped]
import yaml

from infra import clusters
from tests.unit.infra import from_settings
from tests.unit.infra.cluster_support import CLOUDS, Registrations, config_for, of_type, run

CLUSTER = "azure-native:containerservice:ManagedCluster"
POOL = ":AgentPool"
A10, TRAIN = CLOUDS["aks"]["gpu_pools"]
ISSUED = yaml.safe_dump(
    {
        "clusters": [{"name": "c", "cluster": {"server": "https://api.aks", "certificate-authority-data": "Q0E="}}],
        "users": [{"name": "u", "user": {"client-key-data": "a static key"}}],
    }
)
OUTPUTS: dict[str, dict[str, Any]] = {
    CLUSTER: {
        "name": "nemostack",
        "oidcIssuerProfile": {"issuerURL": "https://issuer"},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {}},
    },
    "azure-native:resources:ResourceGroup": {"name": "group-1"},
    "azure-native:managedidentity:UserAssignedIdentity": {
        "name": "identity",
        "principalId": "principal-1",
        "clientId": "client-1",
    },
}
THERE = {
    "aadProfile": {"managed": True},
    "oidcIssuerProfile": {"issuerURL": "https://there"},
    "agentPoolProfiles": [{"name": "system", "vnetSubnetID": "/subnets/there"}],
}


class NotFound(grpc.RpcError):  # type: ignore[misc]
    """The engine's answer to a look-up that a provider refuses."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNKNOWN

    def details(self) -> str:
        return 'Status=404 Code="ResourceNotFound" Message="The Resource \'nemostack\' was not found."'


def missing(_asked: dict[str, Any]) -> Any:
    """Answer as Azure does about what does not exist."""
    raise NotFound


def pool_state(name: str, count: int, version: str = "1.35", zones: Sequence[str] = ()) -> dict[str, Any]:
    """Describe an agent pool as Azure does."""
    state: dict[str, Any] = {"name": name, "count": count, "currentOrchestratorVersion": f"{version}.4"}
    return state | ({"availabilityZones": list(zones)} if zones else {})


def running(*pools: dict[str, Any], version: str = "1.35") -> dict[str, Any]:
    """Describe a cluster that an earlier run made."""
    return {"currentKubernetesVersion": f"{version}.4", "agentPoolProfiles": list(pools)}


def answers(
    found: dict[str, Any] | None = None, client: str = "pipeline", user: str = "me", creator: str | None = None
) -> dict[str, Any]:
    """What Azure answers to the program. `found`: the cluster; None: there is none. `creator`: who made it."""
    issued = base64.b64encode(ISSUED.encode()).decode()
    return {
        "azure-native:authorization:getClientConfig": {"subscriptionId": "sub-1", "objectId": user, "clientId": client},
        "azure-native:authorization:getRoleAssignment": {"principalId": creator, "principalType": "User"}
        if creator
        else missing,
        "azure-native:containerservice:getManagedCluster": found or missing,
        "azure-native:containerservice:listManagedClusterUserCredentials": {
            "kubeconfigs": [{"name": "clusterUser", "value": issued}]
        },
    }


def connect(
    found: dict[str, Any] | None = None,
    client: str = "pipeline",
    user: str = "me",
    creator: str | None = None,
    **sections: Any,
) -> tuple[clusters.Cluster, Registrations]:
    made: list[clusters.Cluster] = []
    sections["aks"] = CLOUDS["aks"] | sections.get("aks", {})
    settings = config_for("aks", **sections)
    calls = answers(found, client, user, creator)
    registered = run(lambda: made.append(from_settings.connect(settings)), outputs=OUTPUTS, calls=calls)
    return made[0], registered


@functools.cache
def as_shipped() -> tuple[clusters.Cluster, Registrations]:
    """The least settings."""
    return connect()


def pool(gpu: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """Inputs of the agent pool made of `gpu`, beside one that can train."""
    aks = {"gpu_pools": [gpu, *sections.pop("beside", [TRAIN])]} | sections.pop("aks", {})
    _, registered = connect(aks=aks, **sections)
    return of_type(registered, POOL)[f"gpu-{gpu['name']}"].inputs


def role(registered: Registrations, name: str) -> dict[str, Any]:
    return registered["azure-native:authorization:RoleAssignment", name].inputs


GROUP_ID, USER_ID = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
