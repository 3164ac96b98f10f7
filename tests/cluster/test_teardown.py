"""Teardown on a real API server and controllers: what goes, what is kept, what hangs, and what is said of it.

`destroy` stands for `pulumi destroy`: it deletes the namespaces and waits as Pulumi does. Disks are simulated.
"""

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli import main, teardown_command
from nemostack.outputs import ClusterOutputs, StackOutputs
from operations.teardown import teardown
from operations.teardown.leftovers import KEEP
from operations.teardown.teardown import Report
from simulator.api import DEFINITIONS, ApiError, Object, wait
from simulator.control_plane import ControlPlane
from tests.unit.operations import healthy_cluster as h

pytestmark = pytest.mark.slow
VOLUMES = "/api/v1/persistentvolumes"
HOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


class Stack:
    """Two namespaces with what a stack leaves: kept and other claims, a load balancer, a release."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane, self.api = plane, plane.api
        tail = uuid.uuid4().hex[:6]
        self.namespaces = [f"td-store-{tail}", f"td-nim-{tail}"]
        self.said: list[str] = []
        for name in self.namespaces:
            self.api.create("/api/v1/namespaces", {"metadata": {"name": name}})

    @property
    def outputs(self) -> StackOutputs:
        return h.outputs(
            ClusterOutputs(
                kubeconfig=str(self.plane.kubeconfig),
                context=None,
                namespaces=self.namespaces,
                services={},
                prefixes={},
                secrets={},
                nims={},
            )
        )

    def claim(self, name: str, *, kept: bool) -> None:
        body: Object = {
            "metadata": {"name": name, "annotations": dict([KEEP]) if kept else {}},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
        path = f"/api/v1/namespaces/{self.namespaces[0]}/persistentvolumeclaims"
        self.api.create(path, body)
        wait(f"{name} is bound", lambda: self.api.get(f"{path}/{name}")["status"]["phase"], lambda p: p == "Bound")

    def volume_of(self, claim: str) -> Object:
        wanted = (self.namespaces[0], claim)
        return next(
            v
            for v in self.api.items(VOLUMES)
            if (v["spec"]["claimRef"]["namespace"], v["spec"]["claimRef"]["name"]) == wanted
        )

    def volumes(self) -> set[str]:
        ours = [v for v in self.api.items(VOLUMES) if v["spec"]["claimRef"]["namespace"] in self.namespaces]
        return {v["spec"]["claimRef"]["name"] for v in ours}

    def destroy(self, patience_s: float = 90.0) -> int:
        for name in self.namespaces:
            self.api.delete(f"/api/v1/namespaces/{name}")
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if not any(self.api.exists(f"/api/v1/namespaces/{name}") for name in self.namespaces):
                return 0
            time.sleep(0.2)
        return 255

    def teardown(self, *, delete_data: bool = False, destroy: Callable[[], int] | None = None) -> Report:
        return teardown.teardown("x", self.outputs, destroy or self.destroy, self.said.append, delete_data=delete_data)


@pytest.fixture
def stack(control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    monkeypatch.setattr(teardown, "POLL_S", 0.3)
    monkeypatch.setattr(teardown, "SETTLE_S", 20.0)
    made = Stack(control_plane)
    yield made
    for name in made.namespaces:
        made.api.delete(f"/api/v1/namespaces/{name}")
    for volume in made.api.items(VOLUMES):
        if volume["spec"]["claimRef"]["namespace"] in made.namespaces:
            made.api.patch(f"{VOLUMES}/{volume['metadata']['name']}", {"metadata": {"finalizers": None}})
            made.api.delete(f"{VOLUMES}/{volume['metadata']['name']}")


def kinds(report: Report) -> set[tuple[str, str]]:
    return {(one.kind, one.name) for one in report.unexpected}


def test_kept_volumes_outlive_the_stack_and_the_others_do_not(stack: Stack) -> None:
    stack.claim("datastore-shared-storage", kept=True)
    stack.claim("scratch", kept=False)
    kept = stack.volume_of("datastore-shared-storage")["metadata"]["name"]
    assert stack.volume_of("datastore-shared-storage")["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
    report = stack.teardown()
    assert report.destroyed
    assert kinds(report) == {("PersistentVolume", kept)}
    assert report.retained == [kept]
    (left,) = report.unexpected
    assert "Released, Retain" in left.detail
    assert left.data
    assert stack.volumes() == {"datastore-shared-storage"}


def test_delete_data_leaves_none(stack: Stack) -> None:
    stack.claim("datastore-shared-storage", kept=True)
    report = stack.teardown(delete_data=True)
    assert kinds(report) == set()
    assert stack.volumes() == set()


def test_data_that_was_kept_can_be_deleted_later(stack: Stack) -> None:
    stack.claim("datastore-shared-storage", kept=True)
    first = stack.teardown()
    assert len(kinds(first)) == 1
    again = teardown.look_again(first, stack.outputs, stack.said.append, delete_data=False)
    assert kinds(again) == kinds(first)
    last = teardown.look_again(first, stack.outputs, stack.said.append, delete_data=True)
    assert kinds(last) == set()
    assert stack.volumes() == set()


def test_what_destroy_does_not_know_is_reported(stack: Stack) -> None:
    """An interrupted stack: namespaces stay, with a load balancer, a release and a webhook in them."""
    space = stack.namespaces[0]
    stack.claim("models", kept=False)
    service = {"metadata": {"name": "gateway"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}
    stack.api.create(f"/api/v1/namespaces/{space}/services", service)
    labels = {"owner": "helm", "name": "nemo", "status": "deployed", "version": "1"}
    secret = {"metadata": {"name": "sh.helm.release.v1.nemo.v1", "labels": labels}, "type": "helm.sh/release.v1"}
    stack.api.create(f"/api/v1/namespaces/{space}/secrets", secret)
    hook = {
        "name": "x.example.com",
        "clientConfig": {"service": {"namespace": space, "name": "gone"}},
        "rules": [],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    stack.api.create(HOOKS, {"metadata": {"name": space}, "webhooks": [hook]})
    try:
        report = stack.teardown(destroy=lambda: 255)
    finally:
        stack.api.delete(f"{HOOKS}/{space}")
    assert not report.destroyed
    by_kind = {one.kind: one for one in report.unexpected}
    assert by_kind.keys() == {
        "PersistentVolume",
        "PersistentVolumeClaim",
        "LoadBalancer",
        "Helm release",
        "Namespace",
        "ValidatingWebhookConfiguration",
    }
    assert by_kind["Helm release"].where == f"{space}/nemo"
    assert "blocks everything" in by_kind["ValidatingWebhookConfiguration"].detail
    assert by_kind["LoadBalancer"].remove == f"kubectl delete service --namespace={space} gateway"
    assert by_kind["Namespace"].detail == "Active"


def training_jobs() -> Object:
    return {
        "metadata": {"name": "nemotrainingjobs.nvidia.com"},
        "spec": {
            "group": "nvidia.com",
            "scope": "Namespaced",
            "names": {"plural": "nemotrainingjobs", "singular": "nemotrainingjob", "kind": "NemoTrainingJob"},
            "versions": [
                {
                    "name": "v1alpha1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                }
            ],
        },
    }


@pytest.fixture
def jobs(stack: Stack) -> Iterator[str]:
    """The kind of training jobs; the path of the collection in the stack's first namespace."""
    path = f"/apis/nvidia.com/v1alpha1/namespaces/{stack.namespaces[0]}/nemotrainingjobs"
    stack.api.create(DEFINITIONS, training_jobs())
    try:
        wait("the kind is served", lambda: _served(stack, path))
        yield path
        for one in stack.api.items(path):
            stack.api.patch(f"{path}/{one['metadata']['name']}", {"metadata": {"finalizers": None}})
    finally:
        stack.api.delete(f"{DEFINITIONS}/nemotrainingjobs.nvidia.com")
        wait("the kind is gone", lambda: not stack.api.exists(f"{DEFINITIONS}/nemotrainingjobs.nvidia.com"))


