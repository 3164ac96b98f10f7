"""Structured logs: every line of progress is one object with time, level, event, stack and run; results are not."""

import io
import json
import logging
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from nemostack import log_lines
from nemostack.clone import ROOT
from nemostack.redact import HIDDEN
from tests.unit.command_line import run_command
from tests.unit.fake_stack import FakeStack
from workflows.settings import Settings


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("text", "level", "event"),
    [
        ("warning: this stack has no MLflow", "warning", "this stack has no MLflow"),
        ("==> installing go\n", "info", "installing go"),
        ("ERROR:    [Errno 98] address in use", "error", "[Errno 98] address in use"),
        ("WARNING 11-29 21:44:01 [core.py:12] slow", "warning", "[core.py:12] slow"),
        ("\x1b[31merror: \x1b[0mtwo\n  lines", "error", "two\n  lines"),
        ("╭─ Error ───╮\n│ No such option: --x   │\n╰──────╯", "error", "No such option: --x"),
        ("Error rates of both", "info", "Error rates of both"),
        ("half\rwhole", "info", "whole"),
        ("bearer abcdefghijklmnop", "info", f"bearer {HIDDEN}"),
    ],
)
def test_the_level_is_what_the_text_begins_with(text: str, level: str, event: str) -> None:
    (row,) = rows(log_lines.line_of_text(text) or "")
    assert (row["level"], row["event"]) == (level, event)
    assert datetime.fromisoformat(row["time"]).tzinfo is not None


def test_a_stream_makes_one_object_of_one_print(monkeypatch: pytest.MonkeyPatch) -> None:
    target = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log_lines.JsonStream(target))
    print("one", "two", file=sys.stderr)
    print(file=sys.stderr)
    with log_lines.bound(run="r1"):
        print(log_lines.line("made already"), file=sys.stderr)
        print("Go on? ", end="", file=sys.stderr, flush=True)
    error = ValueError("wrong")
    about = {"name": "some.where", "levelname": "ERROR", "msg": "%s", "args": ("failed",)}
    record = logging.makeLogRecord(about | {"exc_info": (ValueError, error, None)})
    target.write(log_lines.JsonFormatter().format(record))
    made = rows(target.getvalue())
    assert [row["event"] for row in made] == ["one two", "made already", "Go on?", "failed"]
    assert [row.get("run") for row in made] == [None, "r1", "r1", None]
    assert made[3]["traceback"].endswith("ValueError: wrong")


def test_a_command_and_its_failures(capfd: pytest.CaptureFixture[str], stack: FakeStack, tmp_path: Path) -> None:
    assert run_command("--log-format", "json", "run", "--nonsense") == 2
    assert rows(capfd.readouterr().err)[-1]["level"] == "error"
    stack.down.add("/nim/v1/models")
    (tmp_path / "outputs.json").write_text(stack.outputs.model_dump_json())
    (tmp_path / "runs").mkdir()
    more = ("--outputs", str(tmp_path / "outputs.json"), "--runs", str(tmp_path / "runs"))
    assert run_command("--debug", "--log-format", "json", "evaluate", *more) == 8
    *_, last = rows(capfd.readouterr().err)
    assert (last["level"], last["exit_code"], last["stack"]) == ("error", 8, "outputs.json")
    assert "Traceback" in last["traceback"]
    assert run_command("--log-format", "yaml", "runs", "list") == 2
    assert "choose one of text, json" in " ".join(capfd.readouterr().err.replace("│", "").split())
    run_command("runs", "show", "nowhere")
    assert capfd.readouterr().err.startswith("error: nowhere is not")


@pytest.mark.slow
def test_a_whole_run_in_a_process_of_its_own(stack: FakeStack, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "outputs.json").write_text(stack.outputs.model_dump_json())
    command = [sys.executable, "-m", "cli", "--log-format", "json", "run", "--outputs", str(tmp_path / "outputs.json")]
    command += ["--runs", str(tmp_path / "runs"), "--dataset", str(settings.dataset), "--limit", "8"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (folder,) = (file.parent for file in (tmp_path / "runs").glob("*/run.json"))
    said = rows(done.stderr)
    assert {row["stack"] for row in said} == {"outputs.json"}
    assert {row["run"] for row in said if "run" in row} == {folder.name}
    assert any(row["event"].startswith("[1/") and row["run"] == folder.name for row in said)
    assert {row["run"] for row in rows((folder / "run.log").read_text())} == {folder.name}
    assert done.stdout.startswith("metric\tZero-shot")
