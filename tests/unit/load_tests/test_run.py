"""Whole runs against the mock server, as a user starts them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from tests.unit.conftest import ROOT, Mock
from tests.unit.load_tests.conftest import Outcome

ADAPTERS = "mock/adapter-a@cust-1,mock/adapter-b@cust-2"
Start = Callable[..., Mock]
Load = Callable[..., Outcome]
pytestmark = pytest.mark.slow


def test_latencies_are_what_the_server_recorded(mock_nim: Start, load: Load) -> None:
    nim = mock_nim("--ttft", "0.08", "--itl", "0.02", "--tokens", "12")
    run = load(
        "--nim-url", nim.url, "--adapters", ADAPTERS, "-u", "6", "--duration", "3s", "--warmup", "1s", "--api", "chat"
    )
    assert "load: base model mock/base and 2 adapters" in run.err
    assert run.out.splitlines()[0].endswith(": base model mock/base and 2 adapters")
    assert run.code in {0, 5}, run.err  # a busy machine may make the run invalid; the pairs below hold all the same
    sent = nim.sent()
    pairs = [(r, sent[r["id"]]) for r in run.requests if r["outcome"] == "ok"]
    assert len(pairs) > 20
    # the mock's chat stream begins with a role-only event at once: counting it would make TTFT ~0
    late = [(r["t_first"] - r["t_send"]) - (s["first"] - s["received"]) for r, s in pairs]
    assert abs(median(late)) < 0.005
    tpot = [
        (r["t_last"] - r["t_first"]) / (r["output_tokens"] - 1) - (s["last"] - s["first"]) / (s["events"] - 1)
        for r, s in pairs
    ]
    assert abs(median(tpot)) < 0.001
    latencies = run.report["overall"]["latencies"]
    assert latencies["ttft_ms"]["percentiles"]["p50"] == pytest.approx(80, abs=8)
    assert latencies["tpot_ms"]["percentiles"]["p50"] == pytest.approx(20, abs=1)
    assert latencies["itl_ms"]["percentiles"]["p50"] == pytest.approx(20, abs=2)
    window = [r for r in run.requests if 1 <= r["t_send"] < 4]
    assert run.report["overall"]["successes"] == len(window)
    assert run.report["overall"]["output_tokens"] == 12 * len(window)
    assert run.report["warmup_requests"] == len(run.requests) - len(window) > 0


def test_without_an_adapter_it_says_so(mock_nim: Start, load: Load) -> None:
    nim = mock_nim("--ttft", "0.01", "--itl", "0.001", "--tokens", "3")
    childless = ("--nim-url", nim.url, "--base-model", "mock/adapter-a@cust-1")
    run = load(*childless, "-u", "1", "--duration", "1s", "--warmup", "0s")
    assert "load: base model mock/adapter-a@cust-1 and 0 adapters" in run.err
    assert "no adapter names mock/adapter-a@cust-1 as its parent" in run.err
    chosen = load(*childless, "--adapters", "none", "-u", "1", "--duration", "1s", "--warmup", "0s")
    assert "no adapter" not in chosen.err  # that is what was wanted


def test_several_tokens_an_event_leave_tpot_right(mock_nim: Start, load: Load) -> None:
    nim = mock_nim("--ttft", "0.02", "--itl", "0.04", "--tokens", "16", "--tokens-per-event", "4")
    run = load("--nim-url", nim.url, "--adapters", "none", "-u", "2", "--duration", "2s", "--warmup", "0s")
    whole = run.report["overall"]
    assert whole["tokens_per_event"] == 4
    # 4 events, 3 gaps of 40 ms; 16 tokens, 15 gaps
    assert whole["latencies"]["tpot_ms"]["percentiles"]["p50"] == pytest.approx(3 * 40 / 15, rel=0.1)
    assert whole["latencies"]["itl_ms"]["percentiles"]["p50"] == pytest.approx(40, rel=0.1)


FAULTS = {
    "http-400": "http_4xx",
    "http-429": "http_429",
    "http-500": "http_5xx",
    "error-event": "stream_error",
    "error-object": "stream_error",
    "empty": "empty",
    "truncated": "truncated",
    "closed-early": "truncated",
    "malformed": "malformed",
    "hang": "timeout",
    "refuse": "connect",
}


def test_each_fault_is_counted_under_its_kind(mock_nim: Start, load: Load) -> None:
    nim = mock_nim("--ttft", "0.01", "--itl", "0.002", "--tokens", "8")
    models = ",".join(f"fault/{name}" for name in (*FAULTS, "no-usage"))
    run = load(
        "--nim-url", nim.url, "--adapters", models, "--mix", "round-robin", "-u", "8",
        "--duration", "6s", "--warmup", "0s", "--request-timeout", "3s",
    )  # fmt: skip
    by_model = run.report["models"]
    for fault, kind in FAULTS.items():
        summary = by_model[f"fault/{fault}"]
        assert summary["successes"] == 0, fault
        assert set(summary["errors_by_kind"]) == {kind}, fault
        assert summary["latencies"]["ttft_ms"]["count"] == 0, fault
    fine = by_model["fault/no-usage"]
    assert fine["errors"] == 0
    assert fine["estimated_tokens"] == fine["successes"] > 0
    assert fine["output_tokens"] == 8 * fine["successes"]
    assert by_model["mock/base"]["errors"] == 0
    whole = run.report["overall"]
    assert whole["errors"] == sum(m["errors"] for m in by_model.values())
    assert whole["scalars"]["error_rate"] == whole["errors"] / (whole["errors"] + whole["successes"])


def test_a_stall_shows_in_an_open_loop_from_the_schedule(mock_nim: Start, load: Load) -> None:
    nim = mock_nim("--ttft", "0.02", "--itl", "0.001", "--tokens", "4", "--stall-at", "4", "--stall-for", "1.5")
    run = load(
        "--nim-url", nim.url, "--adapters", "none", "--arrivals", "constant", "--rate", "40",
        "--duration", "6s", "--warmup", "2s",
    )  # fmt: skip
    requests = [r for r in run.requests if r["t_sched"] >= 2]
    assert len(requests) == 240  # none skipped while the server stood still
    stalled = sorted((r["t_first"] - r["t_sched"]) for r in requests)
    # 1.5 s of 40 requests/s met the stall: 60 of 240, uniformly 0 to 1.5 s late
    assert sum(late > 0.2 for late in stalled) == pytest.approx(60 * 1.3 / 1.5, abs=6)
    assert stalled[-1] == pytest.approx(1.5, abs=0.15)
    p90 = run.report["overall"]["latencies"]["ttft_from_schedule_ms"]["percentiles"]["p90"]
    assert p90 > 500


def test_the_cap_drops_and_says_so(mock_nim: Start, load: Load) -> None:
    nim = mock_nim("--ttft", "1", "--itl", "0.001", "--tokens", "2")
    run = load(
        "--nim-url", nim.url, "--adapters", "none", "--arrivals", "constant", "--rate", "50", "--max-in-flight", "10",
        "--duration", "2s", "--warmup", "1s",
    )  # fmt: skip
    whole = run.report["overall"]
    assert whole["dropped"] > 50
    assert whole["dropped"] + whole["successes"] == 100
    assert run.code == 5
    assert "sent of scheduled" in run.out


def test_requests_in_flight_at_the_end_are_incomplete(mock_nim: Start, load: Load) -> None:
    nim = mock_nim("--ttft", "0.01", "--tokens", "2", "--itl", "0.001")
    run = load(
        "--nim-url", nim.url, "--adapters", "fault/hang", "--base-share", "0", "-u", "2", "--duration", "1s",
        "--warmup", "0s", "--grace", "1s",
    )  # fmt: skip
    assert [r["outcome"] for r in run.requests] == ["incomplete", "incomplete"]
    assert run.report["overall"]["errors"] == 0


def test_two_workers_share_one_schedule(mock_nim: Start, load: Load) -> None:
    nim = mock_nim("--ttft", "0.02", "--itl", "0.002", "--tokens", "5")
    run = load(
        "--nim-url", nim.url, "--adapters", ADAPTERS, "--arrivals", "constant", "--rate", "40", "--processes", "2",
        "--duration", "3s", "--warmup", "1s",
    )  # fmt: skip
    times = [r["t_sched"] for r in run.requests]
    assert times == [pytest.approx(k / 40) for k in range(160)]
    assert {r["worker"] for r in run.requests} == {0, 1}
    assert len({r["id"] for r in run.requests}) == 160
    assert run.report["overall"]["successes"] == 120


SLO = """
version: 1
min_samples: 10
objectives:
  - {metric: error_rate, max: 0.05}
  - {metric: ttft_ms, stat: p50, max: %s}
