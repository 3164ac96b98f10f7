"""What requests ask, in whole runs against the mock server: lengths, shared prefixes, chats and traces."""

import argparse
import importlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from load_tests import options
from load_tests.options import LoadSpec
from load_tests.traffic import planned
from load_tests.traffic.trace import TraceRow
from nemostack.errors import BadInput
from tests.unit.conftest import Mock
from tests.unit.load_tests.conftest import Outcome

Start = Callable[..., Mock]
Load = Callable[..., Outcome]
ADAPTERS = ("mock/adapter-a@cust-1", "mock/adapter-b@cust-2")


@pytest.mark.slow
@pytest.mark.parametrize("api", ["completions", "chat"])
def test_prompts_have_the_length_that_was_asked_for(mock_nim: Start, load: Load, api: str) -> None:
    nim = mock_nim("--ttft", "0.01", "--itl", "0.001")
    run = load(
        nim.url,
        f"--adapters none -u 4 --duration 2s --warmup 0s --api {api} --input-tokens 40-60 --shared-prefix 20",
        "--output-tokens 3-9 --fixed-length",
    )
    assert run.code in {0, 22}, run.err
    counted = {r["prompt_tokens"] for r in run.requests}
    assert len(counted) > 10
    assert counted <= set(range(40, 61))
    assert all(r["prompt_tokens"] == r["asked_prompt_tokens"] for r in run.requests)
    assert {r["output_tokens"] for r in run.requests} == set(range(3, 10))
    assert run.report["overall"]["prompt_length_mismatches"] == 0
    assert "random words, 40-60 prompt tokens" in (run.folder / "report.html").read_text()


@pytest.mark.slow
def test_each_question_of_a_chat_carries_what_was_said(mock_nim: Start, load: Load) -> None:
    nim = mock_nim("--ttft", "0.01", "--itl", "0.001", "--tokens", "5")
    adapters = f"--adapters {','.join(ADAPTERS)}"
    run = load(nim.url, f"-u 2 --duration 2s --warmup 0s --api chat --turns 3 --input-tokens 10 {adapters}")
    assert run.code in {0, 22}, run.err
    tokens = {turn: {r["prompt_tokens"] for r in run.requests if r["turn"] == turn} for turn in (1, 2, 3)}
    # three tokens besides those of a question, which are seven; then the five of the answer and the next seven
    assert tokens == {1: {10}, 2: {10 + 5 + 7}, 3: {10 + 2 * (5 + 7)}}
    assert len({r["model"] for r in run.requests}) > 1


@pytest.mark.slow
def test_a_trace_is_sent_at_its_times_with_its_lengths_and_models(mock_nim: Start, load: Load, tmp_path: Path) -> None:
    nim = mock_nim("--ttft", "0.01", "--itl", "0.001")
    trace = tmp_path / "trace.jsonl"
    rows = [
        {"timestamp": 100 * k, "input_length": 20 + k, "output_length": 2 + k % 5, "model": ADAPTERS[k % 2]}
        for k in range(30)
    ]
    trace.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = load(nim.url, f"--trace {trace} --trace-speed 2 --warmup 0s")
    assert run.code in {0, 22}, run.err
    sent = sorted(run.requests, key=lambda r: r["t_sched"])
    assert [r["t_sched"] for r in sent] == pytest.approx([0.05 * k for k in range(30)])
    assert [r["prompt_tokens"] for r in sent] == [20 + k for k in range(30)]
    assert [r["output_tokens"] for r in sent] == [2 + k % 5 for k in range(30)]
    assert [r["model"] for r in sent] == [row["model"] for row in rows]
    again = load(nim.url, f"--trace {run.folder / 'requests.jsonl'} --warmup 0s")
    assert [r["t_sched"] for r in again.requests] == pytest.approx([0.05 * k for k in range(30)])
    assert [r["prompt_tokens"] for r in again.requests] == [20 + k for k in range(30)]


def options_of(line: str, nim_url: str = "http://127.0.0.1:9") -> argparse.Namespace:
    parser = importlib.import_module("configargparse").ArgumentParser()  # what Locust's parser is made of; has no types
    options.add_options(parser)
    parsed: argparse.Namespace = parser.parse_args(["--nim-url", nim_url, *line.split()])
    parsed.num_users = 1
    return parsed


