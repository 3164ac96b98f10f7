"""The part of one worker in a run: its clock, client, plan of requests and samples.

The run's phases on the worker's own clock: warm-up [0, warmup), window [warmup, warmup + duration), then grace for
what is still in flight. Load goes on from warm-up into the window without a drain, so the window starts with the
server as busy as it will stay. A request belongs to the window when it was due inside it, wherever it ends.
"""

import gc
import itertools
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import gevent
import numpy as np
import psutil
from gevent.pool import Pool

from load_tests.client.exchange import Exchange
from load_tests.client.records import RecordWriter, RequestRecord
from load_tests.client.streaming import StreamingClient
from load_tests.options import RunManifest, api_key
from load_tests.server_metrics import FILE, Sampler, sources
from load_tests.traffic import prompts
from load_tests.traffic.adapters import ServedModels
from load_tests.traffic.arrivals import schedule
from load_tests.traffic.companions import Companions
from load_tests.traffic.planned import Conversation, PlannedRequest, Planner
from load_tests.traffic.trace import TraceRow

LOOP_PROBE_S = 0.02
CPU_PROBE_S = 1.0
COLLECT_AFTER = 100_000
"""New objects after which garbage is collected. Requests leave none behind, and a collection stops all streams for
milliseconds; Locust users of somebody else may leave some."""


