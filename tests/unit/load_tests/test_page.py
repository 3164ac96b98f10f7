"""Locust's page with our tabs, in a real browser, and the numbers on it."""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest

from load_tests import plan
from load_tests.client.records import RequestRecord
from load_tests.options import ModelShare, RunManifest
from load_tests.traffic.residency import Slots
from load_tests.web.live import Live
from nemostack.clone import ROOT
from nemostack.errors import BadInput
from simulator import ports
from tests.deadlines import Deadline
from tests.unit.conftest import Mock
from tests.unit.load_tests.conftest import load_spec


def live(folder: Path, **limits: float) -> Live:
    spec = load_spec(duration_s=20, warmup_s=1, prompts=folder, out=folder)
    models = [ModelShare(id=name, share=0.5) for name in ("base", "a@1")]
    made = RunManifest(spec=spec, base_model="base", models=models, slots=Slots(4, "assumed"), workers=1, versions={})
    (folder / "raw").mkdir()
    return Live(made, limits)


def record(number: int, model: str, at: float, ttft: float, **changes: Any) -> str:
    """A reply of 11 tokens, 20 ms apart."""
    first = at + ttft
    made = RequestRecord(f"r{number}", 0, model, None, at, first, first + 0.2, first + 0.2, output_tokens=11, **changes)
    return json.dumps(asdict(made)) + "\n"


def test_rows_are_those_of_the_window_by_model_the_slowest_first(tmp_path: Path) -> None:
    seen = live(tmp_path, ttft_ms=150)
    assert seen.models() == [{"name": "warm-up: nothing of it is measured"}]
    raw = tmp_path / "raw" / "requests-0.jsonl"
    lines = [record(0, "base", 0.5, 9.0)]  # of the warm-up
    lines += [record(k, "base", 2 + k / 10, 0.1) for k in range(20)]
    lines += [record(k, "a@1", 2 + k / 10, 0.2) for k in range(20)]
    lines += [record(99, "a@1", 3.0, 0.2, outcome="timeout"), record(98, "a@1", 3.0, 9.0, role="neighbour")]
    raw.write_text("".join(lines)[:-10])
    seen.refresh()
    with raw.open("a") as file:
        file.write("".join(lines)[-10:])
    seen.refresh()
    rows = {row["name"]: row for row in seen.models()}
    assert list(rows)[2:] == ["base", "a@1"]
    assert (rows["base"]["ttft_p50"], rows["base"]["ttft_p95"], rows["base"]["tpot_p50"]) == (100.0, 100.0, 20.0)
    assert (rows["a@1"]["ttft_p50"], rows["a@1"]["errors"]) == (200.0, 1)
    assert rows["all models"]["requests"] == 40
    seconds = 12.2 - 1  # the neighbour was the last to end
    assert rows["all models"]["goodput"] == round(20 / seconds, 2), "those above 150 ms are not good"
    assert rows["all models"]["tokens_per_s"] == round(40 * 11 / seconds, 1)


def test_few_samples_have_no_percentiles_and_the_server_may_be_silent(tmp_path: Path) -> None:
    seen = live(tmp_path)
    (tmp_path / "raw" / "requests-0.jsonl").write_text(record(0, "base", 2, 0.1))
    server = tmp_path / "raw" / "server.jsonl"
    server.write_text('{"t": 1, "running": 7, "kv_cache": 0.5}\n{"t": 2, "running": 3, "kv_cache": 0.25}\n')
    seen.refresh()
    assert seen.models()[0]["ttft_p95"] == "not enough"
    assert seen.models()[0]["goodput"] == "", "nobody said what is good"
    assert seen.server() == [
        {"name": "Requests running", "now": 3, "highest": 7},
        {"name": "KV cache in use (%)", "now": 25.0, "highest": 50.0},
    ]
    with server.open("a") as file:
        file.write('{"t": 3, "problem": "refused"}\n')
    seen.refresh()
    assert seen.server()[0]["now"] == "refused"


@pytest.mark.parametrize("options", ["--steps 1,2", "--find-max", "--repeat 3", "--workers 2 --image i"])
def test_a_page_shows_one_run(options: str) -> None:
    with pytest.raises(BadInput, match="--web shows one run from this machine"):
        plan.make(["--web", *options.split()])


