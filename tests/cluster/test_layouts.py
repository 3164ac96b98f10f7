"""The whole program in other layouts and on clusters that are not empty: stacks that are alone on the cluster."""

import json

import pytest

from infra import names
from nemostack.aliases import Alias, Route
from nemostack.clients.cluster_aliases import ClusterAliases
from nemostack.kubectl.client import Kubectl
from nemostack.kubectl.process import Access
from simulator import loops
from simulator.api import DEFINITIONS, wait
from simulator.inventory import SYSTEM_NAMESPACES
from simulator.pulumi_stack import NAME
from tests.cluster.support import LLAMA, NIM, assert_healthy, forget_definitions, namespaces, pods

SLOW_CONTROLLER_S = 4.0
"""Between two looks of the simulated operators: longer than Helm takes to uninstall both controllers of gateways."""

pytestmark = pytest.mark.slow


def test_layout_single_with_a_nim_by_the_operator_gateway_and_certificates_twice(make, control_plane, monkeypatch):
    stack = make(
        layout="single",
        prerequisites={"nim_operator": "install"},
        nims=[{**NIM, "deploy": "operator"}],
        services={"guardrails": True, "nim_proxy": True, "deployment_management": True},
        routes={
            "kind": "gateway",
            "domain": "nemo.example.com",
            "tls": {"kind": "self-signed"},
            "gateway": {"model_aliases": True},
        },
        observability={"prometheus": "install"},
    )
    stack.up()
    assert_healthy(control_plane)
    promote(control_plane, stack)
    nim_path = f"/apis/apps.nvidia.com/v1alpha1/namespaces/{names.RELEASE}/nimservices/{LLAMA}"
    assert control_plane.api.get(nim_path)["status"]["state"] == "Ready"
    assert control_plane.api.exists(f"/api/v1/namespaces/{names.RELEASE}/services/{LLAMA}")
    assert control_plane.api.items("/apis/gateway.networking.k8s.io/v1/httproutes")
    assert stack.up().changes == {}
    assert stack.refresh().changes == {}
    with monkeypatch.context() as slow:  # the alias too, whose controller holds its deletion up until it has seen it
        slow.setattr(loops, "SHORTEST_S", SLOW_CONTROLLER_S)
        slow.setattr(loops, "LONGEST_S", SLOW_CONTROLLER_S)
        stack.destroy()
    assert namespaces(control_plane) == SYSTEM_NAMESPACES

    # on a cluster that still has the kinds; what uses none of them is left out
    stack.configure(
        prerequisites={"nim_operator": "install", "volcano": "skip"},
        services={"customizer": False, "evaluator": False},
        mlflow={"mode": "skip"},
        observability={},
    )
    stack.up()
    assert control_plane.api.get(nim_path)["status"]["state"] == "Ready"
    assert control_plane.api.items("/apis/gateway.networking.k8s.io/v1/httproutes")
    assert {pod["status"]["phase"] for pod in pods(control_plane)} <= {"Running", "Succeeded"}
    stack.destroy()
    assert namespaces(control_plane) == SYSTEM_NAMESPACES
    kept = control_plane.api.items(DEFINITIONS)
    assert {definition["spec"]["group"] for definition in kept} == {
        "gateway.networking.k8s.io",
        "gateway.envoyproxy.io",
        "aigateway.envoyproxy.io",
        "apps.nvidia.com",
    }, "kept on purpose: others may use these kinds"
    forget_definitions(control_plane)


def promote(control_plane, stack):
    """Set an alias, as `nemostack promote` does, and wait until the gateway's controller has taken it."""
    kubectl = Kubectl(Access(kubeconfig=control_plane.kubeconfig))
    service = stack.outputs()["cluster"]["services"]["nim"]
    aliases = ClusterAliases(kubectl, service, Nim())  # type: ignore[arg-type]
    aliases.set_alias("prod", Alias(routes=(Route(model="a", weight=95), Route(model="b", weight=5))))
    routes = f"/apis/gateway.networking.k8s.io/v1/namespaces/{names.RELEASE}/httproutes"
    wait("the alias is a route", lambda: control_plane.api.exists(f"{routes}/nemostack-prod"))
    made = control_plane.api.get(f"{routes}/nemostack-prod")
    assert made["spec"]["hostnames"] == ["nim.nemo.example.com"]
    assert [len(rule.get("backendRefs", [])) for rule in made["spec"]["rules"]] == [4, 1, 0]


