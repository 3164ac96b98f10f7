"""Each program of the control plane is taken in the pinned minor version only, and told its version when built."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from nemostack.errors import ToolchainError
from operations.toolchain import cache, golang, kubernetes, programs


@pytest.fixture(autouse=True)
def no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()


def says(folder: Path, name: str, text: str) -> str:
    program = folder / name
    program.write_text(f"#!/bin/sh\n[ $# = 1 ] && printf '{text}'\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("name", "text", "good"),
    [
        ("kubernetes", "Kubernetes v1.37.9\\n", True),
        ("kubernetes", "Kubernetes v1.36.2\\n", False),
        ("kubernetes", "Kubernetes v1.3.7\\n", False),
        ("etcd", "etcd Version: 3.7.1\\nGit SHA: 1a2.3\\nGo Version: go1.26.8\\n", True),
        ("etcd", "etcd Version: 3.5.12\\n", False),
        ("kwok", "kwok version v0.8.0 go1.26.8 (linux/amd64)\\n", True),
        ("kwok", "kwok version v0.7.0 go1.26.8 (linux/amd64)\\n", False),
        ("helm", 'version.BuildInfo{Version:"v4.3.5", GoVersion:"go1.26.8"}\\n', True),
        ("helm", 'version.BuildInfo{Version:"v3.19.0", GoVersion:"go1.26.8"}\\n', False),
        ("helm", "no version\\n", False),
    ],
)
def test_version_on_path(tmp_path: Path, name: str, text: str, good: bool) -> None:
    chosen = programs.SETS[name]
    assert chosen.good(says(tmp_path / "bin", chosen.programs[0], text)) is good


def test_found_on_path(tmp_path: Path) -> None:
    says(tmp_path / "bin", "etcd", "etcd Version: 3.7.3")
    assert programs.ensure(["etcd"]) == {"etcd": str(tmp_path / "bin" / "etcd")}


def test_control_plane_is_built_from_what_is_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def run(command: list[str], *, cwd: Path, env: Any) -> str:
        calls.append([cwd.name, *command])
        output = Path(command[command.index("-o") + 1])
        output.write_text("program")
        output.chmod(0o755)
        return ""

    monkeypatch.setattr(golang, "find_go", lambda: "go")
    monkeypatch.setattr(golang, "run", run)
    found = programs.ensure(["kubernetes"])
    folder = tmp_path / "cache" / "nemostack" / "tools" / "kubernetes-1.37.2-built" / "bin"
    assert found == {
        name: str(folder / name) for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    }
    for name, call in zip(found, calls, strict=True):
        assert call[0] == "kubernetes"
        assert call[-1] == f"k8s.io/kubernetes/cmd/{name}"
        assert {"-mod=readonly", "-trimpath"} < set(call)
        (flags,) = [part for part in call if part.startswith("-s -w")]
        assert "-X k8s.io/component-base/version.gitVersion=v1.37.2" in flags
        assert "-X k8s.io/component-base/version.gitMajor=1" in flags
        assert "-X k8s.io/component-base/version.gitMinor=37" in flags


@pytest.mark.parametrize(
    ("folder", "module", "version"),
    [
        ("kubernetes", "k8s.io/kubernetes", kubernetes.KUBERNETES_VERSION),
        ("etcd", "go.etcd.io/etcd/server/v3", kubernetes.ETCD_VERSION),
        ("kwok", "sigs.k8s.io/kwok", kubernetes.KWOK_VERSION),
        ("helm", "helm.sh/helm/v4", kubernetes.HELM_VERSION),
    ],
)
def test_module_files_pin_the_same_versions(folder: str, module: str, version: str) -> None:
    assert f"require {module} v{version}\n" in (golang.MODULES / folder / "go.mod").read_text()
    assert f"{module} v{version} h1:" in (golang.MODULES / folder / "go.sum").read_text()


def test_staging_modules_are_of_the_same_release() -> None:
    text = (golang.MODULES / "kubernetes" / "go.mod").read_text()
    replaced = [line.split() for line in text.splitlines() if "=>" in line]
    assert len(replaced) > 30
    assert {version for _, _, _, version in replaced} == {f"v0{kubernetes.KUBERNETES_VERSION.removeprefix('1')}"}
    assert all(module == same for module, _, same, _ in replaced)


def test_stages_are_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "module"
    for path in kubernetes.STAGES:
        source = module / "kustomize" / "stage" / path
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(path)
        source.chmod(0o444)  # as in Go's module cache
    asked: list[str] = []

    def module_folder(*names: str) -> Path:
        asked.extend(names)
        return module

    monkeypatch.setattr(golang, "module_folder", module_folder)
    for _ in range(2):
        copied = kubernetes.stages()
        assert [path.read_text() for path in copied] == list(kubernetes.STAGES)
    assert asked == ["kwok", "sigs.k8s.io/kwok"]
    assert copied[0].parent.parent == cache.cache_dir()


def test_no_way_to_build_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise ToolchainError("no Go here")

    monkeypatch.setattr(golang, "find_go", refuse)
    with pytest.raises(ToolchainError) as failed:
        programs.ensure(["helm"])
    assert str(failed.value) == (
        "cannot get helm:\n  on PATH: helm 4.3 is not there\n  build from Go modules: no Go here\n"
        "Put helm 4.3 on PATH or give this machine a way to the Go module proxy (GOPROXY), then try again."
    )


def test_version_of_what_hangs_or_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not programs.SETS["etcd"].good(str(tmp_path / "absent"))

    def hangs(*_: Any, **__: Any) -> None:
        raise subprocess.TimeoutExpired("etcd", 30)

    monkeypatch.setattr(subprocess, "run", hangs)
    assert not programs.SETS["etcd"].good("etcd")
