"""SIGTERM and SIGHUP in real processes: cleaned up once, as after Ctrl-C, and still ignored where they were before."""

import signal
import subprocess
import sys
import threading

import pytest

from nemostack import termination
from nemostack.clone import ROOT

SCRIPT = """
import sys
import time
from nemostack import termination
try:
    with termination.ends_as_interrupt():
        try:
            print("on", flush=True)
            time.sleep(60)
        finally:
            print("cleaning", flush=True)
            sys.stdin.readline()
            print("clean", flush=True)
except KeyboardInterrupt as error:
    print(type(error).__name__, error)
"""


def started(*before: str) -> "subprocess.Popen[str]":
    pipe, command = subprocess.PIPE, [*before, sys.executable, "-c", SCRIPT]
    process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "on\n"
    return process


@pytest.mark.parametrize("number", termination.SIGNALS)
def test_the_first_signal_interrupts_and_the_next_do_not_disturb_the_cleanup(number: signal.Signals) -> None:
    with started() as process:
        process.send_signal(number)
        assert process.stdout is not None
        assert process.stdout.readline() == "cleaning\n"
        for again in termination.SIGNALS:
            process.send_signal(again)
        assert process.communicate("on\n", timeout=60)[0] == f"clean\nTerminated {number.name}\n"


def test_what_was_ignored_stays_ignored() -> None:
    with started("nohup") as process:
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60)[0].endswith("Terminated SIGTERM\n")


def test_handlers_are_put_back_and_other_threads_left_alone() -> None:
    before = {number: signal.getsignal(number) for number in termination.SIGNALS}
    with termination.ends_as_interrupt():
        assert all(signal.getsignal(number) is not handler for number, handler in before.items())
    assert {number: signal.getsignal(number) for number in termination.SIGNALS} == before
    thread = threading.Thread(target=lambda: found.append(termination.install()))
    found: list[object] = []
    thread.start()
    thread.join()
    assert found == [{}]
