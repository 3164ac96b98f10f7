"""The whole program, target `existing`, under the real engine on a real control plane: a stack's life, up to nothing.

With what docs/operations.md tells to do when something is broken, done as it is written: the stack is whole again.

Real: the program, Pulumi's engine and state, the API server with Pod Security, the scheduler with GPUs and taints,
helm. Simulated: nodes and pods (kwok), volumes, operators, load balancers (see the package). The charts are stand-ins
that know the real charts' values (simulator/charts): what is proven is our program, not NVIDIA's templates. In the
cases of the page the plugin behaves as the official one: a killed upgrade stays `pending-upgrade`, a refresh reads
Helm's record and no object of a release, and a patch of a Deployment that is gone would create one.
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
from tests.cluster import operations_page
from tests.cluster.interrupted import revisions
from tests.cluster.support import KEY, LLAMA, NIM, assert_healthy, namespaces, pods, values

pytestmark = pytest.mark.slow
DELETED = "An object of the stack was deleted or changed by hand"
DELETED_INSIDE = "An object inside a Helm release was deleted by hand"
FAILED = "An installation or upgrade of a release failed"
KILLED_INSTALLATION = "Pulumi was killed while it installed"
KILLED_UPGRADE = "Pulumi was killed while it upgraded"
NEW_KEY = "A new NGC or Hugging Face key"
SECOND = {**NIM, "name": "second", "model": "meta/llama-3.1-8b-instruct", "image": "nvcr.io/nim/meta/llama-3.1-8b"}
EVERY_GPU = 9
"""More replicas than GPUs in the cluster of these tests: an installation or upgrade that does not end."""


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


def test_doctor_finds_nothing_wrong(standing, control_plane, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))  # as a user of target `existing` may have it
    outputs = StackOutputs.model_validate(standing.outputs())
    assert outputs.cluster is not None
    findings = look(outputs, lambda _text: None)
    assert findings
    assert [finding.line for finding in findings if finding.level != "ok"] == []


def test_each_case_of_the_page_has_a_test() -> None:
    assert operations_page.read_cases() == [DELETED, DELETED_INSIDE, FAILED, KILLED_INSTALLATION, KILLED_UPGRADE]


def findings(stack, control_plane, monkeypatch):
    """What the doctor says, besides that all is well: check, place, fix."""
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    outputs = StackOutputs.model_validate(stack.outputs())
    return [(one.check, one.service, one.fix) for one in look(outputs, lambda _text: None) if one.level != "ok"]


def assert_whole(stack, control_plane):
    assert stack.preview().changes == {}
    assert_healthy(control_plane)


def test_a_deleted_secret(standing, control_plane):
    secret = f"/api/v1/namespaces/{LLAMA}/secrets/{names.NGC_SECRET}"
    control_plane.api.delete(secret)
    said = operations_page.run(standing, operations_page.read_commands(DELETED))
    assert operations_page.changes_in(said) == ["1 deleted", "1 created"], "by the refresh, and by up"
    assert control_plane.api.exists(secret)


def test_deleted_objects_of_releases(standing, control_plane, monkeypatch):
    """A Service, a Deployment, and one that the program waits for by a patch of its own: the patch would create it."""
    deleted = {
        "nemo-datastore": "/api/v1/namespaces/nemo-datastore/services/nemo-data-store",
        "nemo-entity-store": "/apis/apps/v1/namespaces/nemo-entity-store/deployments/nemo-entity-store",
        "nemo-evaluator": "/apis/apps/v1/namespaces/nemo-evaluator/deployments/nemo-evaluator",
    }
    for path in deleted.values():
        control_plane.api.delete(path)
    standing.refresh()
    failed = standing.up(fails=True)
    assert "spec.selector: Required value" in failed.errors
    assert failed.touched == {"create": {"nemo-evaluator/nemo-evaluator"}}, "Pulumi does not look into releases"
    assert not any(control_plane.api.exists(path) for path in deleted.values())

    said = {
        place: fix for check, place, fix in findings(standing, control_plane, monkeypatch) if check == "release objects"
    }
    commands: list[str] = []
    for namespace, path in deleted.items():
        (revision,) = (n for n, state in revisions(control_plane, namespace, "nemo").items() if state == "deployed")
        wanted = operations_page.read_commands(DELETED_INSIDE, RELEASE="nemo", NAMESPACE=namespace, REVISION=revision)
        assert wanted[0] in said.pop(f"{namespace}/{path.rpartition('/')[2]}")
        commands = [wanted[0], *(one for one in commands if one.startswith("helm")), *wanted[1:]]
    assert said == {}
    operations_page.run(standing, commands)
    assert all(control_plane.api.exists(path) for path in deleted.values())
    assert_whole(standing, control_plane)


def test_a_failed_upgrade(standing, control_plane, monkeypatch):
    """The chart takes a variable's name that the API server does not; the release before still serves."""
    standing.configure(nims=[{**NIM, "env": {"NOT=A=NAME": "1"}}])
    failed = standing.up(fails=True)
    assert f'Helm release "{LLAMA}/{LLAMA}" failed to initialize completely. Use Helm CLI' in failed.errors
    assert "NOT=A=NAME" in failed.errors
    assert "Traceback" not in failed.errors
    assert [pod["status"]["phase"] for pod in pods(control_plane, LLAMA)] == ["Running"]
    assert ("releases", f"{LLAMA}/{LLAMA}") in {one[:2] for one in findings(standing, control_plane, monkeypatch)}

    standing.configure(nims=[NIM])
    said = operations_page.run(standing, operations_page.read_commands(FAILED))
    assert operations_page.changes_in(said) == ["1 updated"]
    assert revisions(control_plane, LLAMA, LLAMA)[max(revisions(control_plane, LLAMA, LLAMA))] == "deployed"
    assert_whole(standing, control_plane)


