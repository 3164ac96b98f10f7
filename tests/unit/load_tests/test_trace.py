"""Traces in the formats of others, and of a run of our own."""

import functools
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from load_tests.client.records import RequestRecord
from load_tests.traffic.trace import TraceRow, read_trace
from nemostack.errors import BadInput


def test_milliseconds_of_mooncake(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    rows = [
        {"timestamp": 27000, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]},
        {"timestamp": 28500, "output_length": 1, "text_input": "Why?", "model": "m@1"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_trace(path) == [TraceRow(0.0, 6955, 52), TraceRow(1.5, None, 1, "m@1", "Why?")]
    assert read_trace(path, speed=3)[1].at_s == pytest.approx(0.5)


@pytest.mark.parametrize("zone", ["", "+00:00"])
def test_dates_of_azure(tmp_path: Path, zone: str) -> None:
    path = tmp_path / "trace.csv"
    times = ("2023-11-16 18:15:47.1805900", "2023-11-16 18:15:46.6805900")
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(f"{time}{zone},374,44\n" for time in times))
    rows = read_trace(path)
    assert [row.at_s for row in rows] == pytest.approx([0.0, 0.5]), "in the order of their times"
    assert rows[0][1:] == (374, 44, None, None)


def test_requests_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    record = functools.partial(RequestRecord, worker=0, asked_tokens=9, prompt_tokens=30)
    records = [
        record(id="a", model="m", t_sched=None, t_send=2.0),
        record(id="b", model="m@1", t_sched=2.25, t_send=2.5),
        record(id="c", model="m@1", t_sched=2.3, t_send=2.5, role="neighbour"),
    ]
    path.write_text("".join(json.dumps(asdict(record)) + "\n" for record in records))
    assert read_trace(path) == [TraceRow(0.0, 30, 9, "m"), TraceRow(0.25, 30, 9, "m@1")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "neither JSON rows nor a CSV"),
        ("a,b\n1,2\n", "neither JSON rows nor a CSV"),
        ("TIMESTAMP,ContextTokens\n", "holds no request"),
        ("TIMESTAMP,ContextTokens\nyesterday,3\n", ":2: TIMESTAMP 'yesterday'"),
        ("TIMESTAMP,ContextTokens\n1,three\n", ":2: 'ContextTokens' is not a number"),
        ('{"timestamp": 1}\n{"input_length": 3}\n', ":2: no number 'timestamp'"),
        ('{"timestamp": 1, "input_length": -3}\n', ":1: 'input_length' is not a number"),
        ('{"timestamp": 1}\nnothing\n', ":2: not JSON"),
    ],
)
def test_what_is_no_trace_is_refused_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "trace"
    path.write_text(text)
    with pytest.raises(BadInput, match=problem):
        read_trace(path)
