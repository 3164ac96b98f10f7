"""What happens to jobs when things go wrong: bad data, cancellation, kills, restarts, absent stores, a full disk."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import nemo_microservices
import psutil
import pytest
from huggingface_hub import HfApi
from nemo_microservices import NeMoMicroservices

from embedded.common.documents import Documents
from embedded.common.job_queue import ENDED, JobQueue
from embedded.customizer import stores, worker
from embedded.customizer.jobs import Jobs
from embedded.customizer.runner import Runner
from embedded.customizer.spec import JobFolder
from nemostack.clone import ROOT
from tests.contract.conftest import STOPPED_S, free_port, wait_until
from tests.contract.customizer_support import MODEL_ID, finished, job_spec, jsonl, make_model, pairs, put_dataset

LORA = {"finetuning_type": "lora"}
GOOD = {"training/a.jsonl": jsonl(pairs(64)), "validation/v.jsonl": jsonl(pairs(8, 1000))}
# Long enough to be interrupted, short enough to finish after it.
LONG = {**LORA, "epochs": 400, "batch_size": 8, "learning_rate": 1e-4, "seed": 5, "max_steps": 300}
ENDLESS = {**LONG, "epochs": 100_000, "max_steps": 0}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def settings(weights, data_store_url, entity_store_url) -> dict[str, Any]:
    return {
        "entity_store_url": entity_store_url,
        "data_store_url": data_store_url,
        "base_models": {MODEL_ID: str(weights)},
        "threads": 1,
    }


@pytest.fixture(scope="module")
def running(start_process: Callable[..., Any], settings):
    return start_process("customizer", **settings)


@pytest.fixture(scope="module")
def client(running):
    with NeMoMicroservices(base_url=running.url, max_retries=0) as sdk:
        yield sdk


@pytest.fixture(scope="module")
def dataset(hub: HfApi):
    return {"files_url": f"hf://datasets/{put_dataset(hub, 'customizer-failures', GOOD)}"}


def _create(client, dataset, hyperparameters=LORA, **more):
    return client.customization.jobs.create(config=MODEL_ID, dataset=dataset, hyperparameters=hyperparameters, **more)


def _artifact_status(entity_store_url, job) -> str:
    namespace, _, name = job.output_model.partition("/")
    with NeMoMicroservices(base_url=entity_store_url) as entities:
        return entities.models.retrieve(name, namespace=namespace).artifact.status


def _steps(client, job_id) -> int:
    return client.customization.jobs.status(job_id).steps_completed


def _messages(job) -> list[str]:
    return [entry.message for entry in job.status_details.status_logs]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"training/t.jsonl": jsonl(pairs(6)) + b'{"prompt": "x", "completion": \n'},
            r"^training/t\.jsonl line 7: not JSON: ",
        ),
        ({"testing/t.jsonl": jsonl(pairs(3))}, r"^no \.jsonl file under training/ .*testing/t\.jsonl"),
        ({"training/t.jsonl": jsonl([{"prompt": "p" * 600, "completion": "c"}] * 3)}, r"^no row has anything to learn"),
    ],
)
def test_bad_data_fails_the_job_with_the_reason(client, hub, unique, entity_store_url, files, message):  # noqa: PLR0917
    dataset = {"files_url": f"hf://datasets/{put_dataset(hub, unique, files)}"}
    job = finished(client, _create(client, dataset).id)
    assert job.status == "failed"
    assert re.match(message, job.status_details.error_message)
    failed = job.status_details.status_logs[-1]
    assert (failed.message, failed.detail) == ("failed", job.status_details.error_message)
    error = client.customization.jobs.container_logs(job.id).error
    assert error.message == job.status_details.error_message
    assert error.exception_type == "JobError"
    wait_until(lambda: _artifact_status(entity_store_url, job) == "upload_failed", "the entity's status", seconds=60)


def test_a_dataset_that_is_gone_fails_the_job(client):
    job = finished(client, _create(client, {"files_url": "hf://datasets/default/never-was"}).id)
    assert job.status == "failed"
    assert "not in the Data Store: upload the files first" in job.status_details.error_message


def test_wrong_target_modules_fail_with_the_modules_there_are(client, dataset):
    job = finished(client, _create(client, dataset, {**LORA, "lora": {"target_modules": ["w_pack"]}}).id)
    assert "'w_pack' matches no linear layer" in job.status_details.error_message
    assert "q_proj" in client.customization.jobs.container_logs(job.id).error.explanation


def test_cancel_ends_a_running_job_at_once_and_one_in_the_queue_never_starts(
    client, running, dataset, entity_store_url
):
    first, second, third = (_create(client, dataset, ENDLESS) for _ in range(3))
    wait_until(lambda: _steps(client, first.id) > 3, "the first steps", seconds=120)
    assert client.customization.jobs.retrieve(second.id).status == "created", "one job at a time"
    assert client.customization.jobs.cancel(second.id).status == "cancelled"
    begun = time.monotonic()
    assert client.customization.jobs.cancel(first.id).status in {"cancelling", "cancelled"}
    job = finished(client, first.id)
    assert time.monotonic() - begun < STOPPED_S, "it was left to train"
    assert job.status == "cancelled"
    assert job.status_details.error_message is None
    assert job.status_details.percentage_done < 100
    wait_until(lambda: _steps(client, third.id) > 0, "the queue to go on", seconds=120)
    client.customization.jobs.cancel(third.id)
    finished(client, third.id)
    assert client.customization.jobs.retrieve(second.id).status == "cancelled"
    assert _steps(client, second.id) == 0
    for job in (first, second):
        wait_until(
            lambda j=job: _artifact_status(entity_store_url, j) == "upload_failed", "the entity's status", seconds=60
        )


def test_a_cancellation_that_comes_as_the_worker_ends_leaves_no_job_cancelling(tmp_path):
    documents = Documents(tmp_path / "customizer.sqlite")
    documents.open()
    jobs = Jobs(documents, tmp_path / "jobs")
    model = {"namespace": "default", "name": "m", "artifact": {}}
    jobs.add({"id": "cust-x", "warnings": None}, model, "hf://datasets/default/x")

    class Ended:
        """A worker that has failed already."""

        pid, exitcode = 1, worker.EXIT_FAILED

        def is_alive(self):
            return False

        def close(self):
            # The next thing the runner asks for is the job's folder, to read why it failed.
            folder_of = jobs.folder

            def folder(job_id):
                jobs.folder = folder_of
                queue.cancel(job_id)
                return folder_of(job_id)

            jobs.folder = folder

    processes, entities = SimpleNamespace(start=lambda _: Ended()), SimpleNamespace(update=lambda *_: None)
    queue = JobQueue(jobs, Runner(jobs, processes, entities), at_once=1)
    queue.start()  # takes up the job that waits
    wait_until(lambda: jobs.status("cust-x") in ENDED, "the job's end", seconds=60)
    assert jobs.status("cust-x") == "failed"
    assert "cancelling" in {entry["message"] for entry in jobs.find("cust-x")["logs"]}, "the cancellation was late"
    queue.stop()
    documents.close()


def _worker_pid(running, job_id) -> int:
    pattern = rf"job {job_id}: process (\d+)"
    wait_until(lambda: re.search(pattern, running.log.read_text()), "the worker's start", seconds=120)
    return int(re.findall(pattern, running.log.read_text())[-1])


def test_a_killed_worker_fails_its_job_and_the_queue_goes_on(client, running, dataset):
    job = _create(client, dataset, ENDLESS)
    wait_until(lambda: _steps(client, job.id) > 0, "the first steps", seconds=120)
    os.kill(_worker_pid(running, job.id), signal.SIGKILL)
    job = finished(client, job.id)
    assert job.status == "failed"
    assert "ended by SIGKILL (SIGKILL often means that memory ran out)" in job.status_details.error_message
    assert finished(client, _create(client, dataset, {**LORA, "max_steps": 2}).id).status == "completed"


def _ended(pid: int) -> bool:
    """A zombie has ended, too: it only waits for whoever adopted it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_of_the_service_resumes_the_job(  # noqa: PLR0917
    start_process, settings, dataset, how, tmp_path, entity_store_url
):
    """And the result is the same as without: that is proven in test_customizer_training."""
    port, data_dir = free_port(), tmp_path / "data"
    first = start_process("customizer", port=port, data_dir=data_dir, **settings)
    with NeMoMicroservices(base_url=first.url, max_retries=0) as client:
        job, queued = _create(client, dataset, LONG), _create(client, dataset, {**LORA, "max_steps": 1})
        wait_until(lambda: _steps(client, job.id) > 30, "the first steps", seconds=120)
        pid = _worker_pid(first, job.id)
        begun = time.monotonic()
        first.process.send_signal(how)
        first.process.wait(STOPPED_S)
        assert time.monotonic() - begun < STOPPED_S
        wait_until(lambda: _ended(pid), "the worker to end with its service")
        second = start_process("customizer", port=port, data_dir=data_dir, **settings)
        assert client.customization.jobs.retrieve(job.id).status == "running"
        job, queued = finished(client, job.id), finished(client, queued.id)
        second.stop()
    assert (job.status, queued.status) == ("completed", "completed")
    assert {"interrupted", "training resumed"} < set(_messages(job))
    assert _messages(queued).count("interrupted") == 0
    resumed = next(entry for entry in job.status_details.status_logs if entry.message == "training resumed")
    assert int(re.search(r"from step (\d+) of 300", resumed.detail)[1]) > 0
    assert job.status_details.steps_completed == 300
    for points in (job.status_details.metrics.metrics.train_loss, job.status_details.metrics.metrics.val_loss):
        steps = [point.step for point in points]
        assert steps == sorted(set(steps)), "a step that was done twice shows once"
    assert _artifact_status(entity_store_url, job) == "upload_completed"


