"""The topology, against facts written down by hand; and that it is data throughout, which components are handed."""

import ast
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from infra import names
from infra.topology import Topology, resolve_topology
from nemostack.clone import ROOT
from tests.unit.infra.cluster_support import A100, CLOUDS, L4, config_for

LLAMA = {
    "name": "llama",
    "model": "meta/llama-3.2-3b-instruct",
    "image": "nvcr.io/nim/meta/llama-3.2-3b-instruct",
    "tag": "1.13.1",
}
SECOND = LLAMA | {"name": "second"}
GPU_SOFTWARE = "platform/prerequisites.py"
WHOLE = (
    "cluster/",
    "clusters/",
    "config/",
    "images.py",
    "nemo/services.py",
    "nemo/values.py",
    "topology/",
    GPU_SOFTWARE,
)
"""Where functions and components may take the whole settings: ADR 12 says why."""


def topology(target: str = "existing", **sections: Any) -> Topology:
    return resolve_topology(config_for(target, **sections))


def pools(target: str, *gpu_pools: dict[str, Any]) -> dict[str, Any]:
    return {target: CLOUDS[target] | {"gpu_pools": list(gpu_pools)}}


# --- Addresses ---


@pytest.mark.parametrize(
    ("layout", "data_store", "nim"),
    [
        ("per-service", "nemo-data-store.nemo-datastore", "llama.llama"),
        ("single", "nemo-data-store.nemo", "llama.nemo"),
    ],
)
def test_urls_are_complete_in_any_layout(layout: str, data_store: str, nim: str) -> None:
    settings = config_for("existing", layout=layout, nims=[LLAMA])
    addresses = resolve_topology(settings).addresses
    assert addresses.url(names.DATA_STORE) == f"http://{data_store}.svc.cluster.local:3000"
    assert addresses.url(settings.nims[0]) == f"http://{nim}.svc.cluster.local:8000"


def test_a_service_that_does_not_run_has_an_address() -> None:
    addresses = topology().addresses
    assert not addresses.runs(names.GUARDRAILS)
    assert addresses.namespace(names.GUARDRAILS) == "nemo-guardrails"
    assert "nemo-guardrails" not in addresses.namespaces


def test_the_evaluator_brings_the_jobs_service() -> None:
    assert topology().addresses.runs(names.CORE)
    assert not topology(services={"evaluator": False}).addresses.runs(names.CORE)


def test_models_are_reached_through_the_proxy_or_the_first_nim() -> None:
    assert topology(nims=[LLAMA, SECOND]).addresses.nim_entry.host == "llama.llama.svc.cluster.local"
    proxied = topology(nims=[LLAMA, SECOND], services={"nim_proxy": True})
    assert proxied.addresses.nim_entry.host == "nemo-nim-proxy.nemo-nim-proxy.svc.cluster.local"


@pytest.mark.parametrize(
    ("said", "url", "ours"),
    [
        ({}, "http://mlflow-tracking.mlflow.svc.cluster.local:80", True),
        ({"mode": "adopt", "url": "https://runs.example.com/"}, "https://runs.example.com/", False),
        ({"mode": "skip"}, None, False),
    ],
)
def test_mlflow(said: dict[str, str], url: str | None, ours: bool) -> None:
    addresses = topology(mlflow=said).addresses
    assert addresses.mlflow_url == url
    assert (addresses.mlflow is not None, "mlflow" in addresses.namespaces) == (ours, ours)


def test_every_namespace_is_known() -> None:
    found = topology("gke", layout="single", object_store={"kind": "none"}, prerequisites={"cert_manager": "skip"})
    assert found.namespaces == ["cnpg-system", "mlflow", "nemo", "postgres", "volcano-system"]


# --- Databases and the bucket ---


