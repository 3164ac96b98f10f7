"""The provider of these tests, or the official one where it is installed, under the real engine on a real API server.

What a provider owes the engine is asked for here with small programs: a failure in test_stack.py is the stack's then.
"""

import base64
import json
import textwrap

import pytest

from simulator.provider import plugin
from simulator.pulumi_stack import begin_stack
from tests.simulator.support import IMPORTS, config_map

pytestmark = pytest.mark.slow


CONFIG_MAP = """
    k8s.core.v1.ConfigMap("settings", metadata={"name": "settings", "namespace": "NAMESPACE"}, data={"size": "1"})
"""


@pytest.mark.usefixtures("mutable")
def test_an_object_is_made_once_changed_in_place_and_removed(stack, write, control_plane, namespace):
    write(CONFIG_MAP)
    assert stack.preview().changes == {"create": 2}
    assert stack.up().changes == {"create": 2}
    uid = config_map(control_plane.api, namespace)["metadata"]["uid"]

    assert stack.up().changes == {}

    write(CONFIG_MAP.replace('"1"', '"2"'))
    assert stack.preview().touched == {"update": {"settings"}}
    assert stack.up().changes == {"update": 1}
    changed = config_map(control_plane.api, namespace)
    assert changed["data"] == {"size": "2"}
    assert changed["metadata"]["uid"] == uid

    write("")
    assert stack.up().changes == {"delete": 1}
    assert not control_plane.api.exists(f"/api/v1/namespaces/{namespace}/configmaps/settings")


def test_the_official_mode_works_offline(control_plane, namespace, tmp_path, monkeypatch):
    """The engine finds a plugin in the user's home; here the stand-in is installed as the official one."""
    home = tmp_path / "user" / "plugins" / plugin.folder_name()
    monkeypatch.setenv(plugin.CHOICE, "own")
    plugin.install(home, tmp_path / "unused")
    monkeypatch.setenv(plugin.CHOICE, "official")
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "user"))
    program = IMPORTS + textwrap.dedent(CONFIG_MAP).replace("NAMESPACE", namespace)
    stack = begin_stack(tmp_path / "program", control_plane.kubeconfig, program)
    assert str(home) not in stack.environment["PATH"]
    assert stack.up().changes == {"create": 2}


def test_another_name_is_another_object(stack, write, control_plane, namespace):
    write(CONFIG_MAP)
    stack.up()
    write(CONFIG_MAP.replace('"name": "settings"', '"name": "other"'))
    assert stack.up().changes == {"replace": 1}
    assert config_map(control_plane.api, namespace, "other")["data"] == {"size": "1"}
    assert not control_plane.api.exists(f"/api/v1/namespaces/{namespace}/configmaps/settings")


def test_a_name_is_made_up_where_there_is_none_and_kept(stack, write, control_plane, namespace):
    write(
        """
        made = k8s.core.v1.ConfigMap("settings", metadata={"namespace": "NAMESPACE"}, data={"size": "1"})
        pulumi.export("name", made.metadata.name)
        """
    )
    stack.up()
    name = stack.outputs()["name"]
    assert name.startswith("settings-")
    assert config_map(control_plane.api, namespace, name)["data"] == {"size": "1"}
    assert stack.up().changes == {}


def test_an_immutable_field_replaces_the_object_in_its_place(stack, write, control_plane, namespace):
    text = """
        k8s.core.v1.Secret("key", metadata={"name": "key", "namespace": "NAMESPACE"}, type="Opaque",
                           string_data={"password": pulumi.Output.secret("swordfish")})
    """
    write(text)
    stack.up()
    write(text.replace("Opaque", "example.com/key"))
    update = stack.up()
    assert update.changes == {"replace": 1}
    assert control_plane.api.get(f"/api/v1/namespaces/{namespace}/secrets/key")["type"] == "example.com/key"


def test_a_changed_secret_is_replaced_unless_the_provider_is_told_that_it_is_mutable(
    stack, write, control_plane, namespace
):
    text = """
        cluster = k8s.Provider("cluster"FLAGS)
        k8s.core.v1.Secret("key", metadata={"name": "key", "namespace": "NAMESPACE"},
                           string_data={"password": "one"}, opts=pulumi.ResourceOptions(provider=cluster))
    """
    path = f"/api/v1/namespaces/{namespace}/secrets/key"

    def password():
        secret = control_plane.api.get(path)
        return base64.b64decode(secret["data"]["password"]).decode(), secret["metadata"]["uid"]

    write(text.replace("FLAGS", ""))
    stack.up()
    _, first = password()
    write(text.replace("FLAGS", "").replace("one", "two"))
    assert stack.preview().touched == {"create-replacement": {"key"}, "delete-replaced": {"key"}, "replace": {"key"}}
    assert stack.up().changes == {"replace": 1}
    (word, second) = password()
    assert word == "two"
    assert second != first, "deleted and made anew"

    write(text.replace("FLAGS", ", enable_secret_mutable=True").replace("one", "three"))
    assert stack.up().touched == {"update": {"cluster", "key"}}
    assert password() == ("three", second), "changed in place"


