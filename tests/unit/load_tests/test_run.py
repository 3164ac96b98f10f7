"""Complete runs against the mock server, started as a user starts them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import jsonschema
import pytest

from nemostack.clone import ROOT
from tests.unit.conftest import Mock
from tests.unit.load_tests.conftest import Outcome

ADAPTERS = "mock/adapter-a@cust-1,mock/adapter-b@cust-2"
Start = Callable[..., Mock]
Load = Callable[..., Outcome]
pytestmark = pytest.mark.slow


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
    "no-usage": None,
}


def test_latencies_hold_against_what_the_server_recorded(mock_nim: Start, load: Load) -> None:
    nim = mock_nim("--ttft", "0.08", "--itl", "0.02", "--tokens", "12")
    run = load(nim.url, f"--adapters {ADAPTERS} -u 6 --duration 3s --warmup 1s --api chat")
    assert "load: base model mock/base and 2 adapters" in run.err
    assert run.out.splitlines()[0].endswith(": base model mock/base and 2 adapters")
    assert run.code in {0, 22}, run.err  # a busy machine may make the run invalid; the rest holds all the same
    sent = nim.sent()
    pairs = [(r, sent[r["id"]]) for r in run.requests]
    assert len(pairs) > 20
    for r, s in pairs:
        # the request is sent before it is received, and an event is read after it was sent. The mock's chat stream
        # begins with a role-only event at once: taken for the first token, it would be read before that was sent.
        assert r["t_first"] - r["t_send"] >= s["first"] - s["received"]
        assert r["t_last"] - r["t_send"] >= s["last"] - s["received"]
        assert (r["content_events"], len(r["gaps_ms"])) == (12, 11)
    window = [r for r in run.requests if 1 <= r["t_send"] < 4]
    latencies = run.report["overall"]["latencies"]
    for name, values in {
        "ttft_ms": [1e3 * (r["t_first"] - r["t_send"]) for r in window],
        "tpot_ms": [1e3 * (r["t_last"] - r["t_first"]) / 11 for r in window],
        "itl_ms": [gap for r in window for gap in r["gaps_ms"]],
    }.items():
        assert latencies[name]["percentiles"]["p50"] == pytest.approx(median(values))
    jsonschema.validate(run.report, json.loads((ROOT / "docs" / "load-report.schema.json").read_text()))
    assert run.report["overall"]["successes"] == len(window)
    assert run.report["overall"]["output_tokens"] == 12 * len(window)
    assert run.report["warmup_requests"] == len(run.requests) - len(window) > 0


def test_a_first_token_is_seen_before_the_reply_has_ended(mock_nim: Start, load: Load) -> None:
    # the whole reply fits into the block of 1,024 bytes that some clients wait for
    nim = mock_nim("--ttft", "0.01", "--itl", "1", "--tokens", "4")
    run = load(nim.url, "--adapters none -u 4 --duration 1s --warmup 0s")
    sent = nim.sent()
    early = [r["t_first"] - r["t_send"] < sent[r["id"]]["last"] - sent[r["id"]]["received"] for r in run.requests]
    assert any(early)


@pytest.mark.parametrize("listing", ["parent", "root"])
def test_adapters_are_found_in_both_kinds_of_model_list(mock_nim: Start, load: Load, listing: str) -> None:
    nim = mock_nim("--ttft", "0.01", "--itl", "0.001", "--tokens", "3", "--listing", listing)
    run = load(f"{nim.url}/v1/", "-u 2 --duration 1s --warmup 0s --request-timeout 1s")
    notice, models, *_ = run.err.splitlines()
    assert notice == f"notice: --nim-url: using {nim.url} without /v1, which clients add themselves"
    assert models == f"load: base model mock/base and {2 + len(FAULTS)} adapters"
    assert set(run.report["models"]) == {*ADAPTERS.split(","), "mock/base", *(f"fault/{name}" for name in FAULTS)}


def test_a_chat_file_is_refused_for_the_completions_api(mock_nim: Start, load: Load, tmp_path: Path) -> None:
    nim = mock_nim()
    chats = tmp_path / "chats.jsonl"
    chats.write_text('{"prompt": "a"}\n{"messages": [{"role": "user", "content": "hi"}]}\n')
    run = load(nim.url, f"--prompts {chats} -u 2 --duration 1s")
    assert run.code == 2
    assert run.err.splitlines() == [f'error: {chats}:2: "messages" are not for the completions API; use --api chat']
    assert not nim.sent()


def test_without_an_adapter_it_says_so(mock_nim: Start, load: Load) -> None:
    nim = mock_nim("--ttft", "0.01", "--itl", "0.001", "--tokens", "3")
    childless = "--base-model mock/adapter-a@cust-1 -u 1 --duration 1s --warmup 0s"
    run = load(nim.url, childless)
    assert "load: base model mock/adapter-a@cust-1 and 0 adapters" in run.err
    assert "no model names mock/adapter-a@cust-1 as its parent or root" in run.err
    base_alone = load(nim.url, childless, "--adapters none")
    assert "no model names" not in base_alone.err  # it was asked for
    refused = load(nim.url, childless, "--adapters all")
    assert refused.code == 2
    assert "lists no adapter of mock/adapter-a@cust-1" in refused.err


def test_several_tokens_an_event_leave_tpot_right(mock_nim: Start, load: Load) -> None:
    nim = mock_nim("--ttft", "0.02", "--itl", "0.04", "--tokens", "16", "--tokens-per-event", "4")
    run = load(nim.url, "--adapters none -u 2 --duration 2s --warmup 0s")
    whole = run.report["overall"]
    assert whole["tokens_per_event"] == 4
    # 4 events, so 3 gaps; 16 tokens, so 15 intervals between tokens
    tpot = [1e3 * (r["t_last"] - r["t_first"]) / 15 for r in run.requests]
    assert whole["latencies"]["tpot_ms"]["percentiles"]["p50"] == pytest.approx(median(tpot))
    assert [len(r["gaps_ms"]) for r in run.requests] == [3] * len(tpot)


def test_each_fault_is_counted_under_its_kind(mock_nim: Start, load: Load) -> None:
    nim = mock_nim("--ttft", "0.01", "--itl", "0.002", "--tokens", "8")
    models = ",".join(f"fault/{name}" for name in FAULTS)
    run = load(nim.url, f"--adapters {models} --mix round-robin -u 8 --duration 3s --warmup 0s", "--request-timeout 6s")
    by_model = run.report["models"]
    for fault, kind in FAULTS.items():
        if kind is None:
            continue
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
    run = load(nim.url, "--adapters none --arrivals constant --rate 40 --duration 6s --warmup 2s")
    requests = [r for r in run.requests if r["t_sched"] >= 2]
    assert len(requests) == 240  # none skipped while the server stood still
    sent = nim.sent()
    delays = [sent[r["id"]]["first"] - sent[r["id"]]["received"] for r in requests]
    lates = [r["t_first"] - r["t_sched"] for r in requests]
    assert all(late >= delay for late, delay in zip(lates, delays, strict=True))
    # one that waits for each reply would have met the stall with its one request
    assert sum(delay > 0.2 for delay in delays) > 10
    worst = run.report["overall"]["latencies"]["ttft_from_schedule_ms"]["max"]
    assert worst == pytest.approx(1e3 * max(lates))


def test_the_cap_drops_and_says_so(mock_nim: Start, load: Load) -> None:
    nim = mock_nim("--ttft", "1", "--itl", "0.001", "--tokens", "2")
    run = load(nim.url, "--adapters none --arrivals constant --rate 50 --max-in-flight 10 --duration 2s", "--warmup 1s")
    whole = run.report["overall"]
    assert whole["dropped"] > 0
    assert whole["dropped"] + whole["successes"] == 100
    assert run.code == 22
    assert "sent of scheduled" in run.out


def test_requests_in_flight_at_the_end_are_incomplete(mock_nim: Start, load: Load) -> None:
    nim = mock_nim("--ttft", "0.01", "--tokens", "2", "--itl", "0.001")
    run = load(nim.url, "--adapters fault/hang --base-share 0 -u 2 --duration 1s --warmup 0s --grace 1s")
    assert [r["outcome"] for r in run.requests] == ["incomplete", "incomplete"]
    assert run.report["overall"]["errors"] == 0


def test_two_workers_share_one_schedule(mock_nim: Start, load: Load) -> None:
    nim = mock_nim("--ttft", "0.02", "--itl", "0.002", "--tokens", "5")
    run = load(
        nim.url, f"--adapters {ADAPTERS} --arrivals constant --rate 40 --processes 2 --duration 3s", "--warmup 1s"
    )
    times = [r["t_sched"] for r in run.requests]
    assert times == [pytest.approx(k / 40) for k in range(160)]
    assert {r["worker"] for r in run.requests} == {0, 1}
    assert len({r["id"] for r in run.requests}) == 160
    assert run.report["overall"]["successes"] == 120


LATE = """
import time
from locust import events
from locust.main import main
from locust.runners import WorkerRunner