class Nim:
    """Serves two adapters."""

    def models(self):
        return ["a", "b"]


def test_namespaces_with_secrets_that_were_there_before_are_used_and_left(make, control_plane):
    own = {
        "nemo-datastore": ("data-store-postgres", "our-bucket"),
        "nemo-entity-store": ("entity-store-postgres",),
        "nemo-customizer": ("customizer-postgres", "our-hf"),
        "nemo-evaluator": ("our-evaluator-login", "core-postgres", "entity-store-postgres", "our-hf"),
        LLAMA: ("our-hf",),
        "mlflow": ("mlflow-postgres", "our-bucket"),
    }
    stack = make(
        namespaces={"adopt": list(own)},
        credentials={"ngc_secret": "our-ngc", "image_pull_secret": "our-pull", "hf_secret": "our-hf"},
        postgres={
            "kind": "external",
            "external": {
                "host": "10.1.2.3",
                "uri_key": "dsn",
                "databases": {"evaluator": {"secret": "our-evaluator-login"}},
            },
        },
        object_store={"kind": "s3", "endpoint": "https://10.1.2.4:9000", "secret": "our-bucket"},
        nims=[{**NIM, "cache": {"existing_claim": "our-weights"}}],
    )
    stack.run("config", "rm", "nemostack:ngc_api_key", "--stack", NAME)
    missing = stack.preview(fails=True).output
    # the engine stops at the first that fails and may say nothing of the others
    assert any(f"(namespaces.adopt.{namespace})" in missing for namespace in own), missing
    assert "does not exist" in missing

    for namespace, secrets in own.items():
        control_plane.api.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        for secret in ("our-ngc", "our-pull", *secrets):
            control_plane.api.create(f"/api/v1/namespaces/{namespace}/secrets", existing_secret(secret))
    claim = {
        "metadata": {"name": "our-weights"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "50Gi"}}},
    }
    control_plane.api.create(f"/api/v1/namespaces/{LLAMA}/persistentvolumeclaims", claim)
    try:
        stack.up()
        assert_healthy(control_plane)
        assert stack.up().changes == {}
        read_only = {f"namespaces.adopt.{namespace}" for namespace in own}  # before the program labelled them
        assert stack.refresh().touched.get("update", set()) <= read_only
        assert stack.up().changes == {}
        assert pod_security(control_plane, "nemo-evaluator") == "baseline"
        for namespace, wanted in stack.outputs()["cluster"]["secrets"].items():
            assert {"our-ngc", "our-pull", *own[namespace]} >= set(wanted), "nothing is made in place of ours"

        stack.destroy()
        assert namespaces(control_plane) == SYSTEM_NAMESPACES | own.keys()
        assert control_plane.api.exists("/api/v1/namespaces/mlflow/secrets/our-bucket")
        assert control_plane.api.exists(f"/api/v1/namespaces/{LLAMA}/persistentvolumeclaims/our-weights")
        assert pod_security(control_plane, "nemo-evaluator") is None, "taken back"
    finally:
        for namespace in own:
            control_plane.api.delete(f"/api/v1/namespaces/{namespace}")
        # other tests make namespaces of these names, which one on its way out would refuse
        wait("namespaces gone", lambda: namespaces(control_plane) & own.keys(), lambda left: not left)


def existing_secret(name):
    """A Secret as somebody else makes it, with the keys that the documentation asks for."""
    if name == "our-pull":
        login = {"auths": {"nvcr.io": {"username": "$oauthtoken", "password": "theirs"}}}
        return {
            "metadata": {"name": name},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": json.dumps(login)},
        }
    keys = {"our-ngc": ("NGC_API_KEY",), "our-hf": ("HF_TOKEN",), "our-bucket": ("access_key", "secret_key")}
    return {
        "metadata": {"name": name},
        "stringData": dict.fromkeys(keys.get(name, ("username", "password", "dsn")), "theirs"),
    }


def pod_security(control_plane, namespace):
    found = control_plane.api.get(f"/api/v1/namespaces/{namespace}")
    return found["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce")


def test_a_cluster_that_is_too_small_is_refused_before_anything_is_made(make, control_plane):
    stack = make(existing={"min_gpus": 64})
    said = stack.up(fails=True).errors
    assert "64" in said
    assert "Traceback" not in said
    assert namespaces(control_plane) == SYSTEM_NAMESPACES
