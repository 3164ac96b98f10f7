"""The load test itself: `locust -f load_tests/locustfile.py --headless --nim-url http://127.0.0.1:18082 -u 8`.

`nemostack load` runs this file with sensible Locust settings. Users send streamed completions to a base model and its
adapters; when the run is over the report is written and the verdict becomes the exit code (see `verdict/slo.py`).

Closed loop: each Locust user is a client that sends its next request after the last. Open loop: each worker needs one
user, which sends the whole schedule; more users than workers are refused by being idle.
"""

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
from locust import User, events, task
from locust.exception import StopUser
from locust.runners import STATE_CLEANUP, STATE_MISSING, STATE_STOPPED, MasterRunner, WorkerRunner

from load_tests import delivery, options, run_folder
from load_tests.client.records import RequestRecord
from load_tests.options import LoadSpec, RunManifest
from load_tests.traffic import planned, token_counts
from load_tests.traffic.adapters import ServedModels, discover, no_adapters_hint
from load_tests.traffic.planned import Conversation
from load_tests.traffic.residency import ask_slots
from load_tests.traffic.runtime_loading import churn_sources
from load_tests.traffic.token_texts import TokenTexts, learn
from load_tests.traffic.trace import TraceRow
from load_tests.verdict.metrics import e2e_ms
from load_tests.verdict.slo import read_slo
from load_tests.web.page import Page
from load_tests.worker import Worker, worker_facts
from nemostack import log_lines
from nemostack.errors import BadInput, NemostackError
from nemostack.redact import redact

PROGRESS_S = 5.0
LATE_S = 10.0
"""How much later than the master a worker may be over: it starts later, and a busy machine makes it wait."""
log_lines.install()  # this is a process of its own


class Run:
    """The state that the event handlers of one process share.

    `rows`: of the trace, as far as they are due. `courier`: of a worker on another host.
    """

    manifest: RunManifest | None = None
    rows: Sequence[TraceRow] = ()
    worker: Worker | None = None
    courier: delivery.Courier | None = None
    progress: gevent.Greenlet | None = None
    page: Page | None = None
    started: bool = False
    verdict: int | None = None

    def __init__(self) -> None:
        self.over: set[str] = set()
        """Workers, by Locust's names, whose clocks have reached the end of the window; for the master."""


run = Run()


class ReportingUser(User):
    """A user that tells Locust of each request."""

    abstract = True

    def report(self, record: RequestRecord) -> None:
        """Tell Locust, for its live table only: one event per request, named by model."""
        response_ms = e2e_ms(record)
        self.environment.events.request.fire(
            request_type="stream",
            name=record.model,
            response_time=response_ms if response_ms is not None else 0.0,
            response_length=record.output_tokens,
            exception=None if record.ok else RuntimeError(f"{record.outcome}: {record.detail}"),
            context={},
        )


class NimUser(ReportingUser):
    """A client of NIM (closed loop), or the dispatcher of the schedule (open loop)."""

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.chat = Conversation()

    @task
    def ask(self) -> None:
        """Send one request, or every scheduled one."""
        worker = run.worker
        if worker is None or not worker.sending:
            raise StopUser
        if worker.spec.open_loop:
            worker.dispatch(self.report)
            raise StopUser
        if worker.spec.turns == 1:
            self.report(worker.request())
        else:
            if self.chat.turn >= worker.spec.turns:
                self.chat = Conversation()
            self.report(worker.converse(self.chat))
        if worker.spec.think_s:
            gevent.sleep(worker.spec.think_s)


def add_options(parser: Any, **_: Any) -> None:
    """Add the options of this load test to Locust's."""
    options.add_options(parser)


