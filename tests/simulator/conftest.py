"""A Pulumi stack with a small program, for what a provider owes the engine."""

import textwrap
from typing import Any

import pytest

from simulator import inventory
from simulator.api import DEFINITIONS
from simulator.charts import generate
from simulator.control_plane import ControlPlane
from simulator.pulumi_stack import PulumiStack, begin_stack
from tests.simulator.support import IMPORTS


@pytest.fixture
def stack(control_plane: ControlPlane, tmp_path, namespace):
    """A stack with an empty program. What a test makes in its namespace goes with that; the rest it removes itself."""
    return begin_stack(tmp_path / "program", control_plane.kubeconfig, IMPORTS)


@pytest.fixture
def mutable(stack: PulumiStack):
    """The provider changes ConfigMaps and Secrets in place."""
    for kind in ("CONFIGMAP", "SECRET"):
        stack.environment[f"PULUMI_K8S_ENABLE_{kind}_MUTABLE"] = "true"


@pytest.fixture
def write(stack: PulumiStack, namespace):
    """Write the program; NAMESPACE in it is the test's namespace."""
    return lambda text: stack.program(IMPORTS + textwrap.dedent(text).replace("NAMESPACE", namespace))


@pytest.fixture
def define(control_plane: ControlPlane) -> Any:
    """Define kinds as the stand-in charts do: `define(group/version, *kinds)`. They are gone before the next test."""
    made = set()

    def define(group_version: str, *kinds: str) -> None:
        for kind in kinds:
            crd = control_plane.api.create(DEFINITIONS, generate.definition(group_version, kind))
            made.add(f"{DEFINITIONS}/{crd['metadata']['name']}")

    yield define
    inventory.remove(control_plane.api, made)
