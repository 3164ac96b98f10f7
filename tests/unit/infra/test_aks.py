"""AKS as the engine is asked for it: pools as the settings say, secure defaults, only pools where it is there."""

import base64
import functools
import json
from typing import Any

import pulumi
import pytest
import yaml

from infra import clusters, names
from tests.unit.infra.cluster_support import CLOUDS, ROOT, Registrations, comes_after, config_for, of_type, run

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


def answers(found: dict[str, Any] = THERE, client: str = "pipeline") -> dict[str, Any]:
    """What Azure answers to the program."""
    issued = base64.b64encode(ISSUED.encode()).decode()
    return {
        "azure-native:authorization:getClientConfig": {
            "subscriptionId": "sub-1",
            "objectId": "me",
            "clientId": client,
        },
        "azure-native:containerservice:getManagedCluster": found,
        "azure-native:containerservice:listManagedClusterUserCredentials": {
            "kubeconfigs": [{"name": "clusterUser", "value": issued}]
        },
    }


def connect(
    found: dict[str, Any] = THERE, client: str = "pipeline", **sections: Any
) -> tuple[clusters.Cluster, Registrations]:
    made: list[clusters.Cluster] = []
    sections["aks"] = CLOUDS["aks"] | sections.get("aks", {})
    settings = config_for("aks", **sections)
    calls = answers(found, client)
    registered = run(lambda: made.append(clusters.connect(settings, ROOT)), outputs=OUTPUTS, calls=calls)
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


def test_inventory() -> None:
    cluster, registered = as_shipped()
    assert set(of_type(registered, POOL)) == {"gpu-a10", "gpu-train"}
    assert {kind for kind, _ in registered if kind.startswith("azure-native:")} == {
        CLUSTER,
        "azure-native:containerservice:AgentPool",
        "azure-native:resources:ResourceGroup",
        "azure-native:network:VirtualNetwork",
        "azure-native:managedidentity:UserAssignedIdentity",
        "azure-native:authorization:RoleAssignment",
    }
    assert (cluster.storage_class, cluster.rwx_storage_class) == (None, "nemostack-rwx")
    assert cluster.object_store_annotations == {}
    ours = [key for key, registration in registered.items() if not registration.parent]
    assert ours == [("pulumi:providers:azure-native", "azure"), ("nemostack:cluster:Aks", "nemostack")]


def test_a_pool_is_what_the_settings_say() -> None:
    inputs = pool(
        {
            "name": "a10-big",
            "machine": "Standard_NV72ads_A10_v5",
            "min": 1,
            "max": 5,
            "zones": ["1", "3"],
            "disk_gib": 300,
            "labels": {"team": "x"},
            "taints": [
                {"key": "nvidia.com/gpu", "value": "present"},
                {"key": "team", "value": "x", "effect": "NoExecute"},
            ],
        }
    )
    assert (inputs["agentPoolName"], inputs["vmSize"]) == ("a10big", "Standard_NV72ads_A10_v5")
    assert (inputs["minCount"], inputs["maxCount"], inputs["count"]) == (1, 5, 1)
    assert inputs["enableAutoScaling"] is True
    assert inputs["availabilityZones"] == ["1", "3"]
    assert inputs["osDiskSizeGB"] == 300
    assert inputs["nodeLabels"] == {"team": "x", "nemostack.io/pool": "a10-big", "nvidia.com/gpu.present": "true"}
    assert inputs["nodeTaints"] == ["nvidia.com/gpu=present:NoSchedule", "team=x:NoExecute"]
    assert inputs["gpuProfile"] == {"driver": "Install"}
    assert inputs["mode"] == "User"
    assert not {"gpuInstanceProfile", "scaleSetPriority", "spotMaxPrice"} & set(inputs)


def test_spot_has_the_taint_that_azure_puts_there() -> None:
    inputs = pool(A10 | {"spot": True})
    assert (inputs["scaleSetPriority"], inputs["scaleSetEvictionPolicy"], inputs["spotMaxPrice"]) == (
        "Spot",
        "Delete",
        -1,
    )
    assert inputs["nodeTaints"] == [
        "nvidia.com/gpu=present:NoSchedule",
        "kubernetes.azure.com/scalesetpriority=spot:NoSchedule",
    ]
    assert "upgradeSettings" not in inputs


