"""The whole program, target `existing`, under the real engine on a real control plane: a stack's life, up to nothing.

Real: the program, Pulumi's engine and state, the API server with Pod Security, the scheduler with GPUs and taints,
helm. Simulated: nodes and pods (kwok), volumes, operators, load balancers (see the package). The charts are stand-ins
that know the real charts' values (simulator/charts): what is proven is our program, not NVIDIA's templates.
"""

import base64
import json

import pytest

from infra import names
from nemostack.outputs import StackOutputs
from operations.doctor.cluster import look
from operations.teardown import teardown
from simulator.api import wait
from simulator.inventory import SYSTEM_NAMESPACES
from simulator.pulumi_stack import NAME
from tests.cluster.support import KEY, LLAMA, NIM, assert_healthy, namespaces, pods, values

pytestmark = pytest.mark.slow


def test_up_does_what_preview_said_and_everything_is_healthy(standing, control_plane):
    assert standing.previewed.changes.keys() == {"create"}
    assert standing.made.changes == standing.previewed.changes
    assert_healthy(control_plane)
    assert namespaces(control_plane) >= {
        "nemo-datastore",
        "nemo-entity-store",
        "nemo-evaluator",
        "nemo-customizer",
        LLAMA,
        "mlflow",
    }, "the namespaces of the guide"
    (nim,) = pods(control_plane, LLAMA)
    assert nim["spec"]["nodeName"].startswith("gpu-")
    assert nim["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "1"}


def test_outputs_name_what_is_there(standing, control_plane):
    found = standing.outputs()
    assert (found["target"], found["base_model"]) == ("existing", NIM["model"])
    assert {"data_store", "entity_store", "nim", "mlflow"} <= found["cluster"]["services"].keys()
    for place in found["cluster"]["services"].values():
        path, port = place.split(":")
        namespace, name = path.split("/")
        service = control_plane.api.get(f"/api/v1/namespaces/{namespace}/services/{name}")
        assert int(port) in {entry["port"] for entry in service["spec"]["ports"]}
    assert all(found["cluster"]["secrets"].values())
    assert LLAMA in found["cluster"]["secrets"]
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


def test_doctor_finds_nothing_wrong(standing, control_plane, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))  # as a user of target `existing` may have it
    outputs = StackOutputs.model_validate(standing.outputs())
    assert outputs.cluster is not None
    findings = look(outputs, lambda _text: None)
    assert findings
    assert [finding.line for finding in findings if finding.level != "ok"] == []


def test_everything_goes_and_teardown_finds_nothing_left(standing, control_plane, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    messages: list[str] = []

    def destroy() -> int:
        standing.destroy()
        return 0

    outputs = StackOutputs.model_validate(standing.outputs())
    report = teardown.teardown("x", outputs, destroy, messages.append, delete_data=True)
    assert [f"{one.kind} {one.where}: {one.detail}" for one in report.unexpected] == [], messages
    assert report.destroyed
    assert report.cluster_seen
    assert namespaces(control_plane) == SYSTEM_NAMESPACES
    assert control_plane.api.items("/api/v1/persistentvolumes") == []
