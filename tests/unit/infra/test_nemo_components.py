"""Components of the NeMo services and NIMs under mocks: what is registered, in which order, what is secret."""

import json
from typing import Any

import pulumi
import pytest

from infra.nemo.nims import Nims, NimsArgs
from infra.nemo.services import NemoServices, NemoServicesArgs
from infra.nemo.values import Surroundings
from infra.platform.credentials import CredentialNames
from infra.topology import resolve_topology
from tests.unit.infra.cluster_support import Registrations, chart_store, cluster, config_for, every, of_type, run

AROUND = Surroundings(credentials=CredentialNames(ngc="ngc-api", pull="nvcrimagepullsecret", hf=None))
OUTPUTS: dict[str, dict[str, Any]] = {
    "pulumi-python:dynamic/nemostack:GeneratedPassword": {"value": "generated"},
    "kubernetes:helm.sh/v3:Release": {"status": {"status": "deployed", "revision": 7}},
}
NIM = {"model": "meta/llama-3.2-3b-instruct", "image": "nvcr.io/nim/meta/llama-3.2-3b-instruct", "tag": "1.8.3"}


def services(**sections: Any) -> Registrations:
    config = config_for("gke", **sections)

    def make() -> None:
        opts = pulumi.ResourceOptions(provider=cluster().provider)
        topology = resolve_topology(config)
        args = NemoServicesArgs(config=config, topology=topology, charts=chart_store(), around=AROUND)
        NemoServices("services", args, opts)

    return run(make, outputs=OUTPUTS)


def nims(*said: Any, **sections: Any) -> Registrations:
    sections = {"prerequisites": {"nim_operator": "install"}} | sections
    config = config_for("gke", nims=[NIM | nim for nim in said], **sections)

    def make() -> None:
        opts = pulumi.ResourceOptions(provider=cluster().provider)
        topology = resolve_topology(config)
        args = NimsArgs(nims=config.nims, topology=topology, charts=chart_store(), around=AROUND, inside={})
        Nims("nims", args, opts)

    return run(make)


def test_one_release_a_namespace() -> None:
    found = of_type(services(), ":Release")
    assert {(item.inputs["name"], item.inputs["namespace"]) for item in found.values()} == {
        ("nemo", "nemo-datastore"),
        ("nemo", "nemo-entity-store"),
        ("nemo", "nemo-customizer"),
        ("nemo", "nemo-evaluator"),
    }
    for item in found.values():
        assert item.inputs["chart"] == "nemo-microservices-helm-chart"
        assert item.inputs["version"] == "25.12.0"
        assert item.inputs["timeout"] >= 1800
        assert item.parent == "services"
        assert "repositoryOpts.password" in item.secrets or "repositoryOpts" in item.secrets


def test_single_is_one_release() -> None:
    (found,) = of_type(services(layout="single"), ":Release").values()
    assert (found.inputs["name"], found.inputs["namespace"]) == ("nemo", "nemo")


def test_services_come_after_those_they_call() -> None:
    found = of_type(services(services={"guardrails": True}), ":Release")
    assert "nemo-datastore/nemo" in found["nemo-entity-store/nemo"].dependencies
    for name in ("nemo-customizer", "nemo-evaluator"):
        assert {"nemo-datastore/nemo", "nemo-entity-store/nemo"} <= found[f"{name}/nemo"].dependencies
    assert "nemo-entity-store/nemo" in found["nemo-guardrails/nemo"].dependencies


def test_tables_of_the_jobs_service_come_before_its_pods_are_awaited() -> None:
    """Helm starts the hook that makes them after all pods are ready, if it waits; these need the tables to be ready."""
    made = services()
    awaited = {name: not found.inputs.get("skipAwait") for name, found in of_type(made, ":Release").items()}
    assert awaited == {
        "nemo-datastore/nemo": True,
        "nemo-entity-store/nemo": True,
        "nemo-customizer/nemo": True,
        "nemo-evaluator/nemo": False,
    }
    patches = of_type(made, ":DeploymentPatch")
    assert set(patches) == {
        "nemo-evaluator/nemo-core-api",
        "nemo-evaluator/nemo-core-controller",
        "nemo-evaluator/nemo-evaluator",
    }
    for found in patches.values():
        assert "nemo-evaluator/nemo" in found.dependencies
        assert found.inputs["metadata"]["annotations"] == {"nemostack.io/revision": "7"}
        assert found.options.customTimeouts.create == "1800s"
    assert "nemo-evaluator/nemo-core-api" in patches["nemo-evaluator/nemo-core-controller"].dependencies


def test_single_awaits_every_deployment() -> None:
    patches = of_type(services(layout="single", services={"guardrails": True}), ":DeploymentPatch")
    assert {name.removeprefix("nemo/") for name in patches} == {
        "nemo-data-store",
        "nemo-entity-store",
        "nemo-customizer",
        "nemo-nemo-operator-controller-manager",
        "nemo-evaluator",
        "nemo-core-api",
        "nemo-core-controller",
        "nemo-guardrails",
    }


def test_the_customizer_has_time_for_each_target() -> None:
    target: Any = {
        "base_model": "meta/llama-3.2-3b-instruct",
        "model_uri": "ngc://a/b/c:1",
        "parameters": 3_000_000_000,
    }
    targets = [
        target | {"name": f"meta/{name}@1", "model_path": name, "templates": [{"name": f"meta/{name}@1+40GB"}]}
        for name in ("one", "two", "three")
    ]
    found = of_type(services(customizer={"targets": targets}), ":Release")["nemo-customizer/nemo"]
    assert found.inputs["timeout"] == (30 + 3 * 10) * 60
    probe = found.inputs["values"]["customizer"]["livenessProbe"]
    assert probe["failureThreshold"] * 10 >= 3 * 9 * 60  # every ten seconds; nine minutes a target were seen


