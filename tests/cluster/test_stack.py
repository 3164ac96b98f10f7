"""The whole program, target `existing`, under the real engine on a real control plane: a stack's life, up to nothing.

Real: the program, Pulumi's engine and state, the API server with Pod Security, the scheduler with GPUs and taints,
helm. Simulated: nodes and pods (kwok), volumes, operators, load balancers (see the package). The charts are stand-ins
that know the real charts' values (simulator/charts): what is proven is our program, not NVIDIA's templates.
"""

import base64
import json
from collections import Counter

import pytest
import yaml

from infra import names
from simulator.api import DEFINITIONS, wait
from simulator.inventory import SYSTEM_NAMESPACES
from simulator.pulumi_stack import NAME
from tests.cluster.support import KEY, forget_definitions

pytestmark = pytest.mark.slow
LLAMA = "llama3-2-3b-instruct"
NIM = {
    "name": LLAMA, "model": "meta/llama-3.2-3b-instruct", "image": "nvcr.io/nim/meta/llama-3.2-3b-instruct",
    "tag": "1.8.3",
}  # fmt: skip


def namespaces(control_plane):
    return {thing["metadata"]["name"] for thing in control_plane.api.items("/api/v1/namespaces")}


def values(control_plane, namespace, release):
    """What a stand-in chart got."""
    shown = control_plane.api.get(f"/api/v1/namespaces/{namespace}/configmaps/{release}-values")
    return yaml.safe_load(shown["data"]["values.yaml"])


def pods(control_plane, namespace=None):
    found = control_plane.api.items("/api/v1/pods")
    return [pod for pod in found if namespace in (None, pod["metadata"]["namespace"])]


def missing_secrets(control_plane):
    """Secrets, or keys in them, that running pods read and that are not there: no kubelet would start these."""
    there = {
        (secret["metadata"]["namespace"], secret["metadata"]["name"]): set(secret.get("data") or {})
        for secret in control_plane.api.items("/api/v1/secrets")
    }
    missing = set()
    for pod in pods(control_plane):
        namespace, spec = pod["metadata"]["namespace"], pod["spec"]
        for pull in spec.get("imagePullSecrets") or []:
            if (namespace, pull["name"]) not in there:
                missing.add(f"{namespace}/{pull['name']}")
        for variable in (variable for container in spec["containers"] for variable in container.get("env") or []):
            wanted = (variable.get("valueFrom") or {}).get("secretKeyRef")
            if wanted and wanted["key"] not in there.get((namespace, wanted["name"]), set()):
                missing.add(f"{namespace}/{wanted['name']}:{wanted['key']}")
    return missing


def dead_urls(control_plane):
    """In-cluster URLs in the values of any release that lead to no Service, or to a port that it does not have."""
    services = {
        (service["metadata"]["name"], service["metadata"]["namespace"]): {
            port["port"] for port in service["spec"]["ports"]
        }
        for service in control_plane.api.items("/api/v1/services")
    }
    found, dead = 0, set()
    for shown in control_plane.api.items("/api/v1/configmaps"):
        if "nemostack.dev/stand-in" not in (shown["metadata"].get("labels") or {}):
            continue
        for text in shown["data"]["values.yaml"].replace('"', " ").split():
            if text.startswith("http://") and ".svc" in text:
                found += 1
                host, _, port = text.removeprefix("http://").split("/")[0].partition(":")
                name, namespace = host.split(".")[:2]
                if int(port or 80) not in services.get((name, namespace), set()):
                    dead.add(text)
    assert found > 5, "the values hold URLs"
    return dead


def assert_healthy(control_plane):
    """Every pod runs on a node, every claim has a volume, what pods read is there, URLs lead somewhere."""
    phases = Counter(pod["status"]["phase"] for pod in pods(control_plane))
    assert phases["Running"] > 10
    assert phases.keys() <= {"Running", "Succeeded"}, phases
    claims = control_plane.api.items("/api/v1/persistentvolumeclaims")
    assert {claim["status"]["phase"] for claim in claims} == {"Bound"}
    assert missing_secrets(control_plane) == set()
    assert dead_urls(control_plane) == set()


