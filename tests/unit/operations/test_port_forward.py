"""Forwarding: real sockets through a kubectl that ends as the real one does, and a server that stands for the pods."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from cli import main
from nemostack.clone import ROOT
from nemostack.errors import BadInput, DeadlineExceeded, NotFound, TargetError
from nemostack.kubectl.client import Kubectl
from nemostack.outputs import StackOutputs
from nemostack.ports import free_ports
from operations.port_forward import forwarder, session
from operations.port_forward.session import forwarding, plan, wait_ready
from tests.deadlines import stretched
from tests.unit.fake_kubectl import FakeKubectl
from tests.unit.operations import healthy_cluster as h


class Pod:
    """Answers as one service: its name, the path and the size of the body; `/stream` in three pieces, told apart."""

    def __init__(self, name: str, port: int = 0) -> None:
        self.go_on = threading.Event()
        pod = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                size, left = 0, int(self.headers.get("Content-Length") or 0)
                while left:
                    size_now = len(self.rfile.read(min(left, 1 << 20)))
                    size, left = size + size_now, left - size_now
                if self.path.endswith("/stream"):
                    self.send_response(200)
                    self.send_header("Content-Type", "text/event-stream")
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for number in range(2):
                        data = f"data: {number}\n\n".encode()
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                        self.wfile.flush()
                        pod.go_on.wait(10)
                    self.wfile.write(b"0\r\n\r\n")
                    return
                body = json.dumps({"service": name, "path": self.path, "size": size}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = _answer  # noqa: N815

            def log_message(self, *_args: Any) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_args: Any) -> None:
                """Forwards that are cut hang up."""

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = int(self.server.server_port)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class World:
    """Pods, the kubectl that leads to them, and outputs with free ports."""

    def __init__(self, folder: Path) -> None:
        self.fake = FakeKubectl(folder)
        self.pods = {key: Pod(key) for key in h.SERVICES}
        self.ports = dict(zip(("nemo", "data_store", "nim", "mlflow"), free_ports(4), strict=True))
        self.said: list[str] = []
        self.aim()

    def aim(self) -> None:
        targets = {f"{a[0]}/{a[1]}:{a[2]}": self.pods[key].port for key, a in h.SERVICES.items() if key in self.pods}
        self.fake.write("targets.json", targets)

    @property
    def outputs(self) -> StackOutputs:
        return h.outputs(None, **{f"{key}_url": f"http://127.0.0.1:{port}" for key, port in self.ports.items()})

    def url(self, key: str, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.ports[key]}{path}"

    @contextlib.contextmanager
    def forwarded(self) -> Iterator[list[forwarder.Forwarder]]:
        with Kubectl.opened(self.outputs) as opened, forwarding(opened, plan(self.outputs), self.said.append) as all_of:
            wait_ready(all_of, 20)
            yield all_of

    def close(self) -> None:
        for pod in self.pods.values():
            pod.close()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path / "kubectl")
    monkeypatch.setattr("nemostack.kubectl.process.program", lambda: str(made.fake.path))
    monkeypatch.setattr(forwarder, "PAUSES_S", (0.05, 0.1))
    yield made
    made.close()
    assert not [p for p in psutil.Process().children(recursive=True) if str(made.fake.path) in " ".join(p.cmdline())]


def get(url: str) -> Any:
    answer = httpx.get(url, timeout=30, trust_env=False)
    answer.raise_for_status()
    return answer.json()


def until(what: str, look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError, OSError):
            if seen := look():
                return seen
        time.sleep(0.05)
    raise AssertionError(what)


# --- the plan -----------------------------------------------------------------------------------------------------


def test_ports_are_those_of_the_urls() -> None:
    planned = plan(h.outputs())
    fixed = {f.name: (f.local_port, f.namespace, f.service, f.port) for f in planned.forwards}
    assert fixed["data_store"] == (18081, "nemo-datastore", "nemo-data-store", 3000)
    assert fixed["nim"] == (18082, "llama", "llama", 8000)
    assert fixed["mlflow"] == (18083, "mlflow", "mlflow-tracking", 80)
    assert planned.front_port == 18080
    assert planned.routes.keys() == h.PREFIXES.keys()
    inner = {f.name: f.local_port for f in planned.forwards if f.name not in {"data_store", "nim", "mlflow"}}
    assert inner.keys() == {"entity_store", "customizer", "evaluator"}
    assert planned.routes["/v1/customization"] == f"http://127.0.0.1:{inner['customizer']}"


def test_routes_are_left_alone() -> None:
    planned = plan(h.outputs(nim_url="https://nim.example.com", nemo_url="https://nemo.example.com"))
    assert {f.name for f in planned.forwards} == {"data_store", "mlflow"}
    assert planned.front_port is None
    assert len(planned.left_alone) == 2
    routed = {f"{key}_url": f"https://{key}.example.com" for key in session.KEYS}
    with pytest.raises(BadInput, match="all URLs of this stack are routes"):
        plan(h.outputs(None, **routed))


def test_a_stack_without_mlflow() -> None:
    services = {key: f"{a[0]}/{a[1]}:{a[2]}" for key, a in h.SERVICES.items() if key != "mlflow"}
    planned = plan(h.outputs(h.cluster_outputs(services=services), mlflow_url=""))
    assert "mlflow" not in {f.name for f in planned.forwards}
    assert planned.left_alone == ()


def test_outputs_that_cannot_be_forwarded() -> None:
    with pytest.raises(TargetError, match="has no cluster"):
        plan(h.outputs().model_copy(update={"cluster": None}))
    with pytest.raises(TargetError, match="names no port"):
        plan(h.outputs(nim_url="http://127.0.0.1"))
    with pytest.raises(TargetError, match="shares its port"):
        plan(h.outputs(nim_url="http://127.0.0.1:18081"))
    with pytest.raises(TargetError, match="names no mlflow"):
        plan(
            h.outputs(
                h.cluster_outputs(services={k: f"{a[0]}/{a[1]}:{a[2]}" for k, a in h.SERVICES.items() if k != "mlflow"})
            )
        )
    with pytest.raises(TargetError, match="is not namespace/service:port"):
        plan(h.outputs(h.cluster_outputs(services={"nim": "llama:8000"})))


# --- forwarding ---------------------------------------------------------------------------------------------------


def test_every_service_at_its_url(world: World) -> None:
    with world.forwarded():
        for key in ("data_store", "nim", "mlflow"):
            assert get(world.url(key, "/x?y=1%2F2")) == {"service": key, "path": "/x?y=1%2F2", "size": 0}
        for prefix, key in h.PREFIXES.items():
            assert get(world.url("nemo", f"{prefix}/a%2Fb"))["service"] == key
        answer = httpx.get(world.url("nemo", "/v1/nothing"), trust_env=False)
        assert answer.status_code == 404
        assert "/v1/customization" in answer.json()["detail"]
    for port in world.ports.values():
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port), 1)


def test_events_come_as_they_are_sent_and_uploads_have_no_limit(world: World) -> None:
    with world.forwarded():
        with httpx.stream("GET", world.url("nemo", "/v1/customization/stream"), timeout=20, trust_env=False) as answer:
            pieces = answer.iter_text()
            assert next(pieces) == "data: 0\n\n"  # the server waits for us before it goes on
            world.pods["customizer"].go_on.set()
            assert "".join(pieces) == "data: 1\n\n"
        size = 80 * 1024**2

        def body() -> Iterator[bytes]:
            for _ in range(size >> 20):
                yield bytes(1 << 20)

        headers = {"Content-Length": str(size)}
        sent = httpx.put(
            world.url("nemo", "/v1/datasets/x"), content=body(), headers=headers, timeout=60, trust_env=False
        )
        assert sent.json()["size"] == size


def test_pod_that_is_replaced(world: World) -> None:
    with world.forwarded() as forwarders:
        assert get(world.url("nim"))["service"] == "nim"
        world.pods["nim"].close()
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(world.url("nim"), timeout=5, trust_env=False)  # who asks first is cut off
        until("kubectl ended", lambda: any("lost connection to pod; trying again in" in line for line in world.said))
        world.pods["nim"] = Pod("another nim")
        world.aim()
        assert until("forwarded to the new pod", lambda: get(world.url("nim")))["service"] == "another nim"
        assert "nim: forwarded again" in world.said
        assert all(one.failed is None for one in forwarders)
        assert get(world.url("mlflow"))["service"] == "mlflow"


def test_an_attempt_without_a_word_is_not_explained_by_an_earlier_one(world: World) -> None:
    def said(text: str) -> bool:
        return any(line.startswith("nim: ") and f"{text}; trying again in" in line for line in world.said)

    with world.forwarded():
        world.fake.fail("service/llama", "error: the first reason", code=1)
        world.pods["nim"].close()
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(world.url("nim"), timeout=5, trust_env=False)
        until("the reason is told", lambda: said("error: the first reason"))
        world.fake.write("failures.json", [{"match": "service/llama", "stderr": "", "code": 7}])
        until("and not told again", lambda: said("` ended with 7"))


def test_a_pod_that_vanishes_is_noticed_before_anybody_asks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarder, "PROBE_EVERY_S", 0.1)
    with world.forwarded():
        world.pods["mlflow"].close()
        until("noticed", lambda: any(line.startswith("mlflow: error: lost connection") for line in world.said))


def test_service_that_does_not_exist(world: World) -> None:
    world.pods.pop("nim").close()
    world.aim()
    with pytest.raises(NotFound, match='services "llama" not found') as caught, world.forwarded():
        pass
    assert "doctor" in str(caught.value)


def test_pod_that_is_never_ready(world: World) -> None:
    world.fake.fail("service/llama", "error: timed out waiting for the condition")
    with Kubectl.opened(world.outputs) as opened:
        wanted = plan(world.outputs)
        with forwarding(opened, wanted, world.said.append) as all_of, pytest.raises(DeadlineExceeded) as caught:
            wait_ready(all_of, stretched(1.5))
    assert "nim: error: timed out waiting" in str(caught.value)
    tries = [line for line in world.said if line.startswith("nim: ") and "trying again in" in line]
    assert len(tries) > 2
    assert "in 0.05 s" in tries[0]
    assert "in 0.1 s" in tries[1]


def test_held_port_names_its_holder(world: World) -> None:
    code = (
        "import socket,sys; s=socket.create_server(('127.0.0.1', int(sys.argv[1]))); print('up', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(world.ports["nim"])], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(BadInput) as caught, world.forwarded():
            pass
        assert f"port {world.ports['nim']} (nim) is held by pid {other.pid} (" in str(caught.value)
        other.kill()
    assert world.fake.calls == []


def test_nothing_runs_after_a_failure(world: World) -> None:
    with pytest.raises(http.client.HTTPException), world.forwarded():
        raise http.client.HTTPException
    # the fixture looks for processes


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def file(world: World, tmp_path: Path) -> str:
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps(world.outputs.model_dump(mode="json")))
    return str(path)


def test_command_runs_meanwhile_and_its_exit_code_counts(
    world: World, file: str, capfd: pytest.CaptureFixture[str]
) -> None:
    script = (
        f"import sys, httpx; print(httpx.get({world.url('nim')!r}, trust_env=False).json(), sys.argv[1:]); sys.exit(7)"
    )
    with pytest.raises(SystemExit) as caught:
        main.main(["port-forward", "--outputs", file, "--", sys.executable, "-c", script, "--debug", "--stack"])
    out, _ = capfd.readouterr()
    assert caught.value.code == 7
    assert "'service': 'nim'" in out
    assert "['--debug', '--stack']" in out  # options after -- are the command's


def test_command_that_does_not_exist(world: World, file: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(["port-forward", "--outputs", file, "--", "no-such-program"])
    assert caught.value.code == 2
    assert "cannot run no-such-program" in capfd.readouterr().err


def started(world: World, file: str, *more: str) -> "subprocess.Popen[str]":
    script = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from cli import main\nfrom nemostack.kubectl import process\n"
        f"process.program = lambda: {str(world.fake.path)!r}\n"
        f"main.main(['port-forward', '--outputs', {file!r}, *{list(more)!r}])"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_all(world: World, file: str, number: int) -> None:
    process = started(world, file)
    until("forwarded", lambda: get(world.url("nim")) and get(world.url("nemo", "/v1/evaluation")))
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 6
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert f"nim: http://127.0.0.1:{world.ports['nim']} -> llama/llama:8000" in err
    assert "Traceback" not in err + out
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


def test_ctrl_c_ends_the_command_too(world: World, file: str) -> None:
    script = "import time\ntry:\n    print('on', flush=True); time.sleep(60)\nexcept KeyboardInterrupt:\n    exit(9)"
    command = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + script
    process = started(world, file, "--", sys.executable, "-c", command)
    assert process.stdout is not None
    assert process.stdout.readline() == "on\n"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    process.communicate(timeout=60)
    assert process.returncode == 9