def test_mig_is_azures() -> None:
    assert (
        pool(TRAIN | {"mig": {"profile": "3g.40gb"}}, beside=[TRAIN | {"name": "whole"}])["gpuInstanceProfile"]
        == "MIG3g"
    )


def test_the_gpu_operator_brings_the_driver() -> None:
    operator = {"prerequisites": {"gpu": {"software": "gpu-operator"}}}
    bare = {"name": "t4", "gpu": "T4", "count": 1, "max": 8, "driver": "none", "time_slicing": {"replicas": 4}}
    inputs = pool(bare, beside=[TRAIN | {"driver": "none"}], **operator)
    assert inputs["gpuProfile"] == {"driver": "None"}
    assert inputs["nodeLabels"]["nvidia.com/device-plugin.config"] == "t4"


def test_secure_defaults() -> None:
    _, registered = as_shipped()
    inputs = registered[CLUSTER, "nemostack"].inputs
    assert inputs["disableLocalAccounts"] is True
    assert inputs["aadProfile"] == {"managed": True, "enableAzureRBAC": True}
    assert inputs["oidcIssuerProfile"] == {"enabled": True}
    assert inputs["securityProfile"] == {"workloadIdentity": {"enabled": True}}
    assert inputs["networkProfile"]["networkPolicy"] == "cilium"
    assert all(found.inputs["enableNodePublicIP"] is False for found in of_type(registered, POOL).values())
    assert "apiServerAccessProfile" not in inputs
    _, office = connect(aks={"authorized_networks": ["192.0.2.0/24"]})
    assert office[CLUSTER, "nemostack"].inputs["apiServerAccessProfile"] == {"authorizedIPRanges": ["192.0.2.0/24"]}


def test_the_autoscalers_work_is_no_drift() -> None:
    _, registered = as_shipped()
    assert list(registered[CLUSTER, "nemostack"].options.ignoreChanges) == ["agentPoolProfiles[0].count"]
    for registration in of_type(registered, POOL).values():
        assert list(registration.options.ignoreChanges) == ["count"]


def test_the_system_pool() -> None:
    _, registered = connect(aks={"system_pool": {"machine": "Standard_D16s_v5", "min": 1, "max": 7, "disk_gib": 150}})
    (system,) = registered[CLUSTER, "nemostack"].inputs["agentPoolProfiles"]
    assert (system["mode"], system["vmSize"], system["minCount"], system["maxCount"]) == (
        "System",
        "Standard_D16s_v5",
        1,
        7,
    )
    assert system["osDiskSizeGB"] == 150


def test_roles() -> None:
    _, registered = as_shipped()
    network, admin = role(registered, "cluster-network"), role(registered, "maker-admin")
    assert (network["scope"], network["principalId"], network["principalType"]) == (
        "network-id",
        "principal-1",
        "ServicePrincipal",
    )
    assert (admin["scope"], admin["principalId"]) == ("nemostack-id", "me")
    assert admin["principalType"] == "ServicePrincipal"
    assert network["roleAssignmentName"] != admin["roleAssignmentName"]
    assert admin["roleDefinitionId"].startswith(
        "/subscriptions/sub-1/providers/Microsoft.Authorization/roleDefinitions/"
    )
    assert "cluster-network" in registered[CLUSTER, "nemostack"].dependencies
    assert "maker-admin" in registered["pulumi:providers:kubernetes", "nemostack"].dependencies


def test_a_person_who_logged_in_with_az_is_no_service_principal() -> None:
    _, registered = connect(client="04b07795-8ddb-461a-bbee-02f9e1bf7b46")
    assert role(registered, "maker-admin")["principalType"] == "User"
    assert role(registered, "cluster-network")["principalType"] == "ServicePrincipal"


def test_the_network_lets_nodes_reach_shares() -> None:
    _, registered = as_shipped()
    (subnet,) = registered["azure-native:network:VirtualNetwork", "network"].inputs["subnets"]
    assert subnet["serviceEndpoints"] == [{"service": "Microsoft.Storage"}]
    expected = "network-id/subnets/nodes"
    (system,) = registered[CLUSTER, "nemostack"].inputs["agentPoolProfiles"]
    assert system["vnetSubnetID"] == expected
    assert all(found.inputs["vnetSubnetID"] == expected for found in of_type(registered, POOL).values())


