"""The stack under test, the fixtures that its tests share, the logs shown after a failure, and the final cleanup.

Without a stack every test is skipped with a word on how to name one (`--require-stack` makes that a failure). Names
come from the session and the test, so tests may run in any order and in parallel, also against a stack in use.
"""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nemostack import proxies, stack_outputs, termination
from nemostack.clients import Clients
from nemostack.clients.evaluator import EvaluationJob
from nemostack.errors import BadInput, ServiceError, TargetError
from nemostack.kubectl.client import log_command
from nemostack.outputs import StackOutputs
from nemostack.product import TITLES
from smoke_tests.journal import Journal, Kind, Made, Stack
from smoke_tests.shared import EVALUATED_ITEMS, JOB_TIMEOUT_S, Shared
from workflows.data.rows import Row
from workflows.results import approach
from workflows.results.approach import judge_key
from workflows.settings import Settings

HOW = (
    f"no stack to test: give --stack NAME or --outputs FILE (or set {stack_outputs.ENV_OUTPUTS}); "
    "`make up` starts a local one"
)
LOG_LINES = 40
ENV_JOB_TIMEOUT = "NEMOSTACK_JOB_TIMEOUT"
SESSION = pytest.StashKey["Session"]()


@dataclass(frozen=True)
class Session:
    """What all processes of one test session have in common."""

    outputs: StackOutputs
    namespace: str
    folder: Path
    keep: bool
    job_timeout_s: float = JOB_TIMEOUT_S

    @property
    def journal(self) -> Journal:
        """What has been made."""
        return Journal(self.folder)


# --- the target ---------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("smoke tests")
    group.addoption("--stack", metavar="NAME", help="Pulumi stack to test, e.g. local")
    group.addoption("--outputs", metavar="FILE", help="JSON file with the stack's outputs, instead of a stack's name")
    group.addoption("--require-stack", action="store_true", help="without a stack fail, do not skip")
    group.addoption(
        "--job-timeout",
        metavar="SECONDS",
        type=float,
        default=os.environ.get(ENV_JOB_TIMEOUT, JOB_TIMEOUT_S),
        help=f"longest wait for a job, for NIM to serve an adapter; default {JOB_TIMEOUT_S:g}; also {ENV_JOB_TIMEOUT}",
    )
    group.addoption("--keep", action="store_true", help="leave on the stack what the tests made")


