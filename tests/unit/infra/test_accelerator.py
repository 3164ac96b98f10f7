"""The choice between CPU and GPUs, with a program in the place of nvidia-smi, and the shares of GPUs."""

from pathlib import Path

import pytest

from infra.config.local import LocalGpu
from infra.local.accelerator import choose, share_out
from nemostack import gpus
from nemostack.errors import LocalServiceError
from nemostack.gpus import Gpu, GpuQueryError

H200 = "0, GPU-aaaa, NVIDIA H200, 580.159.04, 143771, 4, 9.0"
T4 = "1, GPU-bbbb, Tesla T4, 550.1, 15360, 0, 7.5"
SMALL = "2, GPU-cccc, NVIDIA RTX 3050, 550.1, 8192, 0, 8.6"


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(*rows: str, code: int = 0) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text("#!/bin/sh\n" + "".join(f"echo '{row}'\n" for row in rows) + f"exit {code}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return install


def fleet(count: int) -> list[Gpu]:
    return [Gpu(n, f"GPU-{n}", "NVIDIA H200", "580", 143771, 0, (9, 0)) for n in range(count)]


def test_a_gpu_is_taken_and_named(smi) -> None:
    smi(H200)
    choice = choose("auto")
    assert choice.kind == "cuda"
    assert choice.reason == "found GPU 0 (NVIDIA H200, 140 GiB, driver 580.159.04)"


@pytest.mark.parametrize(("row", "why"), [(T4, "compute capability 7.5"), (SMALL, "8192 MiB of memory are fewer")])
def test_a_gpu_that_is_too_old_or_too_small_is_left(smi, row: str, why: str) -> None:
    smi(row)
    assert choose("auto").kind == "cpu"
    assert why in choose("auto").reason
    with pytest.raises(LocalServiceError, match=why):
        choose("cuda")


def test_only_those_that_can_do_it_count(smi) -> None:
    smi(H200, T4, SMALL)
    assert [gpu.index for gpu in choose("auto").gpus] == [0]


def test_a_driver_that_does_not_answer_is_told(smi) -> None:
    smi("NVIDIA-SMI has failed because it could not communicate with the driver", code=9)
    assert "exit 9" in choose("auto").reason
    with pytest.raises(LocalServiceError, match=r"could not communicate.*set local\.accelerator to cpu"):
        choose("cuda")


def test_without_a_driver_it_is_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpus, "WSL_PROGRAM", str(tmp_path / "none"))
    assert choose("auto").reason == "no NVIDIA GPU can be used: nvidia-smi is not on PATH, so there is no NVIDIA driver"


def test_cpu_asks_nobody() -> None:
    def fail() -> list[Gpu]:
        raise AssertionError

    assert choose("cpu", fail).kind == "cpu"


@pytest.mark.parametrize(
    ("restriction", "indices"),
    [(None, [0, 1, 2]), ("2,0", [2, 0]), ("GPU-1", [1]), ("", []), ("0,7,1", [0]), ("-1", [])],
)
def test_visible_devices_as_cuda_reads_them(restriction: str | None, indices: list[int]) -> None:
    assert [gpu.index for gpu in gpus.visible(fleet(3), restriction)] == indices


@pytest.mark.parametrize(
    ("count", "nim", "customizer"),
    [
        (1, (0,), (0,)),
        (2, (0,), (1,)),
        (3, (0,), (1, 2)),
        (4, (0, 1), (2, 3)),
        (7, (0, 1), (2, 3, 4, 5, 6)),
        (8, (0, 1, 2, 3), (4, 5, 6, 7)),
    ],
)
def test_gpus_are_shared_out(count: int, nim: tuple[int, ...], customizer: tuple[int, ...]) -> None:
    shares = share_out(fleet(count), LocalGpu())
    assert (shares.nim_gpus, shares.customizer_gpus) == (nim, customizer)


def test_one_gpu_is_halved_but_for_a_reserve() -> None:
    shares = share_out(fleet(1), LocalGpu())
    assert (shares.nim_fraction, shares.customizer_fraction) == (0.5, 0.44)
    assert str(shares) == "NIM 50% of GPU 0, training 44% of GPU 0"
    assert share_out(fleet(1), LocalGpu(nim_memory_fraction=0.3)).customizer_fraction == 0.64


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"nim_memory_fraction": 0.93}, "leaves 1% of the GPU to training"),
        ({"nim_memory_fraction": 0.6, "customizer_memory_fraction": 0.5}, "leaves 34% of the GPU to training, and 50%"),
        ({"nim_gpus": 2}, "nim_gpus is 2, but there are 1 GPUs"),
    ],
)
def test_shares_that_cannot_be(settings: dict[str, float], says: str) -> None:
    with pytest.raises(LocalServiceError, match=says):
        share_out(fleet(1), LocalGpu.model_validate(settings))


def test_a_query_error_is_no_gpu() -> None:
    def broken() -> list[Gpu]:
        raise GpuQueryError("no answer")

    assert choose("auto", broken).reason == "no NVIDIA GPU can be used: no answer"
