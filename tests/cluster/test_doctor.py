"""The doctor on a real API server, scheduler and controllers: it reads what they say in their own words.

Simulated: nodes and their kubelets (kwok), so nothing is ever pulled or run; what a kubelet would say of containers is
written into a pod's status.
"""

import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from nemostack.kubectl.client import Kubectl
from nemostack.outputs import ClusterOutputs, StackOutputs
from nemostack.service_checks import Finding
from operations.cluster_snapshot import Snapshot, take
from operations.doctor.cluster import diagnose, look
from simulator.api import Object, wait
from simulator.control_plane import ControlPlane
from tests.unit.operations import healthy_cluster as h

pytestmark = pytest.mark.slow
TOLERATES = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


class Doctor:
    """Looks at one namespace of the control plane as if it were a stack's."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane, self.namespace = plane, namespace
        self.cluster = ClusterOutputs(
            kubeconfig=str(plane.kubeconfig),
            context="simulated",
            namespaces=[namespace],
            services={},
            prefixes={},
            secrets={},
            nims={},
        )

    def outputs(self, **changes: Any) -> StackOutputs:
        return h.outputs(self.cluster.model_copy(update=changes))

    def snapshot(self, **changes: Any) -> Snapshot:
        outputs = self.outputs(**changes)
        with Kubectl.opened(outputs) as kubectl:
            return take(kubectl, outputs)

    def wrong(self, **changes: Any) -> list[Finding]:
        return [f for f in diagnose(self.snapshot(**changes)) if f.level != "ok" and f.service != "nim_internal_url"]

    def until(self, check: str, evidence: str = "", **changes: Any) -> Finding:
        """Wait until the doctor says it."""

        def named() -> list[Finding]:
            return [f for f in self.wrong(**changes) if f.check == check and evidence in f.evidence]

        found: Finding = wait(f"{check}: {evidence}", named)[0]
        return found

    def create(self, kind: str, name: str, body: Object) -> Object:
        group = "/api/v1" if "/" not in kind else f"/apis/{kind.rpartition('/')[0]}"
        plural = kind.rpartition("/")[2]
        return self.plane.api.create(
            f"{group}/namespaces/{self.namespace}/{plural}", {"metadata": {"name": name}, **body}
        )

    def pod(self, name: str, gpus: int = 0, **spec: Any) -> Object:
        limits = {"limits": {"nvidia.com/gpu": str(gpus)}} if gpus else {}
        container = {"name": "main", "image": "none.invalid/none:1", "resources": limits}
        return self.create("pods", name, {"spec": {"containers": [container], **spec}})


@pytest.fixture
def doctor(control_plane: ControlPlane, namespace: str) -> Doctor:
    return Doctor(control_plane, namespace)


def deployment(image: str = "none.invalid/none:1", **spec: Any) -> Object:
    labels = {"app": "x"}
    pod = {"containers": [{"name": "main", "image": image, "ports": [{"containerPort": 8000}]}], **spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def test_a_service_that_runs_has_no_findings(doctor: Doctor) -> None:
    doctor.plane.add_nodes(1)
    doctor.plane.add_gpu_nodes(1)
    doctor.create("apps/v1/deployments", "x", deployment())
    doctor.create("services", "x", {"spec": {"selector": {"app": "x"}, "ports": [{"port": 80, "targetPort": 8000}]}})
    doctor.create("secrets", "ngc-api", {"type": "Opaque", "stringData": {"NGC_API_KEY": "very-secret"}})
    doctor.create(
        "secrets", "nvcrimagepullsecret", {k: v for k, v in h.pull_secret("x").items() if k in {"type", "data"}}
    )
    stack: dict[str, Any] = {
        "services": {"data_store": f"{doctor.namespace}/x:80"},
        "secrets": {doctor.namespace: ["ngc-api", "nvcrimagepullsecret"]},
    }
    wait("no findings", lambda: [f.line for f in doctor.wrong(**stack)], lambda seen: seen == [])
    said = {f.check: f.evidence for f in diagnose(doctor.snapshot(**stack)) if f.level == "ok"}
    assert said["cluster"].startswith("Kubernetes v1.")
    assert said["services"] == "1 of 1 Services have ready pods"
    assert said["Secrets"].startswith("2 Secrets present")
    assert said["workloads"] == "1 of 1 workloads ready"
    assert "very-secret" not in repr(doctor.snapshot(**stack))
    # ... and each of them is seen when it goes
    doctor.plane.api.delete(f"/api/v1/namespaces/{doctor.namespace}/secrets/ngc-api")
    doctor.until("Secrets", "no such Secret", **stack)
    doctor.plane.api.patch(f"/apis/apps/v1/namespaces/{doctor.namespace}/deployments/x", {"spec": {"replicas": 0}})
    doctor.until("services", "no ready pod behind the Service", **stack)


def test_gpus_short(doctor: Doctor) -> None:
    doctor.plane.add_gpu_nodes(1, gpus=2)
    for number in range(3):
        doctor.pod(f"nim-{number}", gpus=1, tolerations=TOLERATES)
    found = doctor.until("GPUs short")
    assert "wants 1 nvidia.com/gpu; the cluster has 2, at most 2 on a node. 0/1 nodes are available" in found.evidence
    doctor.pod("large", gpus=4, tolerations=TOLERATES)
    wait(
        "no node is that large",
        lambda: [f.fix for f in doctor.wrong() if f.service.endswith("/large")],
        lambda fixes: any("no node is that large" in fix for fix in fixes),
    )


def test_untolerated_taint(doctor: Doctor) -> None:
    doctor.plane.add_gpu_nodes(2)
    doctor.pod("nim", gpus=1)
    found = doctor.until("taint")
    assert "does not tolerate nvidia.com/gpu=present:NoSchedule of 2 nodes" in found.evidence


def test_labels_that_no_node_has(doctor: Doctor) -> None:
    doctor.plane.add_nodes(1)
    doctor.pod("cache", nodeSelector={"feature.node.kubernetes.io/pci-10de.present": "true"})
    found = doctor.until("node labels")
    assert "node feature discovery" in found.fix


def test_volumes_that_are_never_made(doctor: Doctor) -> None:
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    doctor.create("persistentvolumeclaims", "shared", {"spec": {**spec, "storageClassName": "standard"}})
    doctor.create("persistentvolumeclaims", "nowhere", {"spec": {**spec, "storageClassName": "gp3"}})
    doctor.until("volume pending", "storage class standard cannot serve ReadWriteMany")
    doctor.until("volume pending", "StorageClass gp3 does not exist; classes: shared, standard")


def test_pods_that_may_not_be_made(doctor: Doctor) -> None:
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}
    doctor.plane.api.patch(f"/api/v1/namespaces/{doctor.namespace}", label)
    doctor.create("apps/v1/deployments", "x", deployment(hostNetwork=True))
    found = doctor.until("pod refused")
    assert 'violates PodSecurity "baseline' in found.evidence


def test_webhook_that_is_gone(doctor: Doctor) -> None:
    """Volcano removed the rough way: its configuration stays and blocks."""
    hook = {
        "name": "mutatepod.volcano.sh",
        "clientConfig": {"service": {"namespace": doctor.namespace, "name": "volcano-admission"}, "caBundle": "Q0E="},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": doctor.namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail",
    }
    path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
    doctor.plane.api.create(path, {"metadata": {"name": doctor.namespace}, "webhooks": [hook]})
    try:
        doctor.create("apps/v1/deployments", "x", deployment())
        dead = doctor.until("webhook dead")
        assert f"Service {doctor.namespace}/volcano-admission does not exist" in dead.evidence
        called = doctor.until("webhook call")
        assert "volcano-admission-init" in called.fix
    finally:
        doctor.plane.api.delete(f"{path}/{doctor.namespace}")


def test_delete_that_hangs(doctor: Doctor) -> None:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "standard",
    }
    path = f"/api/v1/namespaces/{doctor.namespace}/persistentvolumeclaims/held"
    doctor.create("persistentvolumeclaims", "held", {"spec": spec})
    doctor.plane.api.patch(path, {"metadata": {"finalizers": ["nemo.example.com/owner"]}})
    try:
        doctor.plane.api.delete(path)
        now = doctor.snapshot()
        assert "delete hangs" not in {f.check for f in diagnose(now)}  # it just began
        later = diagnose(replace(now, taken=now.taken + timedelta(minutes=6)))
        (found,) = [f for f in later if f.check == "delete hangs"]
        assert "finalizers: nemo.example.com/owner" in found.evidence
    finally:
        doctor.plane.api.patch(path, {"metadata": {"finalizers": None}})


def test_policies_without_dns(doctor: Doctor) -> None:
    doctor.create(
        "networking.k8s.io/v1/networkpolicies", "deny", {"spec": {"podSelector": {}, "policyTypes": ["Egress"]}}
    )
    doctor.until("DNS policy")
    dns = {"ports": [{"port": 53, "protocol": "UDP"}]}
    doctor.create(
        "networking.k8s.io/v1/networkpolicies",
        "dns",
        {"spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [dns]}},
    )
    assert "DNS policy" not in {f.check for f in doctor.wrong()}


@pytest.mark.parametrize(
    ("status", "check", "evidence"),
    [
        (
            {"state": {"waiting": {"reason": "ErrImagePull", "message": "failed to authorize: 401 Unauthorized"}}},
            "image refused",
            "the pod names no pull secret",
        ),
        ({"lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}, "killed for memory", "memory limit"),
        (
            {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 3}}},
            "crash",
            "main ended with 3: no log",
        ),
    ],
)
def test_containers_that_fail(doctor: Doctor, status: Object, check: str, evidence: str) -> None:
    doctor.pod("x", nodeName="a-node-that-nobody-plays")
    container = {
        "name": "main",
        "image": "nvcr.io/nim/x:1",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"running": {}},
        **status,
    }
    doctor.plane.api.patch(
        f"/api/v1/namespaces/{doctor.namespace}/pods/x/status", {"status": {"containerStatuses": [container]}}
    )
    assert evidence in doctor.until(check).evidence
    # No kubelet will confirm the deletion of a pod on a node that is not there.
    path = f"/api/v1/namespaces/{doctor.namespace}/pods/x"
    doctor.plane.api.request("DELETE", path, {"gracePeriodSeconds": 0})


def test_user_without_rights(doctor: Doctor) -> None:
    kubeconfig = doctor.plane.user("stranger")
    found = look(doctor.outputs(kubeconfig=str(kubeconfig)), lambda _text: None)
    gaps = [f for f in found if f.check == "cluster" and f.level == "warn"]
    assert any("cannot list" in f.evidence and "stranger" in f.evidence for f in gaps)
    assert not any(f.level == "bad" for f in found if f.check != "NIM URL for the Evaluator")


def test_cluster_that_is_away(doctor: Doctor) -> None:
    found = look(doctor.outputs(context="nobody"), lambda _text: None)
    assert [f.level for f in found] == ["bad"]
    assert "nobody" in found[0].evidence


def test_a_look_is_quick(doctor: Doctor) -> None:
    started = time.monotonic()
    doctor.snapshot()
    assert time.monotonic() - started < 60