def pytest_configure(config: pytest.Config) -> None:
    termination.install()  # fixtures and the final sweep remove what was made
    proxies.prepare(os.environ)
    config.addinivalue_line("markers", "services(*names): whose logs to show when this test fails")
    config.addinivalue_line("markers", "product(*names): product lines that this test is about")
    given = getattr(config, "workerinput", {}).get("smoke")
    if given is not None:
        config.stash[SESSION] = Session(
            StackOutputs.model_validate(given["outputs"] | {"kubeconfig": given["kubeconfig"]}),
            given["namespace"],
            Path(given["folder"]),
            given["keep"],
            given["job_timeout_s"],
        )
        return
    stack, file = config.getoption("--stack"), config.getoption("--outputs")
    if not (stack or file or os.environ.get(stack_outputs.ENV_OUTPUTS)):
        if config.getoption("--require-stack"):
            raise pytest.UsageError(HOW)
        return
    try:
        outputs = stack_outputs.resolve(stack or "local", Path(file) if file else None, {})
    except (TargetError, BadInput) as error:
        raise pytest.UsageError(str(error)) from error
    folder = Path(tempfile.mkdtemp(prefix="nemostack-smoke-"))
    timeout = float(config.getoption("--job-timeout"))
    if not timeout > 0:
        raise pytest.UsageError(f"--job-timeout {timeout:g}: expected seconds above 0")
    namespace = f"smoke-{uuid.uuid4().hex[:10]}"
    config.stash[SESSION] = Session(outputs, namespace, folder, bool(config.getoption("--keep")), timeout)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist what the controller found out."""
    session = node.config.stash.get(SESSION, None)
    if session is not None:
        node.workerinput["smoke"] = {
            "outputs": session.outputs.model_dump(mode="json"),
            "kubeconfig": session.outputs.kubeconfig,  # a secret: left out of the dump
            "namespace": session.namespace,
            "folder": str(session.folder),
            "keep": session.keep,
            "job_timeout_s": session.job_timeout_s,
        }


def pytest_report_header(config: pytest.Config) -> str:
    session = config.stash.get(SESSION, None)
    if session is None:
        return "smoke tests: no stack"
    out = session.outputs
    line = f"{TITLES[out.product]} on target {out.target}"
    return f"smoke tests: {line}, {out.nemo_url}, NIM {out.nim_url}, namespace {session.namespace}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here, session = Path(__file__).parent, config.stash.get(SESSION, None)
    for item in items:
        marker = item.get_closest_marker("product")
        if session is None and here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=HOW))
        elif session is not None and marker is not None and session.outputs.product not in marker.args:
            titles = " and ".join(TITLES[name] for name in marker.args)
            item.add_marker(pytest.mark.skip(reason=f"about the {titles}; this stack runs the other product line"))


# --- what tests use -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def smoke(pytestconfig: pytest.Config) -> Session:
    """This session."""
    return pytestconfig.stash[SESSION]


@pytest.fixture(scope="session")
def outputs(smoke: Session) -> StackOutputs:
    """All that is known of the stack."""
    return smoke.outputs


@pytest.fixture(scope="session")
def clients(smoke: Session) -> Iterator[Clients]:
    """The harness's clients. They retry transport failures, 429 and 5xx; nothing else in these tests does."""
    with Clients(smoke.outputs) as opened:
        yield opened


@pytest.fixture(scope="session")
def stack(clients: Clients) -> Stack:
    """To look for things and remove them."""
    return Stack(clients)


