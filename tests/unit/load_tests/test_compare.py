"""Comparing runs: what repeats and noise decide, and the forms in which it is told."""

import json
import random
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from load_tests import comparison
from load_tests.client.records import RequestRecord
from load_tests.exports import aiperf, junit, markdown
from load_tests.verdict import metrics
from load_tests.verdict.compare import DEFAULT_METRICS, Change, Run, compare, exit_code
from load_tests.verdict.token_rate import Window
from nemostack.errors import BadInput
from nemostack.exit_codes import ExitCode


def _record(k: int, ttft: float, outcome: str) -> RequestRecord:
    return RequestRecord(
        id=str(k),
        worker=0,
        model="base",
        t_sched=None,
        t_send=k / 10,
        t_first=k / 10 + ttft,
        t_last=k / 10 + ttft + 0.04,
        t_end=k / 10 + ttft + 0.05,
        outcome=outcome,
        asked_tokens=5,
        prompt_tokens=7,
        output_tokens=5,
        content_events=5,
        gaps_ms=[10.0] * 4,
    )


def _run(seed: int, *, scale: float = 1.0, errors: int = 0, valid: bool = True, **spec: object) -> Run:
    """20 s of ten requests a second, with a TTFT about 100 ms times `scale`, which differs a little from run to run."""
    rng = random.Random(seed)
    own = scale * rng.lognormvariate(0, 0.02)
    records = [
        _record(k, 0.1 * own * rng.lognormvariate(0, 0.1), "timeout" if k < errors else "ok") for k in range(200)
    ]
    summary = metrics.summarise(records, Window(0.0, 20.0), {"ttft_ms": 1000})
    data: dict[str, Any] = {
        "schema": "nemostack.load-report/2",
        "id": f"run-{seed}",
        "started_at": "2026-11-29T12:00:00+00:00",
        "verdict": "PASS",
        "valid": valid,
        "validity": [{"name": "ran to the end", "found": "100%", "allowed": ">= 95%", "ok": valid}],
        "gates": [],
        "window_s": 20.0,
        "run": {"spec": {"warmup_s": 0.0, "users": 8, **spec}, "base_model": "base"},
        "overall": json.loads(json.dumps(_plain(summary))),
        "models": {"base": {}},
        "adapters": None,
    }
    return Run(data, records)


def _plain(summary: metrics.Summary) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(summary)


def _results(baseline: list[Run], candidate: list[Run], **options: float) -> dict[str, Change]:
    return {one.metric: one.result for one in compare(baseline, candidate, **options)}  # type: ignore[arg-type]


def test_repeats_show_a_change_and_its_absence() -> None:
    baseline = [_run(k) for k in range(5)]
    same = _results(baseline, [_run(10 + k) for k in range(5)], threshold=0.10)
    assert set(same.values()) == {Change.SAME}
    worse = compare(baseline, [_run(20 + k, scale=1.3) for k in range(5)])
    ttft = worse[0]
    assert (ttft.metric, ttft.basis, ttft.result) == ("ttft_ms p50", "repeats", Change.WORSE)
    assert ttft.low is not None
    assert ttft.high is not None
    assert ttft.low < 0.3 < ttft.high
    assert exit_code(worse) is ExitCode.LOAD_REGRESSION == 23
    better = _results(baseline, [_run(30 + k, scale=0.7) for k in range(5)])
    assert better["ttft_ms p50"] is Change.BETTER
    # more of it is better: the same change the other way about
    swapped = compare([_run(k) for k in range(4)], [_run(40 + k, scale=3) for k in range(4)], names=["goodput"])
    assert swapped[0].result in {Change.SAME, Change.UNCLEAR}


def test_single_runs_must_differ_by_more_than_two_runs_do() -> None:
    tenth = compare([_run(1)], [_run(2, scale=1.12)])
    assert tenth[0].basis == "within runs"
    assert tenth[0].result is Change.UNCLEAR
    assert exit_code(tenth) is ExitCode.LOAD_NOT_ENOUGH
    assert _results([_run(1)], [_run(2, scale=1.12)], run_noise=0.0)["ttft_ms p50"] is Change.WORSE
    assert _results([_run(1)], [_run(2, scale=1.5)])["ttft_ms p50"] is Change.WORSE


def test_errors_are_compared_as_shares_of_requests() -> None:
    more = compare([_run(1)], [_run(2, errors=20)], names=["error_rate"])[0]
    # Newcombe's interval of 20 of 200 against 0 of 200: from 0.064 to 0.149 by hand from Wilson's limits
    assert (more.low, more.high) == pytest.approx((0.0595, 0.1494), abs=2e-3)
    assert more.result is Change.WORSE
    assert compare([_run(1)], [_run(2)], names=["error_rate"])[0].result is Change.SAME
    assert compare([_run(1, errors=20)], [_run(2)], names=["error_rate"])[0].result is Change.BETTER