def test_an_empty_map_in_a_secret_is_a_change_for_ever(stack, write):
    metadata = '{"name": "NAME", "namespace": "NAMESPACE", "labels": {}}'
    write(
        f"""
        k8s.core.v1.Secret("key", metadata={metadata.replace("NAME", "key", 1)}, string_data={{"a": "b"}})
        k8s.core.v1.ConfigMap("settings", metadata={metadata.replace("NAME", "settings", 1)}, data={{"a": "b"}})
        """
    )
    stack.up()
    assert stack.up().touched == {"update": {"key"}}
    assert stack.up().touched == {"update": {"key"}}
    assert stack.refresh().changes == {"update": 1}


def test_secrets_stay_secret_in_state_and_output(stack, write):
    write(
        """
        made = k8s.core.v1.Secret("key", metadata={"name": "key", "namespace": "NAMESPACE"},
                                  string_data={"password": pulumi.Output.secret("swordfish")})
        pulumi.export("data", made.data)
        """
    )
    update = stack.up()
    state = json.dumps(stack.export())
    for text in ("swordfish", "c3dvcmRmaXNo"):  # the second as Kubernetes writes the first
        assert text not in state
        assert text not in update.output
    assert stack.outputs()["data"] == {"password": "c3dvcmRmaXNo"}
    assert stack.up().changes == {}


FORCE = '"annotations": {"pulumi.com/patchForce": "true"}, "namespace"'


@pytest.mark.usefixtures("mutable")
def test_refresh_sees_a_deletion_and_a_change_by_hand_and_up_mends_both(stack, write, control_plane, namespace):
    write(CONFIG_MAP + CONFIG_MAP.replace("settings", "other").replace('"namespace"', FORCE))
    stack.up()
    control_plane.api.delete(f"/api/v1/namespaces/{namespace}/configmaps/settings")
    control_plane.api.patch(f"/api/v1/namespaces/{namespace}/configmaps/other", {"data": {"size": "9"}})
    assert stack.refresh().changes == {"delete": 1, "update": 1}
    assert stack.up().touched == {"create": {"settings"}, "update": {"other"}}
    assert config_map(control_plane.api, namespace)["data"] == {"size": "1"}


@pytest.mark.usefixtures("mutable")
def test_what_exists_already_is_not_taken_over(stack, write, control_plane, namespace):
    control_plane.api.create(
        f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": "settings"}, "data": {"size": "7"}}
    )
    write(CONFIG_MAP)
    assert "exists" in stack.up(fails=True).errors
    assert config_map(control_plane.api, namespace)["data"] == {"size": "7"}
    stack.run(
        "import",
        "kubernetes:core/v1:ConfigMap",
        "settings",
        f"{namespace}/settings",
        "--yes",
        "--protect=false",
        "--generate-code=false",
        "--stack",
        "test",
    )
    assert "conflict" in stack.up(fails=True).errors, "somebody else owns the field"
    write(CONFIG_MAP.replace('"namespace"', FORCE))
    assert stack.up().touched == {"update": {"settings"}}
    assert config_map(control_plane.api, namespace)["data"] == {"size": "1"}


def test_an_object_that_the_server_refuses_fails_the_preview(stack, write):
    write(
        """
        k8s.core.v1.Service("web", metadata={"name": "Web!", "namespace": "NAMESPACE"}, spec={"ports": [{"port": 80}]})
        """
    )
    assert 'Invalid value: "Web!"' in stack.preview(fails=True).errors


DEPLOYMENT = """
    k8s.apps.v1.Deployment("web", metadata={"name": "web", "namespace": "NAMESPACE"}, spec={
        "replicas": 2,
        "selector": {"match_labels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "web:1", "resources": RESOURCES}]},
        },
    }, opts=pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(create="5s", update="60s")))
"""


def test_a_deployment_is_awaited(stack, write, control_plane, namespace):
    control_plane.add_nodes(1)
    write(DEPLOYMENT.replace("RESOURCES", '{"requests": {"cpu": "1000m", "memory": "1024Mi"}}').replace("5s", "60s"))
    stack.up()
    seen = control_plane.api.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/web")
    assert seen["status"]["availableReplicas"] == 2
    assert stack.up().changes == {}, "the server writes 1000m as 1 and 1024Mi as 1Gi"
    assert stack.refresh().changes == {}
    assert stack.up().changes == {}