def test_a_cancellation_asked_for_before_a_crash_is_carried_out(start_process, settings, dataset, tmp_path):
    port, data_dir = free_port(), tmp_path / "data"
    first = start_process("customizer", port=port, data_dir=data_dir, **settings)
    with NeMoMicroservices(base_url=first.url, max_retries=0) as client:
        job = _create(client, dataset, ENDLESS)
        wait_until(lambda: _steps(client, job.id) > 0, "the first steps", seconds=120)
        first.process.send_signal(signal.SIGSTOP)
        # As if the crash came just after the request was recorded.
        subprocess.run(["python3", "-c", _SET_CANCELLING, str(data_dir / "customizer.sqlite")], check=True, timeout=20)
        first.process.kill()
        first.process.wait(STOPPED_S)
        second = start_process("customizer", port=port, data_dir=data_dir, **settings)
        assert finished(client, job.id).status == "cancelled"
        second.stop()


_SET_CANCELLING = """
import json, sqlite3, sys
with sqlite3.connect(sys.argv[1]) as db:
    (row,) = db.execute("select sequence, document from documents where kind = 'job'").fetchall()
    document = json.loads(row[1])
    document["api"]["status"] = "cancelling"
    db.execute("update documents set document = ? where sequence = ?", (json.dumps(document), row[0]))
"""