def _write(folder: Path, run: Run) -> Path:
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(run.data))
    from dataclasses import asdict

    (folder / "requests.jsonl").write_text("".join(json.dumps(asdict(r)) + "\n" for r in run.records))
    return folder


def _compared(a: Path, b: Path, **options: Any) -> comparison.Comparison:
    return comparison.compare_folders(a, b, names=DEFAULT_METRICS, threshold=0.05, run_noise=0.1, **options)


def test_a_side_is_a_run_or_a_folder_of_runs(tmp_path: Path) -> None:
    for k in range(3):
        _write(tmp_path / "a" / str(k), _run(k))
        _write(tmp_path / "b" / str(k), _run(10 + k, scale=1.5, nim_url="http://other"))
    found = _compared(tmp_path / "a", tmp_path / "b")
    assert (found.runs, found.verdict, found.exit_code, found.notes) == ((3, 3), "REGRESSION", 23, [])
    single = _compared(tmp_path / "a" / "0", tmp_path / "b" / "1")
    assert single.runs == (1, 1)
    assert "Repeat with --repeat 3" in single.notes[0]
    with pytest.raises(BadInput, match=r"holds no report\.json"):
        _compared(tmp_path, tmp_path / "a")


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "a", _run(1))
    _write(tmp_path / "more", _run(2, users=9))
    _write(tmp_path / "invalid", _run(3, valid=False))
    with pytest.raises(BadInput, match=r"users \(8 and 9\): add --allow-differences"):
        _compared(tmp_path / "a", tmp_path / "more")
    assert _compared(tmp_path / "a", tmp_path / "more", allow_differences=True).notes[0].startswith("The runs differ")
    with pytest.raises(BadInput, match="run-3 is INVALID"):
        _compared(tmp_path / "a", tmp_path / "invalid")
    with pytest.raises(BadInput, match="no metric speed"):
        comparison.compare_folders(tmp_path / "a", tmp_path / "a", names=["speed"], threshold=0.05, run_noise=0.1)


def test_all_forms_say_the_same(tmp_path: Path) -> None:
    _write(tmp_path / "a", _run(1))
    _write(tmp_path / "b", _run(2, scale=2))
    found = _compared(tmp_path / "a", tmp_path / "b")
    data = json.loads(comparison.render(found, "json"))
    assert (data["schema"], data["verdict"]) == ("nemostack.load-comparison/1", "REGRESSION")
    suite = ET.fromstring(comparison.render(found, "junit"))
    failed = [case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None]
    assert failed == [one["metric"] for one in data["metrics"] if one["result"] == "WORSE"] != []
    assert suite.get("failures") == str(len(failed))
    assert "| TTFT p50 |" in comparison.render(found, "markdown")
    assert comparison.render(found, "text").startswith("REGRESSION (exit 23)")


def test_junit_and_markdown_hold_what_a_server_may_say() -> None:
    case = junit.Case("objectives", "TTFT \x00 <p95> & more", "failure", '"\x1b[31m')
    suite = ET.fromstring(junit.document("x", [case]))
    assert next(suite.iter("testcase")).get("name") == "TTFT  <p95> & more"
    assert markdown.table(["a"], [["x | <b>`y`"]]).splitlines()[-1] == r"| x \| &lt;b&gt;\`y\` |"


def test_the_run_in_aiperfs_shape() -> None:
    run = _run(3, errors=2)
    found = aiperf.export(run.data, run.records)
    ttft = sorted(1e3 * (r.t_first - r.t_send) for r in run.records if r.outcome == "ok")  # type: ignore[operator]
    spread = found["time_to_first_token"]
    assert (spread["unit"], spread["count"]) == ("ms", 198)
    assert (spread["min"], spread["max"], spread["sum"]) == pytest.approx((ttft[0], ttft[-1], sum(ttft)))
    assert found["inter_token_latency"]["p50"] == pytest.approx(10)  # 40 ms over four tokens
    assert found["request_latency"]["avg"] == pytest.approx(sum(ttft) / 198 + 40)
    assert found["request_count"] == {"unit": "requests", "avg": 198}
    assert found["output_sequence_length"]["avg"] == 5
    assert found["error_summary"] == [{"error_details": {"type": "timeout", "message": ""}, "count": 2}]
    assert found["was_cancelled"] is False
