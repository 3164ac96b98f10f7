"""Doctor and teardown on what the program itself brings up: nothing to say while it is well, nothing left after it."""

import pytest

from nemostack.outputs import StackOutputs
from operations.doctor.cluster import look
from operations.teardown import teardown
from simulator.control_plane import ControlPlane

pytestmark = pytest.mark.slow


def test_doctor_and_teardown(make, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))  # as a user of target `existing` may have it
    stack = make(layout="per-service")
    messages: list[str] = []

    def destroy() -> int:
        stack.destroy()
        return 0

    stack.up()
    outputs = StackOutputs.model_validate(stack.outputs())
    assert outputs.cluster is not None
    findings = look(outputs, lambda _text: None)
    assert [finding.line for finding in findings if finding.level != "ok"] == []
    report = teardown.teardown("x", outputs, destroy, messages.append, delete_data=True)
    assert [f"{one.kind} {one.where}: {one.detail}" for one in report.unexpected] == [], messages
    assert report.destroyed
    assert report.cluster_seen
