"""AKS as the engine is asked for it: pools as the settings say, secure defaults, only pools where it is there."""

import json

import pulumi
import pytest

from infra import names
from tests.unit.infra.aks_program import (
    CLUSTER,
    GROUP_ID,
    POOL,
    THERE,
    USER_ID,
    as_shipped,
    connect,
    pool_state,
    role,
    running,
)
from tests.unit.infra.cluster_support import comes_after, every, of_type

pytestmark = pytest.mark.xdist_group("aks")  # one process imports the SDK of this cloud


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
        "azure-native:containerservice:MaintenanceConfiguration",
    }
    assert (cluster.storage_class, cluster.rwx_storage_class) == (None, "nemostack-rwx")
    assert cluster.object_store_annotations == {}
    ours = [key for key, registration in registered.items() if not registration.parent]
    assert ours == [("pulumi:providers:azure-native", "azure"), ("nemostack:cluster:Aks", "nemostack")]


def test_secure_defaults() -> None:
    _, registered = as_shipped()
    inputs = registered[CLUSTER, "nemostack"].inputs
    assert inputs["disableLocalAccounts"] is True
    assert inputs["aadProfile"] == {"managed": True, "enableAzureRBAC": True}
    assert inputs["oidcIssuerProfile"] == {"enabled": True}
    assert inputs["securityProfile"] == {"workloadIdentity": {"enabled": True}}
    assert inputs["networkProfile"]["networkPolicy"] == "cilium"
    assert all(found.inputs["enableNodePublicIP"] is False for found in every(registered, POOL))
    assert "apiServerAccessProfile" not in inputs
    _, office = connect(aks={"authorized_networks": ["192.0.2.0/24"]})
    assert office[CLUSTER, "nemostack"].inputs["apiServerAccessProfile"] == {"authorizedIPRanges": ["192.0.2.0/24"]}


def test_a_new_cluster_is_used_once_its_role_is_effective(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def wait(kubeconfig: str) -> str:
        asked.append(kubeconfig)
        return f"{kubeconfig}# waited"

    monkeypatch.setattr("infra.clusters.aks.wait_for_administrator", wait)
    _, registered = connect()
    (provider,) = of_type(registered, "pulumi:providers:kubernetes").values()
    assert provider.inputs["kubeconfig"].endswith("# waited"), "nothing is made in the cluster before"
    assert ["https://api.aks" in text for text in asked] == [True]
    for there in (connect(running()), connect(THERE, aks={"create": False})):
        (provider,) = of_type(there[1], "pulumi:providers:kubernetes").values()
        assert "# waited" not in provider.inputs["kubeconfig"]
    assert len(asked) == 1, "who made the cluster has its role since then"


def test_upgrades_are_within_the_window() -> None:
    _, registered = connect(aks={"maintenance": {"day": "Saturday", "start": "02:30", "hours": 6}})
    windows = of_type(registered, ":MaintenanceConfiguration")
    assert {one.inputs["configName"] for one in windows.values()} == {
        "aksManagedAutoUpgradeSchedule",
        "aksManagedNodeOSUpgradeSchedule",
    }
    for one in windows.values():
        window = one.inputs["maintenanceWindow"]
        assert window["schedule"] == {"weekly": {"dayOfWeek": "Saturday", "intervalWeeks": 1}}
        assert (window["startTime"], window["utcOffset"], window["durationHours"]) == ("02:30", "+00:00", 6)
    _, registered = connect(aks={"maintenance": None})
    assert not of_type(registered, ":MaintenanceConfiguration")


def test_administrators_are_a_list_of_principals() -> None:
    admins = [{"id": GROUP_ID, "type": "Group"}, {"id": USER_ID, "type": "User"}]
    _, registered = connect(aks={"admins": admins})
    group = role(registered, f"admin-{GROUP_ID}")
    assert (group["principalId"], group["principalType"], group["scope"]) == (GROUP_ID, "Group", "nemostack-id")
    assert role(registered, f"admin-{USER_ID}")["principalType"] == "User"
    assert group["roleDefinitionId"] == role(registered, "maker-admin")["roleDefinitionId"]
    assert len({role(registered, name)["roleAssignmentName"] for name in of_type(registered, ":RoleAssignment")}) == 4


def test_the_next_who_runs_the_program_does_not_take_the_creators_place() -> None:
    _, first = connect(user="me")
    now = running(pool_state("system", 2))
    _, second = connect(now, user="colleague", creator="me")
    one, other = role(first, "maker-admin"), role(second, "maker-admin")
    assert other["principalId"] == "me"
    assert other["roleAssignmentName"] == one["roleAssignmentName"]
    _, third = connect(now, creator=USER_ID, aks={"admins": [{"id": USER_ID, "type": "User"}]})
    assert f"admin-{USER_ID}" not in of_type(third, ":RoleAssignment"), "Azure refuses the same role twice"


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
    assert all(found.inputs["vnetSubnetID"] == expected for found in every(registered, POOL))


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
    assert made.inputs["parameters"]["encryptInTransit"] == "true"
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
    cluster, registered = connect(object_store=store, mlflow={"image": "registry.example.com/mlflow:1"})
    assert set(cluster.object_store_annotations) == {"azure.workload.identity/client-id"}
    trust = registered["azure-native:managedidentity:FederatedIdentityCredential", "mlflow"].inputs
    assert trust["issuer"] == "https://issuer"
    assert trust["subject"] == f"system:serviceaccount:{names.MLFLOW_NAMESPACE}:{names.MLFLOW_SERVICE}"
    blobs = role(registered, "mlflow-blobs")
    account = "/subscriptions/sub-1/resourceGroups/data/providers/Microsoft.Storage/storageAccounts/blobs"
    assert (blobs["scope"], blobs["principalId"]) == (account, "principal-1")


def test_what_names_the_cluster_waits_for_it() -> None:
    _, registered = connect(
        object_store={"kind": "azure", "account": "blobs", "resource_group": "data"},
        mlflow={"image": "registry.example.com/mlflow:1"},
    )
    naming = {
        key: one
        for key, one in registered.items()
        if (one.inputs.get("resourceName") == "nemostack" and key[0] != CLUSTER)
        or one.inputs.get("issuer")
        or key[0].startswith("kubernetes:")
    }
    assert {typ.rpartition(":")[2] for typ, _ in naming} == {
        "AgentPool",
        "FederatedIdentityCredential",
        "MaintenanceConfiguration",
        "StorageClass",
    }
    for key, one in naming.items():
        assert (CLUSTER, "nemostack") in comes_after(registered, one), key


def test_a_cluster_that_is_there_only_gets_pools_and_a_class() -> None:
    cluster, registered = connect(THERE, aks={"create": False})
    assert {kind for kind, _ in registered} == {
        "nemostack:cluster:Aks",
        "pulumi:providers:azure-native",
        "pulumi:providers:kubernetes",
        "azure-native:containerservice:AgentPool",
        "kubernetes:storage.k8s.io/v1:StorageClass",
    }
    for found in every(registered, POOL):
        assert found.inputs["vnetSubnetID"] == "/subnets/there"
        assert (found.inputs["resourceGroupName"], found.inputs["resourceName"]) == ("group-1", "nemostack")
        assert "orchestratorVersion" not in found.inputs
    assert cluster.rwx_storage_class == "nemostack-rwx"


def test_a_cluster_that_is_there_without_entra() -> None:
    with pytest.raises(
        pulumi.RunError, match=r"^aks: cluster nemostack has no login by Microsoft Entra: az aks update"
    ):
        connect(THERE | {"aadProfile": None}, aks={"create": False})
