"""Teardown without a cluster: what counts as left, which way a stack goes down, what is asked and what is said."""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cli import main, teardown_command
from nemostack.errors import NoOutputs, TargetError, ToolchainError
from nemostack.outputs import StackOutputs
from operations.helm_releases import Release
from operations.stacks import stacks
from operations.teardown import teardown
from operations.teardown.leftovers import ClusterInventory, Leftover, find_leftovers, gone_with_the_cluster
from tests.unit.fake_kubectl import FakeKubectl
from tests.unit.fake_stack import FakeStack
from tests.unit.operations import healthy_cluster as h
from tests.unit.operations.healthy_cluster import KINDS

Object = dict[str, Any]
DEFINITIONS = ("nimservices.apps.nvidia.com", "nimcaches.apps.nvidia.com", "widgets.example.com")


def volume(name: str, namespace: str, policy: str = "Delete", **source: Any) -> Object:
    spec = {
        "capacity": {"storage": "100Gi"},
        "persistentVolumeReclaimPolicy": policy,
        "claimRef": {"namespace": namespace, "name": name},
        **source,
    }
    return h.thing("PersistentVolume", f"pv-{name}", spec=spec, status={"phase": "Released"})


def remains(
    *objects: Object, releases: tuple[Release, ...] = (), definitions: tuple[str, ...] = ()
) -> ClusterInventory:
    return ClusterInventory(seen=h.NOW, objects=objects, releases=releases, definitions=definitions)


def found(*objects: Object, **more: Any) -> list[Leftover]:
    return find_leftovers(remains(*objects, **more), h.cluster_outputs())


def test_nothing_left() -> None:
    strangers = [
        volume("theirs", "production"),
        h.thing("Namespace", "production", status={"phase": "Active"}),
        h.thing("Service", "web", "production", spec={"type": "LoadBalancer"}),
        h.webhook(),
        h.thing("PersistentVolume", "free", spec={}, status={"phase": "Available"}),
    ]
    theirs = Release(namespace="production", name="web", status="deployed", revision=3)
    assert found(*strangers, releases=(theirs,), definitions=("widgets.example.com",)) == []


