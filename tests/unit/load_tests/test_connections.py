"""Stamps of arrival against the moments at which a server wrote, and connections that are used again."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

EVENT = b'data: {"choices": [{"text": "a"}]}\n\n'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

# A process of its own: gevent's patches would change the tests' own. It opens so many files before it connects.
READER = """
import json, os, sys, time
import gevent.monkey
gevent.monkey.patch_all()
from load_tests.client import connections
from load_tests.client.streaming import StreamingClient
exec(sys.argv[4])
url, requests, files = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
held = [os.open(os.devnull, os.O_RDONLY) for _ in range(files)]
client = StreamingClient(url, connections=4, timeout_s=60)
offset = time.time() - time.perf_counter()
for _ in range(requests):
    exchange = client.stream("/v1/completions", b"{}", request_id="r")
    assert exchange.error is None, exchange.detail
    print(json.dumps([at + offset for at in (exchange.t_first, exchange.t_last, exchange.t_end)]), flush=True)
"""


class Server:
    """Answers each request on a connection with events, as soon as it may, and remembers when it wrote them."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.connections = 0
        self.asked, self.may_answer, self.answered = threading.Event(), threading.Event(), threading.Event()
        self.began = self.ended = 0.0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while connection.recv(65536):
                connection.sendall(ANSWER)
                self.asked.set()
                self.may_answer.wait()
                self.began = time.time()
                for event in (EVENT, EVENT, b"data: [DONE]\n\n"):
                    connection.sendall(b"%x\r\n%s\r\n" % (len(event), event))
                connection.sendall(b"0\r\n\r\n")
                self.ended = time.time()
                self.answered.set()


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.listening.close()


@contextmanager
def reader(server: Server, *, requests: int = 1, files: int = 0, before: str = "") -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", READER, server.url, str(requests), str(files), before]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.wait() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not stamp what they receive")
def test_a_process_that_stands_still_stamps_what_comes_meanwhile_at_its_time(server: Server) -> None:
    with reader(server) as process:
        server.asked.wait()
        os.kill(process.pid, signal.SIGSTOP)
        server.may_answer.set()
        server.answered.wait()
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGCONT)
        assert process.stdout is not None
        first, last, end = json.loads(process.stdout.readline())
    assert server.began <= first <= last <= end <= server.ended + 0.1


def test_a_kernel_that_does_not_know_the_option_is_no_obstacle(server: Server) -> None:
    server.may_answer.set()
    with reader(server, before="connections.SO_TIMESTAMPNS = 9999") as process:
        assert process.stdout is not None
        first, last, end = json.loads(process.stdout.readline())
    assert server.began <= first <= last <= end


def test_connections_are_used_again_whatever_their_number(server: Server) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1200:
        pytest.skip(f"a process may open {hard} files here, and the test needs 1,200")
    server.may_answer.set()
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    try:
        with reader(server, requests=3, files=1100) as process:
            assert process.stdout is not None
            assert len(process.stdout.readlines()) == 3
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert server.connections == 1
