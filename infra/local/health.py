"""Waiting for a service: until it answers, it dies, or time is up."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx

from infra.local.launch import START_MARK
from nemostack.errors import LocalServiceError

REQUEST_TIMEOUT_S = 5.0
FIRST_REPORT_S = 10.0
REPORT_INTERVAL_S = 15.0
TAIL_LINES = 15
TAIL_BYTES = 16_384


def is_healthy(url: str) -> bool:
    """Whether `url` answers with success."""
    try:
        # Loopback goes through no proxy, and speaks plain HTTP: to read certificates would take longer than to ask.
        return httpx.get(url, timeout=REQUEST_TIMEOUT_S, trust_env=False, verify=False).is_success  # noqa: S501
    except httpx.HTTPError:
        return False


def wait(
    service: str,
    url: str,
    *,
    timeout_s: float,
    is_running: Callable[[], bool],
    log: Path,
    report: Callable[[str], None],
) -> None:
    """Return when `url` answers. Raises LocalServiceError with the end of the log if the service dies or hangs."""
    started = time.monotonic()
    next_report = started + FIRST_REPORT_S
    pause = 0.1
    while not is_healthy(url):
        waited = time.monotonic() - started
        if not is_running():
            raise LocalServiceError(f"{service} ended while it started. Its log ({log}) ends with:\n{tail(log)}")
        if waited > timeout_s:
            raise LocalServiceError(
                f"{service} did not answer {url} within {timeout_s:.0f} s. Its log ({log}) ends with:\n{tail(log)}"
            )
        if time.monotonic() >= next_report:
            report(f"{service}: starting, {waited:.0f} s so far (at most {timeout_s:.0f} s)")
            next_report += REPORT_INTERVAL_S
        time.sleep(pause)
        pause = min(pause * 1.3, 1.0)


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log, of the last run."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return "  (no log)"
    this_run = text.rpartition(START_MARK)[2] if START_MARK in text else text
    return "\n".join(f"  {line}" for line in this_run.splitlines()[-lines:]) or "  (empty)"
