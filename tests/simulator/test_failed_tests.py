"""One failed test takes no other with it: the fixtures of tests/cluster and tests/simulator clean up behind it.

A run of its own, on a control plane of its own, with tests that fail on purpose and others that look at what is left.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nemostack.clone import ROOT

pytestmark = pytest.mark.slow

TESTS = """
import pytest

from simulator.inventory import contents
from simulator.pulumi_stack import PulumiStack
from tests.simulator.support import IMPORTS

OURS = "/api/v1/namespaces/of-the-stack"


@pytest.fixture(scope="module")
def start(control_plane, tmp_path_factory):
    def start(**settings):
        stack = PulumiStack(tmp_path_factory.mktemp("stack") / "program", control_plane.kubeconfig, thrifty=True)
        stack.program(IMPORTS + "k8s.core.v1.Namespace('ours', metadata={'name': 'of-the-stack'})")
        stack.init()
        return stack

    return start


def test_1_fails_with_objects_that_do_not_go(control_plane):
    control_plane.add_nodes(1)
    control_plane.api.create("/api/v1/namespaces", {"metadata": {"name": "left"}})
    held = {"metadata": {"name": "held", "finalizers": ["example.com/held"]}}
    control_plane.api.create("/api/v1/namespaces/left/configmaps", held)
    raise ValueError("on purpose")


def test_2_finds_nothing(control_plane):
    assert contents(control_plane.api, also_on_the_way_out=True) == set()
    assert control_plane.api.items("/api/v1/nodes") == []


def test_3_fails_and_breaks_the_shared_stack(standing, control_plane):
    control_plane.api.delete(OURS)
    raise ValueError("on purpose")


def test_4_has_a_whole_shared_stack(standing, control_plane):
    assert "deletionTimestamp" not in control_plane.api.get(OURS)["metadata"]
    assert standing.preview("--refresh").changes == {}


def test_5_fails_with_a_stack_of_its_own(make):
    make().up()
    raise ValueError("on purpose")


def test_6_finds_nothing_either(make, control_plane):
    assert contents(control_plane.api) == set()
    assert make().up().changes == {"create": 2}
"""


def test_a_failed_test_takes_no_other_with_it(tmp_path: Path) -> None:
    file = tmp_path / "test_inner.py"
    file.write_text(TESTS)
    plugins = ["-p", "tests.conftest", "-p", "tests.cluster.conftest", "-p", "no:xdist", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *plugins, "-c", str(ROOT / "pyproject.toml"), "-rA", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    shown = re.findall(r"^(PASSED|FAILED|ERROR) \S*::test_(\d)", done.stdout, re.MULTILINE)
    expected = [("FAILED", "1"), ("PASSED", "2"), ("FAILED", "3"), ("PASSED", "4"), ("FAILED", "5"), ("PASSED", "6")]
    assert sorted(shown, key=lambda one: one[1]) == expected, done.stdout[-4000:]
