"""`nemostack images`: what is printed, and that a list which is not whole says so."""

from pathlib import Path

import pytest

from infra import names, recorded_images
from infra.config import stack_file
from nemostack.withdrawn_images import withdrawn
from operations.toolchain import programs
from tests.unit.command_line import run_command

HELM = """#!/bin/sh
cat > /dev/null
[ "$2" = "$BROKEN" ] && { echo "no such chart" >&2; exit 1; }
case " $* " in *" --skip-tests "*) ;; *) printf '{"spec": {"image": "registry.example.com/of-a-test:1"}}\n---\n' ;; esac
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


WITHOUT_A_LOGIN = [
    ("nemo-datastore/nemo", "nvcr.io/nvidia/nemo-microservices/datastore:25.12"),
    ("nemo-customizer/nemo", "nvcr.io/nvidia/nemo-microservices/customizer-api:25.12"),
    ("nemo-customizer/nemo", "registry.k8s.io/kubebuilder/kube-rbac-proxy:v0.15.0"),
    ("nemo-evaluator/nemo", "nvcr.io/nvidia/nemo-microservices/evaluator:25.12"),
]
"""Release of the umbrella chart -> an image that the pages of NVIDIA name for it, or that our values choose."""


def without_charts(file: Path, *lines: str) -> None:
    """Leave the charts to their repositories, of which NVIDIA's ask for a login, and add settings."""
    content = file.read_text().replace("  nemostack:charts: {source: charts}\n", "")
    file.write_text(content + "".join(f"  nemostack:{line}\n" for line in lines))


def test_charts_behind_a_login_are_printed_as_recorded(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without_charts(file)
    assert run_command("images", str(file)) == 0
    captured = capsys.readouterr()
    lines = dict(line.split("\t") for line in captured.out.splitlines())
    for release, image in WITHOUT_A_LOGIN:
        assert lines[image] == f"chart nemo-microservices-helm-chart, release {release}, as recorded"
    assert not [image for image in lines if "postgres" in image and "bitnami" in image]
    assert "notice: not in the list: jobs of the Evaluator that run benchmarks" in captured.err
    assert lines["nvcr.io/nim/meta/llama-3.2-3b-instruct:1.8.3"] == "NIM llama3-2-3b-instruct"
    [notice] = [line for line in captured.err.splitlines() if "behind a login" in line]
    assert notice.startswith("notice: chart nim-llm 1.15.5 ")
    assert "1.13.1" in notice


def test_the_version_of_nim_llm_that_was_read_needs_no_notice(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without_charts(file, "charts: {versions: {nim-llm: 1.13.1}}")
    assert run_command("images", str(file)) == 0
    assert "nim-llm" not in capsys.readouterr().err


def test_images_of_a_chart_s_own_tests_are_left_out(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("images", str(file)) == 0
    assert "registry.example.com/of-a-test:1" not in capsys.readouterr().out


def test_databases_of_the_charts_are_recorded(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without_charts(file, "postgres: {kind: bundled}", "layout: single", "mlflow: {mode: skip}")
    run_command("images", str(file))
    assert "bitnamilegacy/postgresql:" in capsys.readouterr().out


def test_another_version_of_a_chart_was_not_recorded(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without_charts(file, "charts: {versions: {nemo-microservices-helm-chart: 25.11.0}}")
    assert run_command("images", str(file)) == 8
    captured = capsys.readouterr()
    assert "nemo-microservices-helm-chart 25.11.0 of release nemo-datastore/nemo" in captured.err
    assert "only the images of 25.12.0 are known" in captured.err
    assert "nemo-microservices/datastore" not in captured.out


@pytest.mark.usefixtures("file")
@pytest.mark.parametrize("target", ["gke", "eks", "aks", "existing", "minikube"])
def test_a_target_needs_no_stack_file(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("images", "--target", target) == 0
    captured = capsys.readouterr()
    listed = {line.partition("\t")[0] for line in captured.out.splitlines()}
    assert {
        "nvcr.io/nvidia/nemo-microservices/datastore:25.12",
        "nvcr.io/nim/meta/llama-3.2-3b-instruct:1.8.3",
    } <= listed
    assert ("registry.example.com/cluster-autoscaler:1" in listed) is (target == "eks")
    assert not [image for image in listed if withdrawn(image)]


def test_what_is_no_target_of_a_mirror(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("images", str(file), "--target", "gke") == 2
    assert "leave out" in capsys.readouterr().err
    assert run_command("images", "--target", "moon") == 2
    assert "'moon' is unknown; choose one of local," in capsys.readouterr().err
    assert run_command("images", "--target", "local") == 2
    assert "pulls no image" in capsys.readouterr().err


def test_every_part_that_can_run_is_recorded() -> None:
    aliases = {service.alias for service in names.MICROSERVICES} | {"nemo-operator"}
    assert aliases == recorded_images.UMBRELLA.parts.keys()
    every = {image for images in recorded_images.UMBRELLA.parts.values() for image in images}
    assert not [image for image in every if withdrawn(image) or ":" not in image]
