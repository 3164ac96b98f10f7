"""Runs that measure adapters, against a mock whose slots, loading times and cadence are known."""

import json
from collections.abc import Callable

import pytest

from tests.unit.conftest import Mock
from tests.unit.load_tests.conftest import Outcome

Start = Callable[..., Mock]
Load = Callable[..., Outcome]
pytestmark = pytest.mark.slow
SLOTS = ("--adapters", "6", "--slots", "3", "--load-time", "0.15")


def test_the_cost_of_adapters_is_measured_in_one_run(mock_nim: Start, load: Load) -> None:
    # one token each 60 ms against 20 ms: far more than what a busy machine adds
    nim = mock_nim("--ttft", "0.02", "--itl", "0.02", "--adapter-itl", "0.06", *SLOTS)
    run = load(nim.url, "-u 8 --mix zipf --interleave --block 1.5s --duration 12s --warmup 1s --max-tokens 5")
    effects = run.report["adapters"]
    assert effects["slots"] == {"count": 3, "told_by": "server"}
    assert effects["contrast"]["blocks"] == [4, 4]
    tpot = effects["contrast"]["ratios"]["tpot_ms p50"]
    assert 1.5 < tpot["low"] <= tpot["ratio"] < 4
    assert effects["contrast"]["ratios"]["output_token_throughput"]["high"] < 1.0
    truth = nim.sent()
    adapters = [r for r in run.requests if r["model"] != "mock/base" and r["id"] in truth]
    # what is called certain is certain
    assert all(r["cold"] == truth[r["id"]]["cold"] for r in adapters if r["cold_from"] == "seen" and not r["cold"])
    agree = sum(r["cold"] == truth[r["id"]]["cold"] for r in adapters)
    assert agree / len(adapters) > 0.65  # eight users on three slots: most requests wait for others' loads
    assert effects["groups"]["cold"]["percentiles"]["p50"] > 150
    page = (run.folder / "report.html").read_text()
    assert "Adapters alone against base model alone (4 and 4 blocks of 1.5 s)" in page
    assert "A cold adapter&#39;s first token came after" in page


def test_a_neighbour_and_churn_are_told_apart_from_the_load(mock_nim: Start, load: Load) -> None:
    nim = mock_nim("--ttft", "0.02", "--itl", "0.002", "--runtime-loading", *SLOTS)
    noisy = "mock/adapter-0006@cust-6"
    run = load(nim.url, f"-u 2 --neighbour {noisy}=20 --block 1s --churn 2s --duration 8s --warmup 1s --max-tokens 4")
    effects = run.report["adapters"]
    roles = [r["role"] for r in run.requests]
    assert effects["neighbour_requests"] == roles.count("neighbour") > 20
    on = [int(r["t_sched"] - 1) % 4 in {1, 2} for r in run.requests if r["role"] == "neighbour"]
    assert all(on)  # only in its blocks
    assert effects["contrast"]["kind"] == "neighbour"
    churn = effects["churn"]
    assert churn["rounds"] >= 2
    assert churn["problems"] == []
    assert churn["load_ms"]["min"] >= 150
    assert roles.count("churn") == 2 * churn["rounds"]
    assert run.report["overall"]["successes"] == sum(
        r["role"] == "" and r["outcome"] == "ok" and 1 <= r["t_send"] < 9 for r in run.requests
    )
    refused = load(mock_nim("--adapters", "2").url, "--churn 1s --duration 1s")
    assert refused.code == 2
    assert "does not say whether it can load adapters" in refused.err


def test_a_command_runs_beside_the_load(mock_nim: Start, load: Load) -> None:
    nim = mock_nim("--ttft", "0.01", "--itl", "0.001")
    command = "sh -c 'echo begun; exec sleep 600'"
    run = load(
        nim.url, f'--adapters none -u 2 --beside "{command}" --block 1s --duration 9s --warmup 0s --max-tokens 2'
    )
    facts = json.loads((run.folder / "raw" / "beside.json").read_text())
    assert 3 <= facts["started_s"] <= facts["ended_s"]
    assert (run.folder / "beside.log").read_text() == "begun\n"
    assert run.report["adapters"]["contrast"]["blocks"] == [6, 3]
