"""The spec of a model entity on the NeMo Platform says what the model's own files say."""

import asyncio
import json
import shutil
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from embedded.platform.model_spec import Specs, spec_of
from nemostack.clone import ROOT

WEIGHTS = ROOT / "tests" / "base_model" / "weights"


def parameters(file: Path) -> int:
    """Count what the weights hold, by the header of their file."""
    with file.open("rb") as stream:
        header = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            size = 1
            for dimension in tensor["shape"]:
                size *= dimension
            total += size
    return total


class Platform:
    """The platform's SDK, as much as is asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.updated: dict[str, dict[str, Any]] = {}
        self.files = self.models = self

    async def list(self, **_where: str) -> Any:
        return SimpleNamespace(data=[SimpleNamespace(path=path.name) for path in self.folder.iterdir()])

    async def download_content(self, *, remote_path: str, **where: str) -> bytes:
        assert where == {"fileset": "files", "workspace": "default"}
        return (self.folder / remote_path).read_bytes()

    async def update(self, *, name: str, workspace: str, spec: dict[str, Any]) -> None:
        self.updated[f"{workspace}/{name}"] = spec


def entity(**fields: Any) -> SimpleNamespace:
    return SimpleNamespace(
        **{"id": "model-1", "workspace": "default", "name": "tiny", "fileset": "default/files", "spec": None} | fields
    )


def test_the_number_of_parameters_is_that_of_the_weights() -> None:
    spec = spec_of(json.loads((WEIGHTS / "config.json").read_text()), "tiny", is_chat=True)
    assert spec["base_num_parameters"] == parameters(WEIGHTS / "model.safetensors")
    assert (spec["family"], spec["num_layers"], spec["precision"]) == ("llama", 5, "bfloat16")


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"num_local_experts": 8}, "num_local_experts"), ({"hidden_size": None}, "lacks hidden_size")],
)
def test_what_cannot_be_told_is_said(changes: dict[str, Any], why: str) -> None:
    config = json.loads((WEIGHTS / "config.json").read_text())
    with pytest.raises(ValueError, match=why):
        spec_of(config | changes, "tiny", is_chat=False)


def test_models_with_files_get_their_spec_and_others_are_left_alone() -> None:
    platform = Platform(WEIGHTS)
    entities = [entity(), entity(name="external", fileset=None), entity(name="known", spec={"family": "qwen"})]
    asyncio.run(Specs(platform).fill(entities))
    assert list(platform.updated) == ["default/tiny"]
    assert platform.updated["default/tiny"]["is_chat"] is True


def test_a_model_whose_files_come_later_gets_its_spec_then_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    platform = Platform(tmp_path)
    specs = Specs(platform)
    for _ in range(2):
        asyncio.run(specs.fill([entity()]))
    assert not platform.updated
    assert caplog.text.count("default/tiny has no spec yet: its fileset has no config.json") == 1
    shutil.copy(WEIGHTS / "config.json", tmp_path)
    asyncio.run(specs.fill([entity()]))
    assert platform.updated["default/tiny"]["family"] == "llama"


def test_a_model_made_again_under_the_same_name_gets_its_spec_again() -> None:
    platform = Platform(WEIGHTS)
    specs = Specs(platform)
    for number in range(2):
        platform.updated.clear()
        asyncio.run(specs.fill([entity(id=f"model-{number}")]))
        assert list(platform.updated) == ["default/tiny"]