def test_a_killed_installation(standing, control_plane):
    standing.configure(nims=[NIM, {**SECOND, "replicas": EVERY_GPU}])
    standing.kill_up(lambda: revisions(control_plane, "second", "second") == {1: "pending-install"})
    nodes = control_plane.add_gpu_nodes(2)  # what it waited for
    commands = operations_page.read_commands(KILLED_INSTALLATION, RELEASE="second", NAMESPACE="second")
    (helps,) = [line for line in commands if line.startswith("helm uninstall")]
    operations_page.run(standing, commands[:1])
    told = operations_page.run(standing, [f"nemostack doctor --stack {NAME} --format json"], code=8)
    assert f"`{helps}`" in told, "the namespace is in no outputs: the `up` that made it was killed"
    refusal = operations_page.run(standing, [f"nemostack up --stack {NAME} --yes"], code=1)
    assert operations_page.commands_in(refusal) == [helps, f"nemostack toolchain run -- pulumi refresh -s {NAME}"]
    shown = operations_page.run(standing, commands)
    assert "pending-install" in shown
    assert_whole(standing, control_plane)

    standing.configure(nims=[NIM])
    standing.up()
    control_plane.remove_nodes(nodes)


def test_a_killed_upgrade(standing, control_plane, monkeypatch):
    before = max(revisions(control_plane, LLAMA, LLAMA))
    standing.configure(nims=[{**NIM, "replicas": EVERY_GPU}])
    standing.kill_up(lambda: revisions(control_plane, LLAMA, LLAMA).get(before + 1) == "pending-upgrade")
    nodes = control_plane.add_gpu_nodes(2)
    commands = operations_page.read_commands(KILLED_UPGRADE, RELEASE=LLAMA, NAMESPACE=LLAMA, REVISION=before)
    (helps,) = [line for line in commands if line.startswith("helm rollback")]
    operations_page.run(standing, commands[:1])
    standing.refresh()
    assert standing.preview().changes == {}, "a refresh alone ends in nothing to do"
    said = {place: fix for check, place, fix in findings(standing, control_plane, monkeypatch) if check == "releases"}
    assert helps in said[f"{LLAMA}/{LLAMA}"]
    refusal = operations_page.run(standing, [f"nemostack up --stack {NAME} --yes"], code=1)
    assert operations_page.commands_in(refusal)[0] == helps
    shown = operations_page.run(standing, commands)
    assert "pending-upgrade" in shown
    assert len(pods(control_plane, LLAMA)) == EVERY_GPU
    assert revisions(control_plane, LLAMA, LLAMA)[before + 3] == "deployed"
    assert_whole(standing, control_plane)

    standing.configure(nims=[NIM])
    standing.up()
    control_plane.remove_nodes(nodes)


def test_a_new_key(standing, control_plane):
    """Its Secrets change in place: one that is deleted and made anew is missing for a moment, for pods that start."""

    def running_pods():
        """Pods of the NIM and of the Customizer."""
        found = [*pods(control_plane, LLAMA), *pods(control_plane, "nemo-customizer")]
        return {pod["metadata"]["uid"] for pod in found if "operator" not in pod["metadata"]["name"]}

    def secrets():
        """Every Secret but Helm's records: its uid, and the key in it."""
        found = control_plane.api.items("/api/v1/secrets?fieldSelector=type%21%3Dhelm.sh%2Frelease.v1")
        return {one["metadata"]["uid"]: (one.get("data") or {}).get("NGC_API_KEY") for one in found}

    before, old = running_pods(), secrets()
    assert len(before) == 2
    commands = operations_page.read_commands(NEW_KEY, NIM=LLAMA, NAMESPACE=LLAMA)
    operations_page.run(standing, commands, entered="nvapi-new\n")
    new = secrets()
    assert new.keys() == old.keys()
    with_key = {uid for uid, key in old.items() if key}
    assert len(with_key) > 1
    assert {new[uid] for uid in with_key} == {base64.b64encode(b"nvapi-new").decode()}
    wait("new pods", running_pods, lambda now: len(now) == 2 and not now & before)
    assert_whole(standing, control_plane)


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
