"""The queue of jobs: order, cancelling, deleting, and what becomes of jobs when their service stops or is killed."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedded.common.documents import Documents
from embedded.common.errors import Conflict, NotFound
from embedded.common.job_queue import CANCELLED, COMPLETED, ENDED, FAILED, Ending, JobQueue, JobRecords, Stopped
from nemostack.clone import ROOT
from tests.contract.conftest import wait_until


class Recorder:
    """Work that does what a test says, and notes what it was asked for."""

    def __init__(self, do: Callable[[str, threading.Event], str]) -> None:
        self.do = do
        self.begun: list[str] = []
        self.resumed: list[str] = []
        self.finished: list[tuple[str, str]] = []

    def run(self, job_id: str, stop: threading.Event) -> Ending:
        self.begun.append(job_id)
        return Ending(COMPLETED, self.do(job_id, stop))

    def resume(self, job_id: str) -> None:
        self.resumed.append(job_id)

    def finish(self, job_id: str, ending: Ending) -> None:
        self.finished.append((job_id, ending.status))

    def describe(self, error: Exception) -> Ending:
        return Ending(FAILED, str(error))


def wait_for_stop(_job_id: str, stop: threading.Event) -> str:
    stop.wait(60)
    raise Stopped


@pytest.fixture
def records(tmp_path: Path) -> Iterator[JobRecords]:
    documents = Documents(tmp_path / "jobs.sqlite")
    documents.open()
    yield JobRecords(documents, "job")
    documents.close()


def add(records: JobRecords, *job_ids: str, status: str = "created", **more: int) -> None:
    for job_id in job_ids:
        records._documents.insert("job", job_id, {"id": job_id, "status": status, **more})


def ended(records: JobRecords, *job_ids: str) -> None:
    for job_id in job_ids:
        wait_until(lambda one=job_id: records.status(one) in ENDED, f"the end of {job_id}", 60)


def test_jobs_run_in_order_a_few_at_a_time(records: JobRecords) -> None:
    running, most, lock = set(), [0], threading.Lock()
    both = threading.Event()

    def do(job_id: str, _stop: threading.Event) -> str:
        with lock:
            running.add(job_id)
            most[0] = max(most[0], len(running))
            if len(running) == 2:
                both.set()
        assert both.wait(60)
        with lock:
            running.remove(job_id)
        return "done"

    work = Recorder(do)
    queue = JobQueue(records, work, at_once=2)
    names = [f"j{number}" for number in range(6)]
    add(records, *names)
    queue.start()
    ended(records, *names)
    queue.stop()
    assert work.begun == names
    assert most == [2]
    assert records.attempts("j0") == 0


def test_a_failure_fails_its_job_alone(records: JobRecords) -> None:
    def do(job_id: str, _stop: threading.Event) -> str:
        if job_id == "bad":
            raise ValueError("it is broken")
        return "done"

    work = Recorder(do)
    queue = JobQueue(records, work, at_once=1)
    add(records, "bad", "good")
    queue.start()
    ended(records, "bad", "good")
    queue.stop()
    assert (records.status("bad"), records.status("good")) == (FAILED, COMPLETED)
    assert work.finished == [("bad", FAILED), ("good", COMPLETED)]


def test_cancel_stops_what_runs_and_takes_what_waits_out_of_the_queue(records: JobRecords) -> None:
    work = Recorder(wait_for_stop)
    queue = JobQueue(records, work, at_once=1)
    queue.start()
    add(records, "first", "second")
    queue.submit("first")
    queue.submit("second")
    wait_until(lambda: work.begun == ["first"], "the first job", 60)
    queue.cancel("second")
    assert records.status("second") == CANCELLED
    with pytest.raises(Conflict, match="job first is running: cancel it first"):
        queue.delete("first")
    queue.cancel("first")
    ended(records, "first")
    wait_until(lambda: len(work.finished) == 2, "both ends", 60)
    queue.stop()
    assert work.begun == ["first"]
    with pytest.raises(Conflict, match="is cancelled already"):
        queue.cancel("first")
    queue.delete("first")
    with pytest.raises(NotFound):
        queue.cancel("first")


def test_what_was_left_unfinished_is_taken_up(records: JobRecords) -> None:
    add(records, "waiting")
    add(records, "running", status="running", attempts=1)
    add(records, "cancelling", status="cancelling", attempts=1)
    add(records, "twice", status="running", attempts=2)
    work = Recorder(lambda _job_id, _stop: "done")
    queue = JobQueue(records, work, at_once=1)
    queue.start()
    ended(records, "waiting", "running", "cancelling", "twice")
    queue.stop()
    assert work.begun == ["running", "waiting"]
    assert work.resumed == ["running"]
    assert (records.status("cancelling"), records.status("twice")) == (CANCELLED, FAILED)


def test_orderly_stops_do_not_count(records: JobRecords) -> None:
    add(records, "long")
    for _ in range(4):
        work = Recorder(wait_for_stop)
        queue = JobQueue(records, work, at_once=1)
        queue.start()
        wait_until(lambda one=work: one.begun, "its start", 60)
        queue.stop(within_s=60)
        assert (records.status("long"), records.attempts("long")) == ("running", 0)


SERVICE = """
import os, signal, sys, time
from pathlib import Path
from embedded.common.documents import Documents
from embedded.common.job_queue import COMPLETED, Ending, JobQueue, JobRecords

class Work:
    def run(self, job_id, stop):
        if job_id == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        return Ending(COMPLETED, "done")
    def resume(self, job_id): pass
    def finish(self, job_id, ending): print(job_id, ending.status, ending.message, flush=True)
    def describe(self, error): raise error

documents = Documents(Path(sys.argv[1]))
documents.open()
for job_id in ("deadly", "harmless"):
    documents.insert("job", job_id, {"id": job_id, "status": "created"})
queue = JobQueue(JobRecords(documents, "job"), Work(), at_once=1)
queue.start()
while any(document["status"] not in ("completed", "failed") for document in documents.all("job")):
    time.sleep(0.01)
queue.stop()
"""


def test_a_job_that_killed_its_service_twice_is_not_started_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVICE, str(tmp_path / "jobs.sqlite")]
    codes, output = [], ""
    for _ in range(3):
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False, env=os.environ
        )
        codes.append(done.returncode)
        output = done.stdout
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0], output
    lines = output.splitlines()
    assert lines[0].startswith("deadly failed the service died 2 times while this job was running")
    assert lines[1] == "harmless completed done"
