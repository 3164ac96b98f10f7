"""A user's own choices win; what is missing is kept in the clone, private."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from nemostack.clone import ROOT
from nemostack.errors import ToolchainError
from operations.stacks import environment
from operations.toolchain import programs


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in (
        "PULUMI_BACKEND_URL",
        "PULUMI_ACCESS_TOKEN",
        "PULUMI_API",
        "PULUMI_CONFIG_PASSPHRASE",
        "PULUMI_CONFIG_PASSPHRASE_FILE",
        "PULUMI_SKIP_UPDATE_CHECK",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(environment, "STATE", tmp_path / ".nemostack")
    monkeypatch.setattr(programs, "ensure", lambda _names: {"pulumi": f"{tmp_path}/cache/nemostack/tools/p/bin/pulumi"})
    return tmp_path


def test_nothing_chosen(clone: Path) -> None:
    chosen = environment.variables()
    assert chosen["PULUMI_BACKEND_URL"] == (clone / ".nemostack" / "pulumi").as_uri()
    passphrase = clone / ".nemostack" / "passphrase"
    assert chosen["PULUMI_CONFIG_PASSPHRASE_FILE"] == str(passphrase)
    assert stat.S_IMODE(passphrase.stat().st_mode) == 0o600
    assert stat.S_IMODE((clone / ".nemostack").stat().st_mode) == 0o700
    assert len(passphrase.read_text().strip()) >= 40


def test_passphrase_is_made_once(clone: Path) -> None:
    environment.variables()
    first = (clone / ".nemostack" / "passphrase").read_text()
    environment.variables()
    assert (clone / ".nemostack" / "passphrase").read_text() == first


@pytest.mark.parametrize("name", ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"])
def test_own_passphrase(clone: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in environment.variables()


def test_own_backend(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://states")
    chosen = environment.variables()
    assert not {"PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE_FILE"} & chosen.keys()


@pytest.mark.parametrize("url", ["file://~", "s3://states"])
def test_own_backend_without_a_passphrase_has_a_remedy(clone: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", url)
    hint = environment.missing_passphrase()
    assert hint is not None
    assert url in hint
    assert f"PULUMI_BACKEND_URL={(clone / '.nemostack' / 'pulumi').as_uri()}" in hint
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", "/p")
    assert environment.missing_passphrase() is None


def test_backend_that_keeps_secrets_needs_no_passphrase(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.missing_passphrase() is None  # the clone's own
    monkeypatch.setenv("PULUMI_ACCESS_TOKEN", "t")
    assert environment.missing_passphrase() is None


def test_environment_inside_the_environment_is_the_same(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outer = environment.variables()
    for name, value in outer.items():
        monkeypatch.setenv(name, value)
    inner = environment.variables()
    assert inner["PATH"] == outer["PATH"]
    assert inner["PYTHONPATH"] == outer["PYTHONPATH"]
    assert inner["PULUMI_BACKEND_URL"] == outer["PULUMI_BACKEND_URL"]


def test_login(clone: Path) -> None:
    (clone / "home").mkdir()
    (clone / "home" / "credentials.json").write_text(json.dumps({"current": "https://api.pulumi.com"}))
    assert "PULUMI_BACKEND_URL" not in environment.variables()


def test_broken_login_is_not_overlooked(clone: Path) -> None:
    (clone / "home").mkdir()
    (clone / "home" / "credentials.json").write_text("{")
    with pytest.raises(ToolchainError, match=r"credentials\.json.*pulumi logout"):
        environment.variables()


def test_path_order(clone: Path) -> None:
    cached = f"{clone}/cache/nemostack/tools/p/bin"
    venv = str(environment.VENV / "bin")
    assert environment.search_path({"pulumi": f"{cached}/pulumi"}) == f"{venv}:{cached}:/usr/bin:/bin"
    assert environment.search_path({"pulumi": "/usr/bin/pulumi"}) == f"{venv}:/usr/bin:/bin"


def test_shell_lines_are_quoted(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/a b/$(c)")
    assert f"export PYTHONPATH='{ROOT}:/a b/$(c)'" in environment.as_shell()
