"""Parts of the test provider that need neither engine nor cluster: values, differences, charts, kubeconfigs."""

import base64
import functools
import http.server
import os
import stat
import subprocess
import sys
import tarfile
import threading
from typing import Any

import psutil
import pytest
import yaml

from operations.toolchain import programs
from simulator.api import wait
from simulator.provider import difference, kubeconfig, names, plugin, server
from simulator.provider.charts import ChartStore
from simulator.provider.difference import Change
from simulator.provider.helm import Helm, HelmError
from simulator.provider.properties import (
    SIGNATURE,
    UNKNOWN,
    Secret,
    has_unknowns,
    plain,
    read,
    with_secrets_of,
    write,
)


def test_values_survive_the_wire():
    values = {"whole": 3, "part": 0.5, "none": None, "list": [{"deep": Secret({"key": "x"})}], "later": UNKNOWN}
    assert read(write(values)) == values
    assert write(values)["list"][0]["deep"][SIGNATURE], "marked as the protocol wants it"
    assert plain(values)["list"] == [{"deep": {"key": "x"}}]
    assert has_unknowns(values)
    assert not has_unknowns(plain(values)["list"])


def test_what_was_secret_in_the_inputs_is_secret_in_the_outputs():
    source = {"data": {"password": Secret("x")}, "items": [Secret(1), 2]}
    marked = with_secrets_of({"data": {"password": "x", "user": "u"}, "items": [1, 2, 3], "more": 1}, source)
    assert marked == {"data": {"password": Secret("x"), "user": "u"}, "items": [Secret(1), 2, 3], "more": 1}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, {"a.b": Change.UPDATE}),
        ({"a": [1, 2]}, {"a": [1]}, {"a[1]": Change.DELETE}),
        ({}, {"a": {"x/y": 1}}, {"a": Change.ADD}),
        ({"m": {"x.y/z": "1"}}, {"m": {}}, {'m["x.y/z"]': Change.DELETE}),
        ({}, {"a": "", "b": [], "c": False}, {}),  # zero values are not sent back
        ({"requests": {"memory": "1Gi", "cpu": 1}}, {"requests": {"memory": "1024Mi", "cpu": "1000m"}}, {}),
        ({"requests": {"memory": "1Gi"}}, {"requests": {"memory": "1G"}}, {"requests.memory": Change.UPDATE}),
        ({"annotations": {"a": "1000m"}}, {"annotations": {"a": "1"}}, {"annotations.a": Change.UPDATE}),
    ],
)
def test_differences(old, new, expected):
    assert {difference.written(path): kind for path, kind in difference.compare(old, new)} == expected


@pytest.mark.parametrize(
    ("kind", "path", "needed"),
    [
        ("Deployment", ("metadata", "name"), True),
        ("Deployment", ("metadata", "namespaces"), False),
        ("StatefulSet", ("spec", "volumeClaimTemplates", 0, "spec"), True),
        ("StatefulSet", ("spec", "template", "spec"), False),
        ("Job", ("spec", "template"), True),
        ("Secret", ("data", "password"), True),
        ("Secret", ("metadata", "labels", "a"), False),
        ("ConfigMap", ("binaryData", "a"), True),
    ],
)
def test_only_some_fields_need_a_new_object(kind, path, needed):
    assert difference.needs_replacement({"kind": kind}, path) == needed


def test_a_mutable_kind_is_changed_in_place_unless_the_object_says_otherwise():
    mutable = server.mutable_kinds({"enableSecretMutable": "true", "enableConfigMapMutable": False})
    assert mutable == {"Secret"}
    assert not difference.needs_replacement({"kind": "Secret"}, ("data", "a"), mutable)
    assert difference.needs_replacement({"kind": "Secret"}, ("type",), mutable)
    assert difference.needs_replacement({"kind": "Secret", "immutable": True}, ("data", "a"), mutable)
    assert difference.needs_replacement({"kind": "ConfigMap"}, ("data", "a"), mutable)