def _served(stack: Stack, path: str) -> bool:
    try:
        return stack.api.exists(path)
    except ApiError:  # 429 while the storage of a new kind is made
        return False


def job(name: str, **meta: Any) -> Object:
    return {"apiVersion": "nvidia.com/v1alpha1", "kind": "NemoTrainingJob", "metadata": {"name": name, **meta}}


def test_running_jobs_go_before_their_operator(stack: Stack, jobs: str) -> None:
    stack.api.create(jobs, job("cust-1"))
    seen: list[int] = []

    def destroy() -> int:
        seen.append(len(stack.api.items(jobs)))
        return stack.destroy()

    report = stack.teardown(destroy=destroy)
    assert seen == [0]
    assert f"Stopping NemoTrainingJob {stack.namespaces[0]}/cust-1" in stack.said
    assert kinds(report) == set()
    (kept,) = [one for one in report.left if one.name == "nvidia.com"]  # the kind itself stays, on purpose
    assert kept.on_purpose
    assert kept.detail == "1: nemotrainingjobs"


def test_finalizer_that_nobody_takes_away(stack: Stack, jobs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teardown, "STOP_S", 1)
    stack.api.create(jobs, job("cust-1", finalizers=["nemo.nvidia.com/cleanup"]))
    report = stack.teardown(destroy=lambda: stack.destroy(8.0))
    assert any("timed out" in line for line in stack.said)
    assert not report.destroyed
    (left,) = [one for one in report.unexpected if one.kind == "Namespace"]
    assert left.name == stack.namespaces[0]
    assert "nemo.nvidia.com/cleanup in 1 resource instances" in left.detail
    assert "controller that owns the finalizers" in left.remove
    held = stack.api.get(f"{jobs}/cust-1")
    assert held["metadata"]["finalizers"] == ["nemo.nvidia.com/cleanup"]  # we never take it away


