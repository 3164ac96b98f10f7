"""An adopted cluster is judged before anything is made in it, and its nodes keep what is theirs."""

import http.server
import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import pulumi
import pytest

from infra import clusters
from infra.clusters import adopted, capacity
from infra.config.pools import Taint
from nemostack.clone import ROOT
from nemostack.kubectl.process import Access
from tests.unit.infra import from_settings
from tests.unit.infra.cluster_support import Registrations, config_for, of_type, run

NVIDIA = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}


def node(name: str, gpus: int | str = 1, *, memory_mib: int | None = None, **spec: Any) -> dict[str, Any]:
    labels = {"nvidia.com/gpu.product": "NVIDIA-L4"}
    if memory_mib:
        labels["nvidia.com/gpu.memory"] = str(memory_mib)
    status = {"allocatable": {"nvidia.com/gpu": str(gpus)}, "conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": status}


def storage_class(name: str, provisioner: str = "nfs.csi.k8s.io", *, default: bool = False) -> dict[str, Any]:
    notes = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {"metadata": {"name": name, "annotations": notes}, "provisioner": provisioner}


CLASSES = [storage_class("standard", "example.com/disk", default=True), storage_class("shared")]


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What the API server returns, to be changed by a test."""
    objects: dict[str, list[Any]] = {"nodes": [node("a", 2, memory_mib=81920)], "storageclasses": list(CLASSES)}
    monkeypatch.setattr(adopted, "read", lambda _access, kind: objects[kind])
    monkeypatch.setattr(adopted, "read_path", lambda _access, _path: {})
    return objects


def connect(target: str = "existing", **sections: Any) -> tuple[clusters.Cluster, Registrations]:
    made: list[clusters.Cluster] = []
    settings = config_for(target, **sections)
    found = run(lambda: made.append(from_settings.connect(settings)))
    return made[0], found


def refused(target: str = "existing", **sections: Any) -> list[str]:
    with pytest.raises(pulumi.RunError) as error:
        connect(target, **sections)
    return str(error.value).splitlines()


@pytest.mark.usefixtures("there")
def test_nothing_is_made_but_a_provider() -> None:
    cluster, found = connect(existing={"context": "prod"})
    assert {typ for typ, _ in found} == {"nemostack:cluster:Adopted", "pulumi:providers:kubernetes"}
    provider = found["pulumi:providers:kubernetes", "cluster"]
    assert (provider.inputs["context"], "kubeconfig" in provider.inputs) == ("prod", False)
    assert provider.parent == "cluster"
    assert (cluster.context, cluster.kubeconfig_path, cluster.rwx_storage_class) == ("prod", None, "shared")


@pytest.mark.usefixtures("there")
def test_minikube_is_found_by_its_context_and_any_volume_serves() -> None:
    cluster, found = connect("minikube")
    assert found["pulumi:providers:kubernetes", "cluster"].inputs["context"] == "minikube"
    assert (cluster.storage_class, cluster.rwx_storage_class) == (None, None)


def test_labels_go_on_nodes_with_gpus_only(there: dict[str, list[Any]]) -> None:
    there["nodes"] += [node("b", 1, memory_mib=81920), node("cpu", 0)]
    nfd = "feature.node.kubernetes.io/pci-10de.present"
    cluster, found = connect(existing={"label_nodes": {nfd: "true"}})
    patches = of_type(found, ":NodePatch")
    assert {patch.inputs["metadata"]["name"] for patch in patches.values()} == {"a", "b"}
    for patch in patches.values():
        assert patch.inputs["metadata"]["labels"] == {nfd: "true"}
        assert "annotations" not in patch.inputs["metadata"], "a forced patch would take labels of others over"
        assert patch.parent == "cluster"
    assert len(cluster.ready) == 2


def test_too_few_gpus_says_what_each_node_has(there: dict[str, list[Any]]) -> None:
    there["nodes"] = [
        node("a", 1, memory_mib=23034),
        node("b", 4, unschedulable=True),
        node("c", 2, taints=[NVIDIA, {"key": "team", "value": "x", "effect": "NoSchedule"}]),
        node("cpu", 0),
    ]
    there["nodes"][0]["status"]["allocatable"]["nvidia.com/mig-3g.40gb"] = "2"
    lines = refused(existing={"min_gpus": 2})
    assert len(lines) == 2
    assert lines[1] == (
        "existing.min_gpus: 2 allocatable GPUs are required, the cluster has 1 (a: 1x NVIDIA-L4, 24 GB, "
        "2x nvidia.com/mig-3g.40gb; b: 4x NVIDIA-L4 (cordoned); c: 2x NVIDIA-L4 (taint team=x:NoSchedule)): "
        "add the taints to existing.gpu_taints, add nodes, or lower min_gpus"
    )


def test_no_gpu_at_all(there: dict[str, list[Any]]) -> None:
    there["nodes"] = [node("cpu", 0)]
    assert "the cluster has 0: no node offers a GPU: install the device plugin" in refused("minikube")[1]


def test_a_taint_that_the_settings_name_is_no_obstacle(there: dict[str, list[Any]]) -> None:
    taint = {"key": "team", "value": "x", "effect": "NoSchedule"}
    there["nodes"] = [node("a", 2, taints=[NVIDIA, taint])]
    connect(existing={"gpu_taints": [taint]})
    refused(existing={"gpu_taints": [taint | {"value": "y"}]})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"taints": [{"key": "x", "effect": "PreferNoSchedule"}]}, None),
        ({"taints": [{"key": "x", "effect": "NoExecute"}]}, "taint x=:NoExecute"),
        ({"taints": [NVIDIA]}, None),
        ({"taints": [NVIDIA | {"effect": "NoExecute"}]}, "taint nvidia.com/gpu=present:NoExecute"),
        ({"unschedulable": True}, "cordoned"),
    ],
)
def test_obstacles(change: dict[str, Any], said: str | None) -> None:
    assert capacity.obstacle(node("a", **change), ()) == said


def test_a_node_that_is_not_ready_does_not_count() -> None:
    broken = node("a")
    broken["status"]["conditions"][0]["status"] = "Unknown"
    assert [found.obstacle for found in capacity.gpu_nodes([broken], ())] == ["not ready"]


def test_gpus_that_are_too_small_for_what_is_asked(there: dict[str, list[Any]]) -> None:
    there["nodes"] = [node("a", 2, memory_mib=23034)]  # an L4: 24 GB, while the training template asks for 40
    lines = refused()
    assert lines[1:] == [
        "customizer.targets.0.templates.0: no GPU has the required 40 GB (a: 2x NVIDIA-L4, 24 GB): use larger GPUs"
    ]


def test_gpus_spread_over_nodes_that_are_too_small(there: dict[str, list[Any]]) -> None:
    there["nodes"] = [node(name, 1, memory_mib=81920) for name in "ab"]
    nim = config_for("existing").nims[0].model_dump() | {"gpus": 2}
    assert refused(nims=[nim])[1].startswith("nims.0.gpus: no node has 2 usable GPUs (a: 1x")


def test_memory_that_no_label_tells_is_not_judged(there: dict[str, list[Any]]) -> None:
    there["nodes"] = [node("a", 2)]
    connect()


def test_gpus_that_the_stack_makes_allocatable_are_not_asked_for(there: dict[str, list[Any]]) -> None:
    there["nodes"] = [node("a", 0)]
    refused()
    connect(prerequisites={"gpu": {"software": "gpu-operator"}})
    refused(prerequisites={"gpu": {"software": "gpu-operator", "mode": "adopt"}})


def test_min_gpus_0_asks_for_none(there: dict[str, list[Any]]) -> None:
    there["nodes"] = []
    connect(existing={"min_gpus": 0})


def test_a_thousand_nodes_make_no_thousand_lines(there: dict[str, list[Any]]) -> None:
    there["nodes"] = [node(f"n{index}", 1, unschedulable=True) for index in range(1000)]
    line = refused()[1]
    assert "; and 992 more)" in line
    assert len(line) < 600


def test_storage_classes_that_are_missing_or_cannot(there: dict[str, list[Any]]) -> None:
    there["storageclasses"] = [storage_class("local-path", "rancher.io/local-path")]
    first, second = refused(storage={"class_name": "fast", "rwx_class_name": "local-path"})[1:]
    assert first == "storage.class_name: the cluster has no storage class 'fast': available: local-path"
    assert second == (
        "storage.rwx_class_name: volumes of local-path (rancher.io/local-path) can be mounted by only one node: "
        "set a class with ReadWriteMany support, e.g. NFS"
    )


def test_a_cluster_without_default_class(there: dict[str, list[Any]]) -> None:
    there["storageclasses"] = [storage_class("shared")]
    assert refused()[1].startswith("storage.class_name: the cluster has no default storage class")
    connect(storage={"class_name": "shared", "rwx_class_name": "shared"})
    there["storageclasses"][0]["metadata"]["annotations"] = {"storageclass.beta.kubernetes.io/is-default-class": "true"}
    connect()


def test_all_problems_at_once(there: dict[str, list[Any]]) -> None:
    there["nodes"], there["storageclasses"] = [], []
    lines = refused(existing={"context": "prod"})
    assert lines[0] == "the cluster (context prod of KUBECONFIG (~/.kube/config)) does not meet the requirements:"
    assert [line.split(":")[0] for line in lines[1:]] == [
        "storage.rwx_class_name",
        "storage.class_name",
        "existing.min_gpus",
    ]


def test_a_taint_equals_what_the_settings_say() -> None:
    said = Taint.model_validate({"key": "team", "value": "x"})
    assert capacity.obstacle(node("a", taints=[{"key": "team", "value": "x", "effect": "NoSchedule"}]), (said,)) is None


@pytest.fixture
def cilium(there: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A cluster of kubeadm with Cilium: path of the API -> answer, to be changed by a test."""
    addresses = [{"type": "InternalIP", "address": "10.0.0.7"}, {"type": "Hostname", "address": "control"}]
    there["nodes"].append({"metadata": {"name": "control"}, "spec": {}, "status": {"addresses": addresses}})
    answers: dict[str, Any] = {
        "/apis/cilium.io/v2": {"resources": [{"name": "ciliumnodes"}, {"name": "ciliumnetworkpolicies"}]},
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
        "?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes": {
            "items": [{"endpoints": [{"addresses": ["10.0.0.7"]}], "ports": [{"port": 6443}]}]
        },
    }
    monkeypatch.setattr(adopted, "read_path", lambda _access, path: answers[path])
    return answers


