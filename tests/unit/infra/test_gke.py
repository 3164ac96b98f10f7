"""GKE as the engine is asked for it: pools as the settings say, secure defaults, only pools where it is there."""

import json

import pulumi
import pytest

from infra.config.clusters import GkeSettings
from tests.unit.infra.cluster_support import (
    CLOUDS,
    L4,
    comes_after,
    every,
    of_type,
)
from tests.unit.infra.gke_program import CLUSTER, KEYS, as_shipped, connect, found, pool

pytestmark = pytest.mark.xdist_group("gke")  # one process imports the SDK of this cloud


def test_inventory() -> None:
    cluster, registered = as_shipped()
    assert {name for typ, name in registered if typ.endswith(":NodePool")} == {"system", "gpu-l4", "gpu-train"}
    assert set(of_type(registered, ":Network")) == {"network"}
    assert set(of_type(registered, ":RouterNat")) == {"nat"}
    assert cluster.rwx_storage_class == "nemostack-rwx"
    assert len(cluster.ready) == 4  # three pools and the class
    ours = [key for key, registration in registered.items() if not registration.parent]
    assert ours == [("pulumi:providers:gcp", "gcp"), ("nemostack:cluster:Gke", "nemostack")]


def test_a_pool_is_what_the_settings_say() -> None:
    inputs = pool(
        {
            "name": "l4",
            "machine": "g2-standard-24",
            "min": 1,
            "max": 5,
            "zones": ["us-central1-a", "us-central1-b"],
            "spot": True,
            "disk_gib": 300,
            "labels": {"team": "x"},
            "taints": [
                {"key": "nvidia.com/gpu", "value": "present"},
                {"key": "team", "value": "x", "effect": "NoExecute"},
            ],
        }
    )
    assert inputs["name"] == "l4"
    assert inputs["nodeLocations"] == ["us-central1-a", "us-central1-b"]
    assert inputs["autoscaling"] == {"totalMinNodeCount": 1, "totalMaxNodeCount": 5, "locationPolicy": "ANY"}
    node = inputs["nodeConfig"]
    assert (node["machineType"], node["diskSizeGb"], node["spot"]) == ("g2-standard-24", 300, True)
    assert node["labels"] == {"team": "x", "nemostack.io/pool": "l4"}
    assert node["taints"] == [
        {"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"},
        {"key": "team", "value": "x", "effect": "NO_EXECUTE"},
    ]
    (gpus,) = node["guestAccelerators"]
    assert (gpus["type"], gpus["count"]) == ("nvidia-l4", 2)
    assert gpus["gpuDriverInstallationConfig"] == {"gpuDriverVersion": "DEFAULT"}
    assert not {"gpuPartitionSize", "gpuSharingConfig"} & set(gpus)


def test_mig_and_time_slicing_are_googles() -> None:
    mig = pool({"name": "mig", "gpu": "A100-80GB", "count": 1, "mig": {"profile": "3g.40gb"}})
    assert mig["nodeConfig"]["guestAccelerators"][0]["gpuPartitionSize"] == "3g.40gb"
    shared = pool(L4 | {"time_slicing": {"replicas": 4}})
    assert shared["nodeConfig"]["guestAccelerators"][0]["gpuSharingConfig"] == {
        "gpuSharingStrategy": "TIME_SHARING",
        "maxSharedClientsPerGpu": 4,
    }


def test_a_driver_that_is_not_googles() -> None:
    mig = {"name": "mig", "gpu": "A100-80GB", "count": 1, "driver": "none", "mig": {"profile": "1g.10gb"}}
    pools = [mig, CLOUDS["gke"]["gpu_pools"][1] | {"max": 2, "driver": "none"}]
    node = pool(mig, gke={"gpu_pools": pools}, prerequisites={"gpu": {"software": "gpu-operator"}})["nodeConfig"]
    assert "gpuPartitionSize" not in node["guestAccelerators"][0]  # the operator cuts its GPUs
    assert node["guestAccelerators"][0]["gpuDriverInstallationConfig"]["gpuDriverVersion"] == "INSTALLATION_DISABLED"
    assert node["labels"]["gke-no-default-nvidia-gpu-device-plugin"] == "true"
    assert node["imageType"] == "UBUNTU_CONTAINERD"
    assert node["shieldedInstanceConfig"] == {"enableSecureBoot": False, "enableIntegrityMonitoring": True}


def test_a_machine_that_the_table_does_not_know() -> None:
    node = pool({"name": "new", "machine": "g9-mega-8", "gpu": "H100", "count": 4})["nodeConfig"]
    assert (node["machineType"], node["guestAccelerators"][0]["type"]) == ("g9-mega-8", "nvidia-h100-80gb")


