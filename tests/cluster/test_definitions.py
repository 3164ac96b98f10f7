"""CustomResourceDefinitions outlive their stack. The next one takes them over, but nobody else's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nemostack.clone import ROOT
from simulator import inventory
from simulator.api import DEFINITIONS
from simulator.control_plane import ControlPlane
from simulator.pulumi_stack import PulumiStack, begin_stack

pytestmark = pytest.mark.slow
NAME = "boxes.example.com"
PROGRAM = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from infra.platform.manifests import Definitions, DefinitionsArgs
from infra.versions import Manifest
boxes = Manifest(file="boxes.yaml", url="https://example.com/boxes.yaml", sha256="")
Definitions("boxes", DefinitionsArgs(manifests=[boxes], folder=Path("FOLDER")))
"""


@pytest.fixture
def stack(control_plane: ControlPlane, tmp_path: Path) -> Iterator[PulumiStack]:
    yield begin_stack(tmp_path / "program", control_plane.kubeconfig, PROGRAM.replace("FOLDER", str(tmp_path)))
    inventory.remove(control_plane.api, {f"{DEFINITIONS}/{NAME}"})


def definition(version: str) -> dict[str, Any]:
    """A kind whose fields and annotation differ by version."""
    schema = {"type": "object", "properties": {f"of{version}": {"x-kubernetes-int-or-string": True}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME, "annotations": {"example.com/bundle": version}},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"kind": "Box", "listKind": "BoxList", "plural": "boxes", "singular": "box"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}},
            ],
        },
    }


def served(plane: ControlPlane) -> list[str]:
    """Annotation and fields, as the API server has them."""
    found = plane.api.get(f"{DEFINITIONS}/{NAME}")
    (version,) = found["spec"]["versions"]
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    return [found["metadata"]["annotations"]["example.com/bundle"], *properties]


def test_they_stay_and_the_next_stack_brings_them_to_its_version(
    stack: PulumiStack, control_plane: ControlPlane, tmp_path: Path
) -> None:
    file = tmp_path / "boxes.yaml"
    file.write_text(yaml.safe_dump(definition("1")))
    stack.up()
    assert stack.up().changes == {}
    stack.destroy()
    assert served(control_plane) == ["1", "of1"]

    stack.up()
    assert stack.up().changes == {}
    file.write_text(yaml.safe_dump(definition("2")))
    box = control_plane.api.get(f"{DEFINITIONS}/{NAME}")["metadata"]["uid"]
    stack.up()
    assert control_plane.api.get(f"{DEFINITIONS}/{NAME}")["metadata"]["uid"] == box, "replaced in the state only"
    assert stack.up().changes == {}
    assert served(control_plane) == ["2", "of2"]
    stack.destroy()

    file.write_text(yaml.safe_dump(definition("3")))
    stack.up()
    assert served(control_plane) == ["3", "of3"]


def test_those_of_somebody_else_are_not_overwritten(
    stack: PulumiStack, control_plane: ControlPlane, tmp_path: Path
) -> None:
    control_plane.api.create(f"{DEFINITIONS}?fieldManager=platform-team", definition("7"))
    file = tmp_path / "boxes.yaml"
    file.write_text(yaml.safe_dump(definition("8")))
    assert 'conflicts with "platform-team"' in stack.up(fails=True).errors
    assert served(control_plane) == ["7", "of7"]

    file.write_text(yaml.safe_dump(definition("7")))  # the same as theirs
    stack.up()
    stack.destroy()
    assert served(control_plane) == ["7", "of7"]
