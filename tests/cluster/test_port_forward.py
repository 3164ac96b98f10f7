"""What the real kubectl says when there is nothing to forward to, and what becomes of it.

Simulated nodes have no pods to connect to: that bytes flow is proven in tests/unit/workflows, with a stand-in for
kubectl.
"""

import re
from typing import Any

import pytest

from nemostack.errors import DeadlineExceeded, Forbidden, NotFound
from nemostack.kubectl.client import Kubectl
from nemostack.outputs import StackOutputs
from nemostack.ports import free_port
from operations.port_forward import forwarder
from operations.port_forward.session import forwarding, plan, wait_ready
from simulator.api import wait
from simulator.control_plane import ControlPlane
from tests.unit.operations import healthy_cluster as h

pytestmark = pytest.mark.slow


def outputs(plane: ControlPlane, namespace: str, **cluster: Any) -> StackOutputs:
    """A stack with MLflow only, in `namespace`."""
    routes = {f"{key}_url": f"https://{key}.example.com" for key in ("nemo", "data_store", "nim")}
    values = {"kubeconfig": str(plane.kubeconfig), "services": {"mlflow": f"{namespace}/mlflow-tracking:80"}, **cluster}
    return h.outputs(h.cluster_outputs(**values), **routes, mlflow_url=f"http://127.0.0.1:{free_port()}")


def forward(stack: StackOutputs, timeout_s: float) -> list[str]:
    said: list[str] = []
    with Kubectl.opened(stack) as kubectl, forwarding(kubectl, plan(stack), said.append) as all_of:
        wait_ready(all_of, timeout_s)
    return said


def service(plane: ControlPlane, namespace: str) -> None:
    spec = {"selector": {"app": "mlflow"}, "ports": [{"port": 80, "targetPort": 5000}]}
    plane.api.create(
        f"/api/v1/namespaces/{namespace}/services", {"metadata": {"name": "mlflow-tracking"}, "spec": spec}
    )


def test_no_such_service(control_plane: ControlPlane, namespace: str) -> None:
    with pytest.raises(NotFound, match='services "mlflow-tracking" not found'):
        forward(outputs(control_plane, namespace), 30)


def test_not_allowed(control_plane: ControlPlane, namespace: str) -> None:
    stranger = control_plane.user("forwarder")
    with pytest.raises(Forbidden, match="cannot get resource"):
        forward(outputs(control_plane, namespace, kubeconfig=str(stranger)), 30)


def test_pod_that_does_not_run(control_plane: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarder, "PAUSES_S", (0.2,))
    service(control_plane, namespace)
    pod = {
        "metadata": {"name": "mlflow-0", "labels": {"app": "mlflow"}},
        "spec": {"containers": [{"name": "main", "image": "none.invalid/none:1"}], "nodeSelector": {"no": "node"}},
    }
    control_plane.api.create(f"/api/v1/namespaces/{namespace}/pods", pod)
    stack = outputs(control_plane, namespace)
    with Kubectl.opened(stack) as kubectl, forwarding(kubectl, plan(stack), lambda _said: None) as (only,):
        wait("kubectl says why", lambda: only.why_not, lambda why: "pod is not running" in why)
        with pytest.raises(DeadlineExceeded) as caught:
            wait_ready([only], 0)
    assert re.search(r"mlflow: error: .* pod is not running\. Current status=Pending", str(caught.value))
    assert "nemostack doctor" in str(caught.value)