def spec_of(line: str) -> tuple[LoadSpec, list[TraceRow]]:
    """What a command line decides, and the rows of its trace."""
    parsed = options_of(line)
    rows = options.rows_from(parsed)
    return options.spec_from(parsed, rows), rows


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("--trace {trace} --rate 3", "leave --arrivals, --rate and --rate-profile out"),
        ("--trace {trace} --trace-speed 0", "--trace-speed must be above 0"),
        ("--turns 3", "belong to --api chat"),
        ("--turns 3 --api chat --arrivals constant --rate 3", "needs a closed loop"),
        ("--shared-prefix 9", "belong to --input-tokens"),
        ("--input-tokens 9 --unique-prefix", "--unique-prefix is for --prompts"),
        ("--api chat --tools {trace}", "is not a JSON list of tools"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, line: str, problem: str) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"timestamp": 0}\n')
    with pytest.raises(BadInput, match=problem):
        spec_of(line.format(trace=trace))


def test_a_trace_of_models_that_are_not_served_is_refused(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"timestamp": 0, "model": "another"}\n{"timestamp": 9000, "model": "m"}\n')
    spec, rows = spec_of(f"--trace {trace} --warmup 2s")
    assert spec.warmup_s + spec.duration_s > 9, "the window holds the whole trace"
    with pytest.raises(BadInput, match=r"asks for another, and this run has m:"):
        planned.check(spec, ["m"], rows)
    planned.check(spec, ["m", "another"], rows)


@pytest.mark.slow
def test_a_trace_is_read_once_by_all_processes_together(mock_nim: Start, load: Load, tmp_path: Path) -> None:
    """A pipe can be read once: whoever opened it again would wait for ever."""
    trace = tmp_path / "trace.jsonl"
    os.mkfifo(trace)
    rows = [{"timestamp": 100 * k, "input_length": 20, "output_length": 3} for k in range(20)]
    writer = threading.Thread(target=trace.write_text, args=("".join(json.dumps(row) + "\n" for row in rows),))
    writer.start()
    run = load(
        mock_nim("--ttft", "0.01").url,
        f"--trace {trace} --warmup 0s --duration 8s --adapters none --processes 2",
        timeout=90,
    )
    writer.join()
    assert run.code in {0, 22}, run.err
    assert [round(r["t_sched"], 6) for r in run.requests] == [round(k / 10, 6) for k in range(20)]
    assert {r["worker"] for r in run.requests} == {0, 1}


JOURNEY = """
from locust import constant, task

from load_tests.journeys import Journey


class Doubter(Journey):
    wait_time = constant(0.01)

    @task
    def ask_and_doubt(self):
        question = {"role": "user", "content": "one two three"}
        answer = self.chat([question], max_tokens=4)
        assert answer.text == " word" * 4, answer.record.detail
        said = [question, {"role": "assistant", "content": answer.text}, {"role": "user", "content": "sure"}]
        self.chat(said, model="mock/base", max_tokens=2)
        self.complete("one", max_tokens=3, top_p=0.5)
"""


@pytest.mark.slow
def test_a_journey_is_measured_like_any_other_load(mock_nim: Start, load: Load, tmp_path: Path) -> None:
    nim = mock_nim("--ttft", "0.01", "--itl", "0.001")
    journey = tmp_path / "doubter.py"
    journey.write_text(JOURNEY)
    run = load(nim.url, f"--journey {journey} -u 3 --duration 2s --warmup 0s --adapters {ADAPTERS[0]}")
    assert run.code in {0, 22}, run.err
    assert run.report["overall"]["errors"] == 0
    assert {(r["asked_tokens"], r["prompt_tokens"]) for r in run.requests} == {(4, 6), (2, 3 + 3 + 4 + 1), (3, 4)}
    assert {r["model"] for r in run.requests if r["asked_tokens"] == 2} == {"mock/base"}
    refused = load(nim.url, f"--journey {journey} --arrivals constant --rate 3 --duration 1s")
    assert (refused.code, "a journey is a closed loop" in refused.err) == (2, True)
