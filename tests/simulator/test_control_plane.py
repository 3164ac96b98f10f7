"""The simulated cluster decides as a real one would, and goes without a trace."""

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from nemostack.clone import ROOT
from operations.toolchain import kubernetes, programs
from simulator import ports, volumes
from simulator.api import Api, ApiError, Object, wait
from simulator.control_plane import ControlPlane, ControlPlaneError
from tests.simulator.support import TOLERATES_GPU, claims, make_pod, phases, pod_spec

pytestmark = pytest.mark.slow


def why_pending(api: Api, namespace: str) -> list[str]:
    return [
        condition["message"]
        for pod in api.items(f"/api/v1/namespaces/{namespace}/pods")
        for condition in pod["status"].get("conditions", [])
        if condition["type"] == "PodScheduled" and condition["status"] == "False"
    ]


def conditions(thing: Object) -> dict[str, str]:
    return {one["type"]: one["status"] for one in thing.get("status", {}).get("conditions", [])}


# --- scheduling ---------------------------------------------------------------------------------------------------


def test_five_pods_on_four_gpus(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.add_gpu_nodes(1, gpus=4)
    for number in range(5):
        make_pod(control_plane.api, namespace, f"p{number}", gpus=1, tolerations=TOLERATES_GPU)
    wait("four pods run", lambda: phases(control_plane.api, namespace), lambda seen: seen.count("Running") == 4)
    (reason,) = wait("one pod is refused", lambda: why_pending(control_plane.api, namespace))
    assert "1 Insufficient nvidia.com/gpu" in reason
    control_plane.add_gpu_nodes(1, gpus=1)
    wait("a second node helps", lambda: phases(control_plane.api, namespace), lambda seen: seen == ["Running"] * 5)


def test_pod_without_toleration_waits(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.add_gpu_nodes(1)
    make_pod(control_plane.api, namespace, "stranger", gpus=1)
    (reason,) = wait("the pod is refused", lambda: why_pending(control_plane.api, namespace))
    assert "untolerated taint" in reason


def test_pods_go_with_their_node(control_plane: ControlPlane, namespace: str) -> None:
    nodes = control_plane.add_nodes(1)
    make_pod(control_plane.api, namespace, "p")
    wait("the pod runs", lambda: phases(control_plane.api, namespace), lambda seen: seen == ["Running"])
    control_plane.remove_nodes(nodes)
    wait("the pod is gone", lambda: phases(control_plane.api, namespace), lambda seen: not seen, timeout_s=30)


def test_node_tells_what_gpu_feature_discovery_would(control_plane: ControlPlane, namespace: str) -> None:
    (name,) = control_plane.add_gpu_nodes(1, gpus=8, product="NVIDIA-L4", memory_mib=23034)
    node = control_plane.api.get(f"/api/v1/nodes/{name}")
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    assert node["metadata"]["labels"]["nvidia.com/gpu.product"] == "NVIDIA-L4"
    make_pod(
        control_plane.api,
        namespace,
        "picky",
        gpus=1,
        tolerations=TOLERATES_GPU,
        nodeSelector={"nvidia.com/gpu.memory": "23034", "feature.node.kubernetes.io/pci-10de.present": "true"},
    )
    wait("the pod runs", lambda: phases(control_plane.api, namespace), lambda seen: seen == ["Running"])


# --- controllers --------------------------------------------------------------------------------------------------


def workload(kind: str, **spec: Any) -> Object:
    labels = {"app": "x"}
    template = {"metadata": {"labels": labels}, "spec": pod_spec()}
    return {"metadata": {"name": "x"}, "spec": {"selector": {"matchLabels": labels}, "template": template, **spec}} | {
        "kind": kind,
        "apiVersion": "apps/v1",
    }


def test_deployment_becomes_available_and_its_pods_go_with_it(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.add_nodes(1)
    collection = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    control_plane.api.create(collection, workload("Deployment", replicas=3))
    seen = wait(
        "the Deployment is available",
        lambda: control_plane.api.get(f"{collection}/x"),
        lambda seen: conditions(seen).get("Available") == "True",
    )
    assert seen["status"]["readyReplicas"] == 3
    control_plane.api.delete(f"{collection}/x")
    wait("its pods are collected", lambda: phases(control_plane.api, namespace), lambda seen: not seen)


def test_stateful_set_and_its_volumes(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.add_nodes(1)
    collection = f"/apis/apps/v1/namespaces/{namespace}/statefulsets"
    template = {"metadata": {"name": "data"}, "spec": claim_spec("ReadWriteOnce")}
    control_plane.api.create(
        collection, workload("StatefulSet", replicas=2, serviceName="x", volumeClaimTemplates=[template])
    )
    wait(
        "both pods are ready",
        lambda: control_plane.api.get(f"{collection}/x")["status"],
        lambda status: status.get("readyReplicas") == 2,
    )
    assert claims(control_plane.api, namespace) == {"data-x-0": "Bound", "data-x-1": "Bound"}


def test_job_completes(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.add_nodes(1)
    collection = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    control_plane.api.create(
        collection, {"metadata": {"name": "x"}, "spec": {"template": {"spec": pod_spec(restartPolicy="Never")}}}
    )
    seen = wait(
        "the Job is complete",
        lambda: control_plane.api.get(f"{collection}/x"),
        lambda seen: conditions(seen).get("Complete") == "True",
    )
    assert seen["status"]["succeeded"] == 1


def test_service_gets_endpoints(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.add_nodes(1)
    control_plane.api.create(f"/apis/apps/v1/namespaces/{namespace}/deployments", workload("Deployment"))
    spec = {"selector": {"app": "x"}, "ports": [{"port": 80}]}
    control_plane.api.create(f"/api/v1/namespaces/{namespace}/services", {"metadata": {"name": "x"}, "spec": spec})
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    wait(
        "the pod is an endpoint of the Service",
        lambda: [end["conditions"] for one in control_plane.api.items(slices) for end in one["endpoints"] or []],
        lambda seen: any(one["ready"] for one in seen),
    )


# --- storage ------------------------------------------------------------------------------------------------------


def claim_spec(mode: str, storage_class: str | None = None) -> Object:
    chosen = {"storageClassName": storage_class} if storage_class else {}
    return {"accessModes": [mode], "resources": {"requests": {"storage": "7Gi"}}, **chosen}


def make_claim(api: Api, namespace: str, *spec: Any) -> None:
    body = {"metadata": {"name": "data"}, "spec": claim_spec(*spec)}
    api.create(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", body)


def volumes_of(api: Api, namespace: str) -> list[Object]:
    found = api.items("/api/v1/persistentvolumes")
    return [volume for volume in found if volume["spec"]["claimRef"]["namespace"] == namespace]


@pytest.mark.parametrize("spec", [("ReadWriteOnce",), ("ReadWriteMany", volumes.SHARED)])
def test_claim_is_bound_and_its_volume_goes_with_it(control_plane: ControlPlane, namespace: str, spec: Any) -> None:
    make_claim(control_plane.api, namespace, *spec)
    wait("bound", lambda: claims(control_plane.api, namespace), lambda seen: seen == {"data": "Bound"})
    (volume,) = volumes_of(control_plane.api, namespace)
    assert volume["spec"]["capacity"] == {"storage": "7Gi"}
    control_plane.api.delete(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/data")
    wait("the volume is gone", lambda: volumes_of(control_plane.api, namespace), lambda seen: not seen)


def test_default_class_cannot_be_written_by_many_nodes(control_plane: ControlPlane, namespace: str) -> None:
    make_claim(control_plane.api, namespace, "ReadWriteMany")
    events = f"/api/v1/namespaces/{namespace}/events"
    messages = wait(
        "the claim is refused",
        lambda: [one["message"] for one in control_plane.api.items(events) if one["reason"] == "ProvisioningFailed"],
    )
    assert messages == ["storage class standard cannot serve ReadWriteMany"]
    assert claims(control_plane.api, namespace) == {"data": "Pending"}


# --- the API ------------------------------------------------------------------------------------------------------


def test_version(control_plane: ControlPlane) -> None:
    seen = control_plane.api.get("/version")
    assert (seen["gitVersion"], seen["major"], seen["minor"]) == (f"v{kubernetes.KUBERNETES_VERSION}", "1", "37")


def test_field_that_does_not_exist_is_refused(control_plane: ControlPlane, namespace: str) -> None:
    body = {"metadata": {"name": "x"}, "spec": {"podSelector": {}, "polciyTypes": ["Ingress"]}}
    path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
    with pytest.raises(ApiError, match=r'unknown field "spec\.polciyTypes"'):
        control_plane.api.create(f"{path}?fieldValidation=Strict", body)


def test_restricted_namespace_refuses_privileged_pods(control_plane: ControlPlane, namespace: str) -> None:
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    control_plane.api.patch(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": label}})
    with pytest.raises(ApiError, match="violates PodSecurity") as refused:
        make_pod(control_plane.api, namespace, "root", hostNetwork=True)
    assert refused.value.code == 403


def test_rbac(control_plane: ControlPlane, namespace: str) -> None:
    """A stranger with a good certificate may do nothing, one without may not even ask, until a role lets him."""
    kubeconfig = control_plane.user(f"reader-{namespace}")
    assert kubeconfig.stat().st_mode & 0o777 == 0o600
    reader = control_plane.api_as(f"reader-{namespace}")
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    with pytest.raises(ApiError, match="forbidden") as refused:
        reader.items(secrets)
    assert refused.value.code == 403
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}]
    control_plane.api.create(f"{rbac}/roles", {"metadata": {"name": "r"}, "rules": rules})
    subject = {"kind": "User", "name": f"reader-{namespace}", "apiGroup": "rbac.authorization.k8s.io"}
    role = {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}
    control_plane.api.create(
        f"{rbac}/rolebindings", {"metadata": {"name": "r"}, "subjects": [subject], "roleRef": role}
    )

    def listed() -> list[Object] | None:
        try:
            return reader.items(secrets)
        except ApiError:
            return None

    assert wait("the role counts", listed, lambda seen: seen is not None) == []
    reader.close()


def test_service_account_token(control_plane: ControlPlane, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
    token = control_plane.api.create(path, {"spec": {"expirationSeconds": 600}})["status"]["token"]
    claimed = token.split(".")[1]
    claims_of_token = json.loads(base64.urlsafe_b64decode(claimed + "=" * (-len(claimed) % 4)))
    assert claims_of_token["sub"] == f"system:serviceaccount:{namespace}:default"
    review = control_plane.api.create("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token}})
    assert review["status"]["user"]["username"] == f"system:serviceaccount:{namespace}:default"
    forged = control_plane.api.create("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token[:-8]}})
    assert not forged["status"].get("authenticated", False)


def test_kubectl_knows_the_cluster(control_plane: ControlPlane) -> None:
    assert control_plane.kubeconfig.stat().st_mode & 0o777 == 0o600
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run(
        [str(kubectl), "--kubeconfig", str(control_plane.kubeconfig), "auth", "can-i", "*", "*"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.strip() == "yes"


# --- start and end ------------------------------------------------------------------------------------------------


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def test_stops_completely(tmp_path: Path) -> None:
    plane = ControlPlane.start(tmp_path / "plane")
    pids = list(plane.pids.values())
    assert len(alive(pids)) == 5
    plane.stop()
    plane.stop()
    assert alive(pids) == []
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(plane.url.rsplit(":", 1)[1])), 1)
    assert not (tmp_path / "plane" / "etcd").exists()
    assert (tmp_path / "plane" / "logs" / "kube-apiserver.log").stat().st_size > 0


def test_private_keys_are_private(control_plane: ControlPlane) -> None:
    keys = [*control_plane.folder.rglob("*.key"), *control_plane.folder.glob("*.kubeconfig")]
    assert len(keys) > 8
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_dies_with_the_tests(tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from simulator.control_plane import ControlPlane\n"
        "with ControlPlane.start(pathlib.Path(sys.argv[1])) as plane:\n"
        "    print(*plane.pids.values(), flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "plane")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as tests:
        assert tests.stdout is not None
        pids = [int(word) for word in tests.stdout.readline().split()]
        assert len(alive(pids)) == 5
        tests.send_signal(number)
    wait("all gone", lambda: alive(pids), lambda left: not left)


def test_failing_component_is_named_and_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = programs.ensure(["kubernetes", "etcd", "kwok"])
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho cannot read my mind >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(programs, "ensure", lambda _: found | {"kube-apiserver": str(broken)})
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(ControlPlaneError, match=r"^kube-apiserver ended with 3, see .*:\ncannot read my mind$"):
        ControlPlane.start(tmp_path / "plane")
    assert {child.pid for child in psutil.Process().children()} == before


def test_a_port_that_is_lost_between_choice_and_use_costs_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices: list[range] = []

    @contextlib.contextmanager
    def hold() -> Iterator[range]:
        with original() as held, socket.socket() as thief:
            choices.append(held)
            if len(choices) == 1:
                thief.bind(("127.0.0.1", held[0]))
                thief.listen()
            yield held

    original = ports.hold
    monkeypatch.setattr(ports, "hold", hold)
    with ControlPlane.start(tmp_path / "plane") as plane:
        assert len(choices) == 2
        assert plane.api.exists("/api/v1/namespaces/default")


def test_a_block_of_ports_is_held_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(ports, "blocks", lambda: [20000, 20016])
    with ports.hold() as first, ports.hold() as second:
        assert {first[0], second[0]} == {20000, 20016}
        with pytest.raises(ports.NoFreePortsError), ports.hold():
            pass
    with ports.hold():
        pass


def test_ports_lie_outside_the_kernels_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "outgoing_ports", lambda: range(20040, 61000))
    assert ports.blocks() == [20000, 20016]


def test_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(ControlPlaneError, match="is not empty: give the control plane a folder of its own"):
        ControlPlane.start(tmp_path)
