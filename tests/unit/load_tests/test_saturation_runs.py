"""The highest rate, found on a mock whose limit follows from its own settings."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.conftest import Mock
from tests.unit.load_tests.conftest import Outcome

pytestmark = pytest.mark.slow

# the client may be late by a tenth of the TTFT objective; what breaks here is the queue
SLO = """
version: 1
min_samples: 5
objectives: [{metric: ttft_ms, stat: p50, max: 20000}, {metric: error_rate, max: 0.01}]
"""


def test_the_scenario_ends_at_the_step_in_which_the_queue_grows(
    mock_nim: Callable[..., Mock], load: Callable[..., Outcome]
) -> None:
    nim = mock_nim("--batch", "3", "--ttft", "0.2", "--itl", "0.02")
    quick = "--max-tokens 11 --duration 6s --warmup 1s --grace 1s --arrivals constant --adapters none"
    run = load(nim.url, "--scenario saturation --steps 2,16,32", quick, timeout=300)
    steps = json.loads((run.folder / "search.json").read_text())["steps"]
    assert [step["rate"] for step in steps] == [2, 16], "nothing is tried above a step that breaks"
    assert steps[-1]["outcome"] == "breaks", steps


def test_the_highest_rate_is_that_of_the_places(
    mock_nim: Callable[..., Mock], load: Callable[..., Outcome], tmp_path: Path
) -> None:
    # 3 places for 0.2 + 10 * 0.02 s each: 7.5 requests/s
    nim = mock_nim("--batch", "3", "--ttft", "0.2", "--itl", "0.02")
    slo = tmp_path / "slo.yaml"
    slo.write_text(SLO)
    options = f"--adapters none --max-tokens 11 --duration 6s --warmup 1s --grace 1s --arrivals constant --slo {slo}"
    run = load(nim.url, options, "--find-max --start-rate 4 --precision 0.5 --attempts 1", timeout=300)
    result = json.loads((run.folder / "search.json").read_text())
    outcomes = {step["rate"]: step["outcome"] for step in result["steps"]}
    assert outcomes[16] == "breaks", result  # more than twice what the mock can serve
    assert result["breaks"] <= 16
    # never more than the places allow, whatever the machine does; less where it is busy
    assert result["holds"] is None or result["holds"] < 1.15 * 7.5
    assert result["capacity_per_s"] < 1.15 * 7.5
    assert all((run.folder / step["run"] / "report.html").is_file() for step in result["steps"])
    assert "The queue grew from second" in run.out
