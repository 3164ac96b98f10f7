"""Packages of some targets only: installed when they are missing or their lock has changed. uv is a stand-in."""

from pathlib import Path

import pytest

from nemostack.errors import ToolchainError
from operations.toolchain import environments

UV = """#!/bin/sh
echo "$*" >> calls
echo " + torch==1" >&2; echo "Installed 1 package" >&2
for made; do :; done
[ "$1" != venv ] || { mkdir -p "$made"; touch "$made/pyvenv.cfg"; }
[ ! -e broken ] || exit 3
"""


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("nemostack.clone.ROOT", tmp_path)
    monkeypatch.setattr(environments, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(environments, "EMBEDDED", tmp_path / ".venv-embedded")
    monkeypatch.setattr(environments, "PLATFORM", tmp_path / ".venv-platform")
    own = ("embedded/requirements.txt", "embedded/requirements-platform.txt")
    for lock in ("pyproject.toml", *own, "infra/clusters/requirements/gke.txt"):
        (tmp_path / lock).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / lock).write_text(lock)
    uv = tmp_path / ".venv" / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    uv.write_text(UV)
    uv.chmod(0o755)
    (tmp_path / ".venv" / ".ready").touch()
    return tmp_path


def calls(clone: Path) -> list[str]:
    """Verbs of the calls since the last look."""
    file = clone / "calls"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return [" ".join(line.split()[: 1 if line.startswith("venv") else 2]) for line in lines]


def test_local_packages_once(clone: Path, capfd: pytest.CaptureFixture[str]) -> None:
    environments.ensure_for("local")
    assert calls(clone) == ["venv", "pip sync", "pip install"]
    told = capfd.readouterr().err
    assert "==> .venv-embedded: vLLM" in told
    assert "Installed 1 package" in told
    assert "torch==1" not in told
    environments.ensure_for("local")
    assert calls(clone) == []


def test_the_platform_has_an_environment_of_its_own(clone: Path, capfd: pytest.CaptureFixture[str]) -> None:
    environments.ensure_for("local")
    assert not (clone / ".venv-platform").exists()
    calls(clone)
    environments.ensure_for("platform")
    assert calls(clone) == ["venv", "pip sync", "pip install"]
    assert (clone / ".venv-platform" / ".ready").exists()
    assert "==> .venv-platform: NVIDIA's NeMo Platform" in capfd.readouterr().err
    environments.ensure_platform()
    assert calls(clone) == []


def test_a_changed_lock_is_installed(clone: Path) -> None:
    environments.ensure_for("local")
    calls(clone)
    (clone / "embedded" / "requirements.txt").write_text("another")
    environments.ensure_for("local")
    assert calls(clone) == ["pip sync", "pip install"]


def test_half_an_environment_is_made_again(clone: Path) -> None:
    leftover = clone / ".venv-embedded" / "bin" / "python"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    environments.ensure_for("local")
    assert calls(clone)[0] == "venv"
    assert not leftover.exists()


def test_a_failure_is_told_and_tried_again(clone: Path) -> None:
    (clone / "broken").touch()
    with pytest.raises(ToolchainError, match=r"`uv venv --quiet` failed \(exit 3\), see above; run it again"):
        environments.ensure_for("local")
    (clone / "broken").unlink()
    calls(clone)
    environments.ensure_for("local")
    assert "pip sync" in calls(clone)


def test_the_sdk_of_a_cloud_comes_back_after_an_update(clone: Path) -> None:
    environments.ensure_for("gke")
    environments.ensure_for("gke")
    assert calls(clone) == ["pip install"]
    ready = clone / ".venv" / ".ready"
    ready.unlink()
    ready.touch()  # by the bootstrap, which removes what its lock does not name
    environments.ensure_for("gke")
    assert calls(clone) == ["pip install"]


@pytest.mark.parametrize("target", ["existing", "minikube", "gkee", None])
def test_other_targets_need_nothing_more(clone: Path, target: str | None) -> None:
    environments.ensure_for(target)
    assert calls(clone) == []