"""


@pytest.mark.parametrize(("limit", "samples", "code"), [("2000", "10", 0), ("400", "10", 3), ("2000", "100000", 4)])
def test_the_verdict_is_the_exit_code(
    mock_nim: Start, load: Load, tmp_path: Path, *, limit: str, samples: str, code: int
) -> None:
    nim = mock_nim("--ttft", "0.5", "--itl", "0.002", "--tokens", "5")
    slo = tmp_path / "slo.yaml"
    slo.write_text((SLO % limit).replace("10\n", f"{samples}\n", 1))
    run = load(
        "--nim-url", nim.url, "--adapters", "none", "-u", "8", "--duration", "2s", "--warmup", "0s", "--slo", str(slo)
    )
    if run.code == 5:
        pytest.skip(f"this machine is too busy to time anything: {run.out}")
    assert run.code == code, run.out
    assert run.report["exit_code"] == code


def test_interrupted_is_invalid_and_still_reported(mock_nim: Start, tmp_path: Path, prompts_file: Path) -> None:
    nim = mock_nim("--ttft", "0.02", "--itl", "0.002", "--tokens", "5")
    folder = tmp_path / "cut"
    command = [
        sys.executable, "-m", "load_tests", "--nim-url", nim.url, "--adapters", "none", "-u", "2", "--duration", "60s",
        "--warmup", "0s", "--prompts", str(prompts_file), "--out", str(folder),
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 90
    while not list(folder.glob("raw/requests-0.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does
    out, _ = process.communicate(timeout=90)
    assert process.returncode == 5, out
    assert "ran to the end" in out
    assert (folder / "report.html").exists()


def test_hostile_model_names_stay_text(mock_nim: Start, load: Load) -> None:
    evil = '<script>alert("x")</script>&{{7*7}}'
    nim = mock_nim("--ttft", "0.01", "--itl", "0.001", "--tokens", "3", "--adapter", evil, "--adapter", "=cmd()@x")
    run = load("--nim-url", nim.url, "--adapters", "all", "-u", "2", "--duration", "1s", "--warmup", "0s")
    page = (run.folder / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "{{7*7}}" in page  # shown, not evaluated
    assert "http://" not in page.replace(nim.url, "")  # nothing is fetched from anywhere
    assert "\n=cmd" not in (run.folder / "report.csv").read_text()
