"""The load test itself: `locust -f load_tests/locustfile.py --headless --nim-url http://127.0.0.1:18082 -u 8`.

`python -m load_tests` runs this file with sensible Locust settings. Users send streamed completions to a base model
and its adapters; when the run is over the report is written and the verdict becomes the exit code (see `gates`).

Closed loop: each Locust user is a client that sends its next request after the last. Open loop: each worker needs one
user, which sends the whole schedule; more users than workers are refused by being idle.
"""

import sys
import time
from pathlib import Path
from typing import Any

import gevent
from locust import User, events, task
from locust.exception import StopUser
from locust.runners import STATE_CLEANUP, STATE_STOPPED, MasterRunner, WorkerRunner

from load_tests import finish, spec
from load_tests.adapters import PreflightError, ServedModels, discover, no_adapters_hint
from load_tests.gates import read_slo
from load_tests.metrics import e2e_ms
from load_tests.prompts import read_prompts
from load_tests.records import RequestRecord
from load_tests.session import Session, worker_facts

PROGRESS_S = 5.0


class Run:
    """What the event handlers of one process share."""

    card: spec.Card | None = None
    session: Session | None = None
    progress: gevent.Greenlet | None = None


run = Run()


class NimUser(User):
    """A client of NIM (closed loop), or the dispatcher of the schedule (open loop)."""

    def report(self, record: RequestRecord) -> None:
        """Tell Locust, for its live table only: one event a request, named by model."""
        took = e2e_ms(record)
        self.environment.events.request.fire(
            request_type="stream",
            name=record.model,
            response_time=took if took is not None else 0.0,
            response_length=record.output_tokens,
            exception=None if record.ok else RuntimeError(f"{record.outcome}: {record.detail}"),
            context={},
        )

    @task
    def ask(self) -> None:
        """One request, or every scheduled one."""
        session = run.session
        if session is None or not session.sending:
            raise StopUser
        if session.spec.open_loop:
            session.dispatch(self.report)
            raise StopUser
        self.report(session.request())
        if session.spec.think_s:
            gevent.sleep(session.spec.think_s)


def add_options(parser: Any, **_: Any) -> None:
    """Our options beside Locust's."""
    spec.add_options(parser)


def prepare(environment: Any, runner: Any, **_: Any) -> None:
    """Check everything before a single request: options, SLO file, prompts, and that NIM serves what is asked for.

    Only the master (or the one process) does; workers read what it decided when the test starts.
    """
    options = environment.parsed_options
    try:
        if isinstance(runner, WorkerRunner):
            environment.stop_timeout = spec.stop_timeout_s(options)
            return
        workers = options.expect_workers if isinstance(runner, MasterRunner) else 1
        wanted, models = _preflight(options)
        finish.begin(wanted, models, workers=workers)
    except PreflightError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"load: {models.summary}", file=sys.stderr)
    if wanted.adapters is None and not models.adapters:
        print(f"  {no_adapters_hint(models)}", file=sys.stderr)
    run.card = finish.read_card(Path(options.out))
    environment.host = run.card.spec.nim_url
    environment.stop_timeout = spec.stop_timeout_s(options)
    if run.card.spec.open_loop:
        options.num_users = workers
    options.spawn_rate = max(options.spawn_rate or 0, options.num_users or 1)
    planned = run.card.spec.warmup_s + run.card.spec.duration_s
    # users stop by their own clocks; Locust's comes a second later, as workers start a little after the master
    options.run_time = planned + 1
    run.progress = gevent.spawn(_print_progress, environment, planned)


def _preflight(options: Any) -> tuple[spec.LoadSpec, ServedModels]:
    if options.run_time:
        raise PreflightError("use --duration (and --warmup) in place of --run-time/-t")
    wanted = spec.spec_from(options)
    if wanted.slo:
        read_slo(wanted.slo)
    read_prompts(wanted.prompts, wanted.prompt_column)
    models = discover(wanted.nim_url, base_model=wanted.base_model, wanted=wanted.adapters, api_key=spec.api_key())
    wanted.mix.shares(models)
    return wanted, models


def start_worker(environment: Any, **_: Any) -> None:
    """Begin this process's part."""
    if isinstance(environment.runner, MasterRunner):
        return
    run.card = finish.read_card(Path(environment.parsed_options.out))
    run.session = Session(run.card, worker=max(environment.runner.worker_index, 0))
    run.session.start()


def stop_sending(**_: Any) -> None:
    """From here on requests in flight may finish; no new ones."""
    if run.session is not None:
        run.session.stop_sending()


def write_worker_facts(**_: Any) -> None:
    """Every sample of this worker is on disk before the master hears that it stopped."""
    if run.session is not None:
        run.session.finish()
        run.session = None


def judge(environment: Any, **_: Any) -> None:
    """Merge, report, decide the exit code. Also after Ctrl-C, when the run still has to be stopped first."""
    runner = environment.runner
    if isinstance(runner, WorkerRunner) or run.card is None:
        return
    if runner.state not in {STATE_STOPPED, STATE_CLEANUP}:
        runner.stop()
    if run.progress is not None:
        run.progress.kill()
    environment.process_exit_code = 1  # Locust logs an exception of a handler and goes on: a crash must not look well
    out = run.card.spec.out
    if isinstance(runner, MasterRunner):
        _await_workers(out, run.card)
    environment.process_exit_code = finish.finish(out)


def _await_workers(out: Path, card: spec.Card) -> None:
    # Locust's master does not wait for requests that its workers still let finish
    deadline = time.monotonic() + card.spec.grace_s + 5
    while len(worker_facts(out / "raw")) < card.workers and time.monotonic() < deadline:
        gevent.sleep(0.2)


def _print_progress(environment: Any, whole: float) -> None:
    elapsed = 0.0
    while True:
        gevent.sleep(PROGRESS_S)
        elapsed += PROGRESS_S
        total = environment.runner.stats.total
        print(
            f"{min(elapsed, whole):.0f} of {whole:.0f} s, {total.num_requests} requests ended, "
            f"{total.num_failures} failed",
            file=sys.stderr,
        )


for event, handler in (
    (events.init_command_line_parser, add_options),
    (events.init, prepare),
    (events.test_start, start_worker),
    (events.test_stopping, stop_sending),
    (events.test_stop, write_worker_facts),
    (events.quitting, judge),
):
    event.add_listener(handler)  # type: ignore[no-untyped-call]  # Locust leaves it untyped
