"""Fixtures of tests/cluster and tests/simulator: one control plane per test process and a namespace per test.

Each test has to leave the cluster as it was. The simulator is imported only where a test asks for it: the other tiers
run in environments and on systems that it does not need.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from nemostack.imports import without_collector
from tests.longest_first import position

pytest.register_assert_rewrite("tests.contract_suite")

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from simulator.control_plane import ControlPlane

CLEAN_S = 120.0
PLANE: pytest.StashKey[ControlPlane] = pytest.StashKey()
FAILED: pytest.StashKey[bool] = pytest.StashKey()


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[ControlPlane]:
    """A control plane without nodes. Its logs stay where pytest keeps its temporary folders."""
    from simulator import inventory
    from simulator.api import wait
    from simulator.control_plane import ControlPlane

    with ControlPlane.start(tmp_path_factory.mktemp("control-plane")) as plane:
        pytestconfig.stash[PLANE] = plane
        yield plane
        del pytestconfig.stash[PLANE]

        def left() -> set[str]:
            return inventory.contents(plane.api, also_on_the_way_out=True)

        wait("everything gone", left, lambda more: not more, timeout_s=CLEAN_S)


@pytest.fixture(scope="session")
def shared_objects() -> set[str]:
    """Paths of objects that several tests share: no test has to remove them, their fixture does."""
    return set()


@pytest.fixture(autouse=True)
def leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave the cluster as it was before the test, whatever happened; a test that passes has to do so by itself.

    Nodes that a test added are removed for it. A namespace, a kind or a webhook that it does not delete fails it, and
    is removed by force. Kubernetes takes at least five seconds to empty a namespace: only after a failure, and at the
    end of the session, is that waited for.
    """
    if "control_plane" not in request.fixturenames:
        yield
        return
    from simulator import inventory

    plane: ControlPlane = request.getfixturevalue("control_plane")
    shared: set[str] = request.getfixturevalue("shared_objects")
    before, nodes = inventory.contents(plane.api), names(plane, "/api/v1/nodes")
    yield
    plane.check()
    behind = inventory.contents(plane.api) - before - shared
    if behind:
        inventory.remove(plane.api, behind)
    plane.remove_nodes(sorted(names(plane, "/api/v1/nodes") - nodes))
    if not has_failed(request.node):
        assert not behind, "the test leaves this behind"


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the charts that stand in for the real ones."""
    from simulator.charts import generate

    folder = tmp_path_factory.mktemp("charts")
    generate.write(folder)
    return folder


@pytest.fixture
def namespace(control_plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, in which pods can be made; gone after it."""
    from simulator.api import wait

    stem = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40]
    name = f"{stem}-{uuid.uuid4().hex[:6]}"
    control_plane.api.create("/api/v1/namespaces", {"metadata": {"name": name}})
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    wait("default service account", lambda: control_plane.api.exists(account))
    yield name
    control_plane.api.delete(f"/api/v1/namespaces/{name}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import without the garbage collector, which walks all SDKs again and again and frees nothing of them.

    What is imported stays out of its way afterwards too. Half of the processor time of a collection.
    """
    with without_collector():
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest. The sort is stable: the order is otherwise as it was.

    On the simulated cluster tests of a file share a stack, so they are a group, unless one of them names its own.
    """
    items.sort(key=lambda item: position(str(item.path)))
    for item in items:
        if item.path.parent.name in ("cluster", "simulator") and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def names(plane: ControlPlane, path: str) -> set[str]:
    """Return the names of the objects in a collection."""
    return {item["metadata"]["name"] for item in plane.api.items(path)}


def has_failed(item: pytest.Item) -> bool:
    """Return whether a test has failed in any of its phases so far."""
    return item.stash.get(FAILED, False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """With a failure show the end of every component's log."""
    report = yield
    item.stash[FAILED] = has_failed(item) or report.failed
    if report.failed and (plane := item.config.stash.get(PLANE, None)):
        report.sections.append(("control plane", plane.log_tails()))
    return report
