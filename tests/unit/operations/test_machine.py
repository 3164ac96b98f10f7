"""A full disk is told as such by the doctor of a local stack."""

import shutil
from pathlib import Path

import pytest

from nemostack.outputs import StackOutputs
from operations.doctor import machine

DISK = shutil.disk_usage("/")


def outputs(log: Path) -> StackOutputs:
    urls = dict.fromkeys(("nemo_url", "data_store_url", "nim_url", "nim_internal_url", "mlflow_url", "judge_url"), "")
    log_commands = {"nim": ["tail", "-n", "200", str(log)]}
    names = {"judge_model": "judge", "base_model": "m", "customization_config": "m"}
    return StackOutputs.model_validate({"target": "local", "log_commands": log_commands} | urls | names)


@pytest.mark.parametrize(
    ("free", "level", "said"),
    [
        (50_000_000_000, "ok", "50.0 of 100.0 GB free in "),
        (1_500_000_000, "warn", "1.5 of 100.0 GB free in "),
        (0, "bad", "0.0 of 100.0 GB free in "),
    ],
)
def test_space_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str, said: str) -> None:
    (tmp_path / "data").mkdir()
    usage = type(DISK)(total=100_000_000_000, used=100_000_000_000 - free, free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage if folder == tmp_path / "data" else DISK)
    (finding,) = machine.look(outputs(tmp_path / "logs" / "nim.log"))
    assert (finding.level, finding.service) == (level, "Machine")
    assert finding.evidence == f"{said}{tmp_path}/data"
    assert bool(finding.fix) == (level != "ok")


def test_a_stack_whose_data_is_elsewhere_is_not_judged(tmp_path: Path) -> None:
    assert machine.look(outputs(tmp_path / "logs" / "nim.log")) == []
