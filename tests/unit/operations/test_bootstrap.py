"""The first script that runs: environments that were interrupted, and Pythons that it refuses. uv is a stand-in."""

import subprocess
import sys
from pathlib import Path

import pytest

from operations.toolchain import bootstrap


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that the script runs, in a clone of its own. `-m pip` brings uv."""
    venv = tmp_path / ".venv"
    commands: list[list[str]] = []

    def call(command: list[str], cwd: str) -> int:
        assert cwd == str(tmp_path)
        commands.append(command)
        if command[:2] == ["rm", "-rf"]:
            for path in sorted(venv.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
        if "venv" in command[:3]:
            (venv / "bin").mkdir(parents=True, exist_ok=True)
        if "pip" in command[:3] and command[0].endswith("python"):
            (venv / "bin" / "uv").touch()
        return 0

    monkeypatch.setattr(subprocess, "call", call)
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    for name, path in {
        "VENV": venv,
        "PYTHON": venv / "bin/python",
        "UV": venv / "bin/uv",
        "READY": venv / ".ready",
    }.items():
        monkeypatch.setattr(bootstrap, name, path)
    return commands


def steps(calls: list[list[str]]) -> list[str]:
    return [" ".join(command[1:3]) for command in calls]


def test_from_nothing(calls: list[list[str]], tmp_path: Path) -> None:
    bootstrap.main()
    assert steps(calls) == [f"-rf {tmp_path / '.venv'}", "-m venv", "-m pip", "pip sync", "pip install"]
    assert all("--require-hashes" in command for command in calls[2:4])
    assert (tmp_path / ".venv" / ".ready").exists()


def test_half_an_environment_is_made_again(calls: list[list[str]], tmp_path: Path) -> None:
    broken = tmp_path / ".venv" / "bin" / "python"
    broken.parent.mkdir(parents=True)
    broken.touch()
    bootstrap.main()
    assert steps(calls)[:3] == [f"-rf {tmp_path / '.venv'}", "-m venv", "-m pip"]
    assert not broken.exists()


def test_a_whole_environment_is_brought_up_to_date(calls: list[list[str]], tmp_path: Path) -> None:
    bootstrap.main()
    calls.clear()
    bootstrap.main()
    assert steps(calls) == ["pip sync", "pip install"]


def test_an_update_that_fails_does_not_count_as_ready(
    calls: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap.main()
    monkeypatch.setattr(subprocess, "call", lambda *_a, **_k: 130)
    with pytest.raises(SystemExit, match="130"):
        bootstrap.main()
    assert not (tmp_path / ".venv" / ".ready").exists()


@pytest.mark.parametrize("version", [(3, 10, 4), (3, 14, 0), (2, 7, 18)])
def test_other_pythons_are_refused(
    version: tuple[int, ...], calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 to 3\.13, .* try make PYTHON=python3\.12"):
        bootstrap.main()
    assert calls == []


def test_a_python_without_venv(calls: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(SystemExit, match="lacks the venv module: install it"):
        bootstrap.main()
    assert calls == []