@pytest.mark.parametrize(
    ("sections", "readers"),
    [
        ({}, ("nemo-entity-store", "nemo-evaluator")),
        ({"services": {"evaluator": False}}, ("nemo-entity-store",)),
        ({"layout": "single"}, ("nemo",)),
    ],
)
def test_the_jobs_service_reads_the_database_of_the_entity_store(
    sections: dict[str, Any], readers: tuple[str, ...]
) -> None:
    assert topology(**sections).databases["entity_store"].readers == readers


def test_databases_are_on_the_server_that_the_settings_say() -> None:
    ours = topology().databases["customizer"]
    assert (ours.host, ours.port) == ("nemo-postgres-rw.postgres.svc.cluster.local", 5432)
    assert ours.server_namespace == "postgres"
    external = {"kind": "external", "external": {"host": "db.example.com", "port": 6432}}
    theirs = topology(postgres=external).databases["customizer"]
    assert (theirs.host, theirs.port, theirs.server_namespace) == ("db.example.com", 6432, None)


AMAZONS = {"kind": "s3", "region": "us-east-1", "secret": "keys"}
GOOGLES = {"kind": "gcs", "secret": "keys"}
NETWORK = {"vpc_id": "vpc-1", "subnet_ids": ["subnet-a", "subnet-b"]}


@pytest.mark.parametrize(
    ("target", "store", "cloud"),
    [
        ("gke", GOOGLES, "gke"),
        ("gke", AMAZONS, None),
        ("eks", AMAZONS, "eks"),
        ("eks", AMAZONS | {"endpoint": "https://minio.example.com"}, None),
        ("eks", GOOGLES, None),
        ("aks", {"kind": "azure", "account": "a", "resource_group": "r"}, "aks"),
        ("aks", {}, None),
        ("existing", AMAZONS, None),
    ],
)
def test_pods_have_an_identity_for_the_bucket_of_their_cloud(
    target: str, store: dict[str, str], cloud: str | None
) -> None:
    bucket = topology(target, object_store=store, mlflow={"image": "registry.example.com/mlflow:1"}).bucket
    assert bucket is not None
    assert bucket.pod_identity == cloud
    assert bucket.readers == ("nemo-datastore", "mlflow")
    assert bucket.key_holders == (("nemo-datastore",) if cloud == "eks" else ("nemo-datastore", "mlflow"))


def test_a_cluster_of_others_may_lack_the_agent_of_pod_identity() -> None:
    eks = CLOUDS["eks"] | NETWORK | {"create": False}
    bucket = topology("eks", eks=eks, object_store=AMAZONS).bucket
    assert bucket is not None
    assert bucket.pod_identity is None


def test_nobody_needs_an_identity_without_mlflow() -> None:
    bucket = topology("eks", object_store=AMAZONS, mlflow={"mode": "skip"}).bucket
    assert bucket is not None
    assert (bucket.pod_identity, bucket.readers) == (None, ("nemo-datastore",))


# --- Routes ---


@pytest.mark.parametrize(
    ("routes", "namespaces"),
    [
        ({"kind": "gateway"}, ("nemo-gateway",)),
        ({"kind": "gateway", "gateway": {"existing": "infra/shared"}}, ()),
        ({"kind": "ingress", "ingress": {"controller": "nginx-f5"}}, ("nemo-gateway",)),
        ({"kind": "ingress"}, ("mlflow", "nemo")),
    ],
)
def test_certificates_are_where_hosts_are_served(routes: dict[str, Any], namespaces: tuple[str, ...]) -> None:
    found = topology(layout="single", routes={"domain": "ai.example.com"} | routes)
    assert found.routing.certificate_namespaces == namespaces


def test_no_route_without_routes() -> None:
    routing = topology().routing
    assert (routing.routes, routing.backends, routing.hosts()) == ((), (), [])
    assert routing.public_urls["nemo_url"] == "http://127.0.0.1:18080"


# --- Placement ---


def test_a_nim_runs_on_its_pool_and_its_cache_is_filled_there() -> None:
    placement = topology("gke", nims=[LLAMA | {"pool": "l4"}]).placement
    nim = placement.nims["llama"]
    assert nim.selector == nim.cache_selector == {"nemostack.io/pool": "l4"}
    assert nim.resource == "nvidia.com/gpu"
    assert placement.training == {"nemostack.io/pool": "train"}


