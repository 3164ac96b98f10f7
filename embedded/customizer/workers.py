"""Processes for jobs, forked from one that has torch and PEFT loaded already, so that a job starts at once.

That process (Python's fork server) computes nothing itself: forking is only safe before torch has started threads.
"""

import multiprocessing
import multiprocessing.forkserver
import os
import threading
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from embedded.customizer import worker

WARM_UP_DELAY_S = 2.0  # the service answers health checks first
TERM_GRACE_S = 3.0
SPIN_COUNT = 1000


class Workers:
    """Starts job processes."""

    def __init__(self, *, keep_warm: bool) -> None:
        # Read by OpenMP when torch is loaded. By default threads that wait for one another spin, for so long that a
        # job beside other busy services takes 3 times as long; these soon sleep instead.
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))
        self._context: ForkServerContext | SpawnContext
        if keep_warm:
            self._context = multiprocessing.get_context("forkserver")
            self._context.set_forkserver_preload(["embedded.customizer.loaded"])
        else:
            self._context = multiprocessing.get_context("spawn")

    def warm_up(self) -> None:
        """Begin loading in the background; a job that comes first waits for it."""
        if isinstance(self._context, ForkServerContext):
            timer = threading.Timer(WARM_UP_DELAY_S, multiprocessing.forkserver.ensure_running)
            timer.daemon = True
            timer.start()

    def start(self, folder: Path) -> BaseProcess:
        """Start the job in `folder`. Ends with this service, at the latest."""
        process = self._context.Process(target=worker.main, args=(str(folder),), daemon=True)
        process.start()
        return process


def end(process: BaseProcess) -> None:
    """Terminate, and kill if that is not enough; returns when the process is gone."""
    process.terminate()
    process.join(TERM_GRACE_S)
    if process.is_alive():
        process.kill()
        process.join()
