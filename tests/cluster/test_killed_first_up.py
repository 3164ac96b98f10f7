"""The first `up` of a stack is killed while it installs: no outputs are there yet, and the page's way out works.

As test_stack.py, on a stack that is not up: what doctor and `up` say comes from Pulumi's state and the settings.
"""

import pytest

from infra import names
from simulator.pulumi_stack import NAME
from tests.cluster import operations_page
from tests.cluster.interrupted import records
from tests.cluster.support import LLAMA, NIM, missing_secrets, pods

CASE = "Pulumi was killed while it installed"
EVERY_GPU = 9
"""More replicas than GPUs in the cluster of these tests: an installation that does not end."""

pytestmark = pytest.mark.slow


def pending(control_plane) -> dict[str, str]:
    """Releases that Helm has begun to install, with their namespaces."""
    return {name: place for place, name, _, status in records(control_plane) if status == "pending-install"}


def test_a_killed_first_up(make, control_plane):
    stack = make(
        layout="single",
        prerequisites={"volcano": "skip"},
        services={"customizer": False, "evaluator": False},
        mlflow={"mode": "skip"},
        nims=[{**NIM, "replicas": EVERY_GPU}],
    )
    stack.kill_up(lambda: LLAMA in pending(control_plane))
    nodes = control_plane.add_gpu_nodes(2)  # what it waited for
    left = pending(control_plane)
    assert left[LLAMA] == names.RELEASE
    pages = [operations_page.read_commands(CASE, RELEASE=name, NAMESPACE=place) for name, place in left.items()]
    unlock, look, _, *rest = pages[0]
    helps = {page[2] for page in pages}

    operations_page.run(stack, [unlock])
    assert stack.outputs() == {}, "Pulumi writes them when a run ends"
    told = operations_page.run(stack, [f"nemostack doctor --stack {NAME} --format json"], code=8)
    assert not [command for command in helps if f"`{command}`" not in told]
    refusal = operations_page.run(stack, [f"nemostack up --stack {NAME} --yes"], code=1)
    *ways_out, refresh = operations_page.commands_in(refusal)
    assert (set(ways_out), refresh) == (helps, f"nemostack toolchain run -- pulumi refresh -s {NAME}")

    shown = operations_page.run(stack, [look, *helps, *rest])
    assert "pending-install" in shown
    assert not pending(control_plane)
    assert stack.preview().changes == {}
    assert sum(pod["metadata"]["name"].startswith(LLAMA) for pod in pods(control_plane, names.RELEASE)) == EVERY_GPU
    assert not missing_secrets(control_plane)
    stack.destroy()
    control_plane.remove_nodes(nodes)