def test_partitions_of_a_pool_have_a_resource_of_their_own() -> None:
    mig = A100 | {"name": "cut", "mig": {"profile": "3g.40gb", "strategy": "mixed"}, "driver": "none", "max": 2}
    settings = pools("gke", mig, A100 | {"driver": "none"})
    operator = {"prerequisites": {"gpu": {"software": "gpu-operator"}}}
    placement = topology("gke", nims=[LLAMA | {"pool": "cut"}], **settings, **operator).placement
    assert placement.nims["llama"].resource == "nvidia.com/mig-3g.40gb"


@pytest.mark.parametrize(
    ("sections", "selector"),
    [
        ({}, {"kubernetes.io/os": "linux"}),
        ({"existing": {"label_nodes": {"feature.node.kubernetes.io/pci-10de.present": "true"}}}, None),
        ({"prerequisites": {"gpu": {"software": "gpu-operator"}}}, None),
    ],
)
def test_a_cache_on_a_cluster_of_others_is_filled_anywhere_unless_its_gpu_nodes_are_labelled(
    sections: dict[str, Any], selector: dict[str, str] | None
) -> None:
    nim = topology(nims=[LLAMA], **sections).placement.nims["llama"]
    assert (nim.selector, nim.cache_selector) == ({}, selector)


def test_spot_nodes_of_azure_are_tolerated() -> None:
    spot = {"key": "kubernetes.azure.com/scalesetpriority", "operator": "Equal", "value": "spot"}
    a10 = {"name": "a10", "gpu": "A10", "count": 1, "max": 8}
    for asked in (True, False):
        placement = topology("aks", **pools("aks", a10 | {"spot": asked}, A100)).placement
        assert (spot | {"effect": "NoSchedule"} in placement.tolerations) is asked


def test_taints_of_pools_are_tolerated_once() -> None:
    team = {"key": "team", "value": "ml"}
    placement = topology("gke", **pools("gke", L4 | {"taints": [team]}, A100 | {"taints": [team]})).placement
    assert placement.tolerations == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "team", "operator": "Equal", "value": "ml", "effect": "NoSchedule"},
    ]


# --- The whole ---


def parts(value: Any) -> Iterator[Any]:
    """Every dataclass in a value, itself included."""
    if dataclasses.is_dataclass(value):
        yield value
        for field in dataclasses.fields(value):
            yield from parts(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from parts(inner)
    elif isinstance(value, tuple):
        for inner in value:
            yield from parts(inner)


def test_it_is_frozen_through_and_through() -> None:
    kinds: dict[type, Any] = {
        type(part): part for part in parts(topology(routes={"kind": "gateway", "domain": "ai.example.com"}))
    }
    wanted = {"Topology", "Addresses", "Address", "Database", "Bucket", "Routing", "Route"}
    wanted |= {"Connections", "Edge", "Peer", "Placement", "NimPlacement"}
    assert wanted <= {kind.__name__ for kind in kinds}
    for part in kinds.values():
        field = dataclasses.fields(part)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, field, getattr(part, field))


def test_equal_settings_have_equal_topologies() -> None:
    assert topology("eks", nims=[LLAMA]) == topology("eks", nims=[LLAMA])
    assert topology("eks", nims=[LLAMA]) != topology("eks", nims=[SECOND])


def test_components_take_parts_of_the_settings_and_not_all() -> None:
    folder = ROOT / "infra"
    taking = {
        str(path.relative_to(folder))
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.arg | ast.AnnAssign)
        and node.annotation
        and "ClusterStackConfig" in ast.unparse(node.annotation)
    }
    assert GPU_SOFTWARE in taking, "the search finds what it looks for"
    assert {path for path in taking if not path.startswith(WHOLE)} == set()