def test_dry_run_changes_nothing(stack: Stack, jobs: str) -> None:
    stack.claim("datastore-shared-storage", kept=True)
    stack.claim("postgres", kept=False)
    stack.api.create(jobs, job("cust-1"))
    before = stack.api.get("/api/v1/persistentvolumes")["items"]
    planned = teardown.plan(stack.outputs, delete_data=False)
    assert planned.stops == [f"NemoTrainingJob {stack.namespaces[0]}/cust-1"]
    assert set(planned.namespaces) == set(stack.namespaces)
    kept, lost = (stack.volume_of(name)["metadata"]["name"] for name in ("datastore-shared-storage", "postgres"))
    assert planned.retains == [f"{kept} (1Gi, of {stack.namespaces[0]}/datastore-shared-storage)"]
    assert planned.deletes == [f"{lost} (1Gi, of {stack.namespaces[0]}/postgres)"]
    assert len(teardown.plan(stack.outputs, delete_data=True).deletes) == 2
    assert stack.api.get("/api/v1/persistentvolumes")["items"] == before
    assert len(stack.api.items(jobs)) == 1


def test_cluster_that_went_with_the_stack(stack: Stack, tmp_path: Path) -> None:
    stack.claim("datastore-shared-storage", kept=True)
    config = json.loads(stack.plane.kubeconfig.read_text())
    mine = tmp_path / "kubeconfig"
    mine.write_text(json.dumps(config))
    outputs = stack.outputs
    assert outputs.cluster is not None
    outputs = outputs.model_copy(update={"cluster": outputs.cluster.model_copy(update={"kubeconfig": str(mine)})})

    def destroy() -> int:
        config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
        mine.write_text(json.dumps(config))
        return 0

    report = teardown.teardown("x", outputs, destroy, stack.said.append, delete_data=False)
    assert not report.cluster_seen
    (disk,) = report.unexpected
    assert disk.kind == "Disk"
    assert disk.name.startswith("/simulated/")
    assert "cloud" in disk.remove


class Pulumi:
    """Stands for what is asked of Pulumi: a stack that is gone once it was destroyed."""

    is_local = False

    def __init__(self, stack: Stack) -> None:
        self.stack, self.there, self.name = stack, True, "x"

    def __call__(self, *, name: str) -> "Pulumi":
        assert name == self.name
        return self

    def exists(self) -> bool:
        return self.there

    def settle(self) -> None:
        """Nothing was interrupted."""

    def destroy(self, _name: str) -> int:
        self.there = False
        return self.stack.destroy()


def test_command(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit codes, table, file; and `--delete-data` when the outputs are gone."""
    stack.claim("datastore-shared-storage", kept=True)
    kept = stack.volume_of("datastore-shared-storage")["metadata"]["name"]
    pulumi = Pulumi(stack)
    monkeypatch.setattr(teardown_command, "Stack", pulumi)
    monkeypatch.setattr(teardown_command, "of_stack", lambda _name: stack.outputs)
    monkeypatch.setattr(teardown_command, "destroy", pulumi.destroy)
    file = tmp_path / "report.json"
    common = ["teardown", "--stack", "x", "--report", str(file)]

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main.main([*common, *arguments])
        out, err = capfd.readouterr()
        return int(caught.value.code or 0), out, err

    code, out, _ = run("--dry-run")
    assert (code, file.exists()) == (0, False)
    assert f"keep volume\t{kept}" in out
    code, _, err = run()
    assert (code, "say --yes" in err) == (2, True)
    assert stack.volumes() == {"datastore-shared-storage"}
    code, out, err = run("--yes")
    assert code == 9
    assert re.search(rf"^left\tPersistentVolume\t{kept}\t1Gi, Released, Retain", out, re.MULTILINE)
    assert "error: 1 thing is left of stack x" in err
    written = json.loads(file.read_text())
    assert [one["name"] for one in written["left"] if one["data"]] == [kept]
    code, out, _ = run("--delete-data", "--yes")
    assert code == 0
    assert stack.volumes() == set()
    assert [one for one in json.loads(file.read_text())["left"] if one["data"]] == []
