"""Helm releases of the provider under the real engine: what Helm keeps, what a refresh sees, what a kill leaves."""

import json
import subprocess
import time

import pytest

from simulator.api import wait
from simulator.provider.server import ENGINE_LOOK_S
from simulator.pulumi_stack import PulumiStack
from tests.simulator.support import config_map

pytestmark = pytest.mark.slow

CHART = {
    "Chart.yaml": "apiVersion: v2\nname: greeter\nversion: VERSION\nappVersion: '9'\n",
    "values.yaml": "size: 1\nmessage: hello\n",
    "values.schema.json": '{"properties": {"size": {"type": "integer"}, "message": {"type": "string"}},'
    ' "type": "object", "additionalProperties": false}',
    "templates/all.yaml": """
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
data:
  message: {{ .Values.message }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
spec:
  replicas: {{ .Values.size }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec: {containers: [{name: main, image: "greeter:1"}]}
""",
}
RELEASE = """
    made = k8s.helm.v3.Release("hi", name="hi", namespace="NAMESPACE", chart="./greeter", version="1.0.0", timeout=20,
                               values={"message": "hello"})
    pulumi.export("status", made.status)
"""


@pytest.fixture
def chart(stack):
    """A chart beside the program, as `chart(version)`."""

    def make(version="1.0.0"):
        for name, text in CHART.items():
            file = stack.folder / "greeter" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace("VERSION", version))

    make()
    return make


def revisions(control_plane, namespace):
    """Helm's own record: one Secret a revision."""
    return sorted(
        item["metadata"]["labels"]["version"] + " " + item["metadata"]["labels"]["status"]
        for item in control_plane.api.items(f"/api/v1/namespaces/{namespace}/secrets")
        if item["metadata"].get("labels", {}).get("owner") == "helm"
    )


@pytest.mark.usefixtures("chart")
def test_a_release_is_installed_once_upgraded_once_and_uninstalled(stack, write, control_plane, namespace):
    control_plane.add_nodes(1)
    write(RELEASE)
    assert stack.preview().changes == {"create": 2}
    stack.up()
    assert revisions(control_plane, namespace) == ["1 deployed"]
    status = stack.outputs()["status"]
    assert (status["status"], status["appVersion"]) == ("deployed", "9")

    assert stack.up().changes == {}
    assert stack.refresh().changes == {}
    assert revisions(control_plane, namespace) == ["1 deployed"]

    write(RELEASE.replace("hello", "bye"))
    assert stack.preview().touched == {"update": {"hi"}}
    stack.up()
    assert revisions(control_plane, namespace) == ["1 superseded", "2 deployed"]
    assert config_map(control_plane.api, namespace, "hi")["data"] == {"message": "bye"}

    assert stack.destroy().changes == {"delete": 2}
    assert revisions(control_plane, namespace) == []
    assert not control_plane.api.exists(f"/api/v1/namespaces/{namespace}/configmaps/hi")


def test_another_version_of_the_chart_upgrades(stack, write, control_plane, namespace, chart):
    control_plane.add_nodes(1)
    write(RELEASE)
    stack.up()
    chart("1.1.0")
    assert stack.preview().touched == {"update": {"hi"}}, "the program asks for 1.0.0, and the folder's chart counts"
    assert stack.up().touched == {"update": {"hi"}}
    assert stack.outputs()["status"]["version"] == "1.1.0"


@pytest.mark.usefixtures("chart")
def test_a_value_that_the_chart_refuses_creates_nothing(stack, write, control_plane, namespace):
    control_plane.add_nodes(1)
    write(RELEASE.replace('"message"', '"mesage"'))
    assert "mesage" in stack.up(fails=True).errors
    assert revisions(control_plane, namespace) == []
    write(RELEASE)
    assert stack.up().touched == {"create": {"hi"}}


@pytest.mark.usefixtures("chart")
def test_a_release_that_fails_is_kept_and_mended(stack, write, control_plane, namespace):
    write(RELEASE.replace("timeout=20", "timeout=3"))  # no node: its pod stays Pending
    failed = stack.up(fails=True)
    start = (
        f'Helm release "{namespace}/hi" was created, but failed to initialize completely. Use Helm CLI to investigate: '
    )
    assert start in failed.errors
    assert stack.kinds()["kubernetes:helm.sh/v3:Release"] == 1
    assert revisions(control_plane, namespace) == ["1 failed"]
    control_plane.add_nodes(1)
    write(RELEASE)
    assert stack.up().touched == {"update": {"hi"}}
    assert revisions(control_plane, namespace)[-1] == "2 deployed"


