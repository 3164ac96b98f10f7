"""Doctor and teardown on what the program itself brings up: nothing to say while it is well, nothing left after it."""

from pathlib import Path

import pytest
import yaml

from nemostack.outputs import StackOutputs
from operations.doctor.cluster import look
from operations.teardown import teardown
from simulator.api import DEFINITIONS
from simulator.control_plane import ControlPlane
from simulator.pulumi_stack import NAME, ROOT, PulumiStack

pytestmark = pytest.mark.slow


def start(control_plane: ControlPlane, charts: Path, folder: Path) -> PulumiStack:
    """A stack of target `existing` with charts that stand in for the real ones, not yet up."""
    control_plane.add_nodes(3)
    control_plane.add_gpu_nodes(2)
    stack = PulumiStack(folder / "program", control_plane.kubeconfig)
    stack.program((ROOT / "__main__.py").read_text(), name="nemostack")
    stack.init()
    settings = {
        "target": "existing", "layout": "per-service", "charts": {"source": str(charts)},
        "storage": {"rwx_class_name": "shared"},
    }  # fmt: skip
    file = stack.folder / f"Pulumi.{NAME}.yaml"
    before = yaml.safe_load(file.read_text()) if file.is_file() else {}
    config = {f"nemostack:{key}": value for key, value in settings.items()}
    file.write_text(yaml.safe_dump({**before, "config": config}))
    stack.run("config", "set", "--secret", "nemostack:ngc_api_key", "nvapi-only-for-tests", "--stack", NAME)
    return stack


def test_doctor_and_teardown(
    control_plane: ControlPlane, charts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))  # as a user of target `existing` may have it
    stack = start(control_plane, charts, tmp_path)

    def destroy() -> int:
        stack.destroy()
        return 0

    said: list[str] = []
    try:
        stack.up()
        outputs = StackOutputs.model_validate(stack.outputs())
        assert outputs.cluster is not None
        found = look(outputs, lambda _text: None)
        assert [f.line for f in found if f.level != "ok"] == []
        report = teardown.teardown("x", outputs, destroy, said.append, delete_data=True)
        assert [f"{one.kind} {one.where}: {one.detail}" for one in report.unexpected] == [], said
        assert report.destroyed
        assert report.cluster_seen
    finally:
        if stack.resources():
            stack.destroy()
        for definition in control_plane.api.items(DEFINITIONS):  # kept on purpose when a stack goes
            control_plane.api.delete(f"{DEFINITIONS}/{definition['metadata']['name']}")