@pytest.mark.parametrize(
    ("api_version", "kind", "expected"),
    [
        ("v1", "ConfigMap", {}),
        ("networking.k8s.io/v1", "NetworkPolicy", {}),
        ("v1", "Secret", {"metadata.labels": Change.ADD, "metadata.annotations": Change.DELETE}),
        (
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            {"metadata.labels": Change.ADD, "metadata.annotations": Change.DELETE},
        ),
    ],
)
def test_empty_maps_and_nulls_count_where_objects_do_not_pass_through_types(api_version, kind, expected):
    base = {"apiVersion": api_version, "kind": kind}
    written = difference.comparable(base | {"metadata": {"name": "n", "labels": {}, "annotations": None}})
    live = base | {"metadata": {"name": "n"}}
    as_written = difference.is_compared_as_written(written)
    changes = difference.compare(live, written, as_written=as_written)
    assert {difference.written(path): change for path, change in changes} == expected


def test_ignored_paths():
    path = ("spec", "containers", 0, "env", "A.B")
    for pattern in ("spec", "spec.containers[0]", "spec.containers[*].env", 'spec.containers[0].env["A.B"]'):
        assert difference.is_ignored(path, [pattern]), pattern
    assert not difference.is_ignored(path, ["spec.containers[1]", "sp", "status"])


def test_secrets_compare_as_the_server_keeps_them():
    obj = {
        "kind": "Secret",
        "data": {"a": "eA=="},
        "stringData": {"b": "swordfish"},
        "metadata": {"uid": 1, "name": "n"},
    }
    seen = difference.normalized(obj)
    assert seen["data"] == {"a": "eA==", "b": base64.b64encode(b"swordfish").decode()}
    assert seen["metadata"] == {"name": "n"}
    assert "stringData" not in seen


def test_type_tokens():
    assert names.api_version_and_kind("kubernetes:core/v1:ConfigMap") == ("v1", "ConfigMap")
    assert names.api_version_and_kind("kubernetes:core/v1:NodePatch") == ("v1", "Node")
    with pytest.raises(names.UnsupportedTypeError, match="ConfigMapList"):
        names.api_version_and_kind("kubernetes:core/v1:ConfigMapList")
    assert names.type_token("urn:pulumi:s::p::my:Component$kubernetes:apps/v1:Deployment::web").endswith(":Deployment")


def test_a_kubeconfig_that_cannot_serve_says_why():
    config: dict[str, Any] = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"exec": {"command": "login"}}}],
    }
    with pytest.raises(kubeconfig.KubeconfigError, match="logs in by exec"):
        kubeconfig.load(yaml.safe_dump(config))
    with pytest.raises(kubeconfig.KubeconfigError, match="no context 'there'"):
        kubeconfig.load(yaml.safe_dump(config), context="there")
    config["users"][0]["user"] = {"token": "abc"}
    assert kubeconfig.load(yaml.safe_dump(config)).headers == {"Authorization": "Bearer abc"}


def test_the_plugin_is_written_for_this_python(tmp_path, monkeypatch):
    monkeypatch.setenv(plugin.CHOICE, "own")
    environment = plugin.install(tmp_path, tmp_path / "home")
    program = tmp_path / "pulumi-resource-kubernetes"
    assert program.stat().st_mode & stat.S_IXUSR
    assert environment["PATH"].startswith(f"{tmp_path}{os.pathsep}")