def test_secrets_come_before_the_release_that_reads_them() -> None:
    made = services()
    wanted = {"nemo-datastore": {"data-store-admin", "data-store-lfs"}, "nemo-customizer": {"customizer-wandb"}}
    for namespace, secrets in wanted.items():
        found = of_type(made, ":Release")[f"{namespace}/nemo"]
        assert {f"{namespace}/{secret}" for secret in secrets} <= found.dependencies
    contents = {
        name: (set(found.inputs["stringData"]), bool(found.secrets)) for name, found in of_type(made, ":Secret").items()
    }
    assert contents == {
        "nemo-datastore/data-store-admin": ({"username", "password"}, True),
        "nemo-datastore/data-store-lfs": ({"jwtSecret"}, True),
        "nemo-customizer/customizer-wandb": ({"encryption_key"}, True),
    }


def test_lengths_that_the_services_check() -> None:
    found = of_type(services(), ":GeneratedPassword")
    assert found["customizer-wandb"].inputs["length"] == 32
    assert found["data-store-lfs"].inputs["length"] == 43  # base64 of 32 bytes, which Gitea wants


@pytest.mark.parametrize("layout", ["per-service", "single"])
def test_values_hold_no_secret(layout: str) -> None:
    for found in every(services(layout=layout), ":Release"):
        assert not {path for path in found.secrets if path.startswith("values")}
        assert "generated" not in json.dumps(found.inputs["values"])


def test_bundled_databases_get_generated_passwords() -> None:
    made = of_type(services(layout="single", postgres={"kind": "bundled"}), ":Secret")
    for service in ("data-store", "entity-store", "customizer", "evaluator", "core"):
        found = made[f"nemo/{service}-postgres"]
        assert found.inputs["stringData"] == {"password": "generated", "postgres-password": "generated"}
        assert found.secrets


def test_any_number_of_nims_by_both_ways() -> None:
    made = nims({"name": "one"}, {"name": "two"}, {"name": "three", "deploy": "operator"})
    releases = of_type(made, ":Release")
    assert set(releases) == {"one/one", "two/two"}
    for found in releases.values():
        assert found.inputs["chart"] == "nim-llm"
        assert found.inputs["version"]
        assert found.inputs["namespace"] == found.inputs["name"]
    kinds = {name: found.inputs["kind"] for (_, name), found in made.items() if "kind" in found.inputs}
    assert {name: kind for name, kind in kinds.items() if kind.startswith("NIM")} == {
        "three/three-cache": "NIMCache",
        "three/three": "NIMService",
    }


def test_operator_way_waits_until_the_nim_answers() -> None:
    made = nims({"name": "llama", "deploy": "operator", "startup_minutes": 40})
    found = made["kubernetes:apps.nvidia.com/v1alpha1:NIMService", "llama/llama"]
    assert found.dependencies >= {"llama/llama-cache"}
    cache = made["kubernetes:apps.nvidia.com/v1alpha1:NIMCache", "llama/llama-cache"]
    assert found.inputs["spec"]["storage"]["nimCache"] == {"name": cache.inputs["metadata"]["name"]}
    annotations = found.inputs["metadata"]["annotations"]
    assert annotations["pulumi.com/waitFor"] == "jsonpath={.status.state}=Ready"
    assert annotations["pulumi.com/deletionPropagationPolicy"] == "background"
    assert found.options.customTimeouts.create == "3300s"  # 40 minutes and a quarter of an hour for the node


def test_chart_way_waits_as_long() -> None:
    found = of_type(nims({"name": "llama", "startup_minutes": 40}), ":Release")["llama/llama"]
    assert found.inputs["timeout"] == 3300
    assert not found.inputs.get("skipAwait")
    assert found.options.customTimeouts.create == "3300s"


def test_pods_of_the_chart_have_no_token() -> None:
    made = nims({"name": "llama"})
    account = of_type(made, ":ServiceAccount")["llama/llama"]
    assert account.inputs["automountServiceAccountToken"] is False
    release = of_type(made, ":Release")["llama/llama"]
    assert release.inputs["values"]["serviceAccount"] == {"create": False, "name": account.inputs["metadata"]["name"]}
    assert "llama/llama" in release.dependencies


def test_disruption_budget() -> None:
    shared = {"access_mode": "ReadWriteMany"}
    made = nims(
        {"name": "one", "replicas": 2, "disruption_budget": 1},
        {"name": "two", "replicas": 3, "disruption_budget": 2, "deploy": "operator", "cache": shared},
        {"name": "none"},
    )
    found = {name: item.inputs["spec"] for name, item in of_type(made, ":PodDisruptionBudget").items()}
    assert found == {
        "one/one": {
            "minAvailable": 1,
            "selector": {"matchLabels": {"app.kubernetes.io/name": "nim-llm", "app.kubernetes.io/instance": "one"}},
        },
        "two/two": {"minAvailable": 2, "selector": {"matchLabels": {"app": "two"}}},
    }


def test_single_puts_nims_beside_the_services() -> None:
    (found,) = of_type(nims({"name": "llama"}, layout="single"), ":Release").values()
    assert (found.inputs["name"], found.inputs["namespace"]) == ("llama", "nemo")
