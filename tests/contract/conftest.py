"""Real services on loopback ports for the contract tests, which talk to them through the official clients.

    start_service("data_store")                     in a thread of this process: fast, breakpoints work
    start_process("data_store", data_dir=folder)    `python -m embedded.serve`: for signals, crashes and restarts

Both give a `Running` with `.url`; other settings go in as keywords, and `port` and `data_dir` are chosen unless given.
What was started is stopped when the session ends. `data_store_url`, `entity_store_url` are shared by the session:
tests use names of their own (fixture `unique`).
"""

import importlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from huggingface_hub import HfApi
from nemo_microservices import NeMoMicroservices

from nemostack.clients.tls import shared_context
from nemostack.clone import ROOT
from simulator import ports
from tests.deadlines import Deadline

# Before huggingface_hub reads them: no bars between the dots, no telemetry, nothing of the user's token.
os.environ.update(HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_IMPLICIT_TOKEN="1")
# Before torch is loaded: with models this small its threads mostly spin, waiting for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@dataclass
class Running:
    """A service that answers at `url`."""

    name: str
    url: str
    data_dir: Path
    _stop: Callable[[], None]
    process: subprocess.Popen[bytes] | None = None
    log: Path | None = None
    _stopped: bool = field(default=False, init=False)

    def stop(self) -> None:
        """End it in good order (SIGTERM for a process). Twice does no harm."""
        if not self._stopped:
            self._stopped = True
            self._stop()


def free_socket() -> socket.socket:
    """A listening-to-be socket on a free loopback port; held, so that nobody else takes the port."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


def _held_ports() -> Iterator[int]:
    """Ports for processes, block after block: no other test process gets them as long as this one lives."""
    with ExitStack() as holding:
        while True:
            yield from holding.enter_context(ports.hold())


_PORTS = _held_ports()


def free_port() -> int:
    """A loopback port for a process to bind; each call gives another one."""
    return next(_PORTS)


# What a service takes at most to end when it is told to: 5 s of its own, and what a busy machine adds.
STOPPED_S = 20


def wait_until(condition: Callable[[], object], what: str, seconds: float = 90, interval: float = 0.05) -> None:
    """Poll until `condition()` is true; fails the test with `what` when time is up."""
    deadline = Deadline(seconds)
    while not condition():
        if deadline.passed:
            pytest.fail(f"waited {seconds:g} s for {what}")
        time.sleep(interval)


def _answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/health", timeout=2).status_code < 500
    return False


def run_app(app: Any, held: socket.socket) -> Callable[[], None]:
    """Serve an ASGI app on `held` in a thread; returns once it answers, with the function that stops it."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, proxy_headers=False, timeout_graceful_shutdown=3, lifespan="on"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [held]}, daemon=True)
    thread.start()
    wait_until(lambda: server.started or not thread.is_alive(), "the app's start", seconds=120)
    assert server.started, "the app's lifespan failed; see the captured log"

    def stop() -> None:
        server.should_exit = True
        thread.join(10)
        held.close()
        assert not thread.is_alive(), "the service did not stop within 10 s"

    return stop


@pytest.fixture(scope="session", autouse=True)
def one_tls_context() -> Iterator[None]:
    """Share a TLS context between all clients: one of its own costs each 50 ms, more than most requests of a test."""

    def context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        own = verify is not True or cert is not None
        return httpx.create_ssl_context(verify, cert, trust_env) if own else shared_context(httpx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx._transports.default.create_ssl_context", context)
        yield


@pytest.fixture(scope="session")
def start_app() -> Iterator[Callable[..., str]]:
    """`start_app(asgi_app)` -> its URL; for upstreams made up by a test."""
    with ExitStack() as stack:

        def start(app: Any) -> str:
            held = free_socket()
            stack.callback(run_app(app, held))
            return f"http://127.0.0.1:{held.getsockname()[1]}"

        yield start


@pytest.fixture(scope="session")
def start_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """`start_service(name, **settings)` runs `embedded.<name>.app.create_app` in a thread."""
    with ExitStack() as stack:

        def start(name: str, **settings: Any) -> Running:
            package = importlib.import_module(f"embedded.{name}")
            app_module = importlib.import_module(f"embedded.{name}.app")
            held = free_socket()
            port = held.getsockname()[1]
            data_dir = Path(settings.pop("data_dir", None) or tmp_path_factory.mktemp(name))
            app = app_module.create_app(package.Settings(port=port, data_dir=data_dir, **settings))
            running = Running(name, f"http://127.0.0.1:{port}", data_dir, run_app(app, held))
            stack.callback(running.stop)
            return running

        yield start


@pytest.fixture(scope="session")
def start_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """`start_process(name, **settings)` runs `python -m embedded.serve name config.json`; `wait_s` bounds its start."""
    with ExitStack() as stack:

        def start(name: str, *, wait_s: float = 60, env: dict[str, str] | None = None, **settings: Any) -> Running:
            folder = tmp_path_factory.mktemp(f"{name}-process")
            port = settings.pop("port", None) or free_port()
            data_dir = Path(settings.pop("data_dir", None) or folder / "data")
            config, log = folder / "config.json", folder / "log"
            config.write_text(json.dumps({"port": port, "data_dir": str(data_dir), **settings}, default=str))
            with log.open("wb") as out:
                process = subprocess.Popen(
                    [sys.executable, "-m", "embedded.serve", name, str(config)],
                    cwd=ROOT,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **(env or {})},
                )

            def stop() -> None:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                    try:
                        process.wait(10)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()
                        pytest.fail(f"{name} ignored SIGTERM for 10 s")

            running = Running(name, f"http://127.0.0.1:{port}", data_dir, stop, process, log)
            stack.callback(running.stop)
            wait_until(lambda: _answers(running.url) or process.poll() is not None, f"{name}'s start", seconds=wait_s)
            assert process.poll() is None, f"{name} exited with {process.returncode}:\n{log.read_text()[-3000:]}"
            return running

        yield start


@pytest.fixture(scope="session")
def data_store_url(start_service: Callable[..., Running]) -> str:
    return start_service("data_store").url


@pytest.fixture(scope="session")
def entity_store_url(start_service: Callable[..., Running]) -> str:
    return start_service("entity_store").url


@pytest.fixture(scope="session")
def hub(data_store_url: str) -> HfApi:
    """The official Hugging Face client, on the session's Data Store."""
    return HfApi(endpoint=f"{data_store_url}/v1/hf", token=False)


@pytest.fixture
def sdk(entity_store_url: str) -> Iterator[NeMoMicroservices]:
    """The official NeMo client, on the session's Entity Store."""
    with NeMoMicroservices(base_url=entity_store_url) as client:
        yield client


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses, made of the test's own name."""
    stem = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].strip("-")
    return f"{stem}-{uuid.uuid4().hex[:8]}"
