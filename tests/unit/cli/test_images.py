"""`nemostack images`: what is printed, and that a list which is not whole says so."""

from pathlib import Path

import pytest

from infra.config import stack_file
from operations.toolchain import programs
from tests.unit.command_line import run_command

HELM = """#!/bin/sh
cat > /dev/null
[ "$2" = "$BROKEN" ] && { echo "no such chart" >&2; exit 1; }
printf '{"spec": {"containers": [{"image": "%s"}]}}' "${IMAGE:-registry.example.com/$2:1}"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    helm = tmp_path / "helm"
    helm.write_text(HELM)
    helm.chmod(0o755)
    monkeypatch.setattr("nemostack.clone.ROOT", tmp_path)
    monkeypatch.setattr(programs, "ensure", lambda _names: {"helm": str(helm)})
    made = tmp_path / "Pulumi.mine.yaml"
    made.write_text(
        "config:\n  nemostack:target: existing\n  nemostack:storage: {rwx_class_name: nfs}\n"
        "  nemostack:ngc_api_key: {secure: v1:abc}\n  nemostack:charts: {source: charts}\n"
    )
    stack_file.check(made)
    return made


def test_every_image_with_its_purpose(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("images", str(file)) == 0
    lines = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert lines["registry.example.com/volcano:1"] == "chart volcano, release volcano-system/volcano"
    assert lines["nvcr.io/nim/meta/llama-3.2-3b-instruct:1.8.3"] == "NIM llama3-2-3b-instruct"
    assert "registry.example.com/mlflow:1" in lines


def test_a_withdrawn_image_fails(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGE", "gcr.io/kubebuilder/kube-rbac-proxy:v0.15.0")
    assert run_command("images", str(file)) == 8
    assert "withdrawn on 2026-03-06" in capsys.readouterr().err


def test_a_list_that_is_not_whole_says_so(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKEN", "mlflow")
    assert run_command("images", str(file)) == 8
    captured = capsys.readouterr()
    assert "chart mlflow cannot be rendered" in captured.err
    assert "no such chart" in captured.err
    assert "registry.example.com/volcano:1" in captured.out


def test_a_chart_behind_a_login_is_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(file.read_text().replace("  nemostack:charts: {source: charts}\n", ""))
    assert run_command("images", str(file)) == 8
    told = capsys.readouterr().err
    assert "chart nemo-microservices-helm-chart of release nemo-datastore/nemo is behind a login" in told
    assert "charts.source" in told