@pytest.mark.parametrize(
    ("location", "zones", "least", "most", "each"),
    [
        ("us-central1", "abc", 0, 4, 0),
        ("us-central1", "abc", 2, 4, 1),
        ("us-central1", "abc", 1, 1, 0),  # one in each zone would be three
        ("us-central1", "a", 2, 2, 2),
        ("us-central1-a", "", 3, 3, 3),
    ],
)
def test_first_nodes_keep_to_the_limits_of_all_zones(
    location: str, zones: str, least: int, most: int, each: int
) -> None:
    said = L4 | {"min": least, "max": most, "zones": [f"us-central1-{zone}" for zone in zones]}
    beside = CLOUDS["gke"]["gpu_pools"][1] | {"zones": ["us-central1-a"]}
    _, registered = connect(gke={"location": location, "gpu_pools": [said, beside]})
    assert of_type(registered, ":NodePool")["gpu-l4"].inputs["initialNodeCount"] == each
    everywhere = 1 if location == "us-central1" else 2  # two at least, and a region gives three zones
    assert of_type(registered, ":NodePool")["system"].inputs["initialNodeCount"] == everywhere


def test_the_autoscalers_work_is_no_drift() -> None:
    _, registered = as_shipped()
    for registration in every(registered, ":NodePool"):
        assert list(registration.options.ignoreChanges) == ["initialNodeCount"]
    assert list(registered[CLUSTER, "nemostack"].options.ignoreChanges) == ["nodeConfig", "initialNodeCount"]


def test_the_channel_chooses_the_version_unless_the_settings_name_one() -> None:
    _, registered = as_shipped()
    inputs = registered[CLUSTER, "nemostack"].inputs
    assert inputs["releaseChannel"] == {"channel": "REGULAR"}
    assert "minMasterVersion" not in inputs
    _, named = connect(gke={"kubernetes_version": "1.36"})
    assert named[CLUSTER, "nemostack"].inputs["minMasterVersion"] == "1.36"


def test_upgrades_are_within_the_window() -> None:
    _, registered = connect(gke={"maintenance": {"day": "Saturday", "start": "20:30", "hours": 12}})
    (window,) = registered[CLUSTER, "nemostack"].inputs["maintenancePolicy"].values()
    assert window == {
        "startTime": "2026-01-10T20:30:00Z",  # a Saturday
        "endTime": "2026-01-11T08:30:00Z",
        "recurrence": "FREQ=WEEKLY;BYDAY=SA",
    }
    _, registered = connect(gke={"maintenance": None})
    assert "maintenancePolicy" not in registered[CLUSTER, "nemostack"].inputs


def test_times_without_upgrades() -> None:
    exclusions = [
        {"name": "long-training", "first_day": "2026-12-20", "last_day": "2026-12-31"},
        {"name": "quarter", "first_day": "2027-02-28", "last_day": "2027-02-28", "scope": "no_minor_or_node_upgrades"},
    ]
    _, registered = connect(gke={"maintenance": {"exclusions": exclusions}})
    policy = registered[CLUSTER, "nemostack"].inputs["maintenancePolicy"]
    assert policy["recurringWindow"]["recurrence"] == "FREQ=WEEKLY;BYDAY=SU"
    assert policy["maintenanceExclusions"] == [
        {
            "exclusionName": "long-training",
            "startTime": "2026-12-20T00:00:00Z",
            "endTime": "2027-01-01T00:00:00Z",
            "exclusionOptions": {"scope": "NO_UPGRADES"},
        },
        {
            "exclusionName": "quarter",
            "startTime": "2027-02-28T00:00:00Z",
            "endTime": "2027-03-01T00:00:00Z",
            "exclusionOptions": {"scope": "NO_MINOR_OR_NODE_UPGRADES"},
        },
    ]


def test_administrators_are_a_list_of_members() -> None:
    _, registered = as_shipped()
    assert not of_type(registered, ":ClusterRoleBinding")
    members = ["group:platform@example.com", "user:me@example.com", "serviceAccount:ci@p.iam.gserviceaccount.com"]
    _, registered = connect(gke={"admins": members})
    (binding,) = of_type(registered, ":ClusterRoleBinding").values()
    assert binding.inputs["roleRef"]["name"] == "cluster-admin"
    assert [(subject["kind"], subject["name"]) for subject in binding.inputs["subjects"]] == [
        ("Group", "platform@example.com"),
        ("User", "me@example.com"),
        ("User", "ci@p.iam.gserviceaccount.com"),
    ]
    granted = [one.inputs for name, one in of_type(registered, ":IAMMember").items() if name.startswith("admin-")]
    assert [(one["member"], one["role"]) for one in granted] == [
        (member, "roles/container.clusterViewer") for member in members
    ]
    _, registered = connect(found(), gke={"create": False, "admins": members})
    assert not of_type(registered, ":ClusterRoleBinding"), "a cluster that is there has its own"