@events.test_start.add_listener  # before that of the load test, which starts the worker's clock
def wait(environment, **_):
    if isinstance(environment.runner, WorkerRunner) and environment.runner.worker_index == 1:
        time.sleep(3)

main()
"""


def test_a_worker_that_begins_late_sends_all_the_same(mock_nim: Start, tmp_path: Path, prompts_file: Path) -> None:
    nim = mock_nim("--ttft", "0.02", "--itl", "0.002", "--tokens", "5")
    options = "--adapters none --arrivals constant --rate 20 --processes 2 --duration 2s --warmup 1s"
    command = [sys.executable, "-c", LATE, "-f", str(ROOT / "load_tests" / "locustfile.py"), "--headless"]
    command += ["--nim-url", nim.url, "--prompts", str(prompts_file), "--out", str(tmp_path / "run"), *options.split()]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    run = Outcome(ended.returncode, ended.stdout, ended.stderr, tmp_path / "run")
    assert sorted(r["t_sched"] for r in run.requests) == [pytest.approx(k / 20) for k in range(60)], run.err
    assert {r["outcome"] for r in run.requests} == {"ok"}


# The mock needs 500 ms for a reply. The client may be late by a tenth of the TTFT objective.
SLO = """
version: 1
min_samples: %d
objectives:
  - {metric: error_rate, max: 0.05}
  - {metric: ttft_ms, stat: p50, max: 90000}
  - {metric: e2e_ms, stat: p50, max: %d}
