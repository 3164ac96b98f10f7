"""A job of several processes trains as one of a single process does. Two CPU processes stand in for two GPUs."""

import multiprocessing
import os
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from embedded.customizer import devices
from embedded.customizer.progress import summarize
from embedded.customizer.replicas import Replicas
from embedded.customizer.spec import JobFolder
from embedded.customizer.worker import EXIT_FAILED
from tests.contract.customizer_support import job_spec, make_model, train_job


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("weights"))


def _start(root: Path, weights: Path, processes: int, **hyper):
    root.mkdir()
    # 40 rows in batches of 13: one of them is a single row, of which the second process gets nothing
    hyper = {"finetuning_type": "lora", "learning_rate": 5e-3, "batch_size": 13, "epochs": 2, **hyper}
    spec = job_spec(weights, hyper, threads=2, processes=processes)
    job = multiprocessing.get_context("spawn").Process(target=train_job, args=(str(root), spec), daemon=True)
    job.start()
    return job


def test_two_processes_end_with_the_losses_and_the_adapter_of_one(tmp_path, weights, capfd):
    for processes in (1, 2):
        job = _start(tmp_path / str(processes), weights, processes, lora={"adapter_dim": 4, "adapter_dropout": 0.0})
        job.join()
        assert job.exitcode == 0
    assert "Fatal Python error" not in capfd.readouterr().err  # the other process ends in order, too
    one, two = (JobFolder(tmp_path / str(processes)) for processes in (1, 2))
    alone, together = summarize(one.progress), summarize(two.progress)
    assert together.total_steps == alone.total_steps == 8
    for kind in ("train_loss", "val_loss"):
        expected = [(point["step"], pytest.approx(point["value"], rel=1e-5)) for point in getattr(alone, kind)]
        assert len(expected) >= 2
        assert [(point["step"], point["value"]) for point in getattr(together, kind)] == expected
    tensors = load_file(two.artifact / "adapter_model.safetensors")
    for name, tensor in load_file(one.artifact / "adapter_model.safetensors").items():
        torch.testing.assert_close(tensors[name], tensor, rtol=1e-3, atol=1e-5)


def test_the_job_fails_when_one_of_its_processes_is_killed(tmp_path, weights):
    job = _start(tmp_path / "job", weights, 2, epochs=100_000)
    folder = JobFolder(tmp_path / "job")
    while summarize(folder.progress).steps_completed == 0:
        assert job.is_alive()
        time.sleep(0.1)
    (other,) = psutil.Process(job.pid).children()
    other.kill()
    job.join()
    assert job.exitcode == EXIT_FAILED
    error = summarize(folder.progress).error
    assert error is not None
    assert "process 2 of the job's 2 was ended by SIGKILL" in error["message"]


def test_a_process_without_rows_takes_no_part_but_keeps_step():
    assert Replicas(1, 2).share(["only"]) == []
    assert [Replicas(rank, 3).share(range(7)) for rank in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]


def test_every_process_sees_all_gpus_of_the_job_and_takes_its_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda fraction: None)
    threads = torch.get_num_threads()
    spec = job_spec("unused", {"finetuning_type": "lora"}, processes=2, device="cuda", gpus=(2, 5, 7))
    for rank in range(2):
        devices.prepare_environment(spec)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,5"
        devices.claim(spec, rank)
    torch.set_num_threads(threads)
    assert taken == [0, 1]
