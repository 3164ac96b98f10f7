"""What goes on beside the measured load: a noisy neighbour, a command, adapters that come and go.

- *Neighbour*: requests to one adapter at a rate of their own, open loop, in the blocks in which it is on. Every worker
  sends its part.
- *Command*: any program, started in the middle third of the window, such as an evaluation of the same model, or `chaos`
  (`chaos.py`). Its output goes to `beside.log`. The first worker runs it.
- *Churn*: each so many seconds the first worker loads an adapter under a new name, asks it twice, and unloads it, where
  the server allows that (vLLM with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1). The adapters that were there are never touched.

Their requests have a `role` in the records and are in no number of the measured load.
"""

import json
import os
import shlex
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

import gevent
import httpx
from gevent import subprocess
from gevent.pool import Pool

from load_tests.options import api_key
from load_tests.traffic.arrivals import schedule
from load_tests.traffic.residency import ask_slots
from load_tests.traffic.runtime_loading import LOAD_PATH, UNLOAD_PATH, headers, timed
from nemostack.clients.tls import shared_context
from nemostack.clone import ROOT
from nemostack.redact import redact

if TYPE_CHECKING:
    from load_tests.worker import Worker

CHAOS: Final = "chaos"
_STOP_S: Final = 5.0
_SEED_STEP: Final = 1_000_003  # the neighbour's arrivals must not be those of the measured load


class Companions:
    """Everything that one worker runs beside its own requests."""

    def __init__(self, worker: "Worker") -> None:
        self.worker, self.manifest = worker, worker.manifest
        self.beside = worker.spec.beside
        self._greenlets: list[gevent.Greenlet] = []
        self._pool = Pool()
        self._raw = worker.spec.out / "raw"
        self._process: Any = None
        self._churned: list[dict[str, Any]] = []

    def start(self) -> None:
        """Start what this worker is to run."""
        if self.beside.neighbour is not None:
            self._greenlets.append(gevent.spawn(self._run_neighbour))
        if self.worker.index == 0 and self.beside.command:
            self._greenlets.append(gevent.spawn(self._run_command))
        if self.worker.index == 0 and self.beside.churn_s is not None:
            self._greenlets.append(gevent.spawn(self._run_churn))

    def stop(self) -> None:
        """End all of it, and write down what only the end tells."""
        gevent.killall(self._greenlets)
        self._pool.join(timeout=_STOP_S)
        self._pool.kill()
        self._end_process()
        if self.worker.index == 0 and self.manifest.slots.told_by != "server" and len(self.manifest.models) > 1:
            # vLLM names its slots only once it has served something
            slots = ask_slots(
                self.worker.spec.nim_url, self.worker.spec.lora_slots, api_key=api_key(self.worker.spec.nim_url)
            )
            self._write("slots.json", {"count": slots.count, "told_by": slots.told_by})

    def _write(self, name: str, content: object) -> None:
        (self._raw / name).write_text(json.dumps(content), encoding="utf-8")

    def _sleep_until(self, at: float) -> bool:
        """Sleep to a time of the run's clock; whether the run still sends then."""
        while (wait := at - self.worker.now()) > 0 and self.worker.sending:
            gevent.sleep(min(wait, 0.25))
        return self.worker.sending

    # --- neighbour ---------------------------------------------------------------------------------------------

    def _run_neighbour(self) -> None:
        assert self.beside.neighbour is not None
        contrast = self.beside.contrast
        assert contrast is not None
        spec, worker = self.worker.spec, self.worker
        model, rate = self.beside.neighbour
        times = schedule("poisson", rate=rate, duration_s=worker.window[1], seed=spec.seed + _SEED_STEP)
        on = [at for at in times if contrast.on_at(at, worker.window)]
        for at in on[worker.index :: worker.workers]:
            if not self._sleep_until(at):
                break
            if len(self._pool) < spec.max_in_flight:
                self._pool.spawn(worker.request, t_sched=at, model=model, role="neighbour")

    # --- command -----------------------------------------------------------------------------------------------

    def _run_command(self) -> None:
        contrast = self.beside.contrast
        assert contrast is not None
        begin, end = contrast.stretch(self.worker.window)
        if not self._sleep_until(begin):
            return
        facts: dict[str, Any] = {"command": redact(self.beside.command), "started_s": self.worker.now()}
        try:
            with (self.worker.spec.out / "beside.log").open("wb") as log:
                self._process = subprocess.Popen(
                    self._command(), stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd=str(ROOT)
                )
                while self._process.poll() is None and self._sleep_until(min(end, self.worker.now() + 0.25)):
                    if self.worker.now() >= end:
                        break
        except OSError as error:
            facts["problem"] = str(error)
        facts["exit_code"] = None if self._process is None else self._process.poll()
        facts["ended_s"] = self.worker.now()
        self._write("beside.json", facts)
        self._end_process()

    def _command(self) -> list[str]:
        """Return the command; our own are run by this interpreter, since they need not be on the PATH."""
        words = shlex.split(self.beside.command)
        if words == [CHAOS]:
            target = ["--nim-url", self.worker.spec.nim_url, "--model", self.manifest.base_model]
            return [sys.executable, "-m", "load_tests", CHAOS, *target]
        return [sys.executable, "-m", "cli", *words[1:]] if words[:1] == ["nemostack"] else words

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    # --- churn -------------------------------------------------------------------------------------------------

    def _run_churn(self) -> None:
        assert self.beside.churn_s is not None
        sources, turn = self.manifest.churn_sources, 0
        http = httpx.Client(
            base_url=self.worker.spec.nim_url,
            timeout=self.worker.spec.timeout_s,
            headers=headers(api_key(self.worker.spec.nim_url)),
            verify=shared_context(httpx),
        )
        with http:
            while self._sleep_until((turn + 1) * self.beside.churn_s):
                model, path = sources[turn % len(sources)]
                turn += 1
                self._churned.append(self._come_and_go(http, f"{model}-churn-{os.getpid()}-{turn}", model, path))
                self._write("churn.json", self._churned)

    def _come_and_go(self, http: httpx.Client, name: str, model: str, path: str) -> dict[str, Any]:
        """Load an adapter under a new name, ask it twice, unload it, however far it came."""
        row: dict[str, Any] = {"at": self.worker.now(), "adapter": model, "problem": ""}
        loaded = False
        try:
            row["load_ms"] = timed(http, LOAD_PATH, {"lora_name": name, "lora_path": path})
            loaded = True
            for key in ("first", "second"):
                record = self.worker.request(model=name, role="churn")
                row[f"{key}_ttft_ms"] = 1e3 * (record.t_first - record.t_send) if record.ok and record.t_first else None  # type: ignore[operator]
                row["problem"] = row["problem"] or record.detail
        except httpx.HTTPError as error:
            row["problem"] = str(error)
        finally:
            if loaded:
                try:
                    row["unload_ms"] = timed(http, UNLOAD_PATH, {"lora_name": name})
                except httpx.HTTPError as error:
                    row["problem"] = f"{name} may still be loaded: {error}"
        return row
