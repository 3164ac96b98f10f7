"""The doctor's rows about GPUs, with a program in the place of nvidia-smi that answers both of its questions."""

from collections.abc import Callable
from pathlib import Path

import pytest

from nemostack import gpus as nvidia
from nemostack.outputs import StackOutputs
from operations.doctor import gpus
from tests.unit.command_line import run_command
from tests.unit.fake_stack import FakeStack

FIRST = "0, GPU-aaaa, NVIDIA H200, 580.159.04, 143771, 72704, 9.0"
SECOND = "1, GPU-bbbb, NVIDIA L4, 580.159.04, 23034, 0, 8.9"
ENGINE = "GPU-aaaa, 4711, 65536, VLLM::EngineCore"
SECRETIVE = "GPU-aaaa, 4712, [N/A], python, --name"
CUDA = "cuda: found GPU 0 (NVIDIA H200, 140 GiB, driver 580.159.04); NIM 50% of GPU 0, training 44% of GPU 0"
PAIR = "cuda: found GPU 0 (x), GPU 1 (y); NIM 90% of GPU 0, training 90% of GPU 1"
Install = Callable[..., None]


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(nvidia, "WSL_PROGRAM", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path))

    def install(*cards: str, holders: tuple[str, ...] = (), code: int = 0) -> None:
        program = tmp_path / "nvidia-smi"
        shown = "".join(f"echo '{card}'\n" for card in cards)
        held = "".join(f"echo '{holder}'\n" for holder in holders)
        answers = f"--query-gpu=*)\n{shown}:;;\n--query-compute-apps=*)\n{held}:;;\n"
        program.write_text(f"#!/bin/sh\ncase $1 in\n{answers}esac\nexit {code}\n")
        program.chmod(0o755)

    return install


def outputs(accelerator: str | None) -> StackOutputs:
    url = "http://127.0.0.1:1"
    return StackOutputs(
        target="local",
        nemo_url=url,
        data_store_url=url,
        nim_url=url,
        nim_internal_url=url,
        mlflow_url=url,
        judge_url=url,
        judge_model="a/judge",
        base_model="a/model",
        customization_config="a/model@v1",
        log_commands={},
        accelerator=accelerator,
    )


def lines(accelerator: str | None) -> list[str]:
    return [f"{finding.level} {finding.line}" for finding in gpus.look(outputs(accelerator))]


def test_gpus_with_their_users_and_the_shares(smi: Install) -> None:
    smi(FIRST, holders=(ENGINE, SECRETIVE, "GPU-other, 5, 100, elsewhere"))
    users = "VLLM::EngineCore (pid 4711, 64.0 GiB), python, --name (pid 4712)"
    assert lines(CUDA) == [
        f"ok GPU 0: memory: NVIDIA H200, driver 580.159.04, 71.0 of 140.4 GiB in use by {users}",
        "ok GPU: shares: NIM 50% of GPU 0, training 44% of GPU 0",
    ]


def test_users_that_the_driver_hides_are_not_denied(smi: Install) -> None:
    smi(FIRST)
    assert "71.0 of 140.4 GiB in use; the driver names no process" in lines(CUDA)[0]


def test_each_gpu_has_a_row_and_one_that_is_gone_is_bad(smi: Install) -> None:
    smi(FIRST, SECOND)
    assert [line.split(": ")[0] for line in lines(PAIR)] == ["ok GPU 0", "ok GPU 1", "ok GPU"]
    smi(FIRST)
    assert lines(PAIR)[-1].startswith("bad GPU: shares: NIM 90% of GPU 0, training 90% of GPU 1, but the driver no")
    assert "no longer lists GPU 1 -> look at CUDA_VISIBLE_DEVICES" in lines(PAIR)[-1]


def test_a_driver_that_fails_matters_only_where_gpus_compute(smi: Install) -> None:
    smi("Driver/library version mismatch", code=18)
    (line,) = lines(CUDA)
    assert line.startswith("bad GPU: driver: ")
    assert "exit 18" in line
    assert "-> repair the driver" in line
    assert lines("cpu: no NVIDIA GPU can be used: nvidia-smi failed") == []


@pytest.mark.parametrize("accelerator", [None, "cpu: local.accelerator is cpu", "cpu: no NVIDIA GPU can be used: x"])
def test_a_stack_on_the_cpu_without_gpus_has_no_rows(smi: Install, accelerator: str | None) -> None:
    assert lines(accelerator) == []  # no nvidia-smi
    smi()
    assert lines(accelerator) == []  # a driver that shows none


def test_an_idle_gpu_beside_a_stack_on_the_cpu_is_told(smi: Install) -> None:
    smi(SECOND)
    assert lines("cpu: local.accelerator is cpu")[1:] == [
        "ok GPU: shares: the stack computes on the CPU: local.accelerator is cpu"
    ]
    (_, shares) = lines("cpu: no NVIDIA GPU can be used: it was asleep")
    assert shares.startswith(
        "warn GPU: shares: the stack computes on the CPU: no NVIDIA GPU can be used: it was asleep"
    )
    assert "set local.accelerator to cuda" in shares


@pytest.mark.parametrize(("target", "rows"), [("local", 2), ("existing", 0)])
def test_the_command_shows_them_on_the_local_target_alone(
    smi: Install, target: str, rows: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    smi(FIRST)
    stack = FakeStack()
    file = tmp_path / "outputs.json"
    try:
        shown = stack.outputs.model_copy(update={"target": target, "accelerator": CUDA})
        file.write_text(shown.model_dump_json())
        assert run_command("doctor", "--outputs", str(file)) == 0
    finally:
        stack.close()
    assert len([line for line in capfd.readouterr().out.splitlines() if line.startswith("ok\tGPU")]) == rows