def test_each_kind_of_leftover() -> None:
    space = h.thing(
        "Namespace",
        "llama",
        status={
            "phase": "Terminating",
            "conditions": [
                {
                    "type": "NamespaceFinalizersRemaining",
                    "status": "True",
                    "message": "x.example.com in 2 resource instances",
                },
                {"type": "NamespaceContentRemaining", "status": "False", "message": "not this"},
            ],
        },
    )
    hook = h.webhook()
    hook["webhooks"][0]["clientConfig"]["service"]["namespace"] = "nemo-customizer"
    balancer = h.thing(
        "Service",
        "envoy",
        "llama",
        spec={"type": "LoadBalancer"},
        status={"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}},
    )
    release = Release(namespace="llama", name="nim", status="uninstalling", revision=4)
    seen = found(
        volume("data", "nemo-datastore", "Retain", csi={"volumeHandle": "projects/p/disks/d"}),
        space,
        hook,
        balancer,
        h.claim("models", "nemo-customizer"),
        releases=(release,),
        definitions=DEFINITIONS,
    )
    details = {one.kind: (one.where, one.detail) for one in seen}
    assert details == {
        "PersistentVolume": ("pv-data", "100Gi, Released, Retain, of nemo-datastore/data, storage projects/p/disks/d"),
        "PersistentVolumeClaim": ("nemo-customizer/models", "made at run time, Bound"),
        "LoadBalancer": ("llama/envoy", "203.0.113.7"),
        "MutatingWebhookConfiguration": (
            "admission.volcano.sh",
            "blocks everything it watches, now that its Service is gone",
        ),
        "Helm release": ("llama/nim", "uninstalling"),
        "Namespace": ("llama", "Terminating. x.example.com in 2 resource instances"),
        "CustomResourceDefinitions": ("apps.nvidia.com", "2: nimcaches, nimservices"),
    }
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
    assert [(one.kind, one.name, one.detail.split(",")[0]) for one in seen[:-1]] == [
        ("Disk", "vol-1", "kept"),
        ("Disk", "vol-2", "kept"),
        ("Disk", "vol-3", "deletion not confirmed"),
    ]
    assert (seen[-1].kind, seen[-1].name) == ("LoadBalancer", "envoy")


def test_what_the_user_brought_is_no_leftover_and_never_deleted() -> None:
    cluster = h.cluster_outputs().model_copy(
        update={"adopted_namespaces": ["llama"], "existing_claims": ["llama/weights"]}
    )
    there = remains(
        *(h.thing("Namespace", name, status={"phase": "Active"}) for name in ("llama", "mlflow")),
        h.claim("weights", "llama"),
        volume("weights", "llama"),
        h.claim("cache", "llama"),
        volume("cache", "llama"),
    )
    assert [(one.kind, one.where) for one in find_leftovers(there, cluster)] == [
        ("PersistentVolume", "pv-cache"),
        ("PersistentVolumeClaim", "llama/cache"),
        ("Namespace", "mlflow"),
    ]
    _, go = teardown.split(there, cluster, delete_data=True)
    assert [one["metadata"]["name"] for one in go] == ["pv-cache"]


# --- what goes, what stays ----------------------------------------------------------------------------------------


def store() -> list[Object]:
    """Data Store, kept by its chart; Postgres, which is not; a volume that the cluster retains; a stranger's."""
    kept = h.claim("data", "nemo-datastore")
    kept["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
    return [
        kept,
        volume("data", "nemo-datastore"),
        volume("nemo-postgres-1", "mlflow"),
        volume("models", "llama", "Retain"),
        volume("theirs", "production"),
    ]


def test_volumes_that_go_with_their_data_are_told_apart() -> None:
    stay, go = teardown.split(remains(*store()), h.cluster_outputs(), delete_data=False)
    assert [one["metadata"]["name"] for one in stay] == ["pv-data", "pv-models"]
    assert [one["metadata"]["name"] for one in go] == ["pv-nemo-postgres-1"]
    stay, go = teardown.split(remains(*store()), h.cluster_outputs(), delete_data=True)
    assert stay == []
    assert [one["metadata"]["name"] for one in go] == ["pv-data", "pv-nemo-postgres-1", "pv-models"]


# --- the command --------------------------------------------------------------------------------------------------


@dataclass
class Pulumi:
    """Stands for what is asked of Pulumi: whether stack `mine` is there and settled, its outputs, `pulumi destroy`."""

    name: str = "mine"
    there: bool = True
    is_local: bool = False
    outputs: StackOutputs | TargetError = field(default_factory=h.outputs)
    so_far: StackOutputs | None = None
    interrupted: bool = False
    destroyed: list[str] = field(default_factory=list)
    code: int = 0

    def __call__(self, *, name: str) -> "Pulumi":
        assert name == self.name
        return self

    def exists(self) -> bool:
        return self.there

    def outputs_so_far(self, outputs: None) -> StackOutputs | None:
        assert outputs is None
        return self.so_far

    def settle(self) -> None:
        if self.interrupted:
            raise ToolchainError("an earlier command on stack mine was interrupted")

    def of_stack(self, stack: str) -> StackOutputs:
        assert stack == self.name
        if isinstance(self.outputs, TargetError):
            raise self.outputs
        return self.outputs

    def destroy(self, stack: str) -> int:
        self.destroyed.append(stack)
        return self.code


@pytest.fixture
def pulumi(monkeypatch: pytest.MonkeyPatch) -> Pulumi:
    made = Pulumi()
    for module in (stacks, teardown_command):
        monkeypatch.setattr(module, "Stack", made)
    monkeypatch.setattr(teardown_command, "of_stack", made.of_stack)
    monkeypatch.setattr(teardown_command, "destroy", made.destroy)
    monkeypatch.setattr(teardown, "POLL_S", 0.01)
    monkeypatch.setattr(teardown, "SETTLE_S", 0.1)
    return made


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    made = FakeKubectl(tmp_path / "kubectl")
    monkeypatch.setattr("nemostack.kubectl.process.program", lambda: str(made.path))
    made.write("kinds.json", KINDS)
    made.fail("get customresourcedefinitions", "", stdout="", code=0)
    return made


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        return True


def call(capfd: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> tuple[int, str, str]:
    report = ["--report", str(folder / "report.json")]
    with pytest.raises(SystemExit) as caught:
        main.main(["teardown", "--stack", "mine", *report, *arguments])
    out, err = capfd.readouterr()
    return int(caught.value.code or 0), out, err


def test_stack_without_a_cluster_goes_down_as_ever(
    pulumi: Pulumi, stack: FakeStack, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pulumi.outputs = stack.outputs
    code, out, _ = call(capfd, tmp_path, "--dry-run")
    assert (code, pulumi.destroyed) == (0, [])
    assert "Would destroy stack mine" in out
    assert call(capfd, tmp_path)[0] == 0
    assert pulumi.destroyed == ["mine"]
    pulumi.code = 3
    code, _, err = call(capfd, tmp_path)
    assert code == 1
    assert "`pulumi destroy` of stack mine failed (exit 3)" in err


def test_outputs_come_from_the_stack_that_is_destroyed(
    pulumi: Pulumi,
    fake: FakeKubectl,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "production.json"
    other.write_text(h.outputs(h.cluster_outputs(context="production")).model_dump_json())
    monkeypatch.setenv("NEMOSTACK_OUTPUTS", str(other))
    pulumi.outputs = h.outputs(h.cluster_outputs(context="test"))
    assert call(capfd, tmp_path, "--yes")[0] == 0
    assert {one["context"] for one in fake.calls} == {"test"}
    code, _, err = call(capfd, tmp_path, "--yes", "--outputs", str(other))
    assert (code, "No such option" in err) == (2, True)


def test_stack_of_this_machine_that_never_came_up(
    pulumi: Pulumi, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pulumi.outputs, pulumi.is_local = NoOutputs("none"), True
    code, _, err = call(capfd, tmp_path)
    assert (code, pulumi.destroyed) == (0, ["mine"])
    assert "stack mine has no outputs; destroying what is deployed of it" in err
    (tmp_path / "report.json").write_text("{}")
    code, _, err = call(capfd, tmp_path)
    assert code == 2
    assert "is no report of a teardown" in err


def test_stack_on_a_cluster_that_never_came_up(
    pulumi: Pulumi, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pulumi.outputs = NoOutputs("none")
    code, _, err = call(capfd, tmp_path)
    assert (code, pulumi.destroyed) == (2, [])
    assert "say --yes" in err
    code, _, err = call(capfd, tmp_path, "--yes")
    assert (code, pulumi.destroyed) == (0, ["mine"])
    assert "cannot be told" in err


def test_what_goes_of_a_first_up_that_was_killed_is_shown(
    pulumi: Pulumi, fake: FakeKubectl, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pulumi.outputs, pulumi.so_far = NoOutputs("none"), h.outputs()
    code, out, _ = call(capfd, tmp_path, "--dry-run")
    assert (code, pulumi.destroyed) == (0, [])
    assert "Nothing was done" in out
    assert fake.calls, "the cluster was asked what would go"


def test_stack_that_does_not_exist(pulumi: Pulumi, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pulumi.there = False
    code, _, err = call(capfd, tmp_path)
    assert (code, pulumi.destroyed) == (0, [])
    assert "there is no stack mine" in err


def test_stack_whose_outputs_cannot_be_read_is_left_alone(
    pulumi: Pulumi, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pulumi.outputs = TargetError("the stack outputs of stack 'mine' cannot be used: surprise: Extra inputs")
    code, _, err = call(capfd, tmp_path, "--yes", "--delete-data")
    assert (code, pulumi.destroyed) == (3, [])
    assert "surprise: Extra inputs; nothing was destroyed" in err


def test_nothing_on_a_cluster_is_destroyed_unasked(
    pulumi: Pulumi, fake: FakeKubectl, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capfd, tmp_path)
    assert (code, pulumi.destroyed, fake.calls) == (2, [], [])
    assert "no terminal to ask at: see what goes with --dry-run, then say --yes" in err


@pytest.mark.parametrize("answer", ["y", "n", ""])
def test_what_goes_is_shown_before_the_question(
    answer: str, pulumi: Pulumi, fake: FakeKubectl, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    capfd: pytest.CaptureFixture[str] = request.getfixturevalue("capfd")
    request.getfixturevalue("monkeypatch").setattr("sys.stdin", Terminal(f"{answer}\n"))
    fake.write("objects.json", [*store(), h.thing("Namespace", "mlflow", status={"phase": "Active"})])
    _, out, err = call(capfd, tmp_path)
    destroyed = ["mine"] if answer == "y" else []
    assert pulumi.destroyed == destroyed
    assert out.splitlines()[:4] == [
        "delete namespace\tmlflow",
        "keep volume\tpv-data (100Gi, of nemo-datastore/data)",
        "keep volume\tpv-models (100Gi, of llama/models)",
        "delete volume with its data\tpv-nemo-postgres-1 (100Gi, of mlflow/nemo-postgres-1)",
    ]
    assert "Destroy stack mine? [y/N]" in err
    patched = [one["argv"] for one in fake.calls if one["argv"][0] == "patch"]
    assert [argv[2] for argv in patched] == (["pv-data", "pv-models"] if destroyed else [])


def test_stack_that_was_interrupted_is_not_touched(
    pulumi: Pulumi, fake: FakeKubectl, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pulumi.interrupted = True
    code, _, err = call(capfd, tmp_path, "--yes")
    assert (code, pulumi.destroyed, fake.calls) == (1, [], [])
    assert "was interrupted" in err


def test_dry_run_asks_nothing(
    pulumi: Pulumi, fake: FakeKubectl, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.write("objects.json", store())
    code, out, _ = call(capfd, tmp_path, "--dry-run", "--delete-data")
    assert (code, pulumi.destroyed) == (0, [])
    gone = [
        line.split("\t")[1].split()[0] for line in out.splitlines() if line.startswith("delete volume with its data")
    ]
    assert gone == ["pv-data", "pv-nemo-postgres-1", "pv-models"]
    assert out.endswith("Nothing was done (--dry-run).\n")


def test_clean_teardown(pulumi: Pulumi, fake: FakeKubectl, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capfd, tmp_path, "--yes")
    assert (code, pulumi.destroyed) == (0, ["mine"])
    assert out.startswith("Nothing is left of stack mine.\n")
    written = json.loads((tmp_path / "report.json").read_text())
    assert (written["destroyed"], written["cluster_seen"], written["left"]) == (True, True, [])


def test_volumes_of_an_earlier_teardown_are_deleted_only_after_a_question(
    pulumi: Pulumi, fake: FakeKubectl, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.write("objects.json", [volume("data", "nemo-datastore", "Retain")])
    assert call(capfd, tmp_path, "--yes")[0] == 9
    pulumi.there = False
    code, _, err = call(capfd, tmp_path, "--delete-data")
    assert (code, "say --yes" in err) == (2, True)
    assert call(capfd, tmp_path)[0] == 9  # only looks
    asked = len([one for one in fake.calls if one["argv"][0] == "patch"])
    call(capfd, tmp_path, "--delete-data", "--yes")
    patches = [one["argv"] for one in fake.calls if one["argv"][0] == "patch"][asked:]
    assert [(argv[2], '"Delete"' in argv[-1]) for argv in patches] == [("pv-data", True)]
    assert pulumi.destroyed == ["mine"]


def test_failed_destroy_still_reports(
    pulumi: Pulumi, fake: FakeKubectl, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pulumi.code = 255
    fake.write("objects.json", [h.thing("Namespace", "llama", status={"phase": "Active"})])
    code, out, err = call(capfd, tmp_path, "--yes")
    assert code == 1
    assert "left\tNamespace\tllama\tActive\tkubectl delete namespace llama" in out
    assert "run teardown again" in err


def test_cluster_that_cannot_be_seen_is_not_destroyed_blindly(
    pulumi: Pulumi, fake: FakeKubectl, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.fail("get namespaces", "The connection to the server 10.0.0.1 was refused")
    code, _, err = call(capfd, tmp_path, "--yes")
    assert (code, pulumi.destroyed) == (4, [])
    assert "was refused" in err


def test_secrets_of_the_kubeconfig_stay_out_of_the_report(
    pulumi: Pulumi, fake: FakeKubectl, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pulumi.outputs = h.outputs(kubeconfig="token: very-secret")
    code, out, err = call(capfd, tmp_path, "--yes")
    assert code == 0
    assert fake.calls[-1]["text"] == "token: very-secret"
    assert "very-secret" not in out + err + (tmp_path / "report.json").read_text()
