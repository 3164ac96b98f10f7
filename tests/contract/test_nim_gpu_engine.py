"""What NIM checks and prepares before vLLM starts on GPUs, as far as a machine without one can tell."""

import os
import subprocess
import sys
from typing import Any

import pytest

from embedded.nim.gpu_engine import shortage
from embedded.nim.server import environment
from embedded.nim.settings import Settings
from nemostack.clone import ROOT
from nemostack.gpus import Gpu, GpuProcess

CARD = Gpu(1, "GPU-a", "NVIDIA A10", "580.1", memory_mib=24_000, used_mib=20_000, capability=(8, 6))
ANY = {"base_model": "m", "model_path": "m", "port": 1, "data_dir": "/tmp", "peft_source": "/tmp"}
ON_A_GPU = {"accelerator": "cuda", "gpus": [0, 1]}
LISTENING = """
import os, psutil, torch.distributed as dist
from embedded.nim.gpu_engine import meet_in_a_file
dist.init_process_group("gloo", init_method=meet_in_a_file("192.0.2.1", 1), world_size=1, rank=0)
for place in psutil.Process().net_connections("inet"):
    if place.status == psutil.CONN_LISTEN:
        print(place.laddr.ip)
"""


def test_a_gpu_that_others_hold_is_told_with_its_holder() -> None:
    holders = [GpuProcess("GPU-a", 4711, 19_000, "python"), GpuProcess("GPU-b", 4712, 1, "other")]
    assert shortage(CARD, 0.1, holders) is None
    told = shortage(CARD, 0.5, holders)
    assert told is not None
    assert "process 4711 (python, 19000 MiB)" in told
    assert "4712" not in told
    assert "local.gpu.nim_memory_fraction" in told


@pytest.mark.parametrize(
    ("chosen", "asked", "threads"),
    [({}, "", len(os.sched_getaffinity(0))), ({}, "3", 3), ({"threads": 2}, "3", 2), (ON_A_GPU, "3", 1)],
)
def test_threads_of_the_engine(
    monkeypatch: pytest.MonkeyPatch, chosen: dict[str, Any], asked: str, threads: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert environment(Settings.model_validate(ANY | chosen))["OMP_NUM_THREADS"] == str(threads)


def test_the_engines_processes_meet_where_no_other_machine_reaches_them() -> None:
    chosen = environment(Settings.model_validate(ANY | ON_A_GPU))
    assert (chosen["VLLM_HOST_IP"], chosen["GLOO_SOCKET_IFNAME"], chosen["CUDA_VISIBLE_DEVICES"]) == (
        "127.0.0.1",
        "lo",
        "0,1",
    )
    done = subprocess.run(
        [sys.executable, "-c", LISTENING],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) <= {"127.0.0.1", "::1"}, done.stdout