@pytest.mark.usefixtures("chart")
def test_a_release_that_was_removed_by_hand_is_installed_again(stack, write, control_plane, namespace):
    control_plane.add_nodes(1)
    write(RELEASE)
    stack.up()
    for item in control_plane.api.items(f"/api/v1/namespaces/{namespace}/secrets"):
        control_plane.api.delete(f"/api/v1/namespaces/{namespace}/secrets/{item['metadata']['name']}")
    control_plane.api.delete(f"/api/v1/namespaces/{namespace}/configmaps/hi")
    control_plane.api.delete(f"/apis/apps/v1/namespaces/{namespace}/deployments/hi")
    assert stack.refresh().changes == {"delete": 1}
    assert stack.up().touched == {"create": {"hi"}}


@pytest.mark.usefixtures("chart")
def test_an_object_of_a_release_that_was_deleted_by_hand_is_not_missed(stack, write, control_plane, namespace):
    control_plane.add_nodes(1)
    write(RELEASE)
    stack.up()
    deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/hi"
    control_plane.api.delete(deployment)
    assert stack.refresh().changes == {}
    assert stack.up().changes == {}
    assert not control_plane.api.exists(deployment)


def killed_with(stack: PulumiStack, until) -> None:
    """Begin an `up`, kill it with all that it started as soon as `until` holds, and unlock the stack."""
    stack.kill_up(until)
    stack.run("cancel", "--yes", "--stack", "test")


@pytest.mark.usefixtures("chart")
def test_a_killed_install_leaves_a_name_that_is_in_use(stack, write, control_plane, namespace):
    write(RELEASE)  # no node: its pod stays Pending
    killed_with(stack, lambda: revisions(control_plane, namespace) == ["1 pending-install"])
    control_plane.add_nodes(1)
    wait("the pod runs", lambda: running(control_plane, namespace))
    assert revisions(control_plane, namespace) == ["1 pending-install"], "nobody goes on with it"
    assert "cannot reuse a name that is still in use" in stack.up(fails=True).errors.replace("re-use", "reuse")
    helm(stack, "uninstall", "hi", "--namespace", namespace)
    stack.up()
    assert revisions(control_plane, namespace) == ["1 deployed"]


@pytest.mark.usefixtures("chart")
def test_a_killed_upgrade_is_in_progress_until_it_is_rolled_back(stack, write, control_plane, namespace):
    (node,) = control_plane.add_nodes(1)
    write(RELEASE)
    stack.up()
    control_plane.remove_nodes([node])
    write(RELEASE.replace('"hello"', '"bye", "size": 2'))
    killed_with(stack, lambda: revisions(control_plane, namespace) == ["1 deployed", "2 pending-upgrade"])
    control_plane.add_nodes(1)
    stack.refresh()
    assert stack.up().changes == {}, "the refresh took the new values over from Helm's record"
    assert revisions(control_plane, namespace) == ["1 deployed", "2 pending-upgrade"]
    write(RELEASE.replace("hello", "good evening"))
    assert "another operation (install/upgrade/rollback) is in progress" in stack.up(fails=True).errors
    helm(stack, "rollback", "hi", "1", "--namespace", namespace)
    stack.refresh()
    stack.up()
    assert config_map(control_plane.api, namespace, "hi")["data"] == {"message": "good evening"}


@pytest.mark.usefixtures("chart")
def test_a_plugin_outlives_an_engine_that_is_killed_alone(stack, write, control_plane, namespace):
    write(RELEASE)  # no node: its pod stays Pending
    stack.kill_up(lambda: revisions(control_plane, namespace) == ["1 pending-install"], spare_plugin=True)
    time.sleep(3 * ENGINE_LOOK_S)
    control_plane.add_nodes(1)
    wait("the release is there", lambda: revisions(control_plane, namespace) == ["1 deployed"])
    stack.run("cancel", "--yes", "--stack", "test")
    assert "cannot reuse a name that is still in use" in stack.up(fails=True).errors.replace("re-use", "reuse")
    helm(stack, "uninstall", "hi", "--namespace", namespace)
    stack.up()


def running(control_plane, namespace):
    return [
        pod
        for pod in control_plane.api.items(f"/api/v1/namespaces/{namespace}/pods")
        if pod["status"]["phase"] == "Running"
    ]


def helm(stack: PulumiStack, *command: str) -> None:
    subprocess.run(["helm", *command], env=stack.environment, check=True, capture_output=True)


def test_secrets_in_values_show_nowhere(stack, write, control_plane, namespace, chart):
    control_plane.add_nodes(1)
    write(RELEASE.replace('"hello"', 'pulumi.Output.secret("swordfish")'))
    update = stack.up()
    assert config_map(control_plane.api, namespace, "hi")["data"] == {"message": "swordfish"}
    assert "swordfish" not in json.dumps(stack.export()) + update.output