@pytest.fixture(scope="session")
def shared(smoke: Session, clients: Clients) -> Shared:
    """Dataset and adapter that all tests of the session use, made by whoever needs them first."""
    return Shared(smoke.folder, smoke.namespace, smoke.journal, clients, smoke.job_timeout_s)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A DNS-safe name that no other test of any session has."""
    session: Session = request.getfixturevalue("smoke")
    node = request.node.nodeid
    slug = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:30].strip("-")
    return f"{slug}-{hashlib.sha256(f'{session.namespace}{node}'.encode()).hexdigest()[:8]}"


@pytest.fixture
def made(request: pytest.FixtureRequest, smoke: Session, stack: Stack) -> Iterator[Callable[[Kind, str], str]]:
    """`made(kind, name)` writes down what the test makes, and it is removed after the test, last first."""
    mine: list[Made] = []

    def remember(kind: Kind, name: str) -> str:
        if (kind, name) == ("namespace", smoke.namespace):  # of all tests: a platform's workspace takes all in it along
            smoke.journal.add(Made(kind, name))
            return name
        entry = Made(kind, name, request.node.nodeid)
        smoke.journal.add(entry)
        mine.append(entry)
        return name

    yield remember
    if not smoke.keep:
        for entry in reversed(mine):
            stack.remove(entry)


@pytest.fixture
def evaluate(
    clients: Clients, outputs: StackOutputs, smoke: Session, name: str, made: Callable[[Kind, str], str]
) -> Callable[..., EvaluationJob]:
    """Start an evaluation of test items; the job goes away with the test."""

    def start(
        test_url: str, *, model: str | None = None, judge: bool = False, shots: Sequence[Row] = ()
    ) -> EvaluationJob:
        settings = Settings(limit=EVALUATED_ITEMS, judge=judge, parallelism=4, namespace=smoke.namespace)
        config = approach.config(
            settings, outputs, name=name, test_url=test_url, max_tokens=32, examples=shots, judge_key=judge_key()
        )
        job = clients.evaluator.start(
            config=config,
            target=approach.target(outputs, model or outputs.base_model),
            namespace=smoke.namespace,
            run_id=smoke.namespace,
            stage=name,
        )
        made("evaluation", job.id)
        return job

    return start


# --- failures -----------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    session = item.config.stash.get(SESSION, None)
    marker = item.get_closest_marker("services")
    if report.failed and call.excinfo is not None and session is not None and marker is not None:
        report.sections += [(f"end of the log of {s}", _log(session.outputs, s)) for s in marker.args]
        report.sections += _jobs(session, item.nodeid)
    return report


def _log(outputs: StackOutputs, service: str) -> str:
    command = outputs.log_commands.get(service)
    if command is None:
        return (
            f"the stack's outputs name no log command for it (they do for: {', '.join(outputs.log_commands) or 'none'})"
        )
    try:
        with log_command(outputs, command) as argv:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired, TargetError) as error:
        return f"{' '.join(command)} failed: {error}"
    return "\n".join((done.stdout + done.stderr).splitlines()[-LOG_LINES:])


def _jobs(session: Session, test: str) -> list[tuple[str, str]]:
    """Status of the jobs that a test started, and of the shared ones."""
    sections = []
    with Clients(session.outputs, max_retries=0) as clients:
        for entry in session.journal.entries():
            if entry.test not in {test, ""} or entry.kind not in {"evaluation", "customization"}:
                continue
            jobs: Any = clients.evaluator if entry.kind == "evaluation" else clients.customizer
            try:
                text = jobs.get(entry.name).model_dump_json(indent=1, exclude={"train_loss", "val_loss"})
            except ServiceError as error:
                text = str(error)
            sections.append((f"{entry.kind} job {entry.name}", text))
    return sections


# --- nothing is left behind ---------------------------------------------------------------------------------------


@pytest.hookimpl(trylast=True)  # after pytest-xdist has ended its workers, which go on for a while after Ctrl-C
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In the controlling process, when all tests of all workers are over."""
    smoke = session.config.stash.get(SESSION, None)
    if smoke is None or hasattr(session.config, "workerinput"):
        return
    if not smoke.keep:
        session.config.stash[LEFT] = left = _sweep(smoke)
        if left and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    shutil.rmtree(smoke.folder, ignore_errors=True)


LEFT = pytest.StashKey[list[str]]()


def _sweep(smoke: Session) -> list[str]:
    """Remove everything that is still there; name what a test should have removed."""
    left: list[str] = []
    with Clients(smoke.outputs) as clients:
        stack = Stack(clients)
        for entry in reversed(smoke.journal.entries()):
            with _noting(left, str(entry)):
                if stack.exists(entry):
                    stack.remove(entry)
                    if entry.test:
                        left.append(str(entry))
                    if stack.exists(entry):
                        left.append(f"{entry} (could not be removed)")
        with _noting(left, f"namespace {smoke.namespace}"):
            for entry in stack.in_namespace(smoke.namespace):
                left.append(f"{entry} (in no test's journal)")
                stack.remove(entry)
    return left


@contextlib.contextmanager
def _noting(left: list[str], what: str) -> Iterator[None]:
    """What cannot be looked at or removed is reported like what is left, and the rest is still looked at."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - a failing check must be seen, not end pytest with a traceback
        left.append(f"{what}: could not be checked: {error}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    left, session = config.stash.get(LEFT, None), config.stash.get(SESSION, None)
    if session is not None and session.keep:
        terminalreporter.line(f"smoke tests: kept what was made in namespace {session.namespace}")
    if left:
        terminalreporter.section("left behind on the stack", red=True)
        for line in left:
            terminalreporter.line(line)
    elif left is not None:
        terminalreporter.line("smoke tests: nothing of this session is left on the stack", green=True)