class Worker:
    """Sends requests and records them. Made before the run, started at its first second.

    `rows`: those of the run's trace, of which this worker sends its part.
    """

    def __init__(self, manifest: RunManifest, *, index: int = 0, rows: Sequence[TraceRow] = ()) -> None:
        self.spec, self.index, self.workers = manifest.spec, index, manifest.workers
        self._rows = rows[index :: manifest.workers]
        spec = manifest.spec
        adapters = tuple(model for model in manifest.model_ids if model != manifest.base_model)
        per_worker = spec.max_in_flight if spec.open_loop else max(spec.users, 1)
        self.client = StreamingClient(
            spec.nim_url, connections=per_worker, timeout_s=spec.timeout_s, api_key=api_key(spec.nim_url)
        )
        self._planner = Planner(manifest, worker=index)
        self.manifest, self._contrast = manifest, spec.beside.contrast
        self._models = spec.mix.choices(
            ServedModels(manifest.base_model, adapters),
            seed=spec.seed,
            worker=index,
            now=self.now,
            only=self._only,
        )
        self._companions = Companions(self)
        asked = sources(spec.nim_url, spec.server_metrics, spec.dcgm_url, api_key(spec.nim_url)) if index == 0 else []
        self._sampler = Sampler(asked, spec.out / "raw" / FILE, self.now)
        self._ids = itertools.count(1)
        self._writer = RecordWriter(spec.out / "raw" / f"requests-{index}.jsonl")
        self._t0 = 0.0
        self._stopped_at: float | None = None
        self._started_at = 0.0
        self._cpu: list[tuple[float, float]] = []
        self._loop_delays_ms: list[tuple[float, float]] = []
        self._probes: list[gevent.Greenlet] = []

    # --- clock -------------------------------------------------------------------------------------------------

    @property
    def window(self) -> tuple[float, float]:
        """Start and planned end of the measurement, seconds on this worker's clock."""
        return self.spec.warmup_s, self.spec.warmup_s + self.spec.duration_s

    def now(self) -> float:
        """Seconds since `start`."""
        return time.perf_counter() - self._t0

    @property
    def sending(self) -> bool:
        """Whether new requests may still be sent."""
        return self._stopped_at is None and self.now() < self.window[1]

    def start(self) -> None:
        """Start the clock and the probes of this process's CPU and event loop."""
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER)
        self._t0, self._started_at = time.perf_counter(), time.time()
        self._probes = [gevent.spawn(self._probe_cpu), gevent.spawn(self._probe_loop)]
        self._companions.start()
        self._sampler.start()

    def stop_sending(self) -> None:
        """Note when the run was told to stop; earlier than planned means interrupted."""
        if self._stopped_at is None:
            self._stopped_at = self.now()

    def finish(self) -> None:
        """Write the facts that the report needs beside the samples: window, CPU, delay of the event loop."""
        self._companions.stop()
        self._sampler.stop()
        gevent.killall(self._probes)
        self._writer.close()
        self.client.close()
        start, planned_end = self.window
        end = planned_end if self._stopped_at is None else min(planned_end, self._stopped_at)
        facts = {
            "worker": self.index,
            "pid": os.getpid(),
            "started_at": self._started_at,
            "window_start_s": start,
            "window_end_s": max(start, end),
            "planned_end_s": planned_end,
            "cpu_percent": self._cpu,
            "loop_delay_ms": [round(d, 3) for at, d in self._loop_delays_ms if start <= at < end],
        }
        path = self.spec.out / "raw" / f"worker-{self.index}.json"
        path.write_text(json.dumps(facts), encoding="utf-8")

    def _probe_cpu(self) -> None:
        process = psutil.Process()
        process.cpu_percent()
        while True:
            gevent.sleep(CPU_PROBE_S)
            self._cpu.append((round(self.now(), 3), process.cpu_percent()))

    def _probe_loop(self) -> None:
        # how late a greenlet wakes up is how late a sample's stamp can be
        while True:
            due = time.perf_counter() + LOOP_PROBE_S
            gevent.sleep(LOOP_PROBE_S)
            self._loop_delays_ms.append((self.now(), (time.perf_counter() - due) * 1e3))

    # --- requests ----------------------------------------------------------------------------------------------

    def _only(self) -> Literal["base", "adapters"] | None:
        """What alone is asked for in this block of the run."""
        if self._contrast is None or self._contrast.kind != "base" or not self.window[0] <= self.now() < self.window[1]:
            return None
        return "adapters" if self._contrast.on_at(self.now(), self.window) else "base"

    def request(self, *, t_sched: float | None = None, model: str | None = None, role: str = "") -> RequestRecord:
        """Send the next planned request and record how it went. `t_sched`: seconds on this worker's clock.

        `model` and `role`: a request beside the measured load.
        """
        record, _ = self._send(self._planner.next(), model or self.next_model(), t_sched=t_sched, role=role)
        return record

    def next_model(self) -> str:
        """Draw a model by the mix."""
        return next(self._models)

    def converse(self, chat: Conversation) -> RequestRecord:
        """Send the next question of a chat; a failed one leaves the chat as it was, but for the question's number."""
        chat.model = chat.model or self.next_model()
        before = chat.messages
        planned = chat.ask(self._planner.next())
        record, text = self._send(planned, chat.model, turn=chat.turn, keep_text=True)
        if record.ok:
            chat.answer(text)
        else:
            chat.messages = before
        return record

    def _send(self, planned: PlannedRequest, model: str, **recorded: Any) -> tuple[RequestRecord, str]:
        return self.exchange(
            planned.body(self.spec, model),
            api=self.spec.api,
            asked_tokens=planned.output_tokens,
            asked_prompt_tokens=planned.input_tokens,
            **recorded,
        )

    def exchange(
        self,
        body: dict[str, Any],
        *,
        api: prompts.Api,
        asked_tokens: int,
        asked_prompt_tokens: int | None = None,
        t_sched: float | None = None,
        role: str = "",
        turn: int = 1,
        keep_text: bool = False,
    ) -> tuple[RequestRecord, str]:
        """Send one body and record how it went; the text of the reply is kept only where it is wanted."""
        record = RequestRecord(
            id=f"{self.spec.out.name}-{self.index}-{next(self._ids)}",
            worker=self.index,
            model=body["model"],
            t_sched=t_sched,
            t_send=self.now(),
            asked_tokens=asked_tokens,
            asked_prompt_tokens=asked_prompt_tokens,
            turn=turn,
            role=role,
        )
        payload = json.dumps(body).encode()
        try:
            reply = self.client.stream(prompts.PATHS[api], payload, request_id=record.id, keep_text=keep_text)
        except gevent.GreenletExit:
            record.outcome, record.detail = "incomplete", "still running when the grace after the window ended"
            self._writer.write(record)
            raise
        self._fill(record, reply)
        self._writer.write(record)
        return record, "".join(reply.texts or ())

    def _fill(self, record: RequestRecord, exchange: Exchange) -> None:
        def at(stamp: float | None) -> float | None:
            return None if stamp is None else stamp - self._t0

        record.t_send, record.t_end = at(exchange.t_send), at(exchange.t_end)
        record.t_first, record.t_last = at(exchange.t_first), at(exchange.t_last)
        record.outcome, record.detail = exchange.error or "ok", exchange.detail
        record.status, record.finish_reason = exchange.status, exchange.finish_reason
        record.prompt_tokens, record.cached_tokens = exchange.prompt_tokens, exchange.cached_tokens
        record.content_events = exchange.content_events
        record.gaps_ms = np.round(np.asarray(exchange.gaps_s) * 1e3, 4).tolist()
        if exchange.output_tokens is None:
            record.output_tokens, record.tokens_from = exchange.content_events, "events"
        else:
            record.output_tokens = exchange.output_tokens

    def _drop(self, t_sched: float, row: TraceRow | None) -> None:
        planned = self._planner.next(row)
        self._writer.write(
            RequestRecord(
                id=f"{self.spec.out.name}-{self.index}-{next(self._ids)}",
                worker=self.index,
                model=planned.model or self.next_model(),
                t_sched=t_sched,
                t_send=None,
                outcome="dropped",
                detail=f"{self.spec.max_in_flight} requests were in flight, the cap",
                asked_tokens=planned.output_tokens,
            )
        )

    def _send_due(self, at: float, row: TraceRow | None, on_done: Callable[[RequestRecord], None]) -> None:
        planned = self._planner.next(row)
        record, _ = self._send(planned, planned.model or self.next_model(), t_sched=at)
        on_done(record)

    def _due(self) -> list[tuple[float, TraceRow | None]]:
        """Return when this worker sends, with the trace's rows where a trace says it."""
        if self.spec.trace is not None:
            return [(row.at_s, row) for row in self._rows]
        times = schedule(
            self.spec.arrivals,
            rate=self.spec.rate or 0.0,
            duration_s=self.window[1],
            seed=self.spec.seed,
            smoothness=self.spec.smoothness,
            worker=self.index,
            workers=self.workers,
            profile=self.spec.rate_profile,
            warmup_s=self.spec.warmup_s,
        )
        return [(at, None) for at in times]

    def dispatch(self, on_done: Callable[[RequestRecord], None]) -> None:
        """Open loop: send each scheduled request at its time, one greenlet each; wait for the rest up to the grace.

        Sleeps to absolute times, so a late wake-up does not push later sends. At the cap a request is recorded as
        dropped: skipping it silently would make an overload look like a lighter load.
        """
        pool = Pool()
        for at, row in self._due():
            while (wait := at - self.now()) > 0 and self._stopped_at is None:
                gevent.sleep(min(wait, 0.25))
            if self._stopped_at is not None and self._stopped_at < at:
                break
            if len(pool) >= self.spec.max_in_flight:
                self._drop(at, row)
            else:
                pool.spawn(self._send_due, at, row, on_done)
        pool.join(timeout=self.spec.grace_s)
        pool.kill()


def worker_facts(folder: Path) -> list[dict[str, Any]]:
    """Read the facts that each worker wrote at its end."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("worker-*.json"))]