def test_a_deployment_that_cannot_run_fails_and_the_next_up_mends_it(stack, write, control_plane):
    control_plane.add_nodes(1)
    write(DEPLOYMENT.replace("RESOURCES", '{"limits": {"nvidia.com/gpu": 1}}'))
    failed = stack.up(fails=True)
    assert "failed to fully initialize or become live: 'web' timed out waiting to be Ready" in failed.errors
    assert "Minimum number of live Pods was not attained" in failed.errors
    assert "Insufficient nvidia.com/gpu" not in failed.errors, "shown while it is waited for, and no error"
    assert stack.kinds()["kubernetes:apps/v1:Deployment"] == 1, "it exists, so the state knows it"
    write(DEPLOYMENT.replace("RESOURCES", "{}"))
    assert stack.up().touched == {"update": {"web"}}


def test_custom_resources_come_with_their_definition(stack, write, control_plane, namespace):
    write(
        """
        crd = k8s.apiextensions.v1.CustomResourceDefinition("boxes", metadata={"name": "boxes.example.com"}, spec={
            "group": "example.com", "scope": "Namespaced",
            "names": {"kind": "Box", "plural": "boxes"},
            "versions": [{"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}, "schema": {
                "open_apiv3_schema": {"type": "object", "x_kubernetes_preserve_unknown_fields": True}}}],
        })
        k8s.apiextensions.CustomResource("box", api_version="example.com/v1", kind="Box",
            metadata={"name": "box", "namespace": "NAMESPACE"}, spec={"sides": 6, "open": 0.5},
            opts=pulumi.ResourceOptions(depends_on=[crd]))
        """
    )
    stack.preview()
    stack.up()
    assert control_plane.api.get(f"/apis/example.com/v1/namespaces/{namespace}/boxes/box")["spec"] == {
        "sides": 6,
        "open": 0.5,
    }
    assert stack.up().changes == {}
    assert stack.refresh().changes == {}
    assert stack.destroy().changes == {"delete": 3}


def test_a_patch_owns_its_fields_and_gives_them_back(stack, write, control_plane):
    (node,) = control_plane.add_nodes(1)
    write(
        f"""
        k8s.core.v1.NodePatch("label", metadata={{"name": "{node}", "labels": {{"example.com/gpu": "yes"}}}})
        found = k8s.core.v1.Namespace.get("found", "kube-system")
        pulumi.export("phase", found.status.phase)
        """
    )
    stack.up()
    assert stack.outputs()["phase"] == "Active"
    assert control_plane.api.get(f"/api/v1/nodes/{node}")["metadata"]["labels"]["example.com/gpu"] == "yes"
    assert stack.up().changes == {}
    stack.destroy()
    labels = control_plane.api.get(f"/api/v1/nodes/{node}")["metadata"]["labels"]
    assert "example.com/gpu" not in labels
    assert labels["kubernetes.io/hostname"] == node


def test_a_patch_of_what_is_not_there_would_create_it_and_is_refused(stack, write):
    write(
        """
        k8s.apps.v1.DeploymentPatch("web", metadata={"name": "web", "namespace": "NAMESPACE"}, spec={"replicas": 1})
        """
    )
    assert stack.preview().changes == {"create": 2}, "not seen before"
    errors = stack.up(fails=True).errors
    assert "was not successfully created by the Kubernetes API server: " in errors
    assert 'Deployment.apps "web" is invalid' in errors
    assert "spec.selector: Required value" in errors


def test_reading_what_is_not_there_fails(stack, write):
    write('k8s.core.v1.Namespace.get("found", "no-such-namespace")')
    assert "no-such-namespace" in stack.up(fails=True).errors


@pytest.mark.usefixtures("mutable")
def test_state_of_an_older_plugin_needs_no_replacement(stack, write, namespace):
    """The state of a plugin before server-side apply: no field manager, the annotation of client-side apply."""
    write(CONFIG_MAP)
    stack.up()
    state = stack.export()
    for resource in state["deployment"]["resources"]:
        if resource["type"] == "kubernetes:core/v1:ConfigMap":
            resource["outputs"].pop("__fieldManager")
            last = json.dumps({"kind": "ConfigMap", "metadata": {"name": "settings"}})
            resource["outputs"]["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": last}
        if resource["type"] == "pulumi:providers:kubernetes":
            resource["inputs"]["version"] = resource["outputs"]["version"] = "4.9.1"
    stack.load(state)
    assert stack.preview().touched.keys() <= {"update"}
    stack.up()
    write(CONFIG_MAP.replace('"1"', '"2"'))
    assert stack.up().touched == {"update": {"settings"}}


def test_many_objects_need_few_processes(stack, write, control_plane, namespace):
    write(
        """
        for number in range(300):
            meta = {"name": f"c{number}", "namespace": "NAMESPACE"}
            k8s.core.v1.ConfigMap(f"c{number}", metadata=meta, data={"n": "1"})
        """
    )
    stack.up("--parallel", "64")
    made = control_plane.api.items(f"/api/v1/namespaces/{namespace}/configmaps")
    assert len(made) == 301, "and the one that every namespace has"
    assert stack.up().changes == {}
    stack.destroy("--parallel", "64")
