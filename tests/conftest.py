"""Fixtures of tests/cluster and tests/simulator: one control plane per test process and a namespace per test.

Each test has to leave the cluster as it was. The simulator is imported only where a test asks for it: the other tiers
run in environments and on systems that it does not need.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from simulator.control_plane import ControlPlane

CLEAN_S = 120.0
PLANE: pytest.StashKey[ControlPlane] = pytest.StashKey()
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[ControlPlane]:
    """A control plane without nodes. Its logs stay where pytest keeps its temporary folders."""
    from simulator.api import wait
    from simulator.control_plane import ControlPlane

    with ControlPlane.start(tmp_path_factory.mktemp("control-plane")) as plane:
        pytestconfig.stash[PLANE] = plane
        yield plane
        del pytestconfig.stash[PLANE]
        wait("everything gone", lambda: left(plane, also_on_the_way_out=True), lambda more: not more, timeout_s=CLEAN_S)


@pytest.fixture(autouse=True)
def leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nodes that a test added are removed for it; a namespace or CRD that it does not delete fails it.

    Kubernetes takes at least five seconds to empty a namespace. Only the end of the session waits for that.
    """
    if "control_plane" not in request.fixturenames:
        yield
        return
    plane: ControlPlane = request.getfixturevalue("control_plane")
    before, nodes = left(plane), names(plane, "/api/v1/nodes")
    yield
    plane.check()
    plane.remove_nodes(sorted(names(plane, "/api/v1/nodes") - nodes))
    assert left(plane) <= before, "the test leaves this behind"


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


def names(plane: ControlPlane, path: str) -> set[str]:
    """Return the names of the objects in a collection."""
    return {item["metadata"]["name"] for item in plane.api.items(path)}


def left(plane: ControlPlane, *, also_on_the_way_out: bool = False) -> set[str]:
    """Return what other tests would see of a test. Volumes go after their namespace, so only the end can tell."""
    from simulator.control_plane import SYSTEM_NAMESPACES

    collections = ["/api/v1/namespaces", DEFINITIONS]
    if also_on_the_way_out:
        collections.append("/api/v1/persistentvolumes")
    return {
        f"{path.rsplit('/', 1)[-1]}/{item['metadata']['name']}"
        for path in collections
        for item in plane.api.items(path)
        if also_on_the_way_out or "deletionTimestamp" not in item["metadata"]
    } - {f"namespaces/{name}" for name in SYSTEM_NAMESPACES}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """With a failure show the end of every component's log."""
    report = yield
    if report.failed and (plane := item.config.stash.get(PLANE, None)):
        report.sections.append(("control plane", plane.log_tails()))
    return report