def test_up_does_what_preview_said_and_everything_is_healthy(standing, control_plane):
    assert standing.previewed.changes.keys() == {"create"}
    assert standing.made.changes == standing.previewed.changes
    assert_healthy(control_plane)
    assert namespaces(control_plane) >= {
        "nemo-datastore", "nemo-entity-store", "nemo-evaluator", "nemo-customizer", LLAMA, "mlflow",
    }, "the namespaces of the guide"  # fmt: skip
    (nim,) = pods(control_plane, LLAMA)
    assert nim["spec"]["nodeName"].startswith("gpu-")
    assert nim["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "1"}


def test_outputs_name_what_is_there(standing, control_plane):
    found = standing.outputs()
    assert (found["target"], found["base_model"]) == ("existing", NIM["model"])
    for place in found["cluster"]["services"].values():
        path, port = place.split(":")
        namespace, name = path.split("/")
        service = control_plane.api.get(f"/api/v1/namespaces/{namespace}/services/{name}")
        assert int(port) in {entry["port"] for entry in service["spec"]["ports"]}
    for namespace, secrets in found["cluster"]["secrets"].items():
        for secret in secrets:
            assert control_plane.api.exists(f"/api/v1/namespaces/{namespace}/secrets/{secret}"), (namespace, secret)


def test_the_key_is_in_secrets_of_the_cluster_and_readable_nowhere_else(standing, control_plane):
    assert KEY not in json.dumps(standing.export())
    assert KEY not in standing.made.output + standing.previewed.output
    shown = json.dumps(control_plane.api.items("/api/v1/configmaps")) + json.dumps(pods(control_plane))
    assert KEY not in shown


def test_up_and_refresh_find_nothing_to_do(standing):
    assert standing.up().changes == {}
    assert standing.refresh().changes == {}
    assert standing.up().changes == {}


def test_one_changed_value_changes_one_release(standing, control_plane):
    standing.configure(customizer={"max_pending_minutes": 77})
    assert standing.preview().touched == {"update": {"nemo-customizer/nemo"}}
    assert standing.up().touched == {"update": {"nemo-customizer/nemo"}}
    assert values(control_plane, "nemo-customizer", "nemo")["customizer"]["env"]["MAX_PENDING_JOB_MINUTES"] == "77"


def test_what_was_deleted_by_hand_comes_back(standing, control_plane):
    secret = f"/api/v1/namespaces/{LLAMA}/secrets/{names.NGC_SECRET}"
    control_plane.api.delete(secret)
    assert standing.refresh().changes == {"delete": 1}
    assert standing.up().changes == {"create": 1}
    assert control_plane.api.exists(secret)


def test_a_rotated_key_changes_its_secrets_in_place(standing, control_plane):
    """A Secret that is deleted and made anew is missing for a moment, for pods that start and for operators."""
    path = f"/api/v1/namespaces/{LLAMA}/secrets/{names.NGC_SECRET}"
    uid = control_plane.api.get(path)["metadata"]["uid"]
    standing.run("config", "set", "--secret", "nemostack:ngc_api_key", "nvapi-rotated", "--stack", NAME)
    assert standing.up().touched.keys() == {"update"}
    changed = control_plane.api.get(path)
    assert base64.b64decode(changed["data"]["NGC_API_KEY"]) == b"nvapi-rotated"
    assert changed["metadata"]["uid"] == uid
    assert standing.up().changes == {}


def test_a_training_job_brings_the_nodes_of_a_pool_at_zero(standing, control_plane, namespace):
    """More GPUs than the cluster has. The waiting time is shortened for the test; without `sla` it has no effect."""
    limits = {"nvidia.com/gpu": "8"}
    tolerates = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    container = {"name": "main", "image": "none.invalid/none", "resources": {"limits": limits}}
    template = {"spec": {"containers": [container], "tolerations": tolerates}}
    path = f"/apis/batch.volcano.sh/v1alpha1/namespaces/{namespace}/jobs"
    with control_plane.gpu_pool("training", maximum=3, gpus=8) as pool:
        control_plane.api.create(
            path,
            {
                "apiVersion": "batch.volcano.sh/v1alpha1",
                "kind": "Job",
                "metadata": {"name": "lora", "annotations": {"sla-waiting-time": "1s"}},
                "spec": {"minAvailable": 2, "tasks": [{"name": "train", "replicas": 2, "template": template}]},
            },
        )
        status = wait(
            "it is done",
            lambda: control_plane.api.get(f"{path}/lora").get("status", {}).get("state"),
            lambda state: state == {"phase": "Completed"},
        )
        assert status
        assert len(pool.created) in (1, 2), "a pod that is done makes room for the next"


def test_the_state_of_an_older_plugin_is_taken_over(standing):
    state = standing.export()
    for resource in state["deployment"]["resources"]:
        if resource["type"] == "pulumi:providers:kubernetes":
            resource["inputs"]["version"] = resource["outputs"]["version"] = "4.18.0"
    standing.load(state)
    assert standing.preview().changes.keys() <= {"update"}, "the provider itself, at most"
    standing.up()
    assert standing.up().changes == {}


def test_a_release_that_fails_is_told_and_mended(standing, control_plane):
    """The chart takes a variable's name that the API server does not; the release before still serves."""
    standing.configure(nims=[{**NIM, "env": {"NOT=A=NAME": "1"}}])
    failed = standing.up(fails=True)
    assert f'Helm release "{LLAMA}/{LLAMA}" failed to initialize completely. Use Helm CLI' in failed.errors
    assert "NOT=A=NAME" in failed.errors
    assert "Traceback" not in failed.errors
    assert [pod["status"]["phase"] for pod in pods(control_plane, LLAMA)] == ["Running"]

    standing.configure(nims=[NIM])
    assert standing.up().touched == {"update": {f"{LLAMA}/{LLAMA}"}}
    assert standing.up().changes == {}
    assert_healthy(control_plane)


def test_everything_goes(standing, control_plane):
    standing.destroy()
    assert namespaces(control_plane) == SYSTEM_NAMESPACES
    assert control_plane.api.items("/api/v1/persistentvolumes") == []


def test_layout_single_with_a_nim_by_the_operator_gateway_and_certificates_twice(make, control_plane):
    stack = make(
        layout="single",
        prerequisites={"nim_operator": "install"},
        nims=[{**NIM, "deploy": "operator"}],
        services={"guardrails": True, "nim_proxy": True, "deployment_management": True},
        routes={"kind": "gateway", "domain": "nemo.example.com", "tls": {"kind": "self-signed"}},
        observability={"prometheus": "install"},
    )
    stack.up()
    assert_healthy(control_plane)
    nim = control_plane.api.get(f"/apis/apps.nvidia.com/v1alpha1/namespaces/{names.RELEASE}/nimservices/{LLAMA}")
    assert nim["status"]["state"] == "Ready"
    assert control_plane.api.exists(f"/api/v1/namespaces/{names.RELEASE}/services/{LLAMA}")
    assert control_plane.api.items("/apis/gateway.networking.k8s.io/v1/httproutes")
    assert stack.up().changes == {}
    stack.destroy()
    assert namespaces(control_plane) == SYSTEM_NAMESPACES

    stack.up()  # on a cluster that still has the kinds
    assert_healthy(control_plane)
    stack.destroy()
    assert namespaces(control_plane) == SYSTEM_NAMESPACES
    kept = control_plane.api.items(DEFINITIONS)
    assert {definition["spec"]["group"] for definition in kept} == {
        "gateway.networking.k8s.io", "gateway.envoyproxy.io", "apps.nvidia.com",
    }, "kept on purpose: others may use these kinds"  # fmt: skip
    forget_definitions(control_plane)


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
