"""Stacks of the whole program: one that tests of a module share, and those that have the cluster for themselves."""

import pytest

from simulator.control_plane import ControlPlane
from tests.cluster.support import NemoStack, Shared, create_stack, forget_definitions
from tests.conftest import has_failed


@pytest.fixture(scope="module")
def machines(control_plane: ControlPlane):
    """Nodes for all tests of this module."""
    names_of_nodes = [*control_plane.add_nodes(3), *control_plane.add_gpu_nodes(2)]
    yield
    control_plane.remove_nodes(names_of_nodes)


@pytest.fixture(scope="module")
def start(machines, control_plane: ControlPlane, charts, tmp_path_factory):
    """Create a stack of the whole program; whoever calls it takes it down."""
    return lambda **settings: create_stack(control_plane, charts, tmp_path_factory.mktemp("stack"), **settings)


@pytest.fixture(scope="module")
def shared(start, control_plane: ControlPlane, shared_objects):
    holder = Shared(start, control_plane, shared_objects)
    yield holder
    holder.down()
    forget_definitions(control_plane)


@pytest.fixture
def standing(shared: Shared, request: pytest.FixtureRequest):
    """The shared stack. A test leaves it up, unless it fails or destroys it."""
    yield shared.up()
    if has_failed(request.node):
        shared.down()


@pytest.fixture
def make(shared: Shared, start, control_plane: ControlPlane):
    """Make a stack that has the cluster for itself; what is left of it after the test is destroyed."""
    shared.down()
    forget_definitions(control_plane)
    stacks = []

    def make(**settings) -> NemoStack:
        stack: NemoStack = start(**settings)
        stacks.append(stack)
        return stack

    yield make
    for stack in stacks:
        if stack.resources():
            stack.destroy()
    forget_definitions(control_plane)