class Shown:
    """A load test with its page."""

    def __init__(self, nim: str, folder: Path, port: int, options: str) -> None:
        self.url, self.port = f"http://127.0.0.1:{port}", port
        command = [sys.executable, "-m", "load_tests", "--nim-url", nim, "--out", str(folder / "run")]
        command += ["--web", "--web-port", str(port), *options.split()]
        self.said = folder / "said"
        with self.said.open("w") as said:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said)
        deadline = Deadline(60)
        while "page: " not in self.said.read_text() or not self.answers():
            assert not deadline.passed, self.said.read_text()
            time.sleep(0.1)

    def answers(self) -> bool:
        try:
            self.ask("/")
        except urllib.error.URLError:
            return False
        return True

    def ask(self, path: str, data: bytes | None = None, **headers: str) -> str:
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=10) as answer:
            return str(answer.read().decode())

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture
def show(mock_nim: Callable[..., Mock], tmp_path: Path) -> Iterator[Callable[[str], Shown]]:
    made: list[Shown] = []
    with ports.hold() as block:

        def start(options: str) -> Shown:
            nim = mock_nim("--ttft", "0.02", "--itl", "0.005", "--tokens", "5", "--batch", "64")
            made.append(Shown(nim.url, tmp_path, block[0], options))
            return made[-1]

        yield start
        for one in made:
            one.stop()


@pytest.mark.slow
def test_the_tabs_show_the_run_live(show: Callable[[str], Shown], browser: Any, tmp_path: Path) -> None:
    shown = show("-u 4 --duration 8s --warmup 1s")
    page = browser.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith(shown.url) else wrong.append(asked.url))
    page.goto(f"{shown.url}/?tab=nim")
    page.get_by_role("tab", name="NIM").click()
    row = page.locator("tr").filter(has=page.get_by_text("all models", exact=True))
    row.wait_for(timeout=15_000)
    assert page.get_by_role("columnheader", name="TTFT p95 (ms)").is_visible()
    page.get_by_text("mock/adapter-a@cust-1").first.wait_for(timeout=15_000)
    page.get_by_role("tab", name="Server").click()
    page.get_by_text("Requests running").wait_for(timeout=15_000)
    deadline = Deadline(60)
    while "the page stays until Ctrl-C" not in shown.said.read_text():
        assert not deadline.passed, shown.said.read_text()
        time.sleep(0.2)
    page.get_by_role("tab", name="NIM").click()
    page.wait_for_timeout(3_000)
    tokens = float(re.sub(r"[^\d.].*", "", row.locator("td").nth(3).inner_text()))
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert tokens == pytest.approx(report["overall"]["latencies"]["ttft_ms"]["percentiles"]["p50"], abs=0.1)
    assert wrong == []
    assert "TTFT" in shown.ask("/nemostack/report")
    page.close()
    assert shown.stop() == report["exit_code"]


@pytest.mark.slow
def test_the_page_goes_with_the_run_where_that_is_asked_for(show: Callable[[str], Shown], tmp_path: Path) -> None:
    shown = show("-u 1 --duration 2s --warmup 0s --adapters none --autostart --autoquit 0")
    code = shown.process.wait(timeout=120)
    assert code == json.loads((tmp_path / "run" / "report.json").read_text())["exit_code"]
    assert "the page stays 0 s: " in shown.said.read_text()


@pytest.mark.slow
def test_the_page_is_for_this_machine_and_one_run(show: Callable[[str], Shown], tmp_path: Path) -> None:
    shown = show("-u 2 --duration 10m --warmup 0s --adapters none")
    first = psutil.Process(shown.process.pid)
    listening = {
        one.laddr
        for process in [first, *first.children(recursive=True)]
        for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN and one.laddr.port == shown.port
    }
    assert {address.ip for address in listening} == {"127.0.0.1"}
    with pytest.raises(urllib.error.HTTPError, match="404"):
        shown.ask("/nemostack/report")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        shown.ask("/stop", b"", Origin="https://elsewhere.example")
    assert "a folder holds one run" in json.loads(shown.ask("/swarm", b"user_count=9&spawn_rate=9"))["message"]
    shown.ask("/stop", b"")
    deadline = Deadline(60)
    while not (tmp_path / "run" / "report.html").exists():
        assert not deadline.passed, shown.said.read_text()
        time.sleep(0.2)
    assert shown.stop() == 22, "cut short"


@pytest.mark.slow
def test_a_run_that_is_stopped_before_it_begins_stops_as_soon_as_it_has(
    show: Callable[[str], Shown], tmp_path: Path
) -> None:
    with ports.hold() as block:
        master = ["--master-port", str(block[0])]
        begun = f"--master --master-bind-port {block[0]} --expect-workers 1"
        shown = show(f"-u 2 --duration 10m --warmup 0s --adapters none {begun}")
        assert "it stops as soon as it has" in json.loads(shown.ask("/stop", b""))["message"]
        with subprocess.Popen([sys.executable, "-m", "load_tests", "--worker", *master], cwd=ROOT) as worker:
            try:
                deadline = Deadline(60)
                while not (tmp_path / "run" / "report.html").exists():
                    assert not deadline.passed, shown.said.read_text()
                    time.sleep(0.2)
                assert shown.stop() == 22, "cut short"
            finally:
                worker.terminate()  # Locust's master forgets a worker that has stopped, and does not send it home