def test_zones_of_the_system_pool() -> None:
    _, registered = as_shipped()
    assert "nodeLocations" not in of_type(registered, ":NodePool")["system"].inputs
    zones = ["us-central1-a", "us-central1-b"]
    system = {"machine": "e2-standard-8", "zones": zones}
    pools = [pool | {"zones": zones} for pool in CLOUDS["gke"]["gpu_pools"]]
    _, registered = connect(gke={"location": "us-central1", "system_pool": system, "gpu_pools": pools})
    inputs = of_type(registered, ":NodePool")["system"].inputs
    assert (inputs["nodeLocations"], inputs["initialNodeCount"]) == (zones, 1)


def test_secure_defaults() -> None:
    _, registered = as_shipped()
    inputs = registered[CLUSTER, "nemostack"].inputs
    assert inputs["privateClusterConfig"]["enablePrivateNodes"] is True
    assert inputs["datapathProvider"] == "ADVANCED_DATAPATH"
    assert inputs["workloadIdentityConfig"] == {"workloadPool": "project-1.svc.id.goog"}
    assert (inputs["enableShieldedNodes"], inputs["enableLegacyAbac"]) == (True, False)
    for name, registration in of_type(registered, ":NodePool").items():
        node = registration.inputs["nodeConfig"]
        assert node["serviceAccount"] == "nodes@x", name
        assert node["shieldedInstanceConfig"]["enableSecureBoot"] is True, name
        assert node["workloadMetadataConfig"] == {"mode": "GKE_METADATA"}, name
        assert node["metadata"] == {"disable-legacy-endpoints": "true"}, name


def test_who_reaches_the_api_server() -> None:
    _, everybody = as_shipped()
    assert "masterAuthorizedNetworksConfig" not in everybody[CLUSTER, "nemostack"].inputs
    _, office = connect(gke={"authorized_networks": ["192.0.2.0/24"]})
    assert office[CLUSTER, "nemostack"].inputs["masterAuthorizedNetworksConfig"] == {
        "cidrBlocks": [{"cidrBlock": "192.0.2.0/24"}],
        "gcpPublicCidrsAccessEnabled": False,
    }


def test_dns_on_the_node_is_what_the_policies_expect() -> None:
    for said in (False, True):
        _, registered = connect(security={"node_local_dns": said})
        addons = registered[CLUSTER, "nemostack"].inputs["addonsConfig"]
        assert addons["dnsCacheConfig"] == {"enabled": said}


def test_gateway_api_of_google_only_for_its_controller() -> None:
    _, without = as_shipped()
    assert without[CLUSTER, "nemostack"].inputs["gatewayApiConfig"] == {"channel": "CHANNEL_DISABLED"}
    assert set(of_type(without, ":Subnetwork")) == {"nodes"}
    gateway = {"controller": "gke", "install": False}
    proxies = ["10.50.0.0/23"]
    routes = {"kind": "gateway", "domain": "a.b", "gateway": gateway, "load_balancer_cidrs": proxies}
    _, google = connect(routes=routes)
    assert google[CLUSTER, "nemostack"].inputs["gatewayApiConfig"] == {"channel": "CHANNEL_STANDARD"}
    made = of_type(google, ":Subnetwork")["proxies"].inputs
    assert (made["ipCidrRange"], made["purpose"], made["role"]) == (proxies[0], "REGIONAL_MANAGED_PROXY", "ACTIVE")


def test_shared_volumes_are_in_the_clusters_network() -> None:
    _, registered = as_shipped()
    (made,) = of_type(registered, ":StorageClass").values()
    assert made.inputs["provisioner"] == "filestore.csi.storage.gke.io"
    assert made.inputs["parameters"] == {"tier": "standard", "network": "nemostack"}
    assert made.inputs["volumeBindingMode"] == "WaitForFirstConsumer"
    assert made.inputs["allowVolumeExpansion"] is True


def test_a_class_that_the_settings_name_is_used() -> None:
    cluster, registered = connect(storage={"rwx_class_name": "nfs"})
    assert not of_type(registered, ":StorageClass")
    assert cluster.rwx_storage_class == "nfs"


def test_a_network_that_is_there_is_used() -> None:
    _, registered = connect(gke={"network": "vpc", "subnetwork": "sub"})
    assert not of_type(registered, ":Network")
    inputs = registered[CLUSTER, "nemostack"].inputs
    assert (inputs["network"], inputs["subnetwork"]) == ("vpc", "sub")


