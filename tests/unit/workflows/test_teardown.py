"""Teardown without a cluster: what counts as left, which way a stack goes down, what is asked and what is said."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.workflows import healthy_cluster as h
from tests.unit.workflows.fake_kubectl import FakeKubectl
from tests.unit.workflows.fake_stack import FakeStack
from tests.unit.workflows.test_kubectl import KINDS
from workflows import cli, kubectl, teardown_command
from workflows.cluster import teardown
from workflows.cluster.leftovers import Leftover, Remains, gone_with_the_cluster, left
from workflows.cluster.snapshot import Release
from workflows.errors import TargetError

Object = dict[str, Any]
DEFINITIONS = ("nimservices.apps.nvidia.com", "nimcaches.apps.nvidia.com", "widgets.example.com")


def volume(name: str, namespace: str, policy: str = "Delete", **source: Any) -> Object:
    spec = {
        "capacity": {"storage": "100Gi"}, "persistentVolumeReclaimPolicy": policy,
        "claimRef": {"namespace": namespace, "name": name}, **source,
    }  # fmt: skip
    return h.thing("PersistentVolume", f"pv-{name}", spec=spec, status={"phase": "Released"})


def remains(*objects: Object, releases: tuple[Release, ...] = (), definitions: tuple[str, ...] = ()) -> Remains:
    return Remains(seen=h.NOW, objects=objects, releases=releases, definitions=definitions)


def found(*objects: Object, **more: Any) -> list[Leftover]:
    return left(remains(*objects, **more), h.cluster_outputs())


def test_nothing_left() -> None:
    strangers = [
        volume("theirs", "production"), h.thing("Namespace", "production", status={"phase": "Active"}),
        h.thing("Service", "web", "production", spec={"type": "LoadBalancer"}), h.webhook(),
        h.thing("PersistentVolume", "free", spec={}, status={"phase": "Available"}),
    ]  # fmt: skip
    theirs = Release(namespace="production", name="web", status="deployed", revision=3)
    assert found(*strangers, releases=(theirs,), definitions=("widgets.example.com",)) == []


def test_each_kind_of_leftover() -> None:
    space = h.thing("Namespace", "llama", status={"phase": "Terminating", "conditions": [
        {"type": "NamespaceFinalizersRemaining", "status": "True", "message": "x.example.com in 2 resource instances"},
        {"type": "NamespaceContentRemaining", "status": "False", "message": "not this"},
    ]})  # fmt: skip
    hook = h.webhook()
    hook["webhooks"][0]["clientConfig"]["service"]["namespace"] = "nemo-customizer"
    balancer = h.thing("Service", "envoy", "llama", spec={"type": "LoadBalancer"},
                       status={"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}})  # fmt: skip
    release = Release(namespace="llama", name="nim", status="uninstalling", revision=4)
    seen = found(
        volume("data", "nemo-datastore", "Retain", csi={"volumeHandle": "projects/p/disks/d"}), space, hook, balancer,
        h.claim("models", "nemo-customizer"), releases=(release,), definitions=DEFINITIONS,
    )  # fmt: skip
    details = {one.kind: (one.where, one.detail) for one in seen}
    assert details == {
        "PersistentVolume": ("pv-data", "100Gi, Released, Retain, of nemo-datastore/data, storage projects/p/disks/d"),
        "PersistentVolumeClaim": ("nemo-customizer/models", "made at run time, Bound"),
        "LoadBalancer": ("llama/envoy", "203.0.113.7"),
        "MutatingWebhookConfiguration": (
            "admission.volcano.sh", "blocks everything it watches, now that its Service is gone",
        ),
        "Helm release": ("llama/nim", "uninstalling"),
        "Namespace": ("llama", "Terminating. x.example.com in 2 resource instances"),
        "CustomResourceDefinitions": ("apps.nvidia.com", "2: nimcaches, nimservices"),
    }  # fmt: skip
    assert [one.kind for one in seen if one.on_purpose] == ["CustomResourceDefinitions"]
    assert {one.kind for one in seen if one.data} == {"PersistentVolume", "PersistentVolumeClaim"}
    assert all(one.remove for one in seen)
    assert "--force" not in "".join(one.remove for one in seen)
    assert "patch" not in next(one.remove for one in seen if one.kind == "Namespace")


def test_what_a_cluster_that_is_gone_may_leave_in_the_cloud() -> None:
    before = remains(
        volume("data", "nemo-datastore", "Retain", csi={"volumeHandle": "vol-1"}),
        volume("kept", "nemo-datastore", "Delete", csi={"volumeHandle": "vol-2"}),
        volume("scratch", "nemo-datastore", "Delete", csi={"volumeHandle": "vol-3"}),
        h.thing("Service", "envoy", "llama", spec={"type": "LoadBalancer"}),
    )
    seen = gone_with_the_cluster(before, h.cluster_outputs(), ["pv-kept"])
    assert [(one.kind, one.name) for one in seen] == [("Disk", "vol-1"), ("Disk", "vol-2"), ("LoadBalancer", "envoy")]


# --- the command --------------------------------------------------------------------------------------------------


class Destroyed:
    """Stands for `pulumi destroy`."""

    def __init__(self, code: int = 0) -> None:
        self.stacks: list[str] = []
        self.code = code

    def __call__(self, stack: str) -> int:
        self.stacks.append(stack)
        return self.code


@pytest.fixture
def destroyed(monkeypatch: pytest.MonkeyPatch) -> Destroyed:
    made = Destroyed()
    monkeypatch.setattr(teardown_command, "destroy", made)
    monkeypatch.setattr(teardown, "_POLL_S", 0.01)
    monkeypatch.setattr(teardown, "SETTLE_S", 0.1)
    return made


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    made = FakeKubectl(tmp_path / "kubectl")
    monkeypatch.setattr(kubectl, "program", lambda: str(made.path))
    made.write("kinds.json", KINDS)
    made.fail("get customresourcedefinitions", "", stdout="", code=0)
    return made


def call(capfd: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> tuple[int, str, str]:
    report = ["--report", str(folder / "report.json")]
    with pytest.raises(SystemExit) as caught:
        cli.main(["teardown", "--stack", "mine", *report, *arguments])
    out, err = capfd.readouterr()
    return int(caught.value.code or 0), out, err


def test_stack_without_a_cluster_goes_down_as_ever(
    destroyed: Destroyed, stack: FakeStack, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "outputs.json"
    file.write_text(stack.outputs.model_dump_json())
    code, out, _ = call(capfd, tmp_path, "--outputs", str(file), "--dry-run")
    assert (code, destroyed.stacks) == (0, [])
    assert "Would destroy stack mine" in out
    assert call(capfd, tmp_path, "--outputs", str(file))[0] == 0
    assert destroyed.stacks == ["mine"]
    destroyed.code = 3
    code, _, err = call(capfd, tmp_path, "--outputs", str(file))
    assert code == 1
    assert "`pulumi destroy` of stack mine failed (exit 3)" in err


def test_stack_that_never_came_up(
    destroyed: Destroyed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def nothing(*_args: Any) -> Any:
        raise TargetError("stack 'mine' has no outputs yet")

    monkeypatch.setattr(teardown_command, "resolve", nothing)
    code, _, err = call(capfd, tmp_path)
    assert (code, destroyed.stacks) == (0, ["mine"])
    assert "cannot be looked for" in err
    (tmp_path / "report.json").write_text("{}")
    code, _, err = call(capfd, tmp_path)
    assert code == 2
    assert "is no report of a teardown" in err


@pytest.fixture
def cluster_file(tmp_path: Path) -> list[str]:
    file = tmp_path / "outputs.json"
    file.write_text(h.outputs().model_dump_json())
    return ["--outputs", str(file)]


def test_clean_teardown(
    destroyed: Destroyed, fake: FakeKubectl, cluster_file: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call(capfd, tmp_path, *cluster_file)
    assert (code, destroyed.stacks) == (0, ["mine"])
    assert out.startswith("Nothing is left of stack mine.\n")
    written = json.loads((tmp_path / "report.json").read_text())
    assert (written["destroyed"], written["cluster_seen"], written["left"]) == (True, True, [])


def test_failed_destroy_still_reports(
    destroyed: Destroyed, fake: FakeKubectl, cluster_file: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    destroyed.code = 255
    fake.write("objects.json", [h.thing("Namespace", "llama", status={"phase": "Active"})])
    code, out, err = call(capfd, tmp_path, *cluster_file)
    assert code == 1
    assert "left\tNamespace\tllama\tActive\tkubectl delete namespace llama" in out
    assert "run teardown again" in err


def test_cluster_that_cannot_be_seen_is_not_destroyed_blindly(
    destroyed: Destroyed, fake: FakeKubectl, cluster_file: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.fail("get namespaces", "The connection to the server 10.0.0.1 was refused")
    code, _, err = call(capfd, tmp_path, *cluster_file)
    assert (code, destroyed.stacks) == (4, [])
    assert "was refused" in err


def test_secrets_of_the_kubeconfig_stay_out_of_the_report(
    destroyed: Destroyed, fake: FakeKubectl, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps(h.outputs().model_dump() | {"kubeconfig": "token: very-secret"}))
    code, out, err = call(capfd, tmp_path, "--outputs", str(file))
    assert code == 0
    assert fake.calls[-1]["text"] == "token: very-secret"
    assert "very-secret" not in out + err + (tmp_path / "report.json").read_text()