def prepare(environment: Any, runner: Any, **_: Any) -> None:
    """Check everything before a single request: options, SLO file, prompts, and that NIM serves what is asked for.

    Only the master (or the one process) does; workers read what it decided when the test starts.
    """
    parsed = environment.parsed_options
    try:
        if isinstance(runner, WorkerRunner):
            environment.stop_timeout = options.stop_timeout_s(parsed)
            runner.register_message(delivery.PLAN, take_plan)
            runner.register_message(delivery.FINISH, finish_early, concurrent=True)
            return
        if isinstance(runner, MasterRunner):
            runner.register_message(delivery.SAMPLES, take_samples)
            runner.register_message(delivery.OVER, note_over)
        workers = parsed.expect_workers if isinstance(runner, MasterRunner) else 1
        spec, models = _preflight(parsed)
        if spec.open_loop and not all(issubclass(kind, NimUser) for kind in environment.user_classes):
            raise BadInput("a journey is a closed loop: leave --arrivals, --rate-profile and --trace out")
        key = options.api_key(spec.nim_url)
        run.manifest = run_folder.create(
            spec,
            models,
            workers=workers,
            slots=ask_slots(spec.nim_url, spec.lora_slots, api_key=key),
            token_texts=_learn_token_texts(spec, models.base) if planned.needs_token_texts(spec, run.rows) else None,
            churn_sources=churn_sources(spec.nim_url, models.adapters, key=key) if spec.beside.churn_s else (),
        )
    except NemostackError as error:
        print(f"error: {redact(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(f"load: {models.summary}", file=sys.stderr)
    if spec.adapters == "auto" and not models.adapters:
        print(f"  {no_adapters_hint(models)}", file=sys.stderr)
    environment.host = spec.nim_url
    environment.stop_timeout = options.stop_timeout_s(parsed)
    if spec.open_loop:
        parsed.num_users = workers
    parsed.spawn_rate = max(parsed.spawn_rate or 0, parsed.num_users or 1)
    planned_s = spec.warmup_s + spec.duration_s
    run.progress = gevent.spawn(_print_progress, environment, planned_s)
    if environment.web_ui is not None:
        parsed.autostart = True  # what Locust's form would change was checked and written down
        run.page = Page(environment.web_ui, run.manifest)
        print(f"page: {run.page.url}", file=sys.stderr)


def _preflight(parsed: Any) -> tuple[LoadSpec, ServedModels]:
    if parsed.run_time:
        raise BadInput("use --duration (and --warmup) in place of --run-time/-t")
    rows = options.rows_from(parsed)
    spec = options.spec_from(parsed, rows)
    run.rows = planned.due_rows(spec, rows)
    if spec.slo:
        read_slo(spec.slo)
    models = discover(
        spec.nim_url, base_model=spec.base_model, requested=spec.adapters, api_key=options.api_key(spec.nim_url)
    )
    spec.mix.shares(models)
    planned.check(spec, (models.base, *models.adapters), run.rows)
    if len(models.adapters) < parsed.needs_adapters:
        raise BadInput(
            f"{parsed.needs_adapters} adapters are needed, and {spec.nim_url} lists {len(models.adapters)} of "
            f"{models.base}: load more of them there, or take another scenario"
        )
    if spec.beside.contrast is not None and not models.adapters and spec.beside.contrast.kind == "base":
        raise BadInput("--interleave compares adapters with the base model: this run has no adapter")
    if spec.beside.neighbour is not None and spec.beside.neighbour[0] not in {models.base, *models.adapters}:
        raise BadInput(f"--neighbour {spec.beside.neighbour[0]} is not in this run; {models.summary}")
    return spec, models


def _learn_token_texts(spec: LoadSpec, model: str) -> TokenTexts:
    with token_counts.client(options.api_key(spec.nim_url)) as http:
        return learn(token_counts.counter(http, spec.nim_url, model, api=spec.api))


def take_plan(environment: Any, msg: Any, **_: Any) -> None:
    """Worker: learn what to do."""
    try:
        run.manifest, run.rows, run.courier = delivery.unpack(msg.data)
    except NemostackError as error:
        print(f"error: {redact(str(error))}", file=sys.stderr)
        environment.runner.quit()


def finish_early(environment: Any, **_: Any) -> None:
    """Worker: end this part, since the master's time is over; it waits for the samples before it says goodbye."""
    environment.runner.stop()


def note_over(msg: Any, **_: Any) -> None:
    """Master: a worker's window is over."""
    run.over.add(msg.node_id)


def take_samples(msg: Any, **_: Any) -> None:
    """Master: keep what a worker on another host measured."""
    if run.manifest is not None:
        delivery.receive(msg.data, run.manifest.spec.out / "raw")


def add_samples(data: dict[str, Any], **_: Any) -> None:
    """Worker: send new samples along with Locust's statistics."""
    if run.courier is not None:
        data[delivery.REPORT_KEY] = list(run.courier.chunks())


def take_reported_samples(data: dict[str, Any], **_: Any) -> None:
    """Master: take them out again."""
    for chunk in data.pop(delivery.REPORT_KEY, ()):
        take_samples(SimpleNamespace(data=chunk))


def start_worker(environment: Any, **_: Any) -> None:
    """Begin this process's part, once; the master tells its workers what it is."""
    if run.started:
        print("a folder holds one run: give the command again for another", file=sys.stderr)
        return
    run.started = True
    assert run.manifest is not None  # made by `prepare`, or told by the master before its workers start
    gevent.spawn(_end, environment, run.manifest.spec)
    if isinstance(environment.runner, MasterRunner):
        environment.runner.send_message(delivery.PLAN, delivery.pack(run.manifest, run.rows))
        return
    run.worker = Worker(run.manifest, index=max(environment.runner.worker_index, 0), rows=run.rows)
    run.worker.start()


def stop_sending(**_: Any) -> None:
    """Let requests in flight finish, and send no new ones."""
    if run.worker is not None:
        run.worker.stop_sending()


def write_worker_facts(environment: Any, **_: Any) -> None:
    """Put every sample of this worker on disk, here and at the master; the master waits for those of all workers."""
    if isinstance(environment.runner, MasterRunner) and run.manifest is not None:
        environment.runner.send_message(delivery.FINISH)
        _await_workers(run.manifest.spec.out, run.manifest)
    if run.worker is not None:
        run.worker.finish()
        run.worker = None
        if run.courier is not None:
            for chunk in run.courier.chunks(last=True):
                environment.runner.send_message(delivery.SAMPLES, chunk)
    if run.page is not None and run.manifest is not None and run.verdict is None:
        if run.progress is not None:
            run.progress.kill()
        run.verdict = run_folder.conclude(run.manifest.spec.out)
        stays_s = _page_stays_s(environment)
        how_long = "until Ctrl-C" if stays_s < 0 else f"{stays_s} s"
        print(f"the page stays {how_long}: {run.page.url}", file=sys.stderr)


def judge(environment: Any, **_: Any) -> None:
    """Merge, report, decide the exit code. Also after Ctrl-C or SIGTERM, when the run still has to be stopped first."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Locust would shut down a second time beside the first
    runner = environment.runner
    if isinstance(runner, WorkerRunner) or run.manifest is None:
        return
    run.page = None  # it ends too
    if runner.state not in {STATE_STOPPED, STATE_CLEANUP}:
        runner.stop()
    if run.progress is not None:
        run.progress.kill()
    environment.process_exit_code = 1  # Locust logs an exception of a handler and goes on: a crash must not look well
    environment.process_exit_code = run_folder.conclude(run.manifest.spec.out) if run.verdict is None else run.verdict


def _end(environment: Any, spec: LoadSpec) -> None:
    """End the run when the window is over by the clock of every worker that is still there.

    Users send nothing after that by themselves; what is in flight has the grace that Locust gives when it stops.
    """
    runner = environment.runner
    gevent.sleep(spec.warmup_s + spec.duration_s)
    if isinstance(runner, WorkerRunner):
        while run.worker is not None and run.worker.sending:
            gevent.sleep(0.05)
        runner.send_message(delivery.OVER)
        return
    deadline = time.monotonic() + LATE_S
    while not _all_over(runner) and time.monotonic() < deadline:
        gevent.sleep(0.1)
    if environment.web_ui is None:
        runner.quit()
        return
    if runner.state not in {STATE_STOPPED, STATE_CLEANUP}:  # somebody may have pressed Stop
        runner.stop()
    stays_s = _page_stays_s(environment)
    if stays_s >= 0:
        gevent.sleep(stays_s)
        runner.quit()
        environment.web_ui.stop()


def _page_stays_s(environment: Any) -> int:
    """Seconds for which the page is there after the run; -1: until Ctrl-C."""
    return int(environment.parsed_options.autoquit)


def _all_over(runner: Any) -> bool:
    if isinstance(runner, MasterRunner):
        return {client.id for client in runner.clients.all if client.state != STATE_MISSING} <= run.over
    return run.worker is None or not run.worker.sending


def _await_workers(out: Path, manifest: RunManifest) -> None:
    # Locust's master does not wait for requests that its workers still let finish, and hears nothing once it has quit
    deadline = time.monotonic() + manifest.spec.grace_s + 10
    while len(worker_facts(out / "raw")) < manifest.workers and time.monotonic() < deadline:
        gevent.sleep(0.2)


def _print_progress(environment: Any, planned_s: float) -> None:
    elapsed = 0.0
    while True:
        gevent.sleep(PROGRESS_S)
        elapsed += PROGRESS_S
        total = environment.runner.stats.total
        print(
            f"{min(elapsed, planned_s):.0f} of {planned_s:.0f} s, {total.num_requests} requests ended, "
            f"{total.num_failures} failed",
            file=sys.stderr,
        )


for event, handler in (
    (events.init_command_line_parser, add_options),
    (events.init, prepare),
    (events.test_start, start_worker),
    (events.test_stopping, stop_sending),
    (events.test_stop, write_worker_facts),
    (events.report_to_master, add_samples),
    (events.worker_report, take_reported_samples),
    (events.quitting, judge),
):
    event.add_listener(handler)  # type: ignore[no-untyped-call]  # Locust leaves it untyped