def test_a_subnet_that_is_there_is_used() -> None:
    _, registered = connect(aks={"subnet_id": "/subnets/mine"})
    assert not of_type(registered, ":VirtualNetwork")
    assert role(registered, "cluster-network")["scope"] == "/subnets/mine"
    assert registered[CLUSTER, "nemostack"].inputs["agentPoolProfiles"][0]["vnetSubnetID"] == "/subnets/mine"


def test_shared_volumes() -> None:
    _, registered = as_shipped()
    (made,) = of_type(registered, ":StorageClass").values()
    assert made.inputs["provisioner"] == "file.csi.azure.com"
    assert made.inputs["parameters"]["protocol"] == "nfs"
    _, registered = connect(storage={"rwx_class_name": "nfs"})
    assert not of_type(registered, ":StorageClass")


def test_the_kubeconfig_is_secret_and_holds_no_credential() -> None:
    _, registered = as_shipped()
    provider = registered["pulumi:providers:kubernetes", "nemostack"]
    assert provider.secrets == {"kubeconfig"}
    text = provider.inputs["kubeconfig"]
    assert "a static key" not in text
    config = json.loads(text)
    assert config["clusters"][0]["cluster"]["server"] == "https://api.aks"
    assert config["users"][0]["user"]["exec"]["command"] == "kubelogin"


def test_mlflow_gets_into_the_storage_account_by_its_identity() -> None:
    store = {"kind": "azure", "account": "blobs", "resource_group": "data"}
    cluster, registered = connect(object_store=store)
    assert set(cluster.object_store_annotations) == {"azure.workload.identity/client-id"}
    trust = registered["azure-native:managedidentity:FederatedIdentityCredential", "mlflow"].inputs
    assert trust["issuer"] == "https://issuer"
    assert trust["subject"] == f"system:serviceaccount:{names.MLFLOW_NAMESPACE}:{names.MLFLOW_SERVICE}"
    blobs = role(registered, "mlflow-blobs")
    account = "/subscriptions/sub-1/resourceGroups/data/providers/Microsoft.Storage/storageAccounts/blobs"
    assert (blobs["scope"], blobs["principalId"]) == (account, "principal-1")


def test_what_names_the_cluster_waits_for_it() -> None:
    _, registered = connect(object_store={"kind": "azure", "account": "blobs", "resource_group": "data"})
    naming = {
        key: one
        for key, one in registered.items()
        if (one.inputs.get("resourceName") == "nemostack" and key[0] != CLUSTER)
        or one.inputs.get("issuer")
        or key[0].startswith("kubernetes:")
    }
    assert {typ.rpartition(":")[2] for typ, _ in naming} == {"AgentPool", "FederatedIdentityCredential", "StorageClass"}
    for key, one in naming.items():
        assert (CLUSTER, "nemostack") in comes_after(registered, one), key


def test_a_cluster_that_is_there_only_gets_pools_and_a_class() -> None:
    cluster, registered = connect(aks={"create": False})
    assert {kind for kind, _ in registered} == {
        "nemostack:cluster:Aks",
        "pulumi:providers:azure-native",
        "pulumi:providers:kubernetes",
        "azure-native:containerservice:AgentPool",
        "kubernetes:storage.k8s.io/v1:StorageClass",
    }
    for found in of_type(registered, POOL).values():
        assert found.inputs["vnetSubnetID"] == "/subnets/there"
        assert (found.inputs["resourceGroupName"], found.inputs["resourceName"]) == ("group-1", "nemostack")
        assert "orchestratorVersion" not in found.inputs
    assert cluster.rwx_storage_class == "nemostack-rwx"


def test_a_cluster_that_is_there_without_entra() -> None:
    with pytest.raises(
        pulumi.RunError, match=r"^aks: cluster nemostack has no login by Microsoft Entra: az aks update"
    ):
        connect(THERE | {"aadProfile": None}, aks={"create": False})
