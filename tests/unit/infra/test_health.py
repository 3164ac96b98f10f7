"""Waiting ends when the service answers, dies or hangs, and says which."""

import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local import health
from infra.local.launch import START_MARK
from nemostack.errors import LocalServiceError


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        running.status = 200  # type: ignore[attr-defined]
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def url_of(server: Any) -> str:
    return f"http://127.0.0.1:{server.server_port}/health"


def wait(url: str, log: Path, *, timeout_s: float = 5.0, running: bool = True) -> Any:
    reports: list[str] = []
    health.wait("nim", url, timeout_s=timeout_s, is_running=lambda: running, log=log, report=reports.append)
    return reports


def test_healthy(server: Any, tmp_path: Path) -> None:
    assert wait(url_of(server), tmp_path / "log") == []


def test_proxies_of_the_environment_are_not_asked(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert health.is_healthy(url_of(server))


def test_unhealthy_answer_is_not_health(server: Any, tmp_path: Path) -> None:
    server.status = 503
    with pytest.raises(LocalServiceError, match=r"nim did not answer http://\S+/health within 0 s"):
        wait(url_of(server), tmp_path / "log", timeout_s=0.3)


def test_dead_service_fails_at_once_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"old run\n{START_MARK} then\n" + "\n".join(f"line {number}" for number in range(40)))
    with pytest.raises(LocalServiceError) as failed:
        wait("http://127.0.0.1:9/health", log, running=False)
    assert "nim ended while it started" in str(failed.value)
    assert "line 39" in str(failed.value)
    assert "line 24" not in str(failed.value)
    assert "old run" not in str(failed.value)


def test_tail_of_the_last_run_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"{START_MARK} one\nfirst\n{START_MARK} two\nsecond\n")
    assert "first" not in health.tail(log)
    assert "second" in health.tail(log)
    assert health.tail(tmp_path / "absent") == "  (no log)"


def test_progress_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(health, "FIRST_REPORT_S", 0.1)
    reports: list[str] = []
    with pytest.raises(LocalServiceError):
        health.wait(
            "nim", "http://127.0.0.1:9/", timeout_s=0.5, is_running=lambda: True, log=tmp_path, report=reports.append
        )
    (report,) = reports
    assert re.fullmatch(r"nim: starting, \d s so far \(at most 0 s\)", report)
