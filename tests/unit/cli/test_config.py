"""`nemostack config`: what it writes, checks and shows, and what it refuses."""

import json
from pathlib import Path

import pytest
import yaml

from operations.stacks import environment
from tests.unit.command_line import run_command


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("nemostack.clone.ROOT", tmp_path)
    monkeypatch.setattr(environment, "STATE", tmp_path / ".nemostack")
    return tmp_path


def test_from_nothing_to_a_checked_file(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("config", "init", "--target", "gke", "--name", "prod") == 0
    assert "nemostack config check --stack prod" in capsys.readouterr().out
    file = clone / "Pulumi.prod.yaml"
    assert run_command("config", "check", "--stack", "prod") == 2
    assert "nemostack:gke.project: still replace-me" in capsys.readouterr().err
    file.write_text(file.read_text().replace("replace-me", "acme-ml"))
    assert run_command("config", "check", "--stack", "prod") == 2
    assert "nemostack:ngc_api_key" in capsys.readouterr().err
    file.write_text(file.read_text() + "\n  nemostack:ngc_api_key:\n    secure: v1:abc\n")
    assert run_command("config", "check", "--stack", "prod") == 0
    assert capsys.readouterr().out == "Pulumi.prod.yaml: no problem found (target gke)\n"


def test_every_problem_is_a_line(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = clone / "Pulumi.mine.yaml"
    file.write_text("config:\n  nemostack:target: local\n  nemostack:local: {base_port: 80, basemodel: {}}\n")
    assert run_command("config", "check", str(file)) == 2
    told = capsys.readouterr().err
    assert "nemostack:local.base_port: input should be greater than or equal to 1024, got 80" in told
    assert "nemostack:local.basemodel: unknown key (did you mean base_model?)" in told


def test_a_file_is_never_overwritten(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clone / "Pulumi.prod.yaml").write_text("mine")
    assert run_command("config", "init", "--target", "gke", "--name", "prod") == 2
    assert "Pulumi.prod.yaml exists" in capsys.readouterr().err
    assert (clone / "Pulumi.prod.yaml").read_text() == "mine"


@pytest.mark.parametrize(("target", "name"), [("gkee", "prod"), ("gke", "../prod"), ("gke", ""), ("gke", "a/b")])
def test_init_refuses(clone: Path, target: str, name: str) -> None:
    assert run_command("config", "init", "--target", target, "--name", name) == 2
    assert list(clone.iterdir()) == []


def test_show_prints_what_is_in_effect_and_no_secret(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clone / "Pulumi.mine.yaml").write_text(
        "config:\n  nemostack:target: existing\n  nemostack:storage: {rwx_class_name: nfs}\n"
        "  nemostack:ngc_api_key: {secure: v1:abc}\n"
    )
    assert run_command("config", "show", "--stack", "mine") == 0
    shown = capsys.readouterr().out
    settings = yaml.safe_load(shown)["config"]
    assert settings["nemostack:storage"] == {"class_name": None, "rwx_class_name": "nfs"}
    assert settings["nemostack:nims"][0]["model"] == "meta/llama-3.2-3b-instruct"
    assert settings["nemostack:ngc_api_key"] == "(a secret)"
    assert "v1:abc" not in shown


def test_full_form(clone: Path) -> None:
    assert run_command("config", "init", "--target", "existing", "--name", "mine", "--full") == 0
    assert "nemostack:observability:" in (clone / "Pulumi.mine.yaml").read_text()


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("config", "schema") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Stack file of nemostack"