def alive(process):
    """Where nobody waits for orphans they stay as zombies, which are not alive either."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_plugin_ends_with_an_engine_that_is_killed(tmp_path, monkeypatch):
    monkeypatch.setenv(plugin.CHOICE, "own")
    plugin.install(tmp_path / "bin", tmp_path / "home")
    folder = tmp_path / "of-the-plugin"
    folder.mkdir()
    engine = (
        "import subprocess, sys, time\n"
        "plugin = subprocess.Popen([sys.argv[1], '127.0.0.1:1'], stdout=subprocess.PIPE, text=True)\n"
        "print(plugin.pid, plugin.stdout.readline(), flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", engine, str(tmp_path / "bin" / "pulumi-resource-kubernetes")]
    environment = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as killed:
        assert killed.stdout is not None
        pid, port = map(int, killed.stdout.readline().split())
        started = psutil.Process(pid)
        assert port
        assert list(folder.iterdir())
        killed.kill()
    wait("the plugin ends", lambda: alive(started), lambda on: not on)
    assert list(folder.iterdir()) == [], "it ends in order"


def test_an_installed_official_plugin_is_linked_into_the_home_of_the_stack(tmp_path, monkeypatch):
    installed = tmp_path / "pulumi" / "plugins" / plugin.folder_name() / "pulumi-resource-kubernetes"
    installed.parent.mkdir(parents=True)
    installed.write_text("the official one")
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "pulumi"))
    monkeypatch.setenv(plugin.CHOICE, "official")
    environment = plugin.install(tmp_path / "bin", tmp_path / "home")
    linked = tmp_path / "home" / "plugins" / plugin.folder_name() / "pulumi-resource-kubernetes"
    assert linked.samefile(installed)
    assert not any(path.is_symlink() for path in (linked, linked.parent)), "the engine would not take it"
    assert "PATH" not in environment
    assert environment["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] == "true", "nothing is downloaded"


def test_the_choice_of_a_plugin_is_checked(monkeypatch):
    monkeypatch.setenv(plugin.CHOICE, "mine")
    with pytest.raises(ValueError, match="expected own or official"):
        plugin.is_own()


LOGIN = "Basic " + base64.b64encode(b"$oauthtoken:swordfish").decode()


class Repository(http.server.SimpleHTTPRequestHandler):
    """A chart repository that asks for a login."""

    def do_GET(self):
        if self.headers.get("Authorization") == LOGIN:
            super().do_GET()
        else:
            self.send_error(401)

    def log_message(self, *_):
        pass


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    (tmp_path / "greeter").mkdir()
    (tmp_path / "greeter" / "Chart.yaml").write_text("apiVersion: v2\nname: greeter\nversion: 1.0.0\nappVersion: '9'\n")
    with tarfile.open(folder / "greeter-1.0.0.tgz", "w:gz") as archive:
        archive.add(tmp_path / "greeter", "greeter")
    entry = {"apiVersion": "v2", "name": "greeter", "version": "1.0.0", "urls": ["greeter-1.0.0.tgz"]}
    (folder / "index.yaml").write_text(yaml.safe_dump({"apiVersion": "v1", "entries": {"greeter": [entry]}}))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Repository, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store of charts whose helm notes what it is called with."""
    helm = programs.ensure(["helm"])["helm"]
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "helm").mkdir()
    recorder = folder / "helm"
    recorder.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nexec {helm} "$@"\n')
    recorder.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return ChartStore(Helm(None, threading.Event(), tmp_path / "helm"))


def test_a_private_repository_gets_its_login_and_no_command_line_does(store, repository, tmp_path):
    login = {"repo": repository, "username": "$oauthtoken", "password": "swordfish"}
    wanted = {"chart": "greeter", "version": "1.0.0", "repositoryOpts": login}
    found = store.locate(wanted)
    assert (found.name, found.version, found.app_version) == ("greeter", "1.0.0", "9")
    calls = (tmp_path / "calls").read_text()
    assert "pull source/greeter" in calls
    assert "swordfish" not in calls
    store.locate(wanted)
    assert (tmp_path / "calls").read_text() == calls, "pulled once"


def test_a_wrong_login_is_told(store, repository):
    wanted = {"chart": "greeter", "repositoryOpts": {"repo": repository, "username": "$oauthtoken", "password": "no"}}
    with pytest.raises(HelmError, match="401"):
        store.locate(wanted)


def test_a_folder_that_is_no_chart_is_told(store, tmp_path):
    with pytest.raises(HelmError, match="not found"):
        store.locate({"chart": str(tmp_path / "nowhere")})
    (tmp_path / "empty").mkdir()
    with pytest.raises(HelmError, match="is no Helm chart"):
        store.locate({"chart": str(tmp_path / "empty")})
