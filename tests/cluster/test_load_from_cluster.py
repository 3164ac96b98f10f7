"""`nemostack load --workers N` on a real API server: with pods that are processes, and with pods that never work."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from load_tests.cluster import run as from_cluster
from load_tests.commands import app
from nemostack.clone import ROOT
from nemostack.errors import Forbidden, JobFailed
from nemostack.kubectl import client
from simulator import inventory
from simulator.control_plane import ControlPlane
from tests.cluster import process_pods
from tests.cluster.process_pods import ProcessPods
from tests.deadlines import Deadline, stretched
from tests.unit.operations import healthy_cluster as h

pytestmark = pytest.mark.slow
needs_namespaces = pytest.mark.skipif(not process_pods.usable(), reason=process_pods.WHY_NOT)
IMAGE = "registry.example.com/nemostack-load:1"
RESTRICTED = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(from_cluster, "POLL_S", 0.5)
    monkeypatch.setattr(from_cluster, "START_S", 60.0)


@dataclass
class Site:
    """A namespace with a stack's NIM, a Service called `mock-nim`, on `port`."""

    plane: ControlPlane
    namespace: str
    folder: Path
    port: int = 8000

    def load(self, options: str, **cluster: Any) -> int:
        """Return the exit code of `nemostack load` with these options."""
        services = {"nim": f"{self.namespace}/mock-nim:{self.port}"}
        values = {"kubeconfig": str(self.plane.kubeconfig), "services": services, **cluster}
        outputs = h.outputs(h.cluster_outputs(**values), base_model="mock/base")
        file = self.folder / "outputs.json"
        file.write_text(outputs.model_dump_json())
        command = f"--outputs {file} --image {IMAGE} --out {self.folder / 'run'} {options}"
        return int(app(command.split(), standalone_mode=False) or 0)

    def left(self) -> set[str]:
        """Paths of what load tests have made here and not removed."""
        return {path for path in inventory.contents(self.plane.api) if "/nemostack-load-" in path}

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What the report was made of."""
        return [json.loads(line) for line in (self.folder / "run" / "requests.jsonl").read_text().splitlines()]


@pytest.fixture
def site(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Site]:
    """Every test has to leave the namespace as it was."""
    made = Site(control_plane, namespace, tmp_path)
    yield made
    assert made.left() == set()


@pytest.fixture
def pods(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessPods]:
    folder = site.folder / "pods"
    folder.mkdir()
    with ProcessPods(site.plane.api, site.namespace, folder) as running:
        monkeypatch.setattr(client, "transfer", running.execute)
        yield running


@pytest.fixture
def working(site: Site, pods: ProcessPods) -> Iterator[ProcessPods]:
    """Pods that find a mock NIM on this machine by the name of its Service."""
    command = [sys.executable, "-m", "load_tests", "mock", "--host", pods.gateway, "--ttft", "0.02", "--itl", "0.002"]
    with subprocess.Popen([*command, "--tokens", "5"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as mock:
        assert mock.stdout is not None
        pods.hosts[f"mock-nim.{site.namespace}.svc"] = pods.gateway
        site.port = int(mock.stdout.readline().rpartition(":")[2])
        yield pods
        mock.terminate()


@needs_namespaces
def test_the_report_is_made_here(site: Site, working: ProcessPods, monkeypatch: pytest.MonkeyPatch) -> None:
    site.plane.api.patch(f"/api/v1/namespaces/{site.namespace}", RESTRICTED)
    monkeypatch.setenv("NIM_API_KEY", "a-key-of-the-user")
    monkeypatch.setenv("NEMOSTACK_LOAD_WARMUP", "1s")
    prompts = site.folder / "mine.jsonl"
    prompts.write_text('{"prompt": "one"}\n')
    seconds = ceil(stretched(3))  # and a warm-up of one
    window = f"--rate 20 --duration {seconds}s"
    code = site.load(f"--workers 2 --arrivals constant {window} --adapters none --prompts {prompts}")
    assert code in {0, 22}
    steps = [20 * r["t_sched"] for r in site.requests]
    assert steps == pytest.approx(sorted({round(step) for step in steps})), "each moment of the plan once, in order"
    assert len(steps) > 10 * seconds, "a busy machine may miss some, not half of them"
    assert {(r["worker"], r["outcome"]) for r in site.requests} == {(0, "ok"), (1, "ok")}
    run = site.folder / "run"
    spec = json.loads((run / "run.json").read_text())["spec"]
    assert (spec["prompts"], spec["out"]) == (str(prompts), str(run))
    assert (run / "report.html").is_file()
    assert {one.environment.get("NIM_API_KEY") for one in working.running.values()} == {"a-key-of-the-user"}
    assert app(["report", str(run)], standalone_mode=False) == code


@needs_namespaces
def test_a_journey_runs_in_the_pods(site: Site, working: ProcessPods) -> None:
    journey = site.folder / "mine.py"
    journey.write_text(
        "from locust import task\n"
        "from load_tests.journeys import Journey\n\n\n"
        "class Buyer(Journey):\n"
        "    @task\n"
        "    def ask(self):\n"
        "        self.chat([{'role': 'user', 'content': 'Is it \"$5\"?'}], max_tokens=5)\n"
    )
    window = f"--duration {ceil(stretched(4))}s --warmup 0s"
    code = site.load(f"--workers 2 -u 4 {window} --adapters none --journey {journey}")
    assert code in {0, 22}
    assert {(r["worker"], r["outcome"]) for r in site.requests} == {(0, "ok"), (1, "ok")}


@needs_namespaces
def test_a_lost_worker_is_told_and_makes_the_run_invalid(
    site: Site, working: ProcessPods, capsys: pytest.CaptureFixture[str]
) -> None:
    watching = in_the_midst(working, lambda: working.kill(working.find("worker")[1]))
    code = site.load("--workers 2 --arrivals constant --rate 20 --duration 14s --warmup 0s --grace 1s --adapters none")
    watching.join()
    shown = capsys.readouterr()
    assert code == 22
    assert "worker 1 of 2 was lost: OOMKilled (exit 137)" in shown.err
    assert "invalid: all workers reported: 1 of 2" in shown.out
    assert len({r["worker"] for r in site.requests}) == 2, "what it had sent is in the report"


@needs_namespaces
@pytest.mark.filterwarnings("ignore:.*Popen.__del__")  # Python does not wait for a child that has the signal too
def test_ctrl_c_ends_the_load_and_the_report_follows(
    site: Site, working: ProcessPods, capsys: pytest.CaptureFixture[str]
) -> None:
    watching = in_the_midst(working, lambda: os.kill(os.getpid(), signal.SIGINT))
    code = site.load("--workers 1 -u 2 --duration 10m --warmup 0s --adapters none")
    watching.join()
    shown = capsys.readouterr()
    assert code == 22
    assert "interrupted: the load ends" in shown.err
    assert "invalid: ran to the end" in shown.out
    assert site.requests


@needs_namespaces
@pytest.mark.filterwarnings("ignore:.*Popen.__del__")  # Python does not wait for a child that has the signal too
def test_ctrl_c_before_the_load_removes_what_was_made(site: Site, working: ProcessPods) -> None:
    def interrupt() -> None:
        deadline = Deadline(60)
        while not working.running and not deadline.passed:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    watching = threading.Thread(target=interrupt)
    watching.start()
    assert site.load("--workers 1 -u 2 --duration 10m --adapters none") == 130
    watching.join()


@needs_namespaces
def test_what_the_master_refuses_is_told_here(
    site: Site, working: ProcessPods, capsys: pytest.CaptureFixture[str]
) -> None:
    assert site.load("--workers 1 -u 2 --duration 3s --adapters mock/none-such") == 2
    assert "mock/none-such" in capsys.readouterr().err


@needs_namespaces
def test_an_image_that_cannot_be_pulled(site: Site, pods: ProcessPods) -> None:
    pods.unpullable.add(IMAGE)
    with pytest.raises(JobFailed, match=r"cannot start: ImagePullBackOff.*want an --image-pull-secret"):
        site.load("--workers 1")


def test_a_quota_that_allows_no_pod(site: Site) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    site.plane.api.create(f"/api/v1/namespaces/{site.namespace}/resourcequotas", quota)
    with pytest.raises(JobFailed, match=r"cannot start: .*exceeded quota"):
        site.load("--workers 1")


def test_a_pod_that_ends_by_itself(site: Site) -> None:
    """On simulated nodes the pods of Jobs succeed at once, whatever their image."""
    site.plane.add_nodes(1)
    with pytest.raises(JobFailed, match="the master's pod ended by itself: it succeeded"):
        site.load("--workers 1")


def test_no_right_to_make_jobs(site: Site) -> None:
    with pytest.raises(Forbidden, match="cannot create resource"):
        site.load("--workers 1", kubeconfig=str(site.plane.user("load-tester")))


def in_the_midst(pods: ProcessPods, act: Callable[[], None]) -> threading.Thread:
    """Do something once the master has samples."""

    def wait_and_act() -> None:
        deadline = Deadline(120)
        while not deadline.passed:
            masters = pods.find("master")
            if masters and not masters[0].ended:
                look = ["nsenter", "--mount", "-t", str(masters[0].process.pid), "sh", "-c", SAMPLES]
                if subprocess.run(look, capture_output=True, check=False).returncode == 0:
                    break
            time.sleep(0.2)
        time.sleep(1)
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


SAMPLES = "test -s /tmp/nemostack/run/raw/requests-0.jsonl"