@pytest.mark.usefixtures("cilium")
def test_an_api_server_that_the_policies_would_cut_off() -> None:
    lines = refused()
    assert len(lines) == 2
    assert lines[1].startswith(
        "security.cilium: the API server is a node (10.0.0.7), which Cilium matches by no address"
    )
    for harmless in ({"cilium": True}, {"network_policies": False}):
        connect(security=harmless)


@pytest.mark.parametrize("slices", [[], [{"endpoints": None}], [{"endpoints": [{"addresses": ["172.30.1.1"]}]}]])
def test_an_api_server_outside_of_the_nodes_is_matched_by_its_address(cilium: dict[str, Any], slices: Any) -> None:
    *_, last = cilium
    cilium[last] = {"items": slices}
    connect()


@pytest.mark.parametrize("answer", [{}, {"resources": [{"name": "ciliumnodes"}]}])
def test_another_network_plugin_is_not_asked_for_cilium(cilium: dict[str, Any], answer: Any) -> None:
    cilium["/apis/cilium.io/v2"] = answer
    connect()


def kubeconfig(folder: Path, server: str) -> Path:
    path = folder / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "of-the-test"}}],
    }
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (200, '{"kind": "APIResourceList", "resources": []}', {"kind": "APIResourceList", "resources": []}),
        (404, "404 page not found", {}),  # so the API server answers for a group that it does not serve
        (
            403,
            '{"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": "not you", "code": 403}',
            None,
        ),
    ],
)
def test_a_path_of_the_api(tmp_path: Path, status: int, body: str, answer: Any) -> None:
    """The real kubectl, against a server that gives one answer."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if body.startswith("{") else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        access = Access(kubeconfig=kubeconfig(tmp_path, f"http://127.0.0.1:{server.server_port}"), context="here")
        try:
            if answer is None:
                with pytest.raises(adopted.KubectlError, match="not you"):
                    adopted.read_path(access, "/apis/cilium.io/v2")
            else:
                assert adopted.read_path(access, "/apis/cilium.io/v2") == answer
        finally:
            server.shutdown()


def test_an_unreachable_api_server_is_one_line(tmp_path: Path) -> None:
    """The real kubectl, against a port where nobody listens."""
    path = kubeconfig(tmp_path, "https://127.0.0.1:9")
    lines = refused(existing={"kubeconfig": str(path), "context": "here"})
    assert len(lines) == 1
    assert lines[0].startswith(f"existing: cannot read the cluster (context here of {path}): The connection to the")
    assert lines[0].endswith("start the cluster, or name another in existing.kubeconfig and existing.context")


def test_a_context_that_is_not_there(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, "https://127.0.0.1:9")
    line = refused("minikube", minikube={"kubeconfig": str(path)})[0]
    assert "context was not found for specified context: minikube" in line
    assert "minikube start --driver=docker" in line


def test_a_kubeconfig_that_is_not_there() -> None:
    line = refused(existing={"kubeconfig": "no/such"})[0]
    assert line == f"existing.kubeconfig: {ROOT}/no/such is not a file: name a kubeconfig, or leave it out"


def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(argv: list[str], **options: Any) -> None:
        raise subprocess.TimeoutExpired(argv, options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    assert "no answer within 90 s: start the cluster" in refused()[0]


def test_kubectl_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda _: False)
    monkeypatch.setenv("PATH", "")
    assert "kubectl is not installed: make env" in refused()[0]
