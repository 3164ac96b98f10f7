"""The program that makes NIMs known to the platform, against a small server with the platform's routes."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from infra.nemo.platform import script

ENTITY = {"name": "meta-llama", "backend_format": "OPENAI_CHAT"}
DEPLOYMENT = {
    "kind": "deployment",
    "entity": ENTITY,
    "config": {"name": "llama-0a", "engine": "nim"},
    "deployment": {"name": "llama", "config": "llama-0a"},
}
PROVIDER = {"kind": "provider", "entity": ENTITY, "provider": {"name": "nim", "host_url": "http://nim"}}


class FakePlatform(ThreadingHTTPServer):
    """Keeps what it is told; a deployment or provider is served after `slow` looks, or given up."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.switched: list[dict[str, Any]] = []
        self.principals: set[str | None] = set()
        self.slow, self.fate, self.refuses = 1, "READY", ""
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    """The routes of `/apis/models/v2` that the program uses."""

    server: FakePlatform

    def answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self.server.principals.add(self.headers["X-NMP-Principal-Id"])
        kept = self.server.kept.get(self.key)
        if kept is None:
            return self.answer(404, {"detail": "not found"})
        looks = kept["looks"] = kept.get("looks", 0) + 1
        status = self.server.fate if looks > self.server.slow else "PENDING"
        return self.answer(200, {**kept, "status": status, "status_message": "as the test says"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.refuses and self.server.refuses in self.path:
            return self.answer(422, {"detail": "no such field"})
        if self.key in self.server.kept:
            self.server.switched.append(body)
            self.server.kept[self.key] |= body
            return self.answer(200, body)
        self.server.kept[f"{self.key}/{body['name']}"] = body
        return self.answer(201, body)

    @property
    def key(self) -> str:
        match = re.fullmatch(r"/apis/models/v2/workspaces/default/(.+)", self.path)
        assert match, self.path
        return match[1]

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with FakePlatform() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run(url: str, *registrations: dict[str, Any], deadline_s: float = 30) -> subprocess.CompletedProcess[str]:
    """Run the program as the Job does, with nothing but Python's own library."""
    environment = {
        "NMP_BASE_URL": url,
        "REGISTRATIONS": json.dumps(registrations),
        "DEADLINE_S": str(deadline_s),
        "PAUSE_S": "0.01",
        "PATH": os.environ["PATH"],
    }
    command = [sys.executable, "-I", "-S", "-c", script()]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def url(platform: FakePlatform) -> str:
    return f"http://127.0.0.1:{platform.server_port}"


def test_everything_is_created_once_and_waited_for(platform: FakePlatform) -> None:
    done = run(url(platform), DEPLOYMENT, PROVIDER)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "2 models are served")
    assert set(platform.kept) == {
        "models/meta-llama",
        "deployment-configs/llama-0a",
        "deployments/llama",
        "providers/nim",
    }
    assert platform.principals == {"service:nemostack"}
    assert run(url(platform), DEPLOYMENT, PROVIDER).returncode == 0
    assert platform.switched == []


def test_a_changed_config_is_another_one_that_the_deployment_is_switched_to(platform: FakePlatform) -> None:
    assert run(url(platform), DEPLOYMENT).returncode == 0
    changed = DEPLOYMENT | {"config": {"name": "llama-1b"}, "deployment": {"name": "llama", "config": "llama-1b"}}
    assert run(url(platform), changed).returncode == 0
    assert "deployment-configs/llama-1b" in platform.kept
    assert platform.switched == [{"config": "llama-1b"}]


def test_a_deployment_that_is_given_up_ends_it_with_the_reason(platform: FakePlatform) -> None:
    platform.fate = "ERROR"
    done = run(url(platform), DEPLOYMENT)
    assert (done.returncode, done.stderr) == (1, "deployment llama is ERROR: as the test says\n")


def test_what_the_platform_refuses_is_told(platform: FakePlatform) -> None:
    platform.refuses = "deployment-configs"
    done = run(url(platform), DEPLOYMENT)
    assert done.returncode == 1
    assert 'POST /deployment-configs: 422 {"detail": "no such field"}' in done.stderr


def test_the_time_is_limited_also_where_nobody_answers(platform: FakePlatform) -> None:
    platform.slow = 1_000_000
    done = run(url(platform), DEPLOYMENT, deadline_s=0.05)
    assert (done.returncode, done.stderr) == (1, "the time is over\n")
    assert "deployment llama is PENDING: as the test says" in done.stdout
    nobody = run("http://127.0.0.1:9", DEPLOYMENT, deadline_s=0.05)
    assert nobody.returncode == 1
    assert "the platform does not answer" in nobody.stdout