def test_no_job_is_created_while_the_entity_store_is_away(start_service, settings, dataset):
    url = f"http://127.0.0.1:{free_port()}"
    lonely = start_service("customizer", **{**settings, "entity_store_url": url}, keep_warm=False)
    with NeMoMicroservices(base_url=lonely.url, max_retries=0) as client:
        with pytest.raises(nemo_microservices.InternalServerError, match=f"no job was created: Entity Store at {url}"):
            _create(client, dataset)
        assert list(client.customization.jobs.list()) == []
    assert not list((lonely.data_dir / "jobs").iterdir())


def test_a_data_store_that_is_away_is_tried_again_then_named(start_service, settings):
    url = f"http://127.0.0.1:{free_port()}"
    service = start_service("customizer", **{**settings, "data_store_url": url})
    with NeMoMicroservices(base_url=service.url, max_retries=0) as client:
        with pytest.raises(nemo_microservices.InternalServerError, match=f"Data Store at {url} does not answer"):
            _create(client, {"name": "not-registered"})
        begun = time.monotonic()
        job = finished(client, _create(client, {"files_url": "hf://datasets/default/x"}).id)
    assert time.monotonic() - begun > sum(stores.PAUSES_S)
    assert job.status == "failed"
    assert f"Data Store at {url}: fetching" in job.status_details.error_message


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (httpx.ConnectError("refused"), True),
        (httpx.ReadTimeout("slow"), True),
        (ConnectionResetError("reset"), True),
        (OSError(28, "No space left on device"), False),
        (httpx.HTTPStatusError("x", request=httpx.Request("GET", "http://x"), response=httpx.Response(503)), True),
        (httpx.HTTPStatusError("x", request=httpx.Request("GET", "http://x"), response=httpx.Response(404)), False),
    ],
)
def test_only_what_may_pass_is_tried_again(error, again):
    calls = []

    def call():
        calls.append(1)
        if len(calls) < 3:
            raise error
        return "done"

    if again:
        assert stores.patiently(call, (0, 0)) == "done"
    else:
        with pytest.raises(type(error)):
            stores.patiently(call, (0, 0))
        assert len(calls) == 1


