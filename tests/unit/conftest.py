"""Fixtures of several packages' tests: the fake stack and a pipeline on it, and the mock NIM with its log."""

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from nemostack.clone import ROOT
from tests.unit.fake_stack import FakeStack
from tests.unit.pipeline_harness import Harness, write_dataset
from workflows.settings import Settings


@pytest.fixture(autouse=True)
def ctrl_c_works() -> None:
    """A shell starts background jobs with SIGINT ignored, which children inherit: the tests would hang on Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def the_date_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions of Kubernetes lose their support as time passes; tests of other things must not fail then."""
    monkeypatch.setattr("infra.config.kubernetes_versions.current_date", lambda: date(2026, 11, 29))


@pytest.fixture(autouse=True)
def power_stays_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here outlives a cut of the power, and waiting for the disk is a third of a pipeline's time."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@dataclass
class Mock:
    url: str
    log: Path
    process: subprocess.Popen[str]

    def sent(self) -> dict[str, dict[str, Any]]:
        """What the server recorded, by request id."""
        rows = [json.loads(line) for line in self.log.read_text().splitlines()]
        return {row["id"]: row for row in rows}


@pytest.fixture
def mock_nim(tmp_path: Path) -> Iterator[Callable[..., Mock]]:
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> Mock:
            log = tmp_path / "mock.jsonl"
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "load_tests", "mock", "--log", str(log), *arguments],
                    cwd=ROOT,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.terminate)
            assert process.stdout is not None
            return Mock(process.stdout.readline().strip(), log, process)

        yield start


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NEMOSTACK_OUTPUTS", "NEMOSTACK_RUNS", "NEMOSTACK_JUDGE_API_KEY", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    logging.getLogger("nemostack").handlers.clear()


@pytest.fixture
def stack() -> Iterator[FakeStack]:
    running = FakeStack()
    yield running
    running.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(dataset=write_dataset(tmp_path / "My Data"), limit=8)


@pytest.fixture
def harness(stack: FakeStack, tmp_path: Path) -> Harness:
    (tmp_path / "runs").mkdir()
    return Harness(stack, tmp_path / "runs")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no chromium on PATH: install it from your distribution (apt-get install chromium)")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a file in the browser; `scheme` is light or dark. Nothing may go wrong on the page, nor be fetched."""
    wrong: list[str] = []
    with contextlib.ExitStack() as closing:

        def opened(file: Path, *, scheme: str = "light", width: int = 1280) -> Any:
            context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
            closing.callback(context.close)
            page = context.new_page()
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
            page.on("request", lambda asked: None if asked.url.startswith("file:") else wrong.append(asked.url))
            page.goto(file.resolve().as_uri())
            return page

        yield opened
    assert not wrong