def test_the_kubeconfig_is_secret_and_holds_no_credential() -> None:
    _, registered = as_shipped()
    provider = registered["pulumi:providers:kubernetes", "nemostack"]
    assert provider.secrets == {"kubeconfig"}
    config = json.loads(provider.inputs["kubeconfig"])
    assert config["clusters"][0]["cluster"] == {
        "server": "https://10.0.0.1",
        "certificate-authority-data": "Q0E=",
    }
    (user,) = config["users"]
    assert set(user["user"]) == {"exec"}
    assert user["user"]["exec"]["command"] == "gke-gcloud-auth-plugin"
    # the identity of Pulumi's provider, which `gcloud auth application-default login` sets
    assert user["user"]["exec"]["args"] == ["--use_application_default_credentials"]


def test_the_pool_that_gke_insists_on_needs_hardly_any_disk() -> None:
    _, registered = as_shipped()
    node = registered[CLUSTER, "nemostack"].inputs["nodeConfig"]
    assert (node["diskSizeGb"], node["diskType"]) == (20, "pd-standard")


def test_a_cluster_that_is_there_only_gets_pools_and_a_class() -> None:
    cluster, registered = connect(found(), gke={"create": False})
    assert {typ for typ, _ in registered} == {
        "nemostack:cluster:Gke",
        "pulumi:providers:gcp",
        "pulumi:providers:kubernetes",
        "gcp:container/nodePool:NodePool",
        "gcp:serviceaccount/account:Account",
        "gcp:projects/iAMMember:IAMMember",
        "kubernetes:storage.k8s.io/v1:StorageClass",
    }
    assert set(of_type(registered, ":NodePool")) == {"gpu-l4", "gpu-train"}
    assert of_type(registered, ":StorageClass")["nemostack-rwx"].inputs["parameters"]["network"] == "there"
    provider = registered["pulumi:providers:kubernetes", "nemostack"]
    assert "https://10.9.9.9" in provider.inputs["kubeconfig"]
    assert len(cluster.ready) == 3


def test_a_cluster_that_is_there_without_filestore() -> None:
    with pytest.raises(pulumi.RunError, match=r"^gke\.rwx: cluster nemostack has no Filestore CSI driver: gcloud"):
        connect(found(filestore=False), gke={"create": False})
    connect(found(filestore=False), gke={"create": False}, storage={"rwx_class_name": "nfs"})


def test_a_cluster_that_is_there_without_workload_identity() -> None:
    _, registered = connect(found(pool=""), gke={"create": False})
    for registration in every(registered, ":NodePool"):
        assert "workloadMetadataConfig" not in registration.inputs["nodeConfig"]


def test_mlflow_gets_into_the_bucket_by_its_identity() -> None:
    store = {"kind": "gcs", "bucket": "mine"}
    cluster, registered = connect(object_store=store, secrets={"ngc_api_key": "x", **KEYS})
    assert set(cluster.object_store_annotations) == {"iam.gke.io/gcp-service-account"}
    bucket = registered["gcp:storage/bucketIAMMember:BucketIAMMember", "mlflow"].inputs
    assert (bucket["bucket"], bucket["role"]) == ("mine", "roles/storage.objectUser")
    pods = registered["gcp:serviceaccount/iAMMember:IAMMember", "mlflow"].inputs
    assert pods["member"] == "serviceAccount:project-1.svc.id.goog[mlflow/mlflow-tracking]"
    assert pods["role"] == "roles/iam.workloadIdentityUser"
    assert len(cluster.ready) == 6  # MLflow waits for both grants, besides three pools and the class


def test_what_names_the_cluster_waits_for_it() -> None:
    """Its name, and the name of its pool of identities, are in the settings, so that nothing waits by itself."""
    store = {"kind": "gcs", "bucket": "mine"}
    _, registered = connect(object_store=store, secrets={"ngc_api_key": "x", **KEYS})
    naming = {
        key: one
        for key, one in registered.items()
        if "cluster" in one.inputs or ".svc.id.goog" in one.inputs.get("member", "") or key[0].startswith("kubernetes:")
    }
    assert {typ.rpartition(":")[2] for typ, _ in naming} == {"NodePool", "IAMMember", "StorageClass"}
    for key, one in naming.items():
        assert (CLUSTER, "nemostack") in comes_after(registered, one), key


def test_no_bucket_no_access() -> None:
    cluster, registered = as_shipped()
    assert cluster.object_store_annotations == {}
    assert set(of_type(registered, ":Account")) == {"nodes"}


def test_region_of_a_location() -> None:
    for location in ("europe-west4", "europe-west4-b"):
        settings = GkeSettings.model_validate(CLOUDS["gke"] | {"location": location})
        assert settings.region == "europe-west4"