def test_a_data_store_that_goes_away_during_training_fails_the_job_and_keeps_the_artifact(
    start_service, settings, tmp_path
):
    store = start_service("data_store")
    hub = HfApi(endpoint=f"{store.url}/v1/hf", token=False)
    put_dataset(hub, "short-lived", GOOD)
    service = start_service("customizer", **{**settings, "data_store_url": store.url})
    with NeMoMicroservices(base_url=service.url, max_retries=0) as client:
        job = _create(client, {"files_url": "hf://datasets/default/short-lived"}, {**LONG, "max_steps": 60})
        wait_until(lambda: _steps(client, job.id) > 0, "the first steps", seconds=120)
        store.stop()
        job = finished(client, job.id)
        assert job.status == "failed"
        assert f"Data Store at {store.url}: uploading to default/" in job.status_details.error_message
        error = client.customization.jobs.container_logs(job.id).error
        assert (error.exception_type, error.stack_trace) == ("StoreError", None)
    assert (service.data_dir / "jobs" / job.id / "artifact" / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("room", [2_000, 30_000])
def test_a_full_disk_ends_the_worker_with_the_code_for_it(settings, hub, unique, tmp_path, room):
    """A limit on file sizes stands in for the full disk; both fail the write, at the same places."""
    put_dataset(hub, unique, GOOD)
    folder = JobFolder(tmp_path / "job")
    folder.create(
        job_spec(
            settings["base_models"][MODEL_ID],
            {**LORA, "epochs": 1},
            job_id="cust-full",
            dataset_url=f"hf://datasets/default/{unique}",
            data_store_url=settings["data_store_url"],
            output_repo=("default", unique),
        )
    )
    code = "import sys; from embedded.customizer import worker; worker.main(sys.argv[1])"
    ended = subprocess.run(
        [sys.executable, "-c", code, str(folder.root)],
        cwd=ROOT,
        timeout=600,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
    )
    assert ended.returncode == worker.EXIT_DISK_FULL, folder.log.read_text()
    assert not folder.artifact.exists()


def test_health_answers_before_the_warm_process_is_ready(start_process, settings):
    begun = time.monotonic()
    service = start_process("customizer", **settings)
    assert time.monotonic() - begun < 30, "it waits for the warm process"
    service.stop()


def test_a_wrong_config_file_is_one_line_and_exit_code_2(tmp_path):
    config = tmp_path / "c.json"
    config.write_text(json.dumps({"port": 23090, "data_dir": str(tmp_path), "base_models": {}}))
    ended = subprocess.run(
        [sys.executable, "-m", "embedded.serve", "customizer", str(config)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 2
    assert "entity_store_url" in ended.stderr
    assert "Traceback" not in ended.stderr
