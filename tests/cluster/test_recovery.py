"""What docs/operations.md tells to do when something is broken, done as it is written: the stack is whole again.

The plugin behaves as the official one in these cases: a killed upgrade stays `pending-upgrade`, a refresh reads Helm's
record and no object of a release, and a patch of a Deployment that is gone would create one.
"""

import base64

import pytest

from infra import names
from nemostack.outputs import StackOutputs
from operations.doctor.cluster import look
from simulator.api import wait
from simulator.pulumi_stack import NAME
from tests.cluster import operations_page
from tests.cluster.interrupted import revisions
from tests.cluster.support import LLAMA, NIM, assert_healthy, pods

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
    operations_page.run(standing, operations_page.read_commands(DELETED))
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
    standing.configure(nims=[{**NIM, "env": {"NOT=A=NAME": "1"}}])
    standing.up(fails=True)
    assert ("releases", f"{LLAMA}/{LLAMA}") in {one[:2] for one in findings(standing, control_plane, monkeypatch)}
    standing.configure(nims=[NIM])
    operations_page.run(standing, operations_page.read_commands(FAILED))
    assert revisions(control_plane, LLAMA, LLAMA)[max(revisions(control_plane, LLAMA, LLAMA))] == "deployed"


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
    def running_pods():
        """Pods of the NIM and of the Customizer."""
        found = [*pods(control_plane, LLAMA), *pods(control_plane, "nemo-customizer")]
        return {pod["metadata"]["uid"] for pod in found if "operator" not in pod["metadata"]["name"]}

    before = running_pods()
    assert len(before) == 2
    commands = operations_page.read_commands(NEW_KEY, NIM=LLAMA, NAMESPACE=LLAMA)
    operations_page.run(standing, commands, entered="nvapi-new\n")
    secret = control_plane.api.get(f"/api/v1/namespaces/{LLAMA}/secrets/{names.NGC_SECRET}")
    assert base64.b64decode(secret["data"]["NGC_API_KEY"]) == b"nvapi-new"
    wait("new pods", running_pods, lambda now: len(now) == 2 and not now & before)
    assert_whole(standing, control_plane)
