"""Workers that do not see the master's folder: what they are told, and what becomes of their samples."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from load_tests import delivery
from load_tests.options import ModelShare, RunManifest
from load_tests.traffic.residency import Slots
from load_tests.traffic.trace import TraceRow
from nemostack.clone import ROOT
from nemostack.errors import BadInput
from simulator import ports
from tests.deadlines import Deadline
from tests.unit.conftest import Mock
from tests.unit.load_tests.conftest import Outcome, load_spec


def manifest(folder: Path, *, command: str = "") -> RunManifest:
    prompts = folder / "mine.jsonl"
    prompts.write_text('{"prompt": "one"}\n')
    spec = load_spec(prompts=prompts, out=folder / "run-1", beside={"command": command})
    return RunManifest(
        spec=spec,
        base_model="m",
        models=[ModelShare(id="m", share=1)],
        slots=Slots(4, "assumed"),
        workers=2,
        versions={},
    )


def test_a_worker_elsewhere_gets_the_files_that_the_plan_names(tmp_path: Path) -> None:
    sent = [TraceRow(0.5, 10, None, "m"), TraceRow(1.25, None, 3, None, [{"role": "user", "content": "Ä?"}])]
    message = delivery.pack(manifest(tmp_path), sent)
    (tmp_path / "mine.jsonl").unlink()
    told, rows, courier = delivery.unpack(message)
    assert courier is not None
    assert rows == sent
    assert told.spec.prompts.read_text() == '{"prompt": "one"}\n'
    assert (told.spec.out.name, told.spec.out.is_relative_to(tmp_path)) == ("run-1", False)
    shutil.rmtree(told.spec.out.parent)


def test_a_worker_that_sees_the_folder_uses_it_unless_another_run_is_in_it(tmp_path: Path) -> None:
    made = manifest(tmp_path)
    made.spec.out.mkdir()
    (made.spec.out / "run.json").write_text(made.model_dump_json())
    assert delivery.unpack(delivery.pack(made)) == (made, [], None)
    (made.spec.out / "run.json").write_text(made.model_copy(update={"base_model": "another"}).model_dump_json())
    told, _, courier = delivery.unpack(delivery.pack(made))
    assert courier is not None
    shutil.rmtree(told.spec.out.parent)


def test_a_master_cannot_make_a_worker_elsewhere_run_a_command(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="workers on other hosts run none"):
        delivery.unpack(delivery.pack(manifest(tmp_path, command="rm -r /")))


def test_files_arrive_whole_however_they_grew_and_the_facts_come_last(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    courier = delivery.Courier(there)
    requests, facts = there / "requests-3.jsonl", there / "worker-3.json"
    requests.write_text("a\n")
    first = list(courier.chunks())
    assert list(courier.chunks()) == [], "nothing is sent twice"
    with requests.open("a") as file:
        file.write("b" * 9_000_000)
    facts.write_text("{}")
    (there / "secrets.pem").write_text("not of a run")
    assert [c["name"] for c in courier.chunks()] == ["requests-3.jsonl"] * 3
    last = list(courier.chunks(last=True))
    assert [c["name"] for c in last] == ["worker-3.json"]
    courier = delivery.Courier(there)
    for chunk in [*first, *reversed(list(courier.chunks(last=True)))]:
        delivery.receive(chunk, here)
    assert (here / "requests-3.jsonl").read_bytes() == requests.read_bytes()
    assert sorted(path.name for path in here.iterdir()) == ["requests-3.jsonl", "worker-3.json"]


@pytest.mark.parametrize("name", ["../run.json", "/etc/passwd", "requests-1.jsonl/..", "run", "worker-1.json\n"])
def test_a_worker_cannot_write_anywhere_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="none of a run's"):
        delivery.receive({"name": name, "offset": 0, "data": zlib.compress(b"x")}, tmp_path / "raw")
    assert list(tmp_path.iterdir()) == []


def test_a_piece_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes((64 << 20) + 1))
    with pytest.raises(BadInput, match="larger than any"):
        delivery.receive({"name": "server.jsonl", "offset": 0, "data": bomb}, tmp_path / "raw")


def blind_worker(hidden: Path, port: int) -> list[str]:
    """A worker's command, in a mount namespace in which `hidden` is an empty folder."""
    worker = f"exec {sys.executable} -m load_tests --worker --master-host 127.0.0.1 --master-port {port}"
    return ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs none {hidden} && {worker}"]


needs_namespaces = pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("unshare") is None, reason="mounting in a namespace takes root and unshare"
)


@pytest.mark.slow
@needs_namespaces
def test_samples_of_a_worker_without_the_folder_are_in_the_report(
    mock_nim: Callable[..., Mock], load: Callable[..., Outcome], tmp_path: Path
) -> None:
    nim = mock_nim("--ttft", "0.02", "--itl", "0.002", "--tokens", "5")
    with ports.hold() as block:
        port = block[0]
    workers = [
        subprocess.Popen([sys.executable, "-m", "load_tests", "--worker", "--master-port", str(port)], cwd=ROOT),
        subprocess.Popen(blind_worker(tmp_path, port), cwd=ROOT),
    ]
    run = load(
        nim.url,
        f"--master --master-bind-port {port} --expect-workers 2 --arrivals constant --rate 40 --duration 3s",
        "--adapters none --warmup 1s",
    )
    assert [worker.wait(60) for worker in workers] == [0, 0]
    assert run.code in {0, 22}, run.err
    assert [r["t_sched"] for r in run.requests] == [pytest.approx(k / 40) for k in range(160)]
    assert {r["worker"] for r in run.requests} == {0, 1}
    assert len(run.report["workers"]) == 2


@pytest.mark.slow
@needs_namespaces
def test_what_a_lost_worker_had_sent_is_kept_and_the_run_is_invalid(
    mock_nim: Callable[..., Mock], load: Callable[..., Outcome], tmp_path: Path
) -> None:
    nim = mock_nim("--ttft", "0.02", "--itl", "0.002", "--tokens", "5")
    with ports.hold() as block:
        port = block[0]
    lost = subprocess.Popen(blind_worker(tmp_path, port), cwd=ROOT, start_new_session=True)

    def lose_it() -> None:
        raw = tmp_path / "run-1" / "raw"
        deadline = Deadline(120)
        while not (raw / "requests-0.jsonl").exists() and not deadline.passed:
            time.sleep(0.1)
        os.killpg(lost.pid, signal.SIGKILL)

    watching = threading.Thread(target=lose_it)
    watching.start()
    master = f"--master --master-bind-port {port} --expect-workers 1"
    run = load(nim.url, f"{master} --arrivals constant --rate 20 --duration 12s --warmup 0s --grace 1s --adapters none")
    watching.join()
    lost.wait()
    assert run.code == 22, run.err
    assert "invalid: all workers reported: 0 of 1" in run.out
    assert run.requests, "what was measured before is there"