"""


@pytest.mark.parametrize(
    ("samples", "e2e_ms", "code"),
    [
        pytest.param(5, 90_000, 0, id="PASS"),
        pytest.param(5, 400, 20, id="FAIL"),
        pytest.param(100_000, 90_000, 21, id="NOT ENOUGH"),
    ],
)
def test_the_verdict_is_the_exit_code(
    mock_nim: Start, load: Load, tmp_path: Path, *, samples: int, e2e_ms: int, code: int
) -> None:
    nim = mock_nim("--ttft", "0.5", "--itl", "0.002", "--tokens", "5")
    slo = tmp_path / "slo.yaml"
    slo.write_text(SLO % (samples, e2e_ms))
    run = load(nim.url, f"--adapters none -u 8 --duration 2s --warmup 0s --slo {slo}")
    assert run.code == code, run.out
    assert run.report["exit_code"] == code


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "SIGTERM to the group"])
def test_interrupted_is_invalid_and_still_reported(
    mock_nim: Start, tmp_path: Path, prompts_file: Path, how: str
) -> None:
    nim = mock_nim("--ttft", "0.02", "--itl", "0.002", "--tokens", "5")
    folder = tmp_path / "cut"
    command = [
        sys.executable,
        "-m",
        "load_tests",
        "--nim-url",
        nim.url,
        "--adapters",
        "none",
        "-u",
        "2",
        "--duration",
        "60s",
        "--warmup",
        "0s",
        "--prompts",
        str(prompts_file),
        "--out",
        str(folder),
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 180
    samples = folder / "raw" / "requests-0.jsonl"
    while not (samples.exists() and samples.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.1)
    if how == "SIGTERM":
        process.terminate()
    else:
        os.killpg(process.pid, signal.SIGINT if how == "Ctrl-C" else signal.SIGTERM)
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 22, out
    assert "ran to the end" in out
    assert (folder / "report.html").exists()


def test_hostile_model_names_stay_text(mock_nim: Start, load: Load) -> None:
    evil = '<script>alert("x")</script>&{{7*7}}'
    nim = mock_nim("--ttft", "0.01", "--itl", "0.001", "--tokens", "3", "--adapter", evil, "--adapter", "=cmd()@x")
    run = load(nim.url, "--adapters all -u 2 --duration 1s --warmup 0s")
    page = (run.folder / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "{{7*7}}" in page  # shown, not evaluated
    assert "http://" not in page.replace(nim.url, "")  # nothing is fetched from anywhere
    assert "\n=cmd" not in (run.folder / "report.csv").read_text()
